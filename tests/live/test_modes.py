"""Every scenario by every probe in every mode, against real servers, on both event loops."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from running import ROOT, Running, all_servers, client, serving

import catalogue
from catalogue import Mode, Outcome, Server, Tls
from client.judge import Verdict
from client.matrix import Answered, Matrix, run, try_one
from client.probes import PROBES

pytestmark = pytest.mark.live

LOOPS = {"asyncio": "h11", "uvloop": "httptools"}
KNOWN = catalogue.load()
RESULTS = len(KNOWN.of(default_server=True)) * len(PROBES) * len(Tls)


def assert_as_expected(done: Matrix) -> None:
    """Everything passed, and what was skipped was skipped for a reason of the tool's."""
    assert not done.wrong, [result.reason for result in done.wrong]
    assert not done.unjudged, [result.reason for result in done.unjudged]
    for result in done.results:
        if result.verdict is Verdict.SKIP:
            assert re.search("not installed|needs |pass phrase|GnuTLS|too old", result.reason), result.reason
    tried = [r for r in done.results if r.probe in ("raw", "requests", "httpx", "curl", "openssl")]
    few = {"client-mldsa", "client-encrypted-key", "server-ca-as-server"}
    assert {r.scenario for r in tried if r.verdict is Verdict.SKIP} <= few


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", Mode)
def test_explained(serve: Callable[..., Running], mode: Mode, loop: str) -> None:
    """All is as expected, and the server's log says of each refusal what the catalogue says."""
    running = serve(mode, UVICORN_LOOP=loop, UVICORN_HTTP=LOOPS[loop])
    done = run(running.lab, mode, Server.EXPLAINED)
    assert_as_expected(done)
    assert len(done.results) == RESULTS
    for result in done.results:
        observed = result.observed
        if result.probe in ("raw", "requests", "httpx") and observed and observed.alert:
            assert observed.verify_code == result.expected.verify_code
            assert f":{observed.local_port} " in observed.log


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", Mode)
def test_stock(serve: Callable[..., Running], mode: Mode, loop: str) -> None:
    running = serve(mode, Server.STOCK, UVICORN_LOOP=loop, UVICORN_HTTP=LOOPS[loop])
    done = run(running.lab, mode, Server.STOCK)
    assert_as_expected(done)
    assert not re.search("refused|WARNING|ERROR", running.log.read_text())  # stock tells nobody why


def test_what_depends_on_strictness_is_what_the_catalogue_says(serve: Callable[..., Running]) -> None:
    """An explained server that verifies as a plain Uvicorn does differs where the catalogue has `stock`."""
    done = run(serve(Mode.REQUIRED, LAB_VERIFY_STRICT="0").lab, Mode.REQUIRED, Server.EXPLAINED)
    lenient = {s.id for s in KNOWN.of(default_server=True) if s.expect[Mode.REQUIRED].stock}
    assert {result.scenario for result in done.wrong} == lenient != set()
    assert {result.verdict for result in done.wrong} == {Verdict.WRONG_ACCEPT}
    assert not done.unjudged


@pytest.mark.parametrize("server", Server)
@pytest.mark.parametrize("mode", Mode)
def test_the_other_servers(state: Path, tmp_path: Path, mode: Mode, server: Server) -> None:
    with all_servers(state, tmp_path, mode, server) as running:
        done = run(running.lab, mode, server, servers=True)
    assert_as_expected(done)
    assert {result.scenario for result in done.results} == {s.id for s in KNOWN.of(default_server=False)}
    accepted = [r for r in done.results if r.scenario == "trust-public-mixed" and r.observed]
    outcomes = {Outcome.ANONYMOUS} if mode is Mode.OFF else {Outcome.AUTHENTICATED}
    if server is Server.EXPLAINED:
        assert {r.observed.outcome for r in accepted if r.observed} == outcomes
        assert_lists_are_looked_up(done, mode)
        log = (tmp_path / "server-expired.log").read_text()
        assert "reason=SSLV3_ALERT_CERTIFICATE_EXPIRED" in log  # what a client that refuses tells the server


def assert_lists_are_looked_up(done: Matrix, mode: Mode) -> None:
    """Each refusal for the lists' sake is in the log of its own server, with its own verify error."""
    codes = {"crl-revoked": 23, "crl-revoked-intermediate": 23, "crl-without-root": 3, "crl-expired": 12}
    codes |= {"crl-other-issuer": 3}
    told = {
        (r.scenario, r.observed.verify_code)
        for r in done.results
        if r.scenario.startswith("crl-") and r.probe == "raw" and r.observed and r.observed.log
    }
    assert told == (set() if mode is Mode.OFF else set(codes.items()))


def test_a_certificate_that_is_revoked_is_only_refused_by_who_looks(serve: Callable[..., Running]) -> None:
    """The trap and its cure: one credential, with the list, at stock and at explained."""
    tls = str(serve(Mode.REQUIRED).state / "server-tls")
    lists = {"LAB_CRL": f"{tls}/validation_crl.pem", "LAB_CRL_CHECK": "leaf"}
    revoked = KNOWN.scenarios["client-revoked"]
    seen = {}
    for server in Server:
        lab = serve(Mode.REQUIRED, server, **lists).lab
        result = try_one(lab, revoked, PROBES["raw"], Tls.V13, Mode.REQUIRED, Answered(server))
        assert result.observed
        seen[server] = (result.observed.outcome, result.observed.verify_code, result.verdict)
    assert seen == {
        Server.EXPLAINED: (Outcome.REFUSED_BY_SERVER, 23, Verdict.WRONG_REFUSE),  # nobody looks, it is expected
        Server.STOCK: (Outcome.SERVED, None, Verdict.PASS),
    }


def test_a_server_that_does_not_run_is_no_verdict(serve: Callable[..., Running]) -> None:
    done = client(serve(Mode.REQUIRED), "matrix", "--servers")
    assert done.returncode == 2
    assert "the server server-good-validation_root does not run\n  try: make test-servers" in done.stderr


def test_nothing_is_judged_before_the_positive_control(state: Path, tmp_path: Path) -> None:
    """A faulty server credential where the good one should be: that is no verdict on anything."""
    expired = str(state / "server-tls/server-expired")
    files = {"UVICORN_SSL_CERTFILE": f"{expired}/fullchain.pem", "UVICORN_SSL_KEYFILE": f"{expired}/privkey.pem"}
    with serving(state, tmp_path / "log", Mode.REQUIRED, **files) as running:
        done = client(running, "matrix")
    assert done.returncode == 2
    assert "the positive control at https://localhost" in done.stderr
    assert "refused_by_client" in done.stderr
    assert "\n  try: make up SERVER_CREDENTIAL=server-good" in done.stderr


@pytest.mark.timeout(900)
def test_ten_matrices_are_identical(serve: Callable[..., Running]) -> None:
    for server in Server:
        lab = serve(Mode.REQUIRED, server, UVICORN_LOOP="uvloop", UVICORN_HTTP="httptools").lab
        seen = {
            tuple(
                (r.scenario, r.probe, r.tls, r.observed and (r.observed.outcome, r.observed.alert), r.verdict)
                for r in m.results
            )
            if server is Server.EXPLAINED
            else tuple((r.scenario, r.probe, r.tls, r.observed and r.observed.outcome, r.verdict) for r in m.results)
            for m in (run(lab, Mode.REQUIRED, server) for _ in range(10))
        }
        assert len(seen) == 1


@pytest.fixture(scope="module")
def required(serve: Callable[..., Running]) -> Matrix:
    """The matrix of a server that goes on running."""
    return run(serve(Mode.REQUIRED).lab, Mode.REQUIRED, Server.EXPLAINED)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("tls", Tls)
def test_the_printed_command_does_what_the_probe_does(required: Matrix, probe: str, tls: Tls) -> None:
    """Pasted into a shell, it shows the same outcome: the certificate's name, or the same alert."""
    chosen = {r.scenario: r for r in required.results if (r.probe, r.tls) == (probe, tls)}
    if not PROBES[probe].version():
        pytest.skip(f"{probe} is not installed")
    none = "certificate (is )?required" if tls is Tls.V13 else "handshake fail"
    for scenario, shown in (
        ("client-good", "CN=client-good"),
        ("client-missing-intermediate", "CN=client-good"),
        ("client-none", none),
        ("client-untrusted-root", "unknown ca|CA is unknown"),
        ("authz-good", "certificate-forbidden"),
    ):
        command = chosen[scenario].command
        typed = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=30)
        if shown.startswith("CN="):
            assert shown in typed.stdout
            assert typed.returncode == 0
        elif scenario == "authz-good":  # as with the probe, the answer itself is seen
            assert re.search(shown, typed.stdout), typed
        elif (probe, tls) == ("wget", Tls.V13):  # which has no word for an alert after the handshake
            assert (typed.returncode, typed.stdout) == (4, "")
        else:
            said = (typed.stdout + typed.stderr).replace("_", " ")
            assert re.search(shown, said, re.I), (scenario, typed)
