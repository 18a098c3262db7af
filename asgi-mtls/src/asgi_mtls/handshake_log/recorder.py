"""What happened in the last handshakes: a bounded log in memory, one for each worker, that can be followed.

`asgi_mtls.handshake` tells a `Recording` each message as OpenSSL handles it; nothing is parsed until the log is read.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator

from asgi_mtls.handshake_log import tls_messages as messages
from asgi_mtls.handshake_log.summary import READ, Ending, HandshakeSummary, Raw, summary_of

MAX_HANDSHAKES = 500
MAX_MESSAGES = 40  # of one handshake; more are counted, not kept
MAX_KEPT_BYTES = 8 * 1024  # of one handshake
MAX_MESSAGE_BYTES = 6 * 1024
MAX_FOLLOWERS = 20
HEARTBEAT_S = 10.0
_LAST_WORDS = 4  # alerts that are kept besides
_DIGITS = re.compile("[0-9]{1,18}")
_KEPT = {  # handshake messages whose bytes are kept, by direction
    (READ, messages.CLIENT_HELLO),
    (READ, messages.CERTIFICATE),
    ("write", messages.SERVER_HELLO),
    ("write", messages.SERVER_KEY_EXCHANGE),
}


class Recording:
    """One handshake while it goes on, and, once it is over, what its `HandshakeSummary` is made of."""

    __slots__ = (
        "_ending",
        "_log",
        "_omitted",
        "_raw",
        "_room",
        "_start",
        "_summary",
        "_time",
        "number",
        "peer",
    )

    def __init__(self, log: HandshakeLog, peer: str | None) -> None:
        self._log: HandshakeLog | None = log
        self.peer = peer
        self.number = 0
        self._time = time.time()
        self._start = time.perf_counter()
        self._room = MAX_KEPT_BYTES
        self._omitted = 0
        self._raw: list[Raw] = []
        self._ending: Ending | None = None
        self._summary: HandshakeSummary | None = None

    def message(self, direction: str, version: int, content: int, kind: int, data: bytes) -> None:
        """Note a message, as OpenSSL's message callback reports it; what is no message is passed over."""
        if content > messages.HANDSHAKE or self._log is None:
            return
        if len(self._raw) >= MAX_MESSAGES + (_LAST_WORDS if content == messages.ALERT else 0):
            self._omitted += 1
            return
        kept = b""
        if content == messages.HANDSHAKE and (direction, kind) in _KEPT:
            kept = data[: min(self._room, MAX_MESSAGE_BYTES)]
            self._room -= len(kept)
        at = time.perf_counter() - self._start
        self._raw.append(Raw(at, direction, version, content, kind, len(data), kept))

    def finish(
        self,
        outcome: str,
        *,
        tls: str | None = None,
        cipher: str | None = None,
        resumed: bool = False,
        verify_code: int | None = None,
        verify_error: str | None = None,
        reason: str | None = None,
    ) -> None:
        """End it and put it into the log; the first call counts."""
        if self._log is None:
            return
        log, self._log = self._log, None
        self._ending = Ending(
            outcome=outcome,
            started=self._time,
            duration_s=time.perf_counter() - self._start,
            peer=self.peer,
            tls=tls,
            cipher=cipher,
            resumed=resumed,
            verify_code=verify_code or None,
            verify_error=verify_error,
            reason=reason,
            omitted=self._omitted,
        )
        log.append(self)

    def summary(self, log: HandshakeLog) -> HandshakeSummary:
        """Return it as people read it."""
        if self._summary is None:
            assert self._ending is not None, "it is still going on"  # noqa: S101
            self._summary = summary_of(log.id_of(self.number), log.worker, self._ending, self._raw)
            self._raw = []
        return self._summary


class HandshakeLog:
    """The last handshakes of this worker, oldest first.

    Followers hold no queue of their own: each reads on from where it was, so a slow one misses what the log forgot.
    """

    def __init__(self, is_open: bool = False) -> None:
        """Start with none.

        Args:
            is_open: clients without a certificate may see them, too.
        """
        self.is_open = is_open
        self.worker = os.getpid()
        self.closed = False
        self._run = f"{self.worker}-{time.time_ns() // 1_000_000:x}"  # process ids come again, in containers at once
        self._kept: deque[Recording] = deque(maxlen=MAX_HANDSHAKES)
        self._count = 0
        self._followers: set[asyncio.Event] = set()

    def id_of(self, number: int) -> str:
        """Return the id, unique among the workers and their restarts, of this log's nth handshake."""
        return f"{self._run}-{number}"

    def append(self, recording: Recording) -> None:
        """Take a recording that is finished; the oldest one is forgotten."""
        self._count += 1
        recording.number = self._count
        self._kept.append(recording)
        for news in self._followers:
            news.set()

    def list(self, after: int = 0) -> list[HandshakeSummary]:
        """Return those after the nth that are still known, oldest first."""
        first = self._count - len(self._kept)
        wanted = list(self._kept)[max(0, after - first) :]
        return [recording.summary(self) for recording in wanted]

    def position(self, last_id: str | None) -> int:
        """Return which one an id names, 0 for one of another worker or run: so everything is new."""
        run, _, number = (last_id or "").rpartition("-")
        return int(number) if run == self._run and _DIGITS.fullmatch(number) else 0

    @property
    def full(self) -> bool:
        """Whether nobody else may follow."""
        return len(self._followers) >= MAX_FOLLOWERS

    async def follow(self, after: int = 0) -> AsyncIterator[HandshakeSummary | None]:
        """Yield the known ones after the nth, then each new one, and None when there is none for HEARTBEAT_S.

        Ends when the log is closed, and at once when it is full.
        """
        if self.full:
            return
        news = asyncio.Event()
        self._followers.add(news)
        try:
            while not self.closed:
                news.clear()
                known = self.list(after)
                after = self._count
                for summary in known:
                    yield summary
                if not known and not await _within(news, HEARTBEAT_S):
                    yield None
        finally:
            self._followers.discard(news)

    def close(self) -> None:
        """Let go of the followers, so that the server can stop."""
        self.closed = True
        for news in self._followers:
            news.set()


async def _within(news: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return False
    return True
