"""Check the names of people's certificates. The lab's own names, now or later, are refused, and so are serial numbers.

Everything that was issued is known by its name: in the ledger, in the folders, to `make revoke`. The lab's own names
come from the catalogue and from rotation, which makes new ones; so whole families of names are its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import ca.clients
import ca.servers  # noqa: F401  # each registers its credentials
from ca.credentials import CLIENTS, SERVERS, healthcheck, pebble, proxy, recipes
from ca.entry import superseded
from ca.store import PERSON
from catalogue.manifest import Issued

_NAME = re.compile(r"(?=.{1,64}$)[a-z][a-z0-9]*(-[a-z0-9]+)*")
_AUTHORITY = re.compile(r"(validation|public|untrusted)-.*")
_OTHER = re.compile(r"(client|server)-.*|.*-(root|intermediate)")
_SERIAL = re.compile(r"[0-9a-f]{16,}")  # they have some 40 digits; 16 are the least that a public CA may use


def problem(name: str) -> str:
    """Return why a person's certificate can't have a name, or nothing if it can."""
    if not _NAME.fullmatch(name):
        return "a name is lower-case words, digits too, joined by hyphens, of 64 characters at most"
    if _SERIAL.fullmatch(name):
        return "it could be the serial number of a certificate: it has hexadecimal digits only"
    if _AUTHORITY.fullmatch(name) or _OTHER.fullmatch(name) or name in _own():
        families = "client-, server-, validation-, public- or untrusted-, or end in -root or -intermediate"
        return f"it is the lab's own name, as are those that begin with {families}"
    return ""


def release(entries: dict[str, Issued], wanted: Iterable[str], say: Callable[[str], None]) -> None:
    """Take from people the names that the lab needs: an earlier version issued them. Says so.

    Such a certificate stays valid, and in the ledger as NAME@SERIAL, to be revoked by its serial number.
    """
    needed = set(wanted)
    for name in [n for n, e in entries.items() if e.role == PERSON and (n in needed or _AUTHORITY.fullmatch(n))]:
        entry = entries.pop(name)
        entries |= superseded(name, entry)
        say(f"{name}: a person has this name, and the lab needs it; the person's is now {name}@{entry.serial}")
        say(f"  valid until {entry.not_after[:10]}, unless: make revoke CREDENTIAL={entry.serial}")


def _own() -> set[str]:
    made = {recipe.name for name in (*CLIENTS, *SERVERS) for recipe in recipes(name)}
    return made | {recipe.name for recipe in (healthcheck(), proxy(), pebble())}
