"""Why a client was refused: a server tells it only the alert, and its log the rest."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_REFUSED = "handshake_refused"


@dataclass(frozen=True)
class Refusal:
    """A line of the server's log about a refused handshake."""

    line: str

    @property
    def verify_code(self) -> int | None:
        """OpenSSL's X509_V_ERR number, or None where the certificate was not what was wrong."""
        match = re.search(r"\bverify_code=(\d+)", self.line)
        return int(match[1]) if match else None


class ServerLog:
    """Finds in the server's log why a connection was refused. Open it before the attempt."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._start = path.stat().st_size if path and path.exists() else 0

    def by_port(self, local_port: int) -> Refusal | None:
        """Return what the log says of the connection from a local port, or None."""
        return self._find(rf"{_REFUSED} peer=\S+:{local_port} ")

    def by_subject(self, subject: str, tls: str) -> Refusal | None:
        """Return what the log has said since it was opened of a certificate's subject, in a TLS version, or None."""
        quoted = re.escape(json.dumps(subject or "(empty)")[1:-1])
        return self._find(rf'{_REFUSED} peer=\S+ subject="?{quoted}"? .*\btls={re.escape(tls)}')

    def _find(self, pattern: str) -> Refusal | None:
        if not self._path or not self._path.exists():
            return None
        with self._path.open("rb") as file:
            file.seek(self._start if self._start <= self._path.stat().st_size else 0)  # it may have been rotated
            text = file.read().decode(errors="replace")
        match = re.search(rf"^.*{pattern}.*$", text, re.M)
        return Refusal(match[0]) if match else None
