"""The requests library, as a person would use it; an adapter pins the TLS version, which requests has no option for."""

from __future__ import annotations

import json
import shlex
import ssl
from collections.abc import Iterator

import requests
from requests.adapters import HTTPAdapter

from catalogue import Outcome, Tls
from client.lab import PATH, Attempt
from client.observe import TIMEOUT_S, Observed, alert_of_reason, answered, refused
from client.probes.raw import client_context, json_tuple
from client.server_log import ServerLog

_PROGRAM = """\
import requests, ssl; from requests.adapters import HTTPAdapter; \
c = ssl.create_default_context(cafile={root}); \
c.minimum_version = c.maximum_version = ssl.TLSVersion.TLSv{tls}; \
s = requests.Session(); s.trust_env = False; \
a = HTTPAdapter(); a.init_poolmanager(1, 1, ssl_context=c); s.mount("https://", a); \
r = s.get({url}, verify={root}, {cert}timeout={timeout}); print(r.text); r.raise_for_status()"""


_HEARD = "heard"


class WithRequests:
    """`requests.get(url, verify=..., cert=(..., ...))`."""

    name = "requests"

    def version(self) -> str | None:
        return f"requests {requests.__version__}"

    def lacks(self, tls: Tls) -> str | None:
        return None

    def command(self, attempt: Attempt) -> str:
        view = attempt.view
        program = _PROGRAM.format(
            root=json.dumps(view.public_root),
            tls=attempt.tls.replace(".", "_"),
            url=json.dumps(view.url + PATH),
            cert=f"cert={json_tuple(attempt.cert, attempt.key)}, " if attempt.cert else "",
            timeout=TIMEOUT_S,
        )
        return f"{view.python} -c {shlex.quote(program)}"

    def run(self, attempt: Attempt, log: ServerLog) -> Observed:
        view = attempt.view
        cert = (attempt.cert, attempt.key) if attempt.cert and attempt.key else None
        try:
            context = client_context(attempt)
        except (ssl.SSLError, OSError) as error:
            return Observed(Outcome.NOT_PRESENTED, detail=f"{error} ({view.public_root})")
        context.sslsocket_class = _Listening
        with requests.Session() as session:
            session.trust_env = False  # neither proxies nor REQUESTS_CA_BUNDLE, which would override verify
            adapter = HTTPAdapter()
            adapter.init_poolmanager(1, 1, ssl_context=context)
            session.mount("https://", adapter)
            try:
                response = session.get(view.url + PATH, verify=view.public_root, cert=cert, timeout=TIMEOUT_S)
            except requests.RequestException as error:
                return _failed(error, heard=getattr(context, _HEARD, False))
            except (ssl.SSLError, OSError) as error:  # the key or certificate could not be loaded
                return Observed(Outcome.NOT_PRESENTED, detail=str(error))
        if response.status_code != requests.codes.ok:
            return Observed(Outcome.PROBE_ERROR, detail=f"HTTP status {response.status_code}")
        return answered(response.content)


class _Listening(ssl.SSLSocket):
    """Notes whether the server answered the ClientHello: only then can a closed connection be a refusal."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        finally:
            setattr(self.context, _HEARD, self.cipher() is not None)  # chosen by the ServerHello


def _failed(error: requests.RequestException, heard: bool) -> Observed:
    """Find out what is at the bottom of requests' and urllib3's exceptions."""

    def closed() -> Observed:
        return refused(None, detail) if heard else Observed(Outcome.UNREACHABLE, detail=detail)

    causes = list(_causes(error))
    detail = str(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Observed(Outcome.REFUSED_BY_CLIENT, verify_code=cause.verify_code, detail=cause.verify_message)
        if isinstance(cause, ssl.SSLEOFError):
            return closed()
        if isinstance(cause, ssl.SSLError):
            alert = alert_of_reason(cause.reason)
            if alert:
                return refused(alert, detail)
            not_loaded = cause.library in ("X509", "PEM") or cause.reason in ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK")
            return Observed(Outcome.NOT_PRESENTED if not_loaded else Outcome.PROBE_ERROR, detail=detail)
    kinds = tuple(map(type, causes))
    if ConnectionRefusedError in kinds or isinstance(error, requests.exceptions.InvalidURL):
        return Observed(Outcome.UNREACHABLE, detail=detail)
    if isinstance(error, requests.Timeout):
        return Observed(Outcome.TIMEOUT, detail=detail)
    if any(issubclass(kind, (ConnectionResetError, BrokenPipeError)) for kind in kinds):  # RemoteDisconnected too
        return closed()
    return Observed(Outcome.UNREACHABLE, detail=detail)


def _causes(error: object) -> Iterator[BaseException]:
    """Yield an exception and everything wrapped in it: by its arguments, its `reason` or its cause."""
    if not isinstance(error, BaseException):
        return
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        yield from _causes(inner)
