"""What the lab talks about: modes, TLS versions, outcomes, expectations and scenarios.

Only the standard library, so that every program can import it. It reads no file: `catalogue.load` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

GOOD_SERVER = "server-good"
PUBLIC_PATH = "/whoami"  # where everybody is answered, and told who they are

# What the lab's application says to everybody on its other paths where it can't know who is calling: SERVER=stock.
TLS_UNKNOWN = "tls-unknown"


class Mode(StrEnum):
    """What the server asks of its clients: Uvicorn's `--ssl-cert-reqs` 0, 1, 2."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Server(StrEnum):
    """How the application is served: the plain `uvicorn` command, or the one that says why it refuses."""

    EXPLAINED = "explained"
    STOCK = "stock"


class Proxy(StrEnum):
    """What ends TLS and judges the clients in front of the explained server."""

    HAPROXY = "haproxy"
    NGINX = "nginx"


# In which words nginx refuses a client, with status 400: it has the handshake succeed, whatever the certificate is.
NGINX_NONE = "No required SSL certificate was sent"
NGINX_FAULTY = "The SSL certificate error"


class Tls(StrEnum):
    """A TLS version, as RFC 5246 and RFC 8446 number them."""

    V12 = "1.2"
    V13 = "1.3"


class Tool(StrEnum):
    """What presents a credential: the client has a probe for each."""

    RAW = "raw"
    REQUESTS = "requests"
    HTTPX = "httpx"
    CURL = "curl"
    OPENSSL = "openssl"
    WGET = "wget"
    NODE = "node"
    GNUTLS = "gnutls"


class Trust(StrEnum):
    """The trust files that a server can be given for its clients; `<value>.pem` is the file's name."""

    FULLCHAIN = "validation_fullchain"
    ROOT = "validation_root"
    INTERMEDIATE = "validation_intermediate"
    MIXED = "validation_and_public"


class Crl(StrEnum):
    """The revocation lists that a server can be given; `<value>.pem` is the file's name. NONE: it checks none.

    CURRENT holds the lists of every validation intermediate and of the validation root; WITHOUT_ROOT lacks the root's.
    """

    NONE = "none"
    CURRENT = "validation_crl"
    EXPIRED = "validation_crl_expired"
    WITHOUT_ROOT = "validation_crl_without_root"
    OTHER_ISSUER = "untrusted_crl"


class CrlCheck(StrEnum):
    """Which certificates of a chain are looked up in the revocation lists: the leaf, or all below the root."""

    LEAF = "leaf"
    CHAIN = "chain"


class Outcome(StrEnum):
    """What happened to a client. The last three are not outcomes of the protocol and are never judged.

    FORBIDDEN: the handshake succeeded, and the application answered 403 (RFC 9110 15.5.4).
    """

    AUTHENTICATED = "authenticated"
    ANONYMOUS = "anonymous"
    SERVED = "served"
    FORBIDDEN = "forbidden"
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
class Variant:
    """A server: the credential that it presents, and the trust file and revocation lists that it verifies with."""

    credential: str = GOOD_SERVER
    trust: Trust = Trust.FULLCHAIN
    crl: Crl = Crl.NONE
    crl_check: CrlCheck = CrlCheck.LEAF

    @property
    def name(self) -> str:
        """A word for it, which can be a file's name."""
        words = [self.credential]
        words += [self.trust] if self.trust is not Trust.FULLCHAIN else []
        words += [self.crl, self.crl_check] if self.crl is not Crl.NONE else []
        return "-".join(words)


@dataclass(frozen=True)
class Expectation:
    """What should happen.

    `alert` is the TLS alert's RFC 8446 name and `verify_code` OpenSSL's X509_V_ERR number, both of whoever
    refuses; None where there is none or, with the stock server, where it is not delivered. `problem` is the last part
    of the type of the problem (RFC 9457) with which the application forbids, or what nginx says in its answer 400
    where it refuses after the handshake. `or_not_presented` tells that a tool may
    refuse to load the credential instead (its security level decides).
    """

    outcome: Outcome
    alert: str | None = None
    verify_code: int | None = None
    problem: str | None = None
    or_not_presented: bool = False


@dataclass(frozen=True)
class Expected:
    """One mode's expectation and what differs from it in TLS 1.2, with the stock server, and with single tools."""

    always: Expectation
    tls12: dict[str, object] = field(default_factory=dict)
    stock: dict[str, object] = field(default_factory=dict)
    tools: dict[Tool, dict[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What a scenario can't do without: a TLS version, and an OpenSSL (major, minor) on both sides."""

    tls: Tls | None = None
    openssl: tuple[int, ...] | None = None


# nginx has OpenSSL go on after a verify error and keeps the last: what is no CA (79) has no keyCertSign either (32).
_LAST_ERROR: dict[int | None, int] = {79: 32}


@dataclass(frozen=True)
class Scenario:
    """One credential presented to one kind of server, with an expectation for each mode.

    `path` is what is asked for. `look` is a command that shows the peculiarity in the credential's files, `cure` what
    to do about it; both may be empty. `common` tells that people often meet it. `dangerous` that it is accepted and
    should not be. `withheld` are the TLS versions in which wget keeps the certificate to itself when a server names
    the CAs that it trusts (RFC 8446 4.2.4): Python's `ssl` can't, the proxies do.
    """

    id: str
    title: str
    lesson: str
    credential: str | None
    sends: Sends
    server: Variant
    path: str
    needs: Needs
    what: str
    why: str
    look: str
    cure: str
    common: bool
    dangerous: bool
    withheld: tuple[Tls, ...]
    rfc: tuple[str, ...]
    expect: dict[Mode, Expected]

    def expected(self, mode: Mode, tls: Tls, server: Server | Proxy, tool: Tool = Tool.RAW) -> Expectation:
        """Return what should happen in a mode, a TLS version, with a kind of server or a proxy in front, to a tool."""
        if isinstance(server, Proxy):
            return self._behind(server, mode, tls, tool)
        result = self._stated(mode, tls, tool, plain=server is Server.STOCK)
        return self._of_stock(result) if server is Server.STOCK else result

    def _stated(self, mode: Mode, tls: Tls, tool: Tool, *, plain: bool) -> Expectation:
        expected = self.expect[mode]
        result = expected.always
        for difference in (
            expected.tls12 if tls is Tls.V12 else {},
            expected.stock if plain else {},
            expected.tools.get(tool, {}),
        ):
            result = combined(result, difference)
        return result

    def _of_stock(self, result: Expectation) -> Expectation:
        """Return what becomes of an expectation: stock puts nothing about TLS into the scope, and sends no alert.

        So an answer is `served`, or `forbidden` to everybody where a certificate is needed; a refusal has no reason.
        """
        if self.path != PUBLIC_PATH and result.outcome in (*ACCEPTED, Outcome.FORBIDDEN):
            return replace(result, outcome=Outcome.FORBIDDEN, problem=TLS_UNKNOWN)
        if result.outcome in ACCEPTED:
            return replace(result, outcome=Outcome.SERVED)
        if result.outcome is Outcome.REFUSED_BY_SERVER:
            return replace(result, alert=None, verify_code=None)
        return result

    def _behind(self, proxy: Proxy, mode: Mode, tls: Tls, tool: Tool) -> Expectation:
        """Return what should happen behind a proxy, which verifies as plainly as stock but looks at revocation lists.

        It names the CAs that it trusts. nginx has a handshake succeed whatever the certificate is, and refuses it, or
        its absence, with an answer 400; what OpenSSL itself refuses, a wrong key's signature, ends in an alert.
        """
        result = self._stated(mode, tls, tool, plain=self.server.crl is Crl.NONE)
        absent = self.credential is None
        if mode is not Mode.OFF and tls in self.withheld and tool is Tool.WGET:
            absent = True
            nobody = Expectation(Outcome.ANONYMOUS)
            if mode is Mode.REQUIRED:
                alert = "handshake_failure" if tls is Tls.V12 else "certificate_required"
                nobody = Expectation(Outcome.REFUSED_BY_SERVER, alert)
            result = replace(nobody, or_not_presented=result.or_not_presented)
        if proxy is Proxy.HAPROXY or result.outcome is not Outcome.REFUSED_BY_SERVER:
            return result
        if not absent and self.expect[mode].always.outcome is Outcome.NOT_PRESENTED:  # key and certificate are no pair
            return replace(result, alert="decrypt_error", verify_code=None)
        if absent or result.verify_code:
            code = _LAST_ERROR.get(result.verify_code, result.verify_code)
            return replace(result, alert=None, verify_code=code, problem=NGINX_NONE if absent else NGINX_FAULTY)
        return result


def combined(expectation: Expectation, difference: dict[str, object]) -> Expectation:
    """Return an expectation with what differs. Another outcome has no alert, verify error and problem but its own."""
    if not difference:  # as in nearly all of the thousands of times that a catalogue takes
        return expectation
    if difference.get("outcome", expectation.outcome) is not expectation.outcome:
        expectation = replace(expectation, alert=None, verify_code=None, problem=None)
    return replace(expectation, **difference)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Catalogue:
    """All scenarios by id, in the file's order; lessons' titles by id; and the sha256 (hex) of the file."""

    scenarios: dict[str, Scenario]
    lessons: dict[str, str]
    sha256: str

    @property
    def credentials(self) -> tuple[str, ...]:
        """The client credentials that the scenarios need, each once, in the file's order."""
        return tuple(dict.fromkeys(s.credential for s in self.scenarios.values() if s.credential))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The servers that the scenarios ask for, the default one first."""
        return tuple(dict.fromkeys((Variant(), *(s.server for s in self.scenarios.values()))))

    @property
    def server_credentials(self) -> tuple[str, ...]:
        """The server credentials that the scenarios need, each once, the good one first."""
        return tuple(dict.fromkeys(variant.credential for variant in self.variants))

    def of(self, *, default_server: bool) -> tuple[Scenario, ...]:
        """Return the scenarios that ask for the default server, or those that ask for another."""
        return tuple(s for s in self.scenarios.values() if (s.server == Variant()) == default_server)
