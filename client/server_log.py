"""Why a client was refused: a server tells it only the alert, and its log the rest."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

_REFUSED = "handshake_(?:refused|failed)"  # the lab's server; HAProxy, with what it was told to log
# HAProxy says two, one of them 0: of the leaf and of a CA above it. The last is nginx's way.
_VERIFY_CODE = re.compile(r"verify_code=(\d+)|certificate verify error: \((\d+):")
_POLL_S = 0.02


@dataclass(frozen=True)
class Refusal:
    """A line of the server's log about a refused handshake."""

    line: str

    @property
    def verify_code(self) -> int | None:
        """OpenSSL's X509_V_ERR number, or None where the certificate was not what was wrong."""
        codes = (int(ours or nginxs) for ours, nginxs in _VERIFY_CODE.findall(self.line))
        return next(filter(None, codes), None)


class ServerLog:
    """Finds in the server's log why a connection was refused. Open it before the attempt."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._start = path.stat().st_size if path and path.exists() else 0

    def by_port(self, local_port: int, wait_s: float = 0.0) -> Refusal | None:
        """Return what the log says of the connection from a local port, or None.

        Args:
            wait_s: how long to wait for it: a proxy writes the line when the client already has its answer.
        """
        deadline = time.monotonic() + wait_s
        while True:
            found = self._find(rf"{_REFUSED} peer=\S+:{local_port} ") or self._of_nginx(local_port)
            if found or time.monotonic() > deadline or not (self._path and self._path.exists()):
                return found
            time.sleep(_POLL_S)

    def by_subject(self, subject: str, tls: str) -> Refusal | None:
        """Return what the log has said since it was opened of a certificate's subject, in a TLS version, or None."""
        quoted = re.escape(json.dumps(subject or "(empty)")[1:-1])
        return self._find(rf'{_REFUSED} peer=\S+ subject="?{quoted}"? .*\btls={re.escape(tls)}')

    def _of_nginx(self, local_port: int) -> Refusal | None:
        """Find the connection's number in nginx's access log, and the reason by that in its error log."""
        request = self._find(rf"request peer=\S+:{local_port} connection=\d+ status=400 ")
        number = re.search(r"connection=(\d+)", request.line) if request else None
        return (
            self._find(rf" \*{number[1]} client (?:SSL certificate verify error|sent no required)") if number else None
        )

    def _find(self, pattern: str) -> Refusal | None:
        if not self._path or not self._path.exists():
            return None
        with self._path.open("rb") as file:
            file.seek(self._start if self._start <= self._path.stat().st_size else 0)  # it may have been rotated
            text = file.read().decode(errors="replace")
        match = re.search(rf"^.*{pattern}.*$", text, re.M)
        return Refusal(match[0]) if match else None
