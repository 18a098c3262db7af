"""Every scenario by every probe in every TLS version, judged as one mode: positive control first."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from catalogue import (
    ACCEPTED,
    POSITIVE_CONTROL,
    Catalogue,
    CrlCheck,
    LabError,
    Mode,
    Outcome,
    Proxy,
    Scenario,
    Server,
    Tls,
    Tool,
    Variant,
)
from client.judge import Result, Verdict, judge
from client.lab import Attempt, Lab
from client.observe import Observed, openssl_version
from client.probes import PROBES, Probe
from client.server_log import ServerLog

SERVERS = "servers"
_READY_S = 60.0  # nineteen servers start at once
_POLL_S = 0.05
_LOGGED_S = 2.0
_FORGED = "client-forged-issuer"
_OWN = "client-expired"  # the lab's own CA issues it, with an imported CA, too


class LabBroken(LabError):
    """The lab itself does not work, so nothing was judged or something could not be."""


@dataclass(frozen=True)
class Answered:
    """Who answered the positive control: the kind of server, or the proxy in front of it.

    `openssl` is the version (major, minor) that the server is built on; a proxy of the lab is built on the same.
    `issuer` is the lab's own CA of clients. `imported` tells that another CA issued the positive control's certificate.
    """

    server: Server | Proxy
    openssl: tuple[int, ...] | None = None
    issuer: str = ""
    imported: bool = False


@dataclass(frozen=True)
class Matrix:
    """All results of one mode, in the catalogue's order.

    `name` is the mode, or `servers` for the other servers; `versions` has each probe that was tried.
    """

    name: str
    mode: Mode
    server: Server | Proxy
    catalogue: Catalogue
    results: tuple[Result, ...]
    versions: dict[str, str]
    started: datetime
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


def run(
    lab: Lab,
    mode: Mode,
    told: Server | Proxy | None,
    seen: Callable[[Result], None] = lambda _: None,
    *,
    servers: bool = False,
    probes: Sequence[Probe] = tuple(PROBES.values()),
) -> Matrix:
    """Make every attempt, side by side, bounded by the cores, and judge them.

    Args:
        told: the kind of server that should be running; None to take the one that is.
        seen: called with each result as it comes, in no particular order.
        servers: judge the scenarios that ask for other servers than the default one; these run at `lab.ports`.
        probes: the tools to try; all, unless told otherwise.

    Raises:
        LabBroken: the positive control was not answered, or by another kind of server; or a server does not run.
    """
    started, start = datetime.now(UTC), time.monotonic()
    answered = control(lab, told)
    scenarios = lab.catalogue.of(default_server=not servers)
    if servers:
        for variant in dict.fromkeys(scenario.server for scenario in scenarios):
            _await(lab, variant)

    def attempt(item: tuple[Scenario, Probe, Tls]) -> Result:
        result = try_one(lab, *item, mode, answered)
        seen(result)
        return result

    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        results = tuple(pool.map(attempt, attempts(scenarios, probes)))
    versions = {probe.name.value: probe.version() or "not installed" for probe in probes}
    duration_s = time.monotonic() - start
    name = SERVERS if servers else mode
    return Matrix(name, mode, answered.server, lab.catalogue, results, versions, started, duration_s)


def attempts(scenarios: Sequence[Scenario], probes: Sequence[Probe]) -> Iterator[tuple[Scenario, Probe, Tls]]:
    """Yield what a matrix consists of, in the order in which it is reported."""
    return ((scenario, probe, tls) for scenario in scenarios for probe in probes for tls in Tls)


def control(lab: Lab, told: Server | Proxy | None = None) -> Answered:
    """Do the positive control: the good credential must be answered, in TLS 1.2 and 1.3. Returns who answered.

    Raises:
        LabBroken: it was not, or not by the kind of server that should run.
    """
    for tls in Tls:
        observed = PROBES["raw"].run(lab.attempt(lab.catalogue.scenarios[POSITIVE_CONTROL], tls))
        if observed.outcome not in ACCEPTED:
            raise _broken(lab, observed)
    served = Server.STOCK if observed.outcome is Outcome.SERVED else Server.EXPLAINED
    server = next((proxy for proxy in Proxy if observed.via.endswith(f" {proxy}")), served)
    if told and server is not told:
        fact = f"{knob(told)} was asked for, but the server that answers is {server}"
        raise LabBroken("nothing was judged", fact, f"make up {knob(told)}")
    own, good = (lab.manifest.credentials[name] for name in (_OWN, POSITIVE_CONTROL))
    imported = own.issuer_sha256 != good.issuer_sha256
    return Answered(server, openssl_version(observed.openssl), own.issuer, imported)


def try_one(lab: Lab, scenario: Scenario, probe: Probe, tls: Tls, mode: Mode, answered: Answered) -> Result:
    """Make one attempt with one probe, and judge it."""
    attempt = lab.attempt(scenario, tls)
    expected = scenario.expected(mode, tls, answered.server, probe.name)
    command = probe.command(lab.shown_attempt(attempt))
    lacking = _lacking(probe, attempt, answered)
    if lacking:
        return Result(attempt, probe.name, expected, None, Verdict.SKIP, command, lacking)
    log = ServerLog(lab.log_of(scenario.server))
    unreadable = attempt.unreadable()  # what no tool could load is no evidence about this credential
    seen = Observed(Outcome.PROBE_ERROR, detail=unreadable) if unreadable else probe.run(attempt)
    observed = _with_log(seen, attempt, log, 0.0 if answered.server is Server.STOCK else _LOGGED_S)
    verdict, reason = judge(expected, observed, attempt.issued.sha256 if attempt.issued else None, answered.server)
    refused = observed.outcome is Outcome.REFUSED_BY_SERVER
    silent = refused and expected.verify_code and observed.verify_code is None
    if verdict is Verdict.PASS and silent and lab.server_log and observed.local_port:
        verdict, reason = None, f"the server's log {lab.log_of(scenario.server)} does not say why it refused"
    return Result(attempt, probe.name, expected, observed, verdict, command, reason)


def _lacking(probe: Probe, attempt: Attempt, answered: Answered) -> str | None:
    """Return why an attempt can't be made with a probe, or None if it can."""
    needs = attempt.scenario.needs
    if not probe.version():
        return f"{probe.name} is not installed"
    if needs.tls and needs.tls is not attempt.tls:
        return f"{attempt.scenario.id} needs TLS {needs.tls}"
    if needs.openssl:
        wanted = f"{attempt.scenario.id} needs OpenSSL {'.'.join(map(str, needs.openssl))} on both sides"
        for who, version in (("the tool", probe.openssl()), ("the server", answered.openssl)):
            if version is None:
                return f"{wanted}, and {who} is built on another library"
            if version < needs.openssl:
                return f"{wanted}, and {who} has {'.'.join(map(str, version))}"
    issued = attempt.issued
    heeds_names = isinstance(answered.server, Proxy) and probe.name is Tool.WGET
    if heeds_names and attempt.scenario.id == _FORGED and issued and issued.issuer != answered.issuer:
        return f"the CA was rotated: {_FORGED} has no longer a name that {answered.server} names"
    looks_up_all = attempt.scenario.server.crl_check is CrlCheck.CHAIN
    if answered.imported and looks_up_all and attempt.scenario.credential == POSITIVE_CONTROL:
        return "the chain of the imported CA needs its root's revocation list, which the lab does not have"
    return probe.lacks(attempt)


def _with_log(observed: Observed, attempt: Attempt, log: ServerLog, wait_s: float) -> Observed:
    """Add what the server's log says of an attempt: of this connection where the tool tells its port.

    Else it is a line about the same certificate, written during the attempt; that is shown, and not judged.
    """
    refused = observed.outcome is Outcome.REFUSED_BY_SERVER
    if observed.local_port:
        refusal = log.by_port(observed.local_port, wait_s if refused else 0.0)
        if refusal and refused:
            observed = replace(observed, verify_code=refusal.verify_code)
    elif attempt.issued and refused:
        refusal = log.by_subject(attempt.issued.subject, attempt.tls)
    else:
        return observed
    return replace(observed, log=refusal.line) if refusal else observed


def knob(server: Server | Proxy) -> str:
    """Return what to add to `make up` for a kind of server, or a proxy."""
    return f"PROXY={server}" if isinstance(server, Proxy) else f"SERVER={server}"


def _await(lab: Lab, variant: Variant) -> None:
    """Wait until a server listens.

    Raises:
        LabBroken: it does not, or nobody said where.
    """
    port = lab.ports.get(variant.name)
    deadline = time.monotonic() + _READY_S
    while port:
        try:
            socket.create_connection((lab.view.connect_to, port), _POLL_S).close()
        except OSError:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        else:
            return
    log = lab.log_of(variant)
    cure = f"read {log}" if port and log else "make test-servers"
    raise LabBroken("nothing was judged", f"the server {variant.name} does not run", cure)


def _broken(lab: Lab, observed: Observed) -> LabBroken:
    if observed.outcome in (Outcome.UNREACHABLE, Outcome.NOT_PRESENTED):
        cure = "make up"
    else:
        cure = "make up SERVER_CREDENTIAL=server-good" if observed.outcome is Outcome.REFUSED_BY_CLIENT else "make logs"
    fact = f"the positive control at {lab.shown.url} was not answered: {observed.outcome}, {observed.detail}"
    return LabBroken("nothing was judged", fact, cure)
