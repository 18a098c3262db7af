"""What Python's HTTP libraries have in common: a context that listens, and exceptions wrapped in exceptions.

Each is imported where it is used: that takes longer than the attempt, and most commands try neither.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

from catalogue import Outcome
from client.lab import Attempt
from client.observe import Observed, alert_of_reason, http_answer, refused
from client.probes.in_python import client_context, in_words

if TYPE_CHECKING:
    import httpx
    import requests

_CHOSEN_BY_THE_SERVER = "_heard"
_LOCAL_PORT = "_local_port"
# What OpenSSL says when it will not load a credential, besides everything of its libraries X509 and PEM.
_NOT_LOADED = ("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL")


class Listening(ssl.SSLSocket):
    """Notes whether the server answered the ClientHello: only then can a closed connection be a refusal."""

    def do_handshake(self, block: bool = False) -> None:
        setattr(self.context, _LOCAL_PORT, self.getsockname()[1])
        try:
            super().do_handshake(block)
        finally:
            setattr(self.context, _CHOSEN_BY_THE_SERVER, self.cipher() is not None)  # by the ServerHello


def listening_context(attempt: Attempt) -> ssl.SSLContext:
    """Return a context for one attempt, without its credential.

    Raises:
        OSError: the trust file can't be read.
    """
    context = client_context(attempt)
    context.sslsocket_class = Listening
    return context


def local_port(context: ssl.SSLContext) -> int | None:
    """Return the client's end of the connection that was made with a context, or None if there was none."""
    port: int | None = getattr(context, _LOCAL_PORT, None)
    return port


def answer(response: httpx.Response | requests.Response, no_success: type[Exception]) -> Observed:
    """Read a response; of a status that is no success, the first line of what the library says is kept."""
    complaint = ""
    try:
        response.raise_for_status()
    except no_success as error:
        complaint = in_words(error).splitlines()[0]
    return http_answer(response.status_code, response.content, complaint, response.headers.get("content-type"))


def failed(error: Exception, context: ssl.SSLContext) -> Observed:
    """Find out what is at the bottom of a library's exception."""
    detail = in_words(error)
    closed = (
        refused(None, detail)
        if getattr(context, _CHOSEN_BY_THE_SERVER, False)
        else Observed(Outcome.UNREACHABLE, detail=detail)
    )
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Observed(Outcome.REFUSED_BY_CLIENT, verify_code=cause.verify_code, detail=detail)
        if type(cause).__name__ == "CertificateError":  # urllib3's own, about the server's name
            return Observed(Outcome.REFUSED_BY_CLIENT, detail=detail)
        if isinstance(cause, ssl.SSLEOFError):
            return closed
        if isinstance(cause, ssl.SSLError):
            alert = alert_of_reason(cause.reason)
            if alert:
                return refused(alert, detail)
            not_loaded = cause.library in ("X509", "PEM") or cause.reason in _NOT_LOADED
            return Observed(Outcome.NOT_PRESENTED if not_loaded else Outcome.PROBE_ERROR, detail=detail)
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Observed(Outcome.UNREACHABLE, detail=detail)
    if any("Timeout" in type(cause).__name__ for cause in causes):
        return Observed(Outcome.TIMEOUT, detail=detail)
    # RemoteDisconnected is a ConnectionError; httpx has RemoteProtocolError, of which this is one case.
    if any(isinstance(cause, ConnectionError) for cause in causes) or "disconnected" in str(error):
        return closed
    return Observed(Outcome.UNREACHABLE, detail=detail)


def _causes(error: object) -> Iterator[BaseException]:
    """Yield an exception and everything wrapped in it: by its arguments, its `reason` or its cause."""
    if not isinstance(error, BaseException):
        return
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        yield from _causes(inner)
