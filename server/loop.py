"""Event loops that know whose handshake it is, and how long it may take.

`create_server` of asyncio and uvloop gives the peer's address to nobody before the TLS handshake is over, and Uvicorn
no way to set the handshake's time limit. These leave the connections to `server.acceptor`. For Uvicorn:
`--loop server.loop:asyncio_loop` or `server.loop:uvloop_loop`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from asyncio import sslproto
from typing import Any

from server.acceptor import Factory, TlsAcceptor
from server.settings import lab_settings

READ_BUFFER_BYTES = 32 * 1024  # asyncio's own, 256 KiB, is what an unauthenticated connection costs


class _Explaining:
    """Mixed into a loop class: `create_server` with TLS, connection by connection."""

    async def create_server(
        self,
        protocol_factory: Factory,
        host: str | None = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        ssl: ssl.SSLContext | None = None,
        backlog: int = 100,
        **keywords: Any,
    ) -> Any:
        if sock is None:
            family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
            sock = socket.create_server((host or "", port or 0), family=family, backlog=backlog)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Accepted sockets inherit it. asyncio sets it itself only where the socket names its protocol, which these
            # don't; without it a response with a body waits 40 ms for the ACK of its head.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not ssl:
            return await super().create_server(protocol_factory, sock=sock, backlog=backlog, **keywords)  # type: ignore[misc]
        sock.listen(backlog)
        sock.setblocking(False)
        return TlsAcceptor(sock, protocol_factory, ssl, lab_settings(os.environ))


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """Return an asyncio event loop that explains its handshakes."""
    sslproto.SSLProtocol.max_size = READ_BUFFER_BYTES
    return _explaining(asyncio.SelectorEventLoop)


def uvloop_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop event loop that explains its handshakes."""
    import uvloop

    return _explaining(uvloop.Loop)


def _explaining(base: type) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = type(f"Explaining{base.__name__}", (_Explaining, base), {})()
    return loop
