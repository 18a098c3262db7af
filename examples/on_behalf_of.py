"""The header that names the client a service asks for: `On-Behalf-Of: sha256=<64 hex digits>;name=<percent-encoded>`.

The fingerprint identifies the client's certificate: a subject may be empty, and two CAs may issue the same one. The
name is for people and logs. The header is that service's word, not a proof.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from asgi_mtls import ClientIdentity, unsafe_character

HEADER = "On-Behalf-Of"
MAX_NAME = 256  # characters: a subject may have 40,000
_VALUE = re.compile(r"sha256=([0-9a-f]{64});name=(.+)")


@dataclass(frozen=True)
class Party:
    """A client: `sha256` of its certificate, in lower-case hex, and a name that is never empty."""

    sha256: str
    name: str


def party(identity: ClientIdentity) -> Party:
    """Return what to call a client: its subject, its first alternative name, or its fingerprint."""
    name = identity.subject or next(iter(identity.sans), "") or f"sha256:{identity.sha256}"
    return Party(identity.sha256, name[:MAX_NAME])


def headers(caller: Party) -> dict[str, str]:
    """Return the header that names the client we ask for.

    It is made from the verified certificate: what the caller itself sent under this name is not passed on. A name may
    hold anything, line ends included, hence the percent-encoding.
    """
    return {HEADER: f"sha256={caller.sha256};name={quote(caller.name, safe='')}"}


def read(values: Sequence[str]) -> Party | None:
    """Return the client named by the values that a request has of the header, or None if it has none.

    Raises:
        ValueError: it has several, or one that `headers` does not make. The first of two would be a guess, and None
            would turn a request for a client into the service's own.
    """
    if not values:
        return None
    if len(values) > 1:
        raise ValueError(f"the request has {len(values)} headers {HEADER}")
    match = _VALUE.fullmatch(values[0])
    name = unquote(match[2]) if match else ""
    if not match or quote(name, safe="") != match[2] or unsafe_character(name):
        raise ValueError(f"{HEADER} is not sha256=<64 hex digits>;name=<percent-encoded>")
    return Party(match[1], name)
