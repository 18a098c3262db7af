"""Served by a name that leads nowhere: the client finds the server at its address, and asks it without a pause."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from running import ROOT, Running, serving

import catalogue
from ca.issue import issue
from ca.rotation import What
from ca.store import Store
from catalogue import Mode, Tls
from catalogue import manifest as manifests
from client.matrix import Answered, control, try_one
from client.probes import PROBES

pytestmark = pytest.mark.live

DEADLINE_S = 15
NAME = "nowhere.mtls-lab.test"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose certificate has a name that no resolver knows, and a manifest that says so."""
    state = tmp_path_factory.mktemp("lab")
    issue(catalogue.load(), Store(state), NAME, say=lambda _: None)
    path = state / "client-tls" / manifests.NAME
    path.write_bytes(replace(manifests.load(path), server_name=NAME).dumps())
    with serving(state, state / "server.log", Mode.REQUIRED) as running:
        yield running


@pytest.mark.parametrize("tls", list(Tls))
@pytest.mark.parametrize("probe", PROBES)
def test_a_name_that_leads_nowhere(elsewhere: Running, probe: str, tls: Tls) -> None:
    lab = elsewhere.lab
    for scenario, verdict in (("client-good", "PASS"), ("client-expired", "PASS")):
        result = try_one(lab, lab.catalogue.scenarios[scenario], PROBES[probe], tls, Mode.REQUIRED, control(lab))
        if result.verdict == "SKIP":
            assert probe == "wget" or "not installed" in result.reason, result.reason
            if probe == "wget" and "not installed" not in result.reason:
                assert result.reason == f"it has no option to find {NAME} at 127.0.0.1"
            continue
        assert result.verdict == verdict, result
        pasted = subprocess.run(["sh", "-c", result.command], capture_output=True, text=True, cwd=ROOT)
        assert ("CN=client-good" in pasted.stdout) == (scenario == "client-good"), pasted


def test_another_name_is_refused_at_the_same_address(elsewhere: Running) -> None:
    lab = elsewhere.lab
    other = replace(lab, view=lab.view.named("other.mtls-lab.test"), shown=lab.shown)
    other = replace(other, view=replace(other.view, address="127.0.0.1"))
    for probe in ("raw", "requests", "httpx", "curl", "openssl"):
        answered = Answered(control(lab).server)
        scenario = lab.catalogue.scenarios["client-good"]
        result = try_one(other, scenario, PROBES[probe], Tls.V13, Mode.REQUIRED, answered)
        assert result.observed, probe
        assert result.observed.outcome == "refused_by_client", (probe, result)


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def asking(running: Running) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "client", "steady"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env={**running.environ, "PATH": "/usr/bin:/bin"}, text=True, **pipes)


def test_asking_without_a_pause_through_a_rotation(elsewhere: Running) -> None:
    log = Path(elsewhere.log)
    asked = log.read_text().count("GET /whoami")
    client = asking(elsewhere)
    wait_for(lambda: log.read_text().count("GET /whoami") > asked + 1)
    store = Store(elsewhere.state)
    before = manifests.load(store.private / "ledger.json").credentials["server-good"].serial
    issue(catalogue.load(), store, NAME, say=lambda _: None, rotate=(What.SERVER, None))
    wait_for(lambda: "tls_reloaded" in log.read_text())
    after = manifests.load(store.private / "ledger.json").credentials["server-good"].serial
    out, err = client.communicate(timeout=30)
    assert client.returncode == 0, err
    assert out.splitlines()[1].endswith("; none failed")
    assert out.splitlines()[2] == f"serials {before} {after}"


def test_a_lost_request_is_red(tmp_path: Path, elsewhere: Running) -> None:
    with serving(elsewhere.state, tmp_path / "log", Mode.REQUIRED) as running:
        client = asking(running)
        wait_for(lambda: "GET /whoami" in running.log.read_text())
        running.process.kill()
        running.process.join()
        out, err = client.communicate(timeout=30)
    assert client.returncode == 1
    assert " failed, the first on " in out, err
