"""Ask without a pause, until told to stop, while somebody replaces what the server serves: is a request lost?"""

from __future__ import annotations

import http.client
import os
import select
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from catalogue import POSITIVE_CONTROL, Tls
from client.lab import Attempt, Lab
from client.observe import TIMEOUT_S
from client.probes.in_python import client_context, in_words, load_credential


@dataclass
class Steady:
    """What was seen: how many requests were answered, which failed, and the server's certificates in their order.

    `kept` are those on one connection that stays open, `new` those on a connection of their own. `serials` are in
    lower-case hex.
    """

    new: int = 0
    kept: int = 0
    failures: list[str] = field(default_factory=list)
    serials: list[str] = field(default_factory=list)


def run(lab: Lab, begun: Callable[[], None]) -> Steady:
    """Ask until standard input ends, and once more; call `begun` after the first round. A failure stops nothing."""
    attempt = lab.attempt(lab.catalogue.scenarios[POSITIVE_CONTROL], Tls.V13)
    context = client_context(attempt)
    load_credential(context, attempt)
    seen = Steady()
    kept: _Connection | None = None
    stopped, rounds = False, 0
    while True:
        try:
            once = _Connection(attempt, context)
            once.ask()
            once.close()
            seen.new += 1
            if not seen.serials or seen.serials[-1] != once.serial:
                seen.serials.append(once.serial)
        except (OSError, http.client.HTTPException) as error:
            seen.failures.append(f"on a connection of its own: {in_words(error)}")
        try:
            kept = kept or _Connection(attempt, context)
            kept.ask()
            seen.kept += 1
        except (OSError, http.client.HTTPException) as error:
            seen.failures.append(f"on the connection that is kept: {in_words(error)}")
            kept = None
        if not rounds:
            begun()
        rounds += 1
        if stopped:
            return seen
        stopped = bool(select.select([sys.stdin], [], [], 0)[0]) and not os.read(sys.stdin.fileno(), 1)


class _Connection(http.client.HTTPConnection):
    """A connection to the server, which does not come back when it was closed."""

    def __init__(self, attempt: Attempt, context: ssl.SSLContext) -> None:
        """Shake hands.

        Raises:
            OSError: that failed; ssl.SSLError is one.
        """
        view = attempt.view
        super().__init__(view.host, view.port, timeout=TIMEOUT_S)
        self.auto_open = 0
        self.path = attempt.scenario.path
        plain = socket.create_connection((view.connect_to, view.port), TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(plain, server_hostname=view.host)
        certificate = self.sock.getpeercert() or {}
        self.serial = f"{int(str(certificate.get('serialNumber', '0')), 16):x}"

    def ask(self) -> None:
        """Make a request.

        Raises:
            OSError, http.client.HTTPException: it was not answered as it should be.
        """
        self.request("GET", self.path)
        response = self.getresponse()
        response.read()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"HTTP status {response.status}")
