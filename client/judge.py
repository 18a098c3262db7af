"""The verdict: what was seen against what should have happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from catalogue import ACCEPTED, NON_OUTCOMES, Expectation, Outcome, Proxy, Server, Tls
from client.lab import Attempt
from client.observe import Observed


class Verdict(StrEnum):
    """PASS, three ways to be wrong, and SKIP for what could not be tried."""

    PASS = "PASS"  # noqa: S105
    WRONG_ACCEPT = "WRONG-ACCEPT"
    WRONG_REFUSE = "WRONG-REFUSE"
    WRONG_REASON = "WRONG-REASON"
    SKIP = "SKIP"


@dataclass(frozen=True)
class Result:
    """One attempt by one probe. `verdict` is None if nothing was seen that could be judged."""

    attempt: Attempt
    probe: str
    expected: Expectation
    observed: Observed | None
    verdict: Verdict | None
    command: str
    reason: str = ""

    @property
    def tls(self) -> Tls:
        return self.attempt.tls

    @property
    def scenario(self) -> str:
        return self.attempt.scenario.id


def judge(
    expected: Expectation, observed: Observed, credential_sha256: str | None, server: Server | Proxy
) -> tuple[Verdict | None, str]:
    """Compare what was seen with what should have happened.

    Args:
        credential_sha256: the certificate that was presented: being served as somebody else is no success.
        server: the stock server delivers no reason, so there none is compared.

    Returns:
        The verdict, None for a non-outcome, and why it is not PASS.
    """
    if observed.outcome in NON_OUTCOMES:
        return None, f"{observed.outcome}: {observed.detail}"
    if observed.outcome is Outcome.NOT_PRESENTED and expected.or_not_presented:
        return Verdict.PASS, ""
    if observed.outcome is not expected.outcome:
        fact = f"expected {describe(expected)}, observed {describe(observed)}"
        further = observed.outcome in ACCEPTED or _how_far(observed.outcome) > _how_far(expected.outcome)
        return (Verdict.WRONG_ACCEPT if further else Verdict.WRONG_REFUSE), fact
    if observed.outcome is Outcome.AUTHENTICATED and observed.sha256 != credential_sha256:
        return Verdict.WRONG_ACCEPT, f"authenticated as another certificate: {observed.sha256}"
    if server is not Server.STOCK or observed.outcome is not Outcome.REFUSED_BY_SERVER:
        wrong_alert = observed.outcome is Outcome.REFUSED_BY_SERVER and observed.alert != expected.alert
        wrong_code = observed.verify_code is not None and observed.verify_code != expected.verify_code
        if wrong_alert or wrong_code or observed.problem != expected.problem:
            return Verdict.WRONG_REASON, f"expected {describe(expected)}, observed {describe(observed)}"
    return Verdict.PASS, ""


def _how_far(outcome: Outcome) -> int:
    """Return how far a client got: not through the handshake, through it, or to what it asked for."""
    return 2 if outcome in ACCEPTED else 1 if outcome is Outcome.FORBIDDEN else 0


def describe(what: Expectation | Observed) -> str:
    """Say an expectation or an observation in a line."""
    words = [what.outcome.replace("_", " ")]
    verify_error = f"verify error {what.verify_code}" if what.verify_code else ""
    if what.outcome is Outcome.REFUSED_BY_SERVER:
        words.append(
            f"({', '.join(filter(None, (what.alert or what.problem or 'reason not delivered', verify_error)))})"
        )
    elif verify_error or what.problem:
        words.append(f"({verify_error or what.problem})")
    if isinstance(what, Expectation) and what.or_not_presented:
        words.append("or not presented")
    return " ".join(words)
