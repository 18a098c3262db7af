"""Every scenario by every probe in every mode, against real servers, on both event loops."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from running import ROOT, Running

from catalogue import Mode, Outcome, Server, Tls
from client.judge import Verdict
from client.matrix import run
from client.probes import PROBES

pytestmark = pytest.mark.live

LOOPS = {"asyncio": "h11", "uvloop": "httptools"}
RESULTS = 9 * len(PROBES) * len(Tls)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", Mode)
def test_explained(serve: Callable[..., Running], mode: Mode, loop: str) -> None:
    """All is as expected, and the server's log says of each refusal what the catalogue says."""
    running = serve(mode, UVICORN_LOOP=loop, UVICORN_HTTP=LOOPS[loop])
    done = run(running.lab, mode, Server.EXPLAINED)
    assert not done.wrong
    assert not done.unjudged
    assert done.count(Verdict.PASS) == RESULTS
    for result in done.results:
        if result.probe == "raw" and result.expected.outcome is Outcome.REFUSED_BY_SERVER:
            assert result.observed
            assert result.observed.verify_code == result.expected.verify_code


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mode", Mode)
def test_stock(serve: Callable[..., Running], mode: Mode, loop: str) -> None:
    running = serve(mode, Server.STOCK, UVICORN_LOOP=loop, UVICORN_HTTP=LOOPS[loop])
    done = run(running.lab, mode, Server.STOCK)
    assert done.count(Verdict.PASS) == RESULTS
    assert not re.search("refused|WARNING|ERROR", running.log.read_text())  # stock tells nobody why


def test_a_plain_uvicorn_verification_gives_the_same(serve: Callable[..., Running]) -> None:
    """None of these scenarios depends on X509_STRICT or PARTIAL_CHAIN."""
    done = run(serve(Mode.REQUIRED, LAB_VERIFY_STRICT="0").lab, Mode.REQUIRED, Server.EXPLAINED)
    assert done.count(Verdict.PASS) == RESULTS


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


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("tls", Tls)
def test_the_printed_command_does_what_the_probe_does(serve: Callable[..., Running], probe: str, tls: Tls) -> None:
    """Pasted into a shell, it shows the same outcome: the certificate's name, or the same alert."""
    running = serve(Mode.REQUIRED)
    done = run(running.lab, Mode.REQUIRED, Server.EXPLAINED)
    chosen = {r.scenario: r for r in done.results if (r.probe, r.tls) == (probe, tls)}
    for scenario, shown in (
        ("client-good", "CN=client-good"),
        ("client-missing-intermediate", "CN=client-good"),
        (
            "client-none",
            "CERTIFICATE_REQUIRED|certificate required" if tls is Tls.V13 else "HANDSHAKE_FAILURE|handshake failure",
        ),
        ("client-self-signed", "UNKNOWN_CA|unknown ca"),
    ):
        typed = subprocess.run(
            chosen[scenario].command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=30
        )
        assert re.search(shown, typed.stdout + typed.stderr, re.I), (scenario, typed)
        if scenario.startswith("client-good"):
            assert typed.returncode == 0
