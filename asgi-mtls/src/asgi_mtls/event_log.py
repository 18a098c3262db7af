"""Events of the form `event key=value`, whose fields are also attributes of the log record.

Logger, file and counts are the process's. If the program has configured the logger or the root logger, that
configuration decides on handlers, format and level. Otherwise events go to stderr, one line an event. With `log_file`
they also go to a file.

Text can come from the network. So a line has at most MAX_TEXT characters of each value, and a value with a space, a
quote or a control character is written as JSON: a name in a certificate can't forge a line. Uvicorn's lines are treated
likewise. Events that strangers can cause are counted when they repeat, and a rotation of the file keeps all others.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from typing import Any

from asgi_mtls.settings import DEFAULTS, Settings, SettingsError

if sys.platform != "win32":
    import fcntl

LOGGER = logging.getLogger(DEFAULTS["logger"])
MAX_TEXT = 512  # characters of a value, as they stand in a line
MAX_TRACEBACK = 200  # lines
_PLAIN = re.compile(r"[!-~]+")
_FILE_BYTES = 1_000_000
_UVICORNS = ("uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error", "asyncio")

BY_STRANGERS = {  # events that strangers can cause
    *("accept_failed", "accept_paused", "certificate_unreadable", "forbidden", "handshake_failed", "handshake_refused"),
    *("handshakes_turned_away", "repeats_counted", "request_head_timeout", "telling_refused", "tls_error"),
}
SUMMARY_S = 60.0
MAX_PEERS = 32  # whose refusals are counted for each of them
_HOUR_S = 3600.0


class Own(str):
    """Text from the operator, not from the network: it is not cut."""

    __slots__ = ()


class _Allowance:
    """An allowance of lines: so many at once, and as many an hour. `counted` events were not logged."""

    def __init__(self, lines: int) -> None:
        self._most = self._left = float(lines)
        self._at = time.monotonic()
        self.counted = 0

    def left(self, now: float) -> float:
        self._left = min(self._most, self._left + (now - self._at) * self._most / _HOUR_S)
        self._at = now
        return self._left

    def take(self, now: float) -> bool:
        if self.left(now) < 1:
            return False
        self._left -= 1
        return True


class Repeats:
    """Decides which events that strangers cause are logged, and counts the rest.

    `lines` of one event and one address are logged at once, and as many an hour; of all events and addresses together,
    twice as many. The counts are logged within SUMMARY_S.
    """

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._all = _Allowance(2 * lines)
        self._peers: dict[tuple[str, str], _Allowance] = {}
        self._since: float | None = None

    def admits(self, name: str, address: str) -> bool:
        """Return whether an event of a peer is to be logged; if not, it is counted."""
        now = time.monotonic()
        if self._since is not None and now - self._since > SUMMARY_S:
            self.flush()
        key = (name, address[:MAX_TEXT])
        if key not in self._peers and len(self._peers) >= MAX_PEERS:
            self._peers = {k: peer for k, peer in self._peers.items() if peer.counted or peer.left(now) < self._lines}
            if len(self._peers) >= MAX_PEERS:
                key = (name, "others")
        peer = self._peers.setdefault(key, _Allowance(self._lines))
        if peer.take(now) and self._all.take(now):
            return True
        peer.counted += 1
        if self._since is None:
            self._since = now
            with suppress(RuntimeError):  # no loop runs here: the next event says it
                asyncio.get_running_loop().call_later(SUMMARY_S, self.flush)
        return False

    def flush(self) -> None:
        """Log what was counted."""
        since, self._since = self._since, None
        for (name, address), peer in self._peers.items():
            if since is not None and peer.counted:
                seconds = f"{time.monotonic() - since:.0f}"
                event(logging.WARNING, "repeats_counted", event=name, peer=address, count=peer.counted, seconds=seconds)
                peer.counted = 0


class _HistoryHandler(RotatingFileHandler):
    """A rotating file. A new one starts with the server's own events of the old one: refusals can't push them out."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Return whether the file is full, or another worker has renamed it."""
        return self._is_old() or bool(super().shouldRollover(record))

    def doRollover(self) -> None:
        """Start a new file, or open the one that another worker has started."""
        with suppress(FileNotFoundError), open(self.baseFilename, encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one worker renames it; the others wait, and find another file then
            if self.stream and not self._is_old():
                self._start_next(file)
                return
        if self.stream:
            self.stream.close()
            self.stream = None  # emit opens it

    def _start_next(self, file: Iterable[str]) -> None:
        own = [line for line in file if BY_STRANGERS.isdisjoint(line.split(maxsplit=2)[1:2])]
        super().doRollover()
        room, first = self.maxBytes // 2, len(own)
        while first and room >= len(own[first - 1]):
            first -= 1
            room -= len(own[first])
        if self.stream:
            self.stream.writelines(own[first:])

    def _is_old(self) -> bool:
        if self.stream is None:
            return False
        try:
            return not os.path.samestat(os.stat(self.baseFilename), os.fstat(self.stream.fileno()))
        except FileNotFoundError:
            return True


_repeats = Repeats(DEFAULTS["logged_refusals"])
_handlers: list[logging.Handler] = []  # what `configure` has added
_OF_RECORDS = {*vars(logging.makeLogRecord({})), "asctime", "event", "message"}


def configure(settings: Settings) -> None:
    """Send events where the program's own configuration of logging says, to stderr if there is none, and to a file.

    Called again, it replaces what it has done before.

    Raises:
        SettingsError: the file can't be written.
    """
    global LOGGER, _repeats
    flush_repeats()
    forget()
    LOGGER = logging.getLogger(settings.logger)
    LOGGER.disabled = False  # a configuration disables what it does not name, unless it says otherwise
    _repeats = Repeats(settings.logged_refusals)
    handlers: list[logging.Handler] = []
    if not LOGGER.hasHandlers():
        handlers.append(logging.StreamHandler(sys.stderr))
        LOGGER.propagate = False
    if settings.log_file:
        try:
            handlers.append(_HistoryHandler(settings.log_file, maxBytes=_FILE_BYTES, backupCount=1))
        except OSError as error:
            fact = f"{settings.log_file}: {error.strerror}"
            raise SettingsError("log_file", fact, ("log_file", "")) from None
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        LOGGER.addHandler(handler)
        _handlers.append(handler)
    if handlers and LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)
    for name in _UVICORNS:
        logging.getLogger(name).addFilter(_bound)
    # Of `cryptography`, about a name in a certificate: a line for each length that a stranger thinks of.
    warnings.filterwarnings("ignore", "Attribute's length must be", UserWarning)


def forget() -> None:
    """Undo `configure`: events are what any other library's are."""
    for handler in _handlers:
        LOGGER.removeHandler(handler)
        handler.close()
    if _handlers:
        LOGGER.setLevel(logging.NOTSET)
        LOGGER.propagate = True
        _handlers.clear()
    for name in _UVICORNS:
        logging.getLogger(name).removeFilter(_bound)


def event(level: int, name: str, /, **fields: object) -> None:
    """Log an event. Fields that are None are left out; one that log records have already gets a `_` behind it."""
    known = {key: value for key, value in fields.items() if value is not None}
    text = " ".join((name, *(f"{key}={_value(value)}" for key, value in known.items())))
    extra = {f"{key}_" if key in _OF_RECORDS else key: _attribute(value) for key, value in known.items()}
    LOGGER.log(level, "%s", text, extra={**extra, "event": name})


def _attribute(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    return str(value) if isinstance(value, Own) else escaped(str(value))


def admits(name: str, address: str) -> bool:
    """Return whether an event of a peer is to be logged now; if not, it is counted (`Repeats`)."""
    return _repeats.admits(name, address)


def flush_repeats() -> None:
    """Log what was counted so far."""
    _repeats.flush()


def escaped(text: str) -> str:
    """Return a text as it may stand in a line: MAX_TEXT printable characters, and how many more there were."""
    if len(text) <= MAX_TEXT and _is_printable(text) and '"' not in text and "\\" not in text:
        return text
    shown, count = "", 0
    for piece in map(_escape, text[:MAX_TEXT]):
        if len(shown) + len(piece) > MAX_TEXT:
            break
        shown, count = shown + piece, count + 1
    return shown if count == len(text) else f"{shown}...[{len(text) - count} more characters]"


def _value(value: object) -> str:
    text = str(value)
    if isinstance(value, Own):
        return f'"{_escape(text)}"'
    if len(text) <= MAX_TEXT and _PLAIN.fullmatch(text) and '"' not in text:
        return text
    return f'"{escaped(text)}"'


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1].replace("\x7f", r"\u007f")


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _bound(record: logging.LogRecord) -> bool:
    """Cut and escape the texts of a record that is not ours; a filter of its logger."""
    if isinstance(record.args, tuple):
        record.args = tuple(_argument(argument) for argument in record.args)
    if record.exc_info and record.exc_info[0]:
        record.exc_text = _traceback(record.exc_info)
    return True


def _argument(argument: object) -> object:
    if isinstance(argument, BaseException):
        argument = str(argument)
    return escaped(argument) if isinstance(argument, str) else argument


def _traceback(error: Any) -> str:
    """Return a traceback, indented, so that no line in an error's text is taken for an event."""
    lines = "".join(traceback.format_exception(*error)).splitlines()
    half = MAX_TRACEBACK // 2
    if len(lines) > MAX_TRACEBACK:
        lines[half:-half] = [f"...[{len(lines) - 2 * half} more lines]"]
    short = (line if len(line) <= MAX_TEXT and _is_printable(line) else escaped(line) for line in lines)
    return "\n".join(f"  {line}" for line in short)
