"""Accept connections, and secure each: who waits, who begins a TLS handshake, and who gives way.

The handshake is done by `connect_accepted_socket`, which asyncio and uvloop document.
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
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from asgi_mtls.connection import CONNECTION, Connection
from asgi_mtls.event_log import event, flush_repeats
from asgi_mtls.handshake_log.recorder import Recording
from asgi_mtls.reloading_context import ReloadingContext

Factory = Callable[[], asyncio.Protocol]

_TICK_S = 1.0
_LOOK_S = 0.1  # how often to look for places, if somebody waits
_RETRY_S = 0.02  # how soon to look again whether a connection may be accepted
_SAY_S = 60.0  # how often to say that none is
# When others wait, a client that is silent for _SILENT_S does not count among the handshakes in progress, and there
# may then be _MOST times as many. Beyond that, or where descriptors are short, it gives way after another of these
# times: it has sent no whole ClientHello, owes an answer to the server's flight, or has been refused. A rush can keep
# good clients busy for longer than a network does.
_SILENT_S = 0.25
_MOST = 5
_HELLO_S, _ANSWER_S, _REFUSED_S = 1.0, 2.0, 0.1
_MAX_SILENT = 2048  # have sent nothing; Uvicorn's backlog
_RESERVED_DESCRIPTORS = 64  # for the log, the files that are followed, and what the application opens
_QUIET = 16
_RUSH_BYTES = 8 << 20
_STATM = Path("/proc/self/statm")
_TRIM: Callable[[int], int] | None = None
if sys.platform == "linux":
    _TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's: it keeps what a rush needed


# Of this process: SIGHUP is for all of them.
_SERVING: dict[TlsAcceptor, None] = {}
_HANDLING: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()  # what SIGHUP did before


class TlsAcceptor:
    """Accepts connections on one listening socket and secures each in a task of its own.

    A connection has no TLS object until its client has sent something. Then it gets one of `max_handshakes` places; a
    client that is silent gives its place up, and goes on. While all places are taken or descriptors are short, nothing
    is accepted: clients wait in the kernel's backlog. Only a silent client loses its connection to another, never one
    whose handshake waits for this process. It has what Uvicorn uses of an `asyncio.Server`.
    """

    def __init__(self, listener: socket.socket, factory: Factory, context: ReloadingContext) -> None:
        settings = context.settings
        self.sockets = (listener,)
        self._listener = listener
        self._factory, self.context, self._timeout_s = factory, context, settings.handshake_timeout_s
        self._limit = self._places = settings.max_handshakes
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._short = descriptors - min(_RESERVED_DESCRIPTORS, descriptors // 4)
        self._silent: dict[Connection, None] = {}  # oldest first
        self._ready: deque[Connection] = deque()  # have sent something and wait for a place
        self._securing: dict[asyncio.Task[None], Connection] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._turned_away = 0
        self._paused_said = -_SAY_S
        self._loop = asyncio.get_running_loop()
        self._accepted_at = self._loop.time()
        self._tasks = [self._loop.create_task(self._accept()), self._loop.create_task(self._housekeeping())]
        self._tasks[0].add_done_callback(lambda _: listener.close())
        self._tasks.append(self._loop.create_task(context.watch()))
        _SERVING[self] = None
        before = signal.getsignal(signal.SIGHUP)
        if before in (signal.SIG_DFL, signal.SIG_IGN):  # not a handler of the program's own
            with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread
                self._loop.add_signal_handler(signal.SIGHUP, _reload_all)
                _HANDLING[self._loop] = before

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        _SERVING.pop(self, None)
        if not _SERVING and self._loop in _HANDLING:
            self._loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, _HANDLING.pop(self._loop))
        for connection in list(self._silent):
            self._drop(connection, "lost")
        while self._ready:
            _end(self._ready.popleft(), "lost")
        if self.context.handshake_log is not None:
            self.context.handshake_log.close()  # a client that watches it would keep the server from stopping
        flush_repeats()

    async def wait_closed(self) -> None:
        await asyncio.wait(self._tasks)

    async def _accept(self) -> None:
        while True:
            welcome = await self._await_room()
            try:
                accepted, address = await self._loop.sock_accept(self._listener)
            except ConnectionError:  # gone before it was accepted
                continue
            except OSError as error:  # no memory left, or no descriptors in the whole system
                self._say_paused(logging.ERROR, "accept_failed", fact=error)
                await asyncio.sleep(_RETRY_S)
                continue
            if not welcome and self._descriptors_are_short():
                self._turned_away += 1
                accepted.close()
                continue
            self._accepted_at = self._loop.time()
            connection = Connection(address, accepted)
            if self.context.handshake_log is not None:
                connection.recording = Recording(self.context.handshake_log, connection.peer)
            self._silent[connection] = None
            self._loop.add_reader(accepted, self._heard, connection)

    async def _await_room(self) -> bool:
        """Return when another connection may be accepted, and whether it is welcome.

        It is not where connections in use have held all descriptors for as long as a handshake may take.
        """
        while True:
            evicted = False
            if self._ready:
                fact = f"{len(self._securing)} handshakes are in progress"
            elif len(self._silent) >= _MAX_SILENT:
                fact = f"{_MAX_SILENT} clients have sent nothing yet"
                evicted = self._evict_silent()
            elif self._descriptors_are_short():
                fact = f"{self._short} descriptors are in use"
                evicted = self._evict_silent() or self._evict_handshakes(1)
                if not evicted and self._loop.time() - self._accepted_at > self._timeout_s:
                    return False
            else:
                return True
            if not evicted:
                effect = "new clients wait in the kernel's backlog"
                self._say_paused(logging.WARNING, "accept_paused", fact=fact, effect=effect)
            await asyncio.sleep(0 if evicted else _RETRY_S)  # 0: the loop closes what was evicted

    def _say_paused(self, level: int, name: str, **fields: object) -> None:
        if self._loop.time() - self._paused_said > _SAY_S:
            self._paused_said = self._loop.time()
            event(level, name, **fields)

    def _descriptors_are_short(self) -> bool:
        try:
            lowest_free = os.dup(self._listener.fileno())
        except OSError:
            return True
        os.close(lowest_free)
        return lowest_free >= self._short

    def _heard(self, connection: Connection) -> None:
        """Give a place to a client that has sent something, or let go of one that has left."""
        self._loop.remove_reader(connection.socket)
        del self._silent[connection]
        if connection.has_left():
            _end(connection, "lost")
            return
        self._ready.append(connection)
        self._begin()
        if self._ready and not self._looking:
            self._looking = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """Look for places for those who wait: of clients that are silent."""
        self._looking = None
        most = _MOST * self._limit
        silent = sum(connection.is_silent_for(_SILENT_S) for connection in self._securing.values())
        self._places = min(self._limit + silent, most)
        if self._places == most:
            self._evict_handshakes(most)
        self._begin()
        if self._ready:
            self._looking = self._loop.call_later(_LOOK_S, self._look)

    def _begin(self) -> None:
        """Begin the handshakes that there are places for."""
        while self._ready and len(self._securing) < self._places:
            connection = self._ready.popleft()
            task = self._loop.create_task(self._secure(connection))
            self._securing[task] = connection
            task.add_done_callback(self._secured)

    def _secured(self, task: asyncio.Task[None]) -> None:
        self._securing.pop(task, None)
        self._begin()

    def _evict_silent(self) -> bool:
        """End the oldest connection whose client has sent nothing for _HELLO_S; return whether there was one."""
        oldest = next(iter(self._silent), None)
        if oldest is None or not oldest.is_silent_for(_HELLO_S):
            return False
        self._turned_away += 1
        self._drop(oldest, "turned_away")
        return True

    def _evict_handshakes(self, most: int) -> bool:
        """End the oldest handshakes whose clients have been silent for their time; return whether there was one.

        A refused client has had its alert. One that has not finished its ClientHello has less time than one that
        works on its answer.
        """
        evicted = 0
        for task, connection in list(self._securing.items()):
            limit_s = _REFUSED_S if connection.refused else _ANSWER_S if connection.answered else _HELLO_S
            if evicted < most and connection.is_silent_for(min(limit_s, self._timeout_s)):
                evicted += 1
                if not connection.refused:
                    self._turned_away += 1
                if connection.recording:
                    connection.recording.finish("turned_away")
                del self._securing[task]
                task.cancel()
                connection.hang_up()
        return evicted > 0

    def _drop(self, connection: Connection, outcome: str) -> None:
        del self._silent[connection]
        self._loop.remove_reader(connection.socket)
        _end(connection, outcome)

    async def _housekeeping(self) -> None:
        """Once a second: end what was silent for too long, say how many were turned away, free memory after a rush."""
        low = _resident_bytes()
        while True:
            await asyncio.sleep(_TICK_S)
            while (oldest := next(iter(self._silent), None)) and oldest.is_silent_for(self._timeout_s):
                self._drop(oldest, "timeout")
            if not self._ready:
                self._places = self._limit
            if self._turned_away:
                count, self._turned_away = self._turned_away, 0
                event(logging.WARNING, "handshakes_turned_away", count=count, limit=self._limit)
            if len(self._securing) + len(self._silent) < _QUIET and _resident_bytes() - low > _RUSH_BYTES:
                gc.collect()
                if _TRIM:
                    _TRIM(0)
                low = _resident_bytes()

    async def _secure(self, connection: Connection) -> None:
        CONNECTION.set(connection)
        connection.advance()
        outcome = "lost"
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection.socket, ssl=self.context, ssl_handshake_timeout=self._timeout_s
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


def _reload_all() -> None:
    for context in dict.fromkeys(acceptor.context for acceptor in _SERVING):
        context.reload("SIGHUP")


def _end(connection: Connection, outcome: str) -> None:
    """Close a connection that has no TLS object."""
    if connection.recording:
        connection.recording.finish(outcome)
    connection.socket.close()


def _resident_bytes() -> int:
    """Return the resident set, 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
