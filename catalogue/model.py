"""What the lab talks about: modes, TLS versions, outcomes, expectations and scenarios.

Only the standard library, so that every program can import it. It reads no file: `catalogue.load` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Mode(StrEnum):
    """What the server asks of its clients: Uvicorn's `--ssl-cert-reqs` 0, 1, 2."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Server(StrEnum):
    """How the application is served: the plain `uvicorn` command, or the one that says why it refuses."""

    EXPLAINED = "explained"
    STOCK = "stock"


class Tls(StrEnum):
    """A TLS version, as RFC 5246 and RFC 8446 number them."""

    V12 = "1.2"
    V13 = "1.3"


class Outcome(StrEnum):
    """What happened to a client. The last three are not outcomes of the protocol and are never judged."""

    AUTHENTICATED = "authenticated"
    ANONYMOUS = "anonymous"
    SERVED = "served"
    REFUSED_BY_SERVER = "refused_by_server"
    REFUSED_BY_CLIENT = "refused_by_client"
    NOT_PRESENTED = "not_presented"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    PROBE_ERROR = "probe_error"


ACCEPTED = frozenset({Outcome.AUTHENTICATED, Outcome.ANONYMOUS, Outcome.SERVED})
NON_OUTCOMES = frozenset({Outcome.UNREACHABLE, Outcome.TIMEOUT, Outcome.PROBE_ERROR})


class Sends(StrEnum):
    """Which of a credential's files the client presents: the whole chain, or the leaf alone."""

    FULLCHAIN = "fullchain"
    LEAF = "leaf"


@dataclass(frozen=True)
class Expectation:
    """What should happen.

    `alert` is the TLS alert's RFC 8446 name and `verify_code` OpenSSL's X509_V_ERR number, both of whoever
    refuses; None where there is none or, with the stock server, where it is not delivered.
    """

    outcome: Outcome
    alert: str | None = None
    verify_code: int | None = None


@dataclass(frozen=True)
class Expected:
    """One mode's expectation and what differs from it in TLS 1.2 and with the stock server."""

    always: Expectation
    tls12: dict[str, object] = field(default_factory=dict)
    stock: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """One credential presented to one kind of server, with an expectation for each mode."""

    id: str
    title: str
    lesson: str
    credential: str | None
    sends: Sends
    what: str
    why: str
    rfc: tuple[str, ...]
    expect: dict[Mode, Expected]

    def expected(self, mode: Mode, tls: Tls, server: Server) -> Expectation:
        """Return what should happen in a mode, a TLS version and with a kind of server.

        The stock server puts nothing about TLS into the request's scope and sends no alert, so there an
        answer is `served` and a refusal has no reason.
        """
        expected = self.expect[mode]
        result = expected.always
        if tls is Tls.V12:
            result = replace(result, **expected.tls12)  # type: ignore[arg-type]
        if server is Server.STOCK:
            result = replace(result, **expected.stock)  # type: ignore[arg-type]
            if result.outcome in ACCEPTED:
                return Expectation(Outcome.SERVED)
            if result.outcome is Outcome.REFUSED_BY_SERVER:
                return Expectation(Outcome.REFUSED_BY_SERVER)
        return result


@dataclass(frozen=True)
class Catalogue:
    """All scenarios by id, in the file's order, and the sha256 (hex) of the file they came from."""

    scenarios: dict[str, Scenario]
    sha256: str

    @property
    def credentials(self) -> tuple[str, ...]:
        """The client credentials that the scenarios need, each once, in the file's order."""
        return tuple(dict.fromkeys(s.credential for s in self.scenarios.values() if s.credential))
