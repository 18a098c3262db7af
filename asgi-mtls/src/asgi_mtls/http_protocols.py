"""Uvicorn's HTTP protocols, with TLS facts for the application, a time limit for request heads, and strict framing."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol

from asgi_mtls.event_log import admits, event
from asgi_mtls.settings import Settings
from asgi_mtls.tls_extension import STATE_KEY, tls_extension

# Attributes of Uvicorn's protocols that are used here and by no promise of Uvicorn's there.
NEEDED_OF_UVICORN = ("app_state", "cycle", "config", "loop", "timeout_keep_alive_task", "transport")
_TEXT = rb"[\t -~\x80-\xff]*"  # no control characters but the tab
_LINES = re.compile(rb"(?:[!-~]" + _TEXT + rb"\r\n)*\r\n")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+(?:;" + _TEXT + rb")?\r\n")
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding):", re.IGNORECASE)


class WithTls(asyncio.Protocol):
    """Mixed into Uvicorn's HTTP protocols: TLS facts for the application, and a time limit for request heads.

    Whether the trusted proxy is the peer is asked once a connection.
    """

    app_state: dict[str, Any]
    config: Any
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: Any
    timeout_keep_alive_task: asyncio.TimerHandle | None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            tls = tls_extension(connection)
            proxy = self._settings.proxy
            # A new dict: the old one is shared by all connections.
            self.app_state = {**self.app_state, STATE_KEY: (tls, proxy if proxy and proxy.is_peer(tls) else None)}
        self._head_timer = self.loop.call_later(self._settings.request_head_timeout_s, self._look_for_head, None)

    @property
    def _settings(self) -> Settings:
        settings: Settings = self.config.settings
        return settings

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _look_for_head(self, before: Any) -> None:
        """Close a connection that has had its time for a request's head: the first since the handshake, then each.

        A second head's time is counted in whole periods, so it ends after one to two of them.
        """
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # a WebSocket has taken over
            return
        # Uvicorn's own time-out runs while nothing has come since a response; it stops with the first byte.
        waits = self.cycle is None or (self.cycle.response_complete and self.timeout_keep_alive_task is None)
        if waits and self.cycle is before:
            client = self.transport.get_extra_info("peername")
            if admits("request_head_timeout", str(client[0]) if client else ""):
                event(logging.WARNING, "request_head_timeout", client=client)
            self.transport.abort()  # close() would wait 30 s for the close_notify of one who says nothing
            return
        before = self.cycle if waits else self
        self._head_timer = self.loop.call_later(self._settings.request_head_timeout_s, self._look_for_head, before)


class StrictReceiveBuffer(ReceiveBuffer):
    """The lines that h11 receives, where they are as RFC 9112 has them; h11 itself, unlike httptools, takes others.

    A proxy may forward as one field what h11 would take for two (a bare LF), or as the body of one client's request
    what h11 would take for another request: then a client would say who it is. Bodies are not looked at.
    """

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the lines of a head or of trailers, or None while they are incomplete.

        Raises:
            h11.LocalProtocolError: they have a bare LF or CR, a folded field, another control character, or both
                Content-Length and Transfer-Encoding (RFC 9112 2.2, 5.2, 6.1). Uvicorn answers 400 and closes.
        """
        before = bytes(self)
        lines = super().maybe_extract_lines()
        if lines is None:
            return None
        end = len(before) - len(self)
        if not _LINES.fullmatch(before, 0, end):
            raise h11.LocalProtocolError("a line that others may read differently")
        if len({name.lower() for name in _FRAMING.findall(before, 0, end)}) > 1:
            raise h11.LocalProtocolError("two framings of one body")
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """Return the line with a chunk's size, or None while it is incomplete.

        Raises:
            h11.LocalProtocolError: it has a bare LF or CR, another control character, or a space behind the size.
        """
        line = super().maybe_extract_next_line()
        if line is not None and not _CHUNK_SIZE.fullmatch(line):
            raise h11.LocalProtocolError("the size of a chunk that others may read differently")
        return line


class H11WithTls(WithTls, H11Protocol):
    """Uvicorn's h11 protocol with the TLS extension, and as strict as its httptools protocol."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        # Private: an h11 that has none fails here, rather than read leniently.
        self.conn._receive_buffer.__class__ = StrictReceiveBuffer

    def send_400_response(self, msg: str) -> None:
        """Answer 400 and close the connection; close it only, if the answer to a request has begun already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()


PROTOCOLS: dict[str, type[asyncio.Protocol]] = {"h11": H11WithTls, "auto": H11WithTls}
try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:
    pass
else:

    class HttpToolsWithTls(WithTls, HttpToolsProtocol):
        """Uvicorn's httptools protocol with the TLS extension, and without trailers among the headers.

        Uvicorn appends the fields of a chunked body's trailer to the request's headers, and a proxy that removes
        header fields passes trailers on: they must not be merged (RFC 9110 6.5.1).
        """

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self.scope["headers"] = list(self.headers)

    PROTOCOLS |= {"httptools": HttpToolsWithTls, "auto": HttpToolsWithTls}
