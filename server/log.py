"""Log lines of the form `LEVEL event key=value`: one line an event, on stderr and, if asked, in a file.

Text may have come from the network: of a value MAX_TEXT characters stand in a line, and one with a space, a quote or a
control character is written as JSON, so a line can't be forged by a name in a certificate. The same holds for what
Uvicorn logs.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
import warnings
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("lab")
MAX_TEXT = 512  # characters of a value, as they stand in a line
MAX_TRACEBACK = 200  # lines
_PLAIN = re.compile(r"[!-~]+")
_FILE_BYTES = 1_000_000
_OTHERS = ("uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error", "asyncio")


class Own(str):
    """Text of whoever runs the server, which is not cut."""

    __slots__ = ()


def configure(file: Path | None = None) -> None:
    """Send the lab's events to stderr and to a file of at most 2 MB (with the one before it)."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file:
        handlers.append(RotatingFileHandler(file, maxBytes=_FILE_BYTES, backupCount=1))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    LOGGER.handlers = handlers
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    for name in _OTHERS:
        logging.getLogger(name).addFilter(_bound)
    # Of `cryptography`, about a name in a certificate: a line for each length that a stranger thinks of.
    warnings.filterwarnings("ignore", "Attribute's length must be", UserWarning)


def forget() -> None:
    """Undo `configure`: events are what any other library's are."""
    LOGGER.handlers = []
    LOGGER.setLevel(logging.NOTSET)
    LOGGER.propagate = True
    for name in _OTHERS:
        logging.getLogger(name).removeFilter(_bound)


def event(level: int, name: str, **fields: object) -> None:
    """Log an event. Fields that are None are left out."""
    pairs = (f"{key}={_value(value)}" for key, value in fields.items() if value is not None)
    LOGGER.log(level, "%s", " ".join((name, *pairs)))


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
