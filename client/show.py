"""What a person sees: the matrix, a probe, a scenario explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from catalogue import (
    ACCEPTED,
    ALERTS,
    PUBLIC_PATH,
    TLS_UNKNOWN,
    VERIFY_ERRORS,
    Catalogue,
    Expectation,
    Mode,
    Outcome,
    Proxy,
    Scenario,
    Server,
    Tls,
    Tool,
)
from client import errors, texts
from client.judge import Result, Verdict, describe
from client.lab import knobs
from client.matrix import SERVERS, Matrix, knob
from client.observations import Observation
from client.probes import PROBES

_CAUSES_SHOWN = 6
_STYLES = {Verdict.PASS: "green", Verdict.SKIP: "yellow"}


@contextmanager
def progress(console: Console, total: int, verbose: bool) -> Iterator[Callable[[Result], None]]:
    """Show a bar on a terminal; elsewhere, if asked for, a plain line for each result."""
    if not console.is_terminal:
        yield lambda result: console.print(line(result), markup=False, soft_wrap=True) if verbose else None
        return
    columns = (TextColumn("probing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda result: bar.update(task, advance=1, description=f"{result.scenario} {result.probe}")


def line(result: Result) -> str:
    """Say a result in a line."""
    seen = result.reason if result.verdict is not Verdict.PASS else describe(result.observed or result.expected)
    return f"{result.verdict or 'NOT-JUDGED'} {result.scenario} {result.probe} TLS {result.tls}: {seen}"


def matrix(console: Console, done: Matrix, runtime: str, verbose: bool) -> None:
    """Print the verdict matrix, what differs and how it can be seen again, and a summary.

    Args:
        verbose: show every scenario; else of each lesson only those that differ from expectation.
    """
    rows: dict[str, list[Result]] = {}
    for result in done.results:
        rows.setdefault(result.scenario, []).append(result)
    table = Table(
        title=f"{_title(done)}, {knob(done.server)}, RUNTIME={runtime}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("scenario", no_wrap=True)
    if verbose:
        table.add_column("expected")
    for name in done.versions:
        table.add_column(name, overflow="fold")
    lessons = {
        title: [id_ for id_ in rows if done.catalogue.scenarios[id_].lesson == lesson]
        for lesson, title in done.catalogue.lessons.items()
    }
    worst_first = sorted(lessons, key=lambda title: min((_worst(rows[id_]) or 9 for id_ in lessons[title]), default=9))
    for title in worst_first:
        scenarios = lessons[title]
        differ = sorted((id_ for id_ in scenarios if _worst(rows[id_])), key=lambda id_: _worst(rows[id_]))
        if scenarios:
            style = "bold red" if differ else "bold"
            counted = f"{len(scenarios)} scenario{'s' if len(scenarios) > 1 else ''}"
            heading = (
                [f"[{style}]{escape(title)}[/]", counted] if verbose else [f"[{style}]{escape(title)}[/], {counted}"]
            )
            table.add_row(*heading, *_sums(scenarios, rows, done.versions))
        for id_ in [*differ, *(id_ for id_ in scenarios if id_ not in differ)] if verbose else differ:
            cells = [[result for result in rows[id_] if result.probe == name] for name in done.versions]
            danger = " [bold red](dangerous)[/]" if done.catalogue.scenarios[id_].dangerous else ""
            heading = [f"  {id_}", _expected(cells[0]) + danger] if verbose else [f"  {id_}{danger}"]
            table.add_row(*heading, *map(_cell, cells))
    console.print(table)
    for result in (*done.wrong, *done.unjudged):
        console.print(line(result), style="bold red", markup=False, soft_wrap=True)
        console.print(f"  {result.command}", markup=False, highlight=False, soft_wrap=True)
    if done.wrong:
        console.print(
            f"If the server is not meant to be in mode {done.mode}: make matrix MODE=<its mode>, see make status"
        )
    for reason, tools in _skipped(done).items():
        said = f"SKIP {', '.join(dict.fromkeys(tools))}: {reason} ({len(tools)})"
        console.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
    counts = ", ".join(f"{done.count(verdict)} {verdict}" for verdict in Verdict if done.count(verdict))
    unjudged = f", {len(done.unjudged)} not judged" if done.unjudged else ""
    console.print(f"{len(done.results)} results: {counts}{unjudged}, in {done.duration_s:.1f} s", highlight=False)
    hint = "" if verbose else "; every scenario: VERBOSE=1"
    console.print(f"Each attempt, its output and why: reports/{done.name}.html{hint}", highlight=False)


def _title(done: Matrix) -> str:
    what = f"other servers in mode {done.mode}" if done.name == SERVERS else f"mode {done.mode}"
    return what if len(done.versions) == len(PROBES) else f"{what}, with {', '.join(done.versions)} alone"


def _worst(results: list[Result]) -> int:
    """Return 0 if all is as expected, else a number that is smaller the worse it is."""
    order = (Verdict.WRONG_ACCEPT, Verdict.WRONG_REFUSE, Verdict.WRONG_REASON, None)
    return min((order.index(r.verdict) + 1 for r in results if r.verdict in order), default=0)


def _sums(scenarios: list[str], rows: dict[str, list[Result]], probes: Iterable[str]) -> list[str]:
    """Return, for each probe, how many attempts of some scenarios passed, of those that could be made."""
    sums = []
    for name in probes:
        verdicts = [r.verdict for id_ in scenarios for r in rows[id_] if r.probe == name]
        tried = [verdict for verdict in verdicts if verdict is not Verdict.SKIP]
        passed = tried.count(Verdict.PASS)
        style = "yellow" if not tried else "green" if passed == len(tried) else "bold red"
        sums.append(f"[{style}]{f'{passed}/{len(tried)}' if tried else 'SKIP'}[/]")
    return sums


def _skipped(done: Matrix) -> dict[str, list[str]]:
    """Return the probes that were skipped, once for each attempt, by reason."""
    reasons: dict[str, list[str]] = {}
    for result in done.results:
        if result.verdict is Verdict.SKIP:
            reasons.setdefault(result.reason, []).append(result.probe)
    return reasons


def outcome(console: Console, result: Result) -> None:
    """Print what one attempt came to."""
    if result.observed is None:
        console.print(f"SKIP: {result.reason}", markup=False, soft_wrap=True)
        return
    console.print(f"outcome: {describe(result.observed)}", style="bold", markup=False, soft_wrap=True)
    if result.observed.detail:
        console.print(f"{result.probe} says: {result.observed.detail}", markup=False, highlight=False, soft_wrap=True)
    if result.observed.log:
        whose = "" if result.observed.local_port else " of the same certificate, at the same time"
        console.print(f"server's log{whose}: {result.observed.log}", markup=False, highlight=False, soft_wrap=True)


def explanation(console: Console, scenario: Scenario) -> None:
    """Print what a scenario is, what should happen in each mode, and why."""

    def say(text: str = "") -> None:
        console.print(escape(text), highlight=False, soft_wrap=True)

    console.print(f"[bold]{scenario.id}[/]: {escape(scenario.title)}\n", highlight=False)
    say(scenario.what + "\n")
    for mode in Mode:
        say(f"  {mode:9} {in_words(scenario, mode)}")
    say(f"\n{scenario.why}\n")
    if scenario.cure:
        say(f"Cure: {scenario.cure}\n")
    if scenario.look:
        say(f"Look: {scenario.look}\n")
    say(f"Rules: {', '.join(scenario.rfc)}")
    up = f"make up {knobs(scenario.server)} && " if knobs(scenario.server) else ""
    say(f"Try: {up}make probe S={scenario.id} PROBE=curl")


def error(console: Console, text: str, known: Catalogue, observations: list[Observation]) -> None:
    """Print what a pasted text means: its causes, the likeliest first; or that it fits nothing, and what is nearest."""

    def say(words: str, style: str = "") -> None:
        console.print(escape(words), style=style, highlight=False, soft_wrap=True)

    if meant := texts.meaning_of(text):
        say(meant[0], "bold")
        say(meant[1])
        return
    matches = errors.find(text, errors.families(known, observations))
    if not matches or matches[0].score < errors.FITS:
        say("This text fits nothing that was recorded. The nearest:", "bold")
        for match in matches[:3]:
            say(f"\n  {match.text}\n  {match.family.title}")
        say("\nAll texts: docs/errors.md. All scenarios: docs/scenarios.md, make explain S=client-none")
        return
    best = matches[0]
    say(best.family.title, "bold")
    say(f"\nLike: {best.text}\nSaid by: {', '.join(dict.fromkeys(o.version for o in best.observations))}\n")
    if best.family.says_nothing:
        say(
            "A plain Uvicorn closes the connection before the reason is sent (python/cpython#98078), so any refusal\n"
            "looks like this. On the lab's server: make up SERVER=explained, try again, then make logs.\n"
        )
    if best.family.is_forbidden and best.problem in (None, TLS_UNKNOWN):
        say(
            "A plain Uvicorn does not tell the application who is calling, which then forbids everybody (problem\n"
            "tls-unknown): make up SERVER=explained. Otherwise:\n"
        )
    for number, cause in enumerate(best.causes[:_CAUSES_SHOWN], 1):
        scenario = cause.scenario
        say(f"{number}. {scenario.title} ({scenario.id})", "bold")
        say(f"   tell it by: {cause.tell}")
        if scenario.look:
            say(f"   look: {scenario.look}")
        say(f"   cure: {scenario.cure or scenario.why}")
    if len(best.causes) > _CAUSES_SHOWN:
        say(f"\nand {len(best.causes) - _CAUSES_SHOWN} more: docs/errors.md")
    say(f"\nMore about one: make explain S={best.causes[0].scenario.id}")


def in_words(scenario: Scenario, mode: Mode) -> str:
    """Say what should happen in a mode, and what differs in TLS 1.2, with other servers and with single tools."""
    always = scenario.expected(mode, Tls.V13, Server.EXPLAINED)
    words = [_words(always) + _verify_error(always)]
    tls12 = scenario.expected(mode, Tls.V12, Server.EXPLAINED)
    if tls12 != always:
        words.append(f"TLS 1.2: {_words(tls12)}")
    if scenario.expect[mode].stock or (scenario.path != PUBLIC_PATH and always.outcome in ACCEPTED):
        stock = scenario.expected(mode, Tls.V13, Server.STOCK)
        words.append(f"SERVER=stock: {_words(stock).removesuffix(', reason not delivered')}")
    behind = scenario.expected(mode, Tls.V13, Proxy.HAPROXY)
    if behind != always:
        words.append(f"PROXY=haproxy, PROXY=nginx: {_words(behind)}")
    if scenario.withheld and mode is not Mode.OFF:
        words.append(f"with PROXY=..., wget in TLS {' and '.join(scenario.withheld)}: as without a certificate")
    tools: dict[str, list[str]] = {}
    for tool in Tool:
        differs = scenario.expected(mode, Tls.V13, Server.EXPLAINED, tool)
        if differs != always:
            tools.setdefault(_words(differs), []).append(tool)
    words += [f"{', '.join(names)}: {outcome}" for outcome, names in tools.items()]
    return "; ".join(words)


def _verify_error(expected: Expectation) -> str:
    """Name the verify error, if there is one."""
    code = expected.verify_code
    return f" (verify error {code}, X509_V_ERR_{VERIFY_ERRORS[code]})" if code else ""


def _expected(cell: list[Result]) -> str:
    older, newer = (_words(result.expected) for result in cell)
    return newer if older == newer else f"{newer}; TLS 1.2: {older}"


def _words(expected: Expectation) -> str:
    """Say an expectation as a table has room for it: `refused 45 certificate_expired`."""
    words = expected.outcome.replace("_", " ")
    if expected.outcome is Outcome.REFUSED_BY_SERVER:
        alert = expected.alert
        words = f"refused {ALERTS[alert]} {alert}" if alert else "refused, reason not delivered"
        words = f"refused 400 {expected.problem}" if expected.problem else words
    if expected.outcome is Outcome.FORBIDDEN:
        words = f"forbidden 403 {expected.problem}"
    return f"{words}, or not presented" if expected.or_not_presented else words


def _cell(results: list[Result]) -> str:
    verdicts = {result.verdict for result in results}
    if len(verdicts) == 1:
        return _styled(results[0].verdict, "")
    return "\n".join(_styled(result.verdict, f"{result.tls} ") for result in results)


def _styled(verdict: Verdict | None, prefix: str) -> str:
    style = _STYLES.get(verdict, "bold red") if verdict else "bold red"
    return f"[{style}]{prefix}{verdict or 'NOT-JUDGED'}[/]"
