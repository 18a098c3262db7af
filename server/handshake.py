"""A TLS context that tells a refused client why, and the log too.

asyncio and uvloop close the socket of a failed handshake before OpenSSL's alert is flushed (python/cpython#98078),
so the client of a plain Uvicorn sees a closed connection. The cure is `SSLContext.sslobject_class`, a
documented hook: raising "want read" once makes the event loop flush what is waiting. Use `explained_context` as
Uvicorn's `ssl_context_factory`; with `server.loop` the log also knows the peer's address.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from server.log import event

LINGER_S = 2.0  # how long a refused client may take to read its alert and close
_HANDSHAKE_RECORD = 22
_CERTIFICATE = 11
# OpenSSL 3.2+ compresses certificates between two peers that can (RFC 8879), and then nobody can read the name of
# the refused. SSL_OP_NO_RX_CERTIFICATE_COMPRESSION, which Python does not name; older versions ignore it.
_NO_COMPRESSED_CERTIFICATES = 1 << 33


@dataclass(frozen=True)
class Connection:
    """An accepted connection: the peer's address, as `socket.accept` returns it, and the socket."""

    address: Any
    socket: socket.socket

    @property
    def peer(self) -> str:
        """`address:port`, or what a UNIX socket has instead."""
        return ":".join(map(str, self.address[:2])) if isinstance(self.address, tuple) else repr(self.address)

    def hang_up(self) -> None:
        """End the connection under whoever serves it."""
        with suppress(OSError):  # ended already
            self.socket.shutdown(socket.SHUT_RDWR)


# Set by `server.loop` for the task, and so the callbacks, of each connection.
CONNECTION: ContextVar[Connection | None] = ContextVar("CONNECTION", default=None)


class ExpiredSessionError(ssl.SSLError):
    """A session was resumed by a client whose certificate has expired since: OpenSSL lets it in."""

    reason = "SESSION_RESUMED_AFTER_EXPIRY"
    verify_code = 10  # X509_V_ERR_CERT_HAS_EXPIRED
    verify_message = "certificate has expired"


class ExplainedHandshake(ssl.SSLObject):
    """An SSLObject whose failed handshake is logged, and whose alert is sent before the connection closes."""

    offered: bytes | None = None
    tls: str | None = None
    _refusal: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Do the next step of the handshake.

        Raises:
            ssl.SSLWantReadError: more bytes are needed or, the first time after a failure, the alert must go out.
            ssl.SSLError: the failure, the next time.
        """
        if self._refusal:
            raise self._refusal
        try:
            super().do_handshake()
            if self.session_reused and self.context.verify_mode != ssl.CERT_NONE:
                self._judge_again()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._refusal = error
            connection = CONNECTION.get()
            self._log(error, connection)
            if connection:
                asyncio.get_running_loop().call_later(LINGER_S, connection.hang_up)
            raise ssl.SSLWantReadError from None

    def _judge_again(self) -> None:
        """Refuse a resumed session whose certificate has expired: OpenSSL does not verify it again."""
        certificate: dict[str, Any] = self.getpeercert() or {}
        if certificate and ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
            self.offered = self.getpeercert(binary_form=True)
            raise ExpiredSessionError

    def _log(self, error: ssl.SSLError, connection: Connection | None) -> None:
        event(
            logging.WARNING,
            "handshake_refused",
            peer=connection.peer if connection else None,
            subject=_subject(self.offered),
            reason=error.reason or str(error),
            verify_code=getattr(error, "verify_code", None),
            verify_message=getattr(error, "verify_message", None),
            tls=self.tls,
        )


def explained_context(
    default: Callable[[], ssl.SSLContext], *, strict: bool = True, tickets: bool = False
) -> ssl.SSLContext:
    """Return Uvicorn's own context, made to explain its refusals.

    Args:
        default: makes the context to start from: the second argument of a Uvicorn `ssl_context_factory`.
        strict: verify clients as Python's default context does since 3.13: VERIFY_X509_STRICT (RFC 5280 profile)
            and VERIFY_X509_PARTIAL_CHAIN (an intermediate in the trust file is a trust anchor).
        tickets: allow session tickets. A resumed session is not verified again.
    """
    context = default()
    context.sslobject_class = ExplainedHandshake
    context.options |= _NO_COMPRESSED_CERTIFICATES
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if not tickets:
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    if hasattr(context, "_msg_callback"):  # private, so optional: without it the log lacks the subject
        context._msg_callback = _watch
    return context


def _watch(connection: Any, direction: str, version: int, content: int, message: int, data: bytes) -> None:
    """Keep the leaf that a client offers and the TLS version; OpenSSL forgets them when it refuses it."""
    if direction == "read" and content == _HANDSHAKE_RECORD and message == _CERTIFICATE:
        connection.tls = "1.3" if version == ssl.TLSVersion.TLSv1_3 else "1.2"
        connection.offered = _first_certificate(data, version)


def _first_certificate(message: bytes, version: int) -> bytes | None:
    """Return the DER of the first certificate in a Certificate message (RFC 8446 4.4.2, RFC 5246 7.4.2)."""
    start = 4  # msg_type, length
    if version == ssl.TLSVersion.TLSv1_3:
        start += 1 + int.from_bytes(message[start : start + 1], "big")  # certificate_request_context
    start += 3  # the list's length
    length = int.from_bytes(message[start : start + 3], "big")
    return bytes(message[start + 3 : start + 3 + length]) or None


def _subject(certificate: bytes | None) -> str | None:
    """Return the RFC 4514 subject, or a word for a certificate that can't be read."""
    if not certificate:
        return None
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string() or "(empty)"
    except ValueError:
        return "(unreadable)"
