"""The scenarios that ask for other servers than the default one, in every mode."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from matrices import FEW, MOST, assert_as_expected
from running import THOROUGH, all_servers

import catalogue
from catalogue import Mode, Outcome, Server
from client.matrix import Matrix, run
from client.probes import chosen

pytestmark = pytest.mark.live

KNOWN = catalogue.load()


# Twenty servers each: with every tool, with most, and with few. LAB_TEST_THOROUGH=1: with every tool, and all.
PROBES_OF = {
    (Mode.REQUIRED, Server.EXPLAINED): "",
    (Mode.REQUIRED, Server.STOCK): MOST,
    (Mode.OPTIONAL, Server.EXPLAINED): FEW,
    (Mode.OFF, Server.EXPLAINED): FEW,
}
if THOROUGH:
    PROBES_OF = dict.fromkeys(itertools.product(Mode, Server), "")


@pytest.mark.parametrize(("mode", "server"), PROBES_OF)
def test_the_other_servers(state: Path, tmp_path: Path, mode: Mode, server: Server) -> None:
    with all_servers(state, tmp_path, mode, server) as running:
        done = run(running.lab, mode, server, servers=True, probes=chosen(PROBES_OF[mode, server]))
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
