"""`python -m bench`: compare the explained server with stock Uvicorn, in the same minute on the same core.

Each round gives every server a short slice of the same load, in turn and in changing order; a ratio is that of two
slices of one round, and the table shows the median ratio and the middle half of them. Exit status: 0, with `--check` 1
where a ratio misses its target, 2 if there was nothing to measure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.load import Amount
from bench.report import Figure, print_machine, print_table
from bench.servers import Served, issue, running
from catalogue import LabError

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CREDENTIAL = "client-tls/clients/client-good"


@dataclass(frozen=True)
class Workload:
    """What is done to each server, and the least ratio to stock that each kind of server owes."""

    name: str
    run: Callable[[int, float], Amount]
    targets: dict[str, float]


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare the explained server with stock.")
    parser.add_argument("--rounds", type=int, default=7, help="slices for each server and load (default 7)")
    parser.add_argument("--seconds", type=float, default=0.8, help="length of a slice (default 0.8)")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a ratio misses its target")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("rounds and seconds must be positive")
    server_cores = _pin()
    for number in _SIGNALS:
        signal.signal(number, _end)
    try:
        with tempfile.TemporaryDirectory(prefix="mtls-bench.") as folder:
            issue(Path(folder))
            with running(Path(folder), server_cores) as servers:
                figures = measure(_workloads(Path(folder)), servers, arguments.rounds, arguments.seconds)
    except LabError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([figure.as_json() for figure in figures]))
    else:
        print_machine(pinned=server_cores is not None)
        print_table(figures, arguments.rounds, arguments.seconds)
    return int(arguments.check and any(figure.misses for figure in figures))


def _end(*_: object) -> None:
    """Exit, so that the servers are stopped and the certificates removed. Further signals are ignored."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(2)


def _pin() -> set[int] | None:
    """Keep this process, the load, off the servers' core. Returns the cores for the servers, None if it can't be."""
    if not hasattr(os, "sched_setaffinity"):  # Linux only
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    os.sched_setaffinity(0, cores[1:])
    return {cores[0]}


def _workloads(folder: Path) -> list[Workload]:
    new, old = (
        load.client_context(folder / _CREDENTIAL, version)
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)
    )
    kept = {"explained": 0.97, "explained, log on": 0.97}
    made = {"explained": 1.0, "explained, log on": 0.9}
    return [
        Workload("GET /healthz", lambda port, s: load.requests(port, new, "/healthz", s), kept),
        Workload("GET / (*)", lambda port, s: load.requests(port, new, "/", s), {}),
        Workload("handshake, TLS 1.3", lambda port, s: load.handshakes(port, new, s), made),
        Workload("handshake, TLS 1.2", lambda port, s: load.handshakes(port, old, s), made),
    ]


def measure(workloads: list[Workload], servers: list[Served], rounds: int, seconds: float) -> list[Figure]:
    """Give each server its slices of each load. Returns a figure for each load and server but the first (stock)."""
    figures = []
    for workload in workloads:
        slices: dict[str, list[float]] = {server.name: [] for server in servers}
        busy: dict[str, list[float]] = {server.name: [] for server in servers}
        for server in servers:
            workload.run(server.port, min(seconds, 0.3))  # warm up
        for number in range(rounds):
            for server in _turned(servers, number):
                before = server.busy_s()
                amount = workload.run(server.port, seconds)
                after = server.busy_s()
                slices[server.name].append(amount.rate)
                if before is not None and after is not None:
                    busy[server.name].append((after - before) / amount.seconds)
        stock, *others = (server.name for server in servers)
        figures += [
            Figure(
                workload.name,
                name,
                slices[stock],
                slices[name],
                workload.targets.get(name),
                busy[stock],
                busy[name],
            )
            for name in others
        ]
    return figures


def _turned(servers: list[Served], number: int) -> list[Served]:
    """Return the order of a round: every server comes first, last and after each other one equally often."""
    start = number // 2 % len(servers)
    order = servers[start:] + servers[:start]
    return order if number % 2 == 0 else order[::-1]


if __name__ == "__main__":
    sys.exit(main())
