"""Every scenario by every probe in every TLS version, judged as one mode: positive control first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from catalogue import ACCEPTED, POSITIVE_CONTROL, LabError, Mode, Outcome, Scenario, Server, Tls
from client.judge import Result, Verdict, judge
from client.lab import Lab
from client.observe import Observed
from client.probes import PROBES, Probe
from client.server_log import ServerLog


class LabBroken(LabError):
    """The lab itself does not work, so nothing was judged or something could not be."""


@dataclass(frozen=True)
class Matrix:
    """All results of one mode, in the catalogue's order."""

    mode: Mode
    server: Server
    results: tuple[Result, ...]
    versions: dict[str, str]
    duration_s: float

    def count(self, verdict: Verdict | None) -> int:
        return sum(result.verdict is verdict for result in self.results)

    @property
    def wrong(self) -> tuple[Result, ...]:
        """What differs from expectation, wrongly accepted first."""
        order = (Verdict.WRONG_ACCEPT, Verdict.WRONG_REFUSE, Verdict.WRONG_REASON)
        return tuple(r for verdict in order for r in self.results if r.verdict is verdict)

    @property
    def unjudged(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.verdict is None)

    @property
    def status(self) -> int:
        """The exit status: 0 all as expected, 1 a verdict differs, 2 the lab is broken."""
        return 2 if self.unjudged else 1 if self.wrong else 0


def run(lab: Lab, mode: Mode, told: Server | None, seen: Callable[[Result], None] = lambda _: None) -> Matrix:
    """Make every attempt, side by side, bounded by the cores, and judge them.

    Args:
        told: the kind of server that should be running; None to take the one that is.
        seen: called with each result as it comes, in no particular order.

    Raises:
        LabBroken: the positive control was not answered, or by another kind of server.
    """
    start = time.monotonic()
    server = control(lab, told)

    def attempt(item: tuple[Scenario, Probe, Tls]) -> Result:
        result = try_one(lab, *item, mode, server)
        seen(result)
        return result

    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        results = tuple(pool.map(attempt, attempts(tuple(lab.catalogue.scenarios.values()))))
    versions = {probe.name: probe.version() or "not installed" for probe in PROBES.values()}
    return Matrix(mode, server, results, versions, time.monotonic() - start)


def attempts(scenarios: Sequence[Scenario]) -> Iterator[tuple[Scenario, Probe, Tls]]:
    """Yield what a matrix consists of, in the order in which it is reported."""
    return ((scenario, probe, tls) for scenario in scenarios for probe in PROBES.values() for tls in Tls)


def control(lab: Lab, told: Server | None = None) -> Server:
    """Do the positive control: the good credential must be answered, in TLS 1.2 and 1.3. Returns who answered.

    Raises:
        LabBroken: it was not, or not by the kind of server that should run.
    """
    for tls in Tls:
        attempt = lab.attempt(lab.catalogue.scenarios[POSITIVE_CONTROL], tls)
        observed = PROBES["raw"].run(attempt, ServerLog(None))
        if observed.outcome not in ACCEPTED:
            raise _broken(lab, observed)
    server = Server.STOCK if observed.outcome is Outcome.SERVED else Server.EXPLAINED
    if told and server is not told:
        fact = f"SERVER={told} was asked for, but the server that answers is {server}"
        raise LabBroken("nothing was judged", fact, f"make up SERVER={told}")
    return server


def try_one(lab: Lab, scenario: Scenario, probe: Probe, tls: Tls, mode: Mode, server: Server) -> Result:
    """Make one attempt with one probe, and judge it."""
    attempt = lab.attempt(scenario, tls)
    expected = scenario.expected(mode, tls, server)
    command = probe.command(lab.shown_attempt(attempt))
    lacking = probe.lacks(tls)
    if lacking:
        return Result(attempt, probe.name, expected, None, Verdict.SKIP, command, lacking)
    observed = probe.run(attempt, ServerLog(lab.server_log))
    verdict, reason = judge(expected, observed, attempt.issued.sha256 if attempt.issued else None, server)
    silent = expected.verify_code and observed.verify_code is None
    if verdict is Verdict.PASS and probe is PROBES["raw"] and lab.server_log and silent:
        verdict, reason = None, f"the server's log {lab.server_log} does not say why it refused"
    return Result(attempt, probe.name, expected, observed, verdict, command, reason)


def _broken(lab: Lab, observed: Observed) -> LabBroken:
    cure = "make up" if observed.outcome in (Outcome.UNREACHABLE, Outcome.NOT_PRESENTED) else "make logs"
    fact = f"the positive control at {lab.shown.url} was not answered: {observed.outcome}, {observed.detail}"
    return LabBroken("nothing was judged", fact, cure)
