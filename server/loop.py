"""Event loops that know whose handshake it is, and how long it may take.

`create_server` of asyncio and uvloop gives the peer's address to nobody before the TLS handshake is over, and Uvicorn
no way to set the handshake's time limit. These accept the connections themselves and have the handshake done by
`connect_accepted_socket`, which is documented for both. For Uvicorn: `--loop server.loop:asyncio_loop` or
`server.loop:uvloop_loop`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

from server.handshake import CONNECTION, Connection
from server.log import event
from server.settings import lab_settings

Factory = Callable[[], asyncio.Protocol]

_NO_RESOURCES_PAUSE_S = 1.0


class _TlsServer:
    """Accepts connections on one listening socket and secures each in a task of its own.

    It has what Uvicorn uses of an `asyncio.Server`.
    """

    def __init__(self, listener: socket.socket, factory: Factory, context: ssl.SSLContext, timeout_s: float) -> None:
        self.sockets = (listener,)
        self._factory, self._context, self._timeout_s = factory, context, timeout_s
        self._securing: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))
        self._accepting.add_done_callback(lambda _: listener.close())

    def close(self) -> None:
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        await asyncio.wait({self._accepting})

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except ConnectionError:  # gone before it was accepted
                continue
            except OSError as error:  # no descriptors or memory left: say so once a second, not a million times
                event(logging.ERROR, "accept_failed", fact=error)
                await asyncio.sleep(_NO_RESOURCES_PAUSE_S)
                continue
            task = loop.create_task(self._secure(Connection(address, connection)))
            self._securing.add(task)
            task.add_done_callback(self._securing.discard)

    async def _secure(self, connection: Connection) -> None:
        CONNECTION.set(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory, connection.socket, ssl=self._context, ssl_handshake_timeout=self._timeout_s
            )
        except OSError:  # ssl.SSLError or a lost connection; the handshake has logged what there was to say
            connection.socket.close()
        except Exception as error:  # a bug of ours: one client's handshake must not go unsaid, or stay open
            event(logging.ERROR, "handshake_failed", peer=connection.peer, fact=repr(error))
            connection.socket.close()


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
        if not ssl:
            return await super().create_server(protocol_factory, sock=sock, backlog=backlog, **keywords)  # type: ignore[misc]
        sock.listen(backlog)
        sock.setblocking(False)
        return _TlsServer(sock, protocol_factory, ssl, lab_settings(os.environ).handshake_timeout_s)


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """Return an asyncio event loop that explains its handshakes."""
    return _explaining(asyncio.SelectorEventLoop)


def uvloop_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop event loop that explains its handshakes."""
    import uvloop

    return _explaining(uvloop.Loop)


def _explaining(base: type) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = type(f"Explaining{base.__name__}", (_Explaining, base), {})()
    return loop
