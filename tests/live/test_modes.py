"""Every scenario by every probe in every mode, against real servers, on both event loops."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from matrices import FEW, MOST, assert_as_expected, results_of
from running import ROOT, THOROUGH, Running, client, serving

import catalogue
from catalogue import Mode, Outcome, Server, Tls
from client.judge import Verdict
from client.matrix import Answered, Matrix, run, try_one
from client.probes import PROBES, chosen

pytestmark = pytest.mark.live

LOOPS = {"asyncio": "h11", "uvloop": "httptools"}
KNOWN = catalogue.load()
MATRICES = 10 if THOROUGH else 2

Judged = Callable[[Mode, Server, str], Matrix]


def probes_of(mode: Mode, server: Server, loop: str) -> str:
    """Return the probes by which a server is judged.

    All of them judge the stock one where it demands certificates, and the explained one where it asks for them; where
    that one demands them, `make test-required` has them do so (`tests/make`, which has each mode judged in the image).
    Another loop is no matter of the tools.
    """
    every = ((Mode.REQUIRED, Server.STOCK), (Mode.OPTIONAL, Server.EXPLAINED))
    if THOROUGH or (loop == "uvloop" and (mode, server) in every):
        return ""
    return MOST if mode is Mode.REQUIRED else FEW


@pytest.fixture(scope="module")
def judged(serve: Callable[..., Running]) -> Judged:
    """What a server was judged by mode, kind and loop; each is judged once, with the probes that `probes_of` says."""
    done: dict[tuple[Mode, Server, str], Matrix] = {}

    def get(mode: Mode, server: Server, loop: str) -> Matrix:
        if (mode, server, loop) not in done:
            running = serve(mode, server, UVICORN_LOOP=loop, UVICORN_HTTP=LOOPS[loop])
            done[mode, server, loop] = run(running.lab, mode, server, probes=chosen(probes_of(mode, server, loop)))
        return done[mode, server, loop]

    return get


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", Mode)
def test_explained(judged: Judged, mode: Mode, loop: str) -> None:
    """All is as expected, and the server's log says of each refusal what the catalogue says."""
    done = judged(mode, Server.EXPLAINED, loop)
    assert_as_expected(done)
    assert len(done.results) == results_of(probes_of(mode, Server.EXPLAINED, loop))
    for result in done.results:
        observed = result.observed
        if result.probe in ("raw", "requests", "httpx") and observed and observed.alert:
            assert observed.verify_code == result.expected.verify_code
            assert f":{observed.local_port} " in observed.log


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", Mode)
def test_stock(serve: Callable[..., Running], judged: Judged, mode: Mode, loop: str) -> None:
    assert_as_expected(judged(mode, Server.STOCK, loop))
    running = serve(mode, Server.STOCK, UVICORN_LOOP=loop, UVICORN_HTTP=LOOPS[loop])
    assert not re.search("refused|WARNING|ERROR", running.log.read_text())  # stock tells nobody why


def test_what_depends_on_strictness_is_what_the_catalogue_says(serve: Callable[..., Running]) -> None:
    """An explained server that verifies as a plain Uvicorn does differs where the catalogue has `stock`."""
    lab = serve(Mode.REQUIRED, LAB_VERIFY_STRICT="0").lab
    done = run(lab, Mode.REQUIRED, Server.EXPLAINED, probes=chosen(FEW))
    lenient = {s.id for s in KNOWN.of(default_server=True) if s.expect[Mode.REQUIRED].stock}
    assert {result.scenario for result in done.wrong} == lenient != set()
    assert {result.verdict for result in done.wrong} == {Verdict.WRONG_ACCEPT}
    assert not done.unjudged


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


@pytest.mark.timeout(1200)
def test_every_matrix_is_identical(serve: Callable[..., Running], judged: Judged) -> None:
    """What a server is judged does not depend on luck. LAB_TEST_THOROUGH=1 judges it ten times."""
    for server in Server:
        running = serve(Mode.REQUIRED, server, UVICORN_LOOP="uvloop", UVICORN_HTTP="httptools")
        probes = chosen("" if THOROUGH else MOST)
        again = (run(running.lab, Mode.REQUIRED, server, probes=probes) for _ in range(MATRICES - 1))
        assert len({seen(done) for done in (judged(Mode.REQUIRED, server, "uvloop"), *again)}) == 1
    assert seen(judged(Mode.REQUIRED, Server.EXPLAINED, "asyncio")) == seen(
        judged(Mode.REQUIRED, Server.EXPLAINED, "uvloop")
    )


def seen(done: Matrix) -> tuple[object, ...]:
    """All that most probes observed; not the alert of a stock server, which may be lost on the way."""
    explained = done.server is Server.EXPLAINED
    return tuple(
        (r.scenario, r.probe, r.tls, r.verdict, r.observed and (r.observed.outcome, explained and r.observed.alert))
        for r in done.results
        if THOROUGH or r.probe in MOST.split(",")
    )


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("tls", Tls)
def test_the_printed_command_does_what_the_probe_does(serve: Callable[..., Running], probe: str, tls: Tls) -> None:
    """Pasted into a shell, it shows the same outcome: the certificate's name, or the same alert."""
    lab = serve(Mode.REQUIRED, UVICORN_LOOP="uvloop", UVICORN_HTTP="httptools").lab
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
        command = PROBES[probe].command(lab.shown_attempt(lab.attempt(KNOWN.scenarios[scenario], tls)))
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
