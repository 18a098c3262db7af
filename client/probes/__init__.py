"""The tools that present credentials. A probe is a name, a command that a person could type, and a run of the same."""

from __future__ import annotations

from typing import Protocol

from catalogue import LabError, Tool, nearest
from client.lab import Attempt
from client.observe import Observed
from client.probes.curl import Curl
from client.probes.gnutls import GnuTls, Wget
from client.probes.node import Node
from client.probes.openssl import OpenSsl
from client.probes.raw import Raw
from client.probes.with_httpx import WithHttpx
from client.probes.with_requests import WithRequests


class Probe(Protocol):
    """One tool."""

    name: Tool

    def version(self) -> str | None:
        """Return the tool's version in words, or None if it is not installed."""

    def openssl(self) -> tuple[int, ...] | None:
        """Return the version (major, minor) of the OpenSSL that the tool is built on, None for another library."""

    def lacks(self, attempt: Attempt) -> str | None:
        """Return why this tool, which is installed, can't make an attempt, or None if it can."""

    def command(self, attempt: Attempt) -> str:
        """Return the shell command that makes the attempt."""

    def run(self, attempt: Attempt) -> Observed:
        """Make the attempt. Never raises for what a server or a credential does."""


_ALL: tuple[Probe, ...] = (Raw(), WithRequests(), WithHttpx(), Curl(), OpenSsl(), Wget(), Node(), GnuTls())
PROBES: dict[str, Probe] = {probe.name: probe for probe in _ALL}


def chosen(names: str) -> tuple[Probe, ...]:
    """Find the probes of a list with commas, in the order of the reports; all if it is empty.

    Raises:
        LabError: there is none of one of the names.
    """
    cure = "make matrix PROBE=raw,curl"
    wanted = [probe(name.strip(), cure).name for name in names.split(",")] if names.strip() else list(PROBES)
    return tuple(one for one in PROBES.values() if one.name in wanted)


def probe(name: str, cure: str = "make probe S=client-good PROBE=raw") -> Probe:
    """Find a probe.

    Raises:
        LabError: there is none of that name.
    """
    if name not in PROBES:
        raise LabError(
            f"could not find the probe {name or '(none was named)'}",
            nearest(name, PROBES),
            cure,
        )
    return PROBES[name]
