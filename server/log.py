"""Log lines of the form `LEVEL event key=value`: one line an event, on stderr and, if asked, in a file.

A value with a space, a quote or a control character is written as JSON, so a line can't be forged by a name
in a certificate.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOGGER = logging.getLogger("lab")
_PLAIN = re.compile(r"[!-~]+")
_FILE_BYTES = 1_000_000


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


def forget() -> None:
    """Undo `configure`: events are what any other library's are."""
    LOGGER.handlers = []
    LOGGER.setLevel(logging.NOTSET)
    LOGGER.propagate = True


def event(level: int, name: str, **fields: object) -> None:
    """Log an event. Fields that are None are left out."""
    pairs = (f"{key}={_value(value)}" for key, value in fields.items() if value is not None)
    LOGGER.log(level, "%s", " ".join((name, *pairs)))


def _value(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) and '"' not in text else json.dumps(text)
