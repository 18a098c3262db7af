"""A TLS handshake that tells a refused client why, and the log too.

asyncio and uvloop close the socket of a failed handshake before OpenSSL's alert is flushed (python/cpython#98078),
so the client of a plain Uvicorn sees a closed connection. The cure is `SSLContext.sslobject_class`, a
documented hook: raising "want read" once makes the event loop flush what is waiting. `asgi_mtls.reloading_context`
makes contexts that use it; `asgi_mtls.tls_acceptor` makes the peer's address known.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar, NoReturn
from weakref import WeakKeyDictionary

from asgi_mtls.connection import CONNECTION, Connection
from asgi_mtls.event_log import admits, event
from asgi_mtls.handshake_log import tls_messages as messages
from asgi_mtls.peer_certificate import client_chain, subject_in_words
from asgi_mtls.revocation import RevocationChecker, VerifyError

# FIN is sent when nothing waited to be sent before it in two looks. With both at once Chromium on a busy machine finds
# the connection closed before it has read the alert, and shows ERR_SOCKET_NOT_CONNECTED.
FIN_LOOK_S = 0.03
LINGER_S = 2.0  # how long a refused client may take to read its alert and close
DRAIN_LIMIT_BYTES = 256 * 1024  # about what it may still send: OpenSSL takes chains of 100 KiB
# OpenSSL 3.2+ compresses certificates between two peers that can (RFC 8879), and then nobody can read the name of
# the refused. SSL_OP_NO_RX_CERTIFICATE_COMPRESSION, which Python does not name; older versions ignore it.
_NO_COMPRESSED_CERTIFICATES = 1 << 33


# Where a connection goes when its handshake is over: every record of every request would call back, a tenth of the
# rate. The setter is `ssl`'s own, for server names; the session and what was verified stay with the connection.
_UNWATCHED = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
_UNWATCHED.verify_mode = ssl.CERT_REQUIRED  # or getpeercert() would call every certificate unverified


class NoLongerGoodError(ssl.SSLError):
    """A certificate is good no longer: of a resumed session, or by files that came while its handshake was going on."""

    def __init__(self, problem: VerifyError, *, resumed: bool) -> None:
        super().__init__(ssl.SSL_ERROR_SSL, problem.verify_message)
        self.verify_code, self.verify_message = problem.verify_code, problem.verify_message
        self.reason = "RESUMED_SESSION_REFUSED" if resumed else "REFUSED_BY_NEW_FILES"


class HandshakeTerms:
    """What the handshakes of one server share: the current checker, and who is connected, by its TLS object."""

    def __init__(self) -> None:
        self.checker: RevocationChecker | None = None
        self.open: MutableMapping[ExplainedHandshake, Connection] = WeakKeyDictionary()

    def recheck_open_connections(self, checker: RevocationChecker) -> None:
        """Hang up on those whose certificate is good no longer, whatever they are doing."""
        for handshake, connection in list(self.open.items()):
            chain = client_chain(handshake)
            problem = checker.verify_error(chain) if chain else None
            if problem:
                event(
                    logging.WARNING,
                    "connection_ended",
                    peer=connection.peer,
                    subject=subject_in_words(chain[0]),
                    verify_code=problem.verify_code,
                    verify_message=problem.verify_message,
                )
                connection.hang_up()


class ExplainedHandshake(ssl.SSLObject):
    """An SSLObject whose failed handshake is logged, and whose alert is sent before the connection closes.

    So is the alert of an error after the handshake (RFC 8446 6.2, RFC 5246 7.2.2). `incoming` and `outgoing` are the
    buffers that it reads from and writes to.
    """

    checker: ClassVar[RevocationChecker]
    terms: ClassVar[HandshakeTerms]
    incoming: ssl.MemoryBIO | None = None
    outgoing: ssl.MemoryBIO | None = None
    offered: bytes | None = None
    tls: str | None = None
    _connection: Connection | None = None
    _failure: ssl.SSLError | None = None
    _drain_budget = 0

    def do_handshake(self) -> None:
        """Do the next step of the handshake.

        Raises:
            ssl.SSLWantReadError: more bytes are needed or, after a failure, the alert must go out and what the client
                still sends is drained: were the connection closed by then, the client would fail at sending.
            ssl.SSLError: the failure, if there is no alert, or the client has sent too much after it.
        """
        if self._failure:
            self._drain()
        connection = self._connection = CONNECTION.get()
        try:
            super().do_handshake()
            if self.session_reused or self.terms.checker is not self.checker:
                self._recheck()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if connection and self._has_output:
                connection.answered = True
                connection.advance()
            raise
        except ssl.SSLError as error:
            self._log(error, connection)
            if isinstance(error, NoLongerGoodError) or not self._has_output:  # too late for an alert, or none is due
                raise
            self._fail(error)
        if connection:
            if self.context.verify_mode != ssl.CERT_NONE:
                self.terms.open[self] = connection
            self._record(connection, "accepted", None)
        self.context = _UNWATCHED

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read as SSLObject does, with the errors of `do_handshake`."""
        return self._checked(super().read, len, buffer)

    def write(self, data: Any) -> int:
        """Write as SSLObject does, with the errors of `do_handshake`."""
        count: int = self._checked(super().write, data)
        return count

    def unwrap(self) -> None:
        """End the TLS connection as SSLObject does, with the errors of `do_handshake`."""
        self._checked(super().unwrap)

    def _checked(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        if self._failure:
            self._drain()
        try:
            return operation(*arguments)
        except ssl.SSLError as error:
            if error.errno != ssl.SSL_ERROR_SSL or not self._has_output:  # no failure, or no alert is due
                raise
            peer = self._connection
            if admits("tls_error", peer.host if peer else ""):
                event(logging.WARNING, "tls_error", peer=peer and peer.peer, reason=error.reason or str(error))
            self._fail(error)

    @property
    def _has_output(self) -> bool:
        return bool(self.outgoing and self.outgoing.pending)

    def _fail(self, error: ssl.SSLError) -> NoReturn:
        """Have the event loop send the alert, then send FIN, and drain what still comes."""
        self._failure = error.with_traceback(None)
        if self._connection:
            self._connection.refused = True
            self._connection.advance()
            self._drain_budget = DRAIN_LIMIT_BYTES
            loop = asyncio.get_running_loop()
            loop.call_later(FIN_LOOK_S, self._end_writing, loop, loop.time() + LINGER_S, False)
            loop.call_later(LINGER_S, self._connection.hang_up)
        raise ssl.SSLWantReadError from None

    def _end_writing(self, loop: asyncio.AbstractEventLoop, until: float, was_clear: bool) -> None:
        """Send FIN behind the alert, which may have to wait for the rest of a response."""
        clear = bool(self._connection and self._connection.can_write() and not self._has_output)
        if self._connection and clear and was_clear:
            self._connection.end_writing()
        elif loop.time() < until:
            loop.call_later(FIN_LOOK_S, self._end_writing, loop, until, clear)

    def _drain(self) -> NoReturn:
        if self.incoming and self._drain_budget > 0:
            self._drain_budget -= len(self.incoming.read())
            raise ssl.SSLWantReadError
        failure = self._failure
        assert failure is not None  # noqa: S101
        self._failure = None
        try:
            raise failure
        finally:
            del failure  # or its traceback would keep this frame, and with it the connection

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return the client's certificate; as a dictionary, which the event loops ask for, an empty one if it can't be.

        A name in Latin-1 is a UnicodeDecodeError: the connection of a certificate that OpenSSL accepts would be reset.
        """
        try:
            return super().getpeercert(binary_form)
        except ValueError:
            if binary_form:
                raise
            return {}

    def _recheck(self) -> None:
        """Refuse whose certificate has expired or was revoked since it was verified, or since its handshake began."""
        chain = client_chain(self)
        problem = (self.terms.checker or self.checker).verify_error(chain) if chain else None
        if problem:
            self.offered = chain[0]
            raise NoLongerGoodError(problem, resumed=bool(self.session_reused))

    def _log(self, error: ssl.SSLError, connection: Connection | None) -> None:
        if admits("handshake_refused", connection.host if connection else ""):
            event(
                logging.WARNING,
                "handshake_refused",
                peer=connection and connection.peer,
                subject=subject_in_words(self.offered) if self.offered else None,
                reason=error.reason or str(error),
                verify_code=getattr(error, "verify_code", None),
                verify_message=getattr(error, "verify_message", None),
                tls=self.tls,
            )
        if connection:
            self._record(connection, "refused", error)

    def _record(self, connection: Connection, outcome: str, error: ssl.SSLError | None) -> None:
        if connection.recording:
            cipher = self.cipher()
            connection.recording.finish(
                outcome,
                tls=self.version(),
                cipher=cipher[0] if cipher else None,
                resumed=bool(self.session_reused),
                verify_code=getattr(error, "verify_code", None),
                verify_error=getattr(error, "verify_message", None),
                reason=(error.reason or str(error)) if error else None,
            )


def explained(context: ssl.SSLContext, checker: RevocationChecker, terms: HandshakeTerms) -> None:
    """Make the handshakes of a context explain themselves, and recheck resumed sessions."""
    context.sslobject_class = type("Handshake", (ExplainedHandshake,), {"checker": checker, "terms": terms})
    context.options |= _NO_COMPRESSED_CERTIFICATES
    # Private, so optional: without it the log lacks the subject. The C level's, since ssl's own wrapper of it turns
    # every number of every record into an enum.
    callback = getattr(ssl.SSLContext.__mro__[1], "_msg_callback", None)
    if callback is not None:
        callback.__set__(context, _watch)


def _watch(handshake: ExplainedHandshake, direction: str, version: int, content: int, kind: int, data: bytes) -> None:
    """Keep the leaf that a client offers and the TLS version; OpenSSL forgets them when it refuses it."""
    if content > messages.HANDSHAKE:  # application data, and OpenSSL's own numbers for headers
        return
    if kind == messages.CERTIFICATE and content == messages.HANDSHAKE and direction == "read":
        handshake.tls = messages.VERSIONS.get(version)
        handshake.offered = next(messages.certificates(data, version), None)
    connection = CONNECTION.get()
    if connection and connection.recording:
        connection.recording.message(direction, version, content, kind, data)
