"""The tools that present credentials. A probe is a name, a command that a person could type, and a run of the same."""

from __future__ import annotations

from typing import Protocol

from catalogue import LabError, Tls, nearest
from client.lab import Attempt
from client.observe import Observed
from client.probes.curl import Curl
from client.probes.openssl import OpenSsl
from client.probes.raw import Raw
from client.probes.with_requests import WithRequests
from client.server_log import ServerLog


class Probe(Protocol):
    """One tool."""

    name: str

    def version(self) -> str | None:
        """Return the tool's version in words, or None if it is not installed."""

    def lacks(self, tls: Tls) -> str | None:
        """Return why this tool can't be used here in a TLS version, or None if it can."""

    def command(self, attempt: Attempt) -> str:
        """Return the shell command that makes the attempt."""

    def run(self, attempt: Attempt, log: ServerLog) -> Observed:
        """Make the attempt. Never raises for what a server or a credential does."""


PROBES: dict[str, Probe] = {probe.name: probe for probe in (Raw(), WithRequests(), Curl(), OpenSsl())}


def probe(name: str) -> Probe:
    """Find a probe.

    Raises:
        LabError: there is none of that name.
    """
    if name not in PROBES:
        raise LabError(
            f"could not find the probe {name or '(none was named)'}",
            nearest(name, PROBES),
            "make probe S=client-good PROBE=raw",
        )
    return PROBES[name]
