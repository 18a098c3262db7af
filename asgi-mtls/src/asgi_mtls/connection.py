"""An accepted connection, before and beside its TLS object."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from asgi_mtls.handshake_log.recorder import Recording


@dataclass(eq=False)
class Connection:
    """An accepted connection: the peer's address, as `socket.accept` returns it, the socket, and its recording.

    advanced_at: when its handshake last made progress, by `time.monotonic`; first, when it was accepted. A byte now and
        then is not progress.
    answered: whether the server has answered its ClientHello.
    refused: whether the handshake has failed, and its alert is on its way.
    """

    address: Any
    socket: socket.socket
    recording: Recording | None = None
    advanced_at: float = field(default_factory=time.monotonic)
    answered: bool = False
    refused: bool = False

    @property
    def peer(self) -> str:
        """`address:port`, or what a UNIX socket has instead."""
        return ":".join(map(str, self.address[:2])) if isinstance(self.address, tuple) else repr(self.address)

    @property
    def host(self) -> str:
        """The peer without its port."""
        return self.peer.rpartition(":")[0]

    def advance(self) -> None:
        """Note that the handshake has made progress."""
        self.advanced_at = time.monotonic()

    def is_silent_for(self, seconds: float) -> bool:
        """Tell whether the client has made no progress for so long, and nothing of it waits to be read either."""
        return time.monotonic() - self.advanced_at >= seconds and self._waiting_input() is None

    def has_left(self) -> bool:
        """Tell whether the client has closed the connection, or it is broken, and nothing is left to read."""
        return self._waiting_input() == b""

    def _waiting_input(self) -> bytes | None:
        """Return the first byte that waits to be read, an empty one at the end, and None if there is none yet."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def can_write(self) -> bool:
        """Tell whether the kernel takes more to send; also if the connection has ended."""
        poll = select.poll()
        with suppress(OSError, ValueError):
            poll.register(self.socket, select.POLLOUT)
            return bool(poll.poll(0))
        return True

    def end_writing(self) -> None:
        """Send FIN behind what was sent; what the client still sends can be read."""
        with suppress(OSError):  # ended already
            self.socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """End the connection under whoever serves it."""
        with suppress(OSError):  # ended already
            self.socket.shutdown(socket.SHUT_RDWR)


# Set by `asgi_mtls.tls_acceptor` for the task, and so the callbacks, of each connection.
CONNECTION: ContextVar[Connection | None] = ContextVar("CONNECTION", default=None)
