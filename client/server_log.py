"""The verify error behind a refusal: the server tells its client only the alert, and its log the rest."""

from __future__ import annotations

import re
from pathlib import Path


class ServerLog:
    """Finds in the server's log why a connection was refused. Open it before the attempt."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._start = path.stat().st_size if path and path.exists() else 0

    def verify_code(self, local_port: int) -> int | None:
        """Return the verify error for the connection from a local port, or None if the log does not say."""
        if not self._path or not self._path.exists():
            return None
        with self._path.open("rb") as file:
            file.seek(self._start if self._start <= self._path.stat().st_size else 0)  # it may have been rotated
            text = file.read().decode(errors="replace")
        match = re.search(rf"handshake_refused peer=\S+:{local_port} .*\bverify_code=(\d+)", text)
        return int(match[1]) if match else None
