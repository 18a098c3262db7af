"""Event loops that know whose handshake it is, and how long it may take.

`create_server` of asyncio and uvloop gives the peer's address to nobody before the TLS handshake is over, and Uvicorn
no way to set the handshake's time limit. These accept the connections themselves and have the handshake done by
`connect_accepted_socket`, which is documented for both. For Uvicorn: `--loop server.loop:asyncio_loop` or
`server.loop:uvloop_loop`.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from asyncio import sslproto
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from server import record
from server.context import LiveContext
from server.handshake import CONNECTION, Connection
from server.log import event
from server.settings import LabSettings, lab_settings

Factory = Callable[[], asyncio.Protocol]

READ_BUFFER_BYTES = 64 * 1024  # asyncio's own, 256 KiB, is what an unauthenticated connection costs
_TICK_S = 1.0
_RESERVED_DESCRIPTORS = 64  # for the log, the files that are followed, and what the application opens
_QUIET = 16
_RUSH_BYTES = 8 << 20
_STATM = Path("/proc/self/statm")
_TRIM: Callable[[int], int] | None = None
if sys.platform == "linux":
    _TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's: it keeps what a rush needed


class _TlsServer:
    """Accepts connections on one listening socket and secures each in a task of its own.

    Handshakes in progress are bounded: at the bound, or when descriptors run short, the oldest one gives way to the
    newcomer, since it has had the most time; where there is none, the newcomer is turned away. It has what Uvicorn uses
    of an `asyncio.Server`.
    """

    def __init__(self, listener: socket.socket, factory: Factory, context: ssl.SSLContext, lab: LabSettings) -> None:
        self.sockets = (listener,)
        self._factory, self._context, self._timeout_s = factory, context, lab.handshake_timeout_s
        self._limit = lab.max_handshakes
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._short = descriptors - min(_RESERVED_DESCRIPTORS, descriptors // 4)
        self._securing: dict[asyncio.Task[None], Connection] = {}
        self._turned_away = 0
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._accept(listener)), self._loop.create_task(self._keep_house())]
        self._tasks[0].add_done_callback(lambda _: listener.close())
        if isinstance(context, LiveContext):
            self._tasks.append(self._loop.create_task(context.follow()))
            with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread, no such signal
                self._loop.add_signal_handler(signal.SIGHUP, context.reload, "SIGHUP")

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if record.HANDSHAKES is not None:
            record.HANDSHAKES.close()  # whoever watches it would keep the server from stopping

    async def wait_closed(self) -> None:
        await asyncio.wait(self._tasks)

    async def _accept(self, listener: socket.socket) -> None:
        failed = 0.0
        while True:
            try:
                accepted, address = await self._loop.sock_accept(listener)
            except ConnectionError:  # gone before it was accepted
                continue
            except OSError as error:  # no descriptors or memory left: say so once a second, not a million times
                now = self._loop.time()
                if now - failed > _TICK_S:
                    failed = now
                    event(logging.ERROR, "accept_failed", fact=error)
                await asyncio.sleep(0 if self._give_way() else _TICK_S)
                continue
            connection = Connection(address, accepted)
            while len(self._securing) >= self._limit and self._give_way():
                pass
            if accepted.fileno() >= self._short and not self._give_way():
                self._turned_away += 1
                accepted.close()
                continue
            if record.HANDSHAKES is not None:
                connection.recording = record.Recording(record.HANDSHAKES, connection.peer)
            task = self._loop.create_task(self._secure(connection))
            self._securing[task] = connection
            task.add_done_callback(lambda task: self._securing.pop(task, None))

    def _give_way(self) -> bool:
        """End the oldest handshake in progress; return whether there was one."""
        for task, connection in self._securing.items():
            self._turned_away += 1
            if connection.recording:
                connection.recording.finish("turned_away")
            del self._securing[task]
            task.cancel()
            connection.hang_up()
            connection.socket.close()
            return True
        return False

    async def _keep_house(self) -> None:
        """Once a second: say how many were turned away; give memory back after a rush."""
        low = _resident_bytes()
        while True:
            await asyncio.sleep(_TICK_S)
            if self._turned_away:
                count, self._turned_away = self._turned_away, 0
                event(logging.WARNING, "handshakes_turned_away", count=count, limit=self._limit)
            if len(self._securing) < _QUIET and _resident_bytes() - low > _RUSH_BYTES:
                gc.collect()
                if _TRIM:
                    _TRIM(0)
                low = _resident_bytes()

    async def _secure(self, connection: Connection) -> None:
        CONNECTION.set(connection)
        outcome = "lost"
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection.socket, ssl=self._context, ssl_handshake_timeout=self._timeout_s
            )
        except OSError as error:  # ssl.SSLError or a lost connection; the handshake has logged what there was to say
            outcome = "timeout" if isinstance(error, ConnectionAbortedError) else outcome
            # Its frames hold the connection, in a cycle: a rush would wait for the collector.
            error.__traceback__ = None
            connection.socket.close()
        except Exception as error:  # a bug of ours: one client's handshake must not go unsaid, or stay open
            event(logging.ERROR, "handshake_failed", peer=connection.peer, fact=repr(error))
            connection.socket.close()
        if connection.recording:
            connection.recording.finish(outcome)  # which does nothing if the handshake had an end


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
        return _TlsServer(sock, protocol_factory, ssl, lab_settings(os.environ))


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


def _resident_bytes() -> int:
    """Return the resident set, 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
