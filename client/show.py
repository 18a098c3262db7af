"""What a person sees: the matrix, a probe, a scenario explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from catalogue import ALERTS, Expectation, Mode, Outcome, Scenario, Server, Tls
from client.judge import Result, Verdict, describe
from client.matrix import Matrix
from client.probes import PROBES

_STYLES = {Verdict.PASS: "green", Verdict.SKIP: "yellow"}


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[Result], None]]:
    """Show a bar on a terminal, and a plain line for each result elsewhere."""
    if not console.is_terminal:
        yield lambda result: console.print(line(result), markup=False, soft_wrap=True)
        return
    columns = (TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda result: bar.update(task, advance=1, description=f"{result.scenario} {result.probe}")


def line(result: Result) -> str:
    """Say a result in a line."""
    seen = result.reason if result.verdict is not Verdict.PASS else describe(result.observed or result.expected)
    return f"{result.verdict or 'NOT-JUDGED'} {result.scenario} {result.probe} TLS {result.tls}: {seen}"


def matrix(console: Console, done: Matrix, runtime: str) -> None:
    """Print the verdict matrix, what differs and how it can be seen again, and a summary."""
    table = Table(
        title=f"mode {done.mode}, SERVER={done.server}, RUNTIME={runtime}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("scenario", no_wrap=True)
    table.add_column("expected")
    for name in PROBES:
        table.add_column(name)
    by_cell: dict[tuple[str, str], list[Result]] = {}
    for result in done.results:
        by_cell.setdefault((result.scenario, result.probe), []).append(result)
    for scenario in dict.fromkeys(result.scenario for result in done.results):
        cells = [by_cell[scenario, name] for name in PROBES]
        table.add_row(scenario, _expected(cells[0]), *map(_cell, cells))
    console.print(table)
    for result in (*done.wrong, *done.unjudged):
        console.print(line(result), style="bold red", markup=False, soft_wrap=True)
        console.print(f"  {result.command}", markup=False, highlight=False, soft_wrap=True)
    if done.wrong:
        console.print(
            f"If the server is not meant to be in mode {done.mode}: make matrix MODE=<its mode>, see make status"
        )
    for reason in dict.fromkeys(f"{r.probe}: {r.reason}" for r in done.results if r.verdict is Verdict.SKIP):
        console.print(f"SKIP {reason}", style="yellow", markup=False, soft_wrap=True)
    counts = ", ".join(f"{done.count(verdict)} {verdict}" for verdict in Verdict if done.count(verdict))
    unjudged = f", {len(done.unjudged)} not judged" if done.unjudged else ""
    console.print(f"{len(done.results)} results: {counts}{unjudged}, in {done.duration_s:.1f} s", highlight=False)


def outcome(console: Console, result: Result) -> None:
    """Print what one attempt came to."""
    if result.observed is None:
        console.print(f"SKIP: {result.reason}", markup=False, soft_wrap=True)
        return
    console.print(f"outcome: {describe(result.observed)}", style="bold", markup=False, soft_wrap=True)
    if result.observed.detail:
        console.print(f"{result.probe} says: {result.observed.detail}", markup=False, highlight=False, soft_wrap=True)


def explanation(console: Console, scenario: Scenario) -> None:
    """Print what a scenario is, what should happen in each mode, and why."""
    console.print(f"[bold]{scenario.id}[/]: {escape(scenario.title)}\n\n{escape(scenario.what)}\n", highlight=False)
    for mode in Mode:
        expected = scenario.expected(mode, Tls.V13, Server.EXPLAINED)
        console.print(
            f"  {mode:9} {_words(expected)}{_differs(scenario, mode, expected)}", highlight=False, soft_wrap=True
        )
    console.print(f"\n{escape(scenario.why)}\n", highlight=False)
    console.print(f"Rules: {', '.join(scenario.rfc)}", highlight=False)
    console.print(f"Try: make probe S={scenario.id} PROBE=curl", highlight=False)


def _differs(scenario: Scenario, mode: Mode, expected: Expectation) -> str:
    tls12 = scenario.expected(mode, Tls.V12, Server.EXPLAINED)
    return "" if tls12 == expected else f"; TLS 1.2: {_words(tls12)}"


def _expected(cell: list[Result]) -> str:
    older, newer = (_words(result.expected) for result in cell)
    return newer if older == newer else f"{newer}; TLS 1.2: {older}"


def _words(expected: Expectation) -> str:
    """Say an expectation as a table has room for it: `refused 45 certificate_expired`."""
    if expected.outcome is not Outcome.REFUSED_BY_SERVER:
        return expected.outcome.replace("_", " ")
    return f"refused {ALERTS[expected.alert]} {expected.alert}" if expected.alert else "refused, reason not delivered"


def _cell(results: list[Result]) -> str:
    verdicts = {result.verdict for result in results}
    if len(verdicts) == 1:
        return _styled(results[0].verdict, "")
    return "\n".join(_styled(result.verdict, f"{result.tls} ") for result in results)


def _styled(verdict: Verdict | None, prefix: str) -> str:
    style = _STYLES.get(verdict, "bold red") if verdict else "bold red"
    return f"[{style}]{prefix}{verdict or 'NOT-JUDGED'}[/]"
