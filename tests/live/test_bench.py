"""`make bench` runs: tiny slices, finite figures. How fast anything is on the machine of the tests is not asserted."""

from __future__ import annotations

import json
import math
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import ROOT, Running

from bench import load
from bench.report import Figure
from bench.servers import KINDS
from catalogue import LabError, Mode, Server

pytestmark = pytest.mark.live


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Knobs of whoever runs the tests don't reach the servers.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("UVICORN_", "LAB_"))}
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--seconds", "0.1", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


def test_every_load_gets_finite_figures_on_every_server() -> None:
    done = bench("--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {figure["server"] for figure in figures} == set(KINDS) - {"stock"}
    assert len({figure["load"] for figure in figures}) == len(figures) / 2 == 4
    for figure in figures:
        assert all(math.isfinite(figure[key]) and figure[key] > 0 for key in ("stock_per_s", "per_s", "ratio"))


def test_the_load_notices_a_client_that_was_refused(serve: Callable[..., Running], state: Path) -> None:
    """Refusals are quick: counted as handshakes they would make the slowest server look fast."""
    expired = load.client_context(state / "client-tls/clients/client-expired", ssl.TLSVersion.TLSv1_3)
    for server in (Server.STOCK, Server.EXPLAINED):
        running = serve(Mode.REQUIRED, server)
        with pytest.raises(LabError, match="a handshake failed"):
            load.handshakes(running.port, expired, 0.1)
        with pytest.raises(LabError, match="GET /healthz failed"):
            load.requests(running.port, expired, "/healthz", 0.1)


def test_the_load_notices_an_answer_that_is_no_success(serve: Callable[..., Running], state: Path) -> None:
    good = load.client_context(state / "client-tls/clients/client-good", ssl.TLSVersion.TLSv1_3)
    running = serve(Mode.REQUIRED, Server.EXPLAINED)
    assert load.requests(running.port, good, "/healthz", 0.05).count >= 16
    with pytest.raises(LabError, match="404"):
        load.requests(running.port, good, "/no-such-page", 0.05)


def test_check_is_judged_by_the_median_of_paired_ratios() -> None:
    stock, other = [100.0, 200.0, 100.0], [96.0, 196.0, 98.0]
    figure = Figure("load", "explained", stock, other, 0.97, [0.5, 1.0, 0.5], [0.5, 1.0, 1.0])
    assert figure.ratio == pytest.approx(0.98)
    assert figure.cpu_ratio == pytest.approx(0.96)  # 0.96, 0.98, and 0.49 where it took twice the time
    assert not figure.misses
    assert Figure("load", "explained", stock, other, 0.99).misses
    assert not Figure("load", "explained", stock, other, None).misses
