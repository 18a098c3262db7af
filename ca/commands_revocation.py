"""The commands that revoke and rotate: `revoke`, `unrevoke`, `crl`, `rotate`."""

from __future__ import annotations

import argparse
import os
from typing import Any

import catalogue
from ca import revocation, rotation
from ca.crl import ON_HOLD, REASONS, UNSPECIFIED
from ca.issue import issue, ledger
from ca.rotation import Step, What
from ca.store import PERSON, RETIRED, Store
from catalogue import say


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands to a parser. Each sets `run`, which is called with the store and the arguments."""
    revoke = commands.add_parser("revoke", help="revoke a certificate of the validation PKI")
    revoke.add_argument("name")
    revoke.add_argument("--reason", default="", help=f"one of {', '.join(REASONS)}")
    revoke.set_defaults(run=_revoke)
    unrevoke = commands.add_parser("unrevoke", help="take a certificate off its issuer's list")
    unrevoke.add_argument("name")
    unrevoke.set_defaults(run=_unrevoke)
    commands.add_parser("crl", help="print the revocation lists in words").set_defaults(run=_crl)
    rotate = commands.add_parser("rotate", help="issue anew the server's certificate, an intermediate or a root")
    rotate.add_argument("what", metavar="server|intermediate|root")
    rotate.add_argument("--step", default="", help="of a root's rotation: introduce, move, retire; else the next")
    rotate.set_defaults(run=_rotate)


def _revoke(store: Store, arguments: argparse.Namespace) -> None:
    done = revocation.revoke(store, arguments.name, arguments.reason or UNSPECIFIED)
    print(f"revoked {done.name}: {done.reason}, serial {done.serial}, at {done.at}")
    for serial in revocation.earlier(store, arguments.name):
        print(f"an earlier {arguments.name} is still valid: make revoke CREDENTIAL={serial}")


def _unrevoke(store: Store, arguments: argparse.Namespace) -> None:
    known = revocation.unrevoke(store, arguments.name)
    print(f"{known.name} is no longer revoked ({known.reason}, since {known.at})")
    if known.reason != ON_HOLD:
        print("a real CA could not: only certificateHold may be lifted (RFC 5280 5.3.1); it would issue another")


def _crl(store: Store, arguments: argparse.Namespace) -> None:
    print(revocation.describe(store))


def _rotate(store: Store, arguments: argparse.Namespace) -> None:
    what, step = rotation.parse(arguments.what, arguments.step)
    ledger(store)  # nothing issued yet, nothing to rotate
    before = rotation.read(store)
    if before.unfinished:
        say(f"completing the rotation of the {before.unfinished} that was interrupted")
        _issue(store, None)
        if before.unfinished == what and step in (None, before.step):
            _report(store, what)
            return
    if what is What.ROOT and (step or before.step.next) is Step.RETIRE:
        _warn_of_people(store)
    _issue(store, (what, step))
    _report(store, what)


def _issue(store: Store, rotate: tuple[What, Step | None] | None) -> None:
    def tell(line: str) -> None:
        if not line.startswith("issued "):  # those are too many: their number is said
            say(line)

    done = issue(catalogue.load(), store, os.environ.get("LAB_SERVER_NAMES", ""), tell, rotate)
    say(f"certificates: {len(done.issued)} issued, {done.kept} kept")


def _report(store: Store, what: What) -> None:
    """Print what is now: who issues, who is trusted, whose lists are published still."""
    now = rotation.read(store)
    entries = ledger(store)
    if what is What.SERVER:
        print(f"server-good has a new key; serial {entries[catalogue.GOOD_SERVER].serial}")
        return
    trusted = [name for anchor in (rotation.INTERMEDIATE, rotation.ROOT) for name in (anchor, *now.trusted_too(anchor))]
    print(f"signs clients   {entries[rotation.INTERMEDIATE].subject}")
    for name in trusted:
        print(f"trusted         {entries[name].subject}" + (" (retired)" if entries[name].role == RETIRED else ""))
    for retired in now.retired:
        if retired.name not in trusted:
            print(f"lists only      {entries[retired.name].subject} (until its last leaf expires, {retired.until})")
    if what is What.ROOT:
        print(f"step            {now.step}; the next is {now.step.next}")


def _warn_of_people(store: Store) -> None:
    """Say whose certificates will be refused: those that the lab can't issue again, as their keys are elsewhere."""
    entries = ledger(store)
    current = entries[rotation.INTERMEDIATE].sha256
    names = sorted(n for n, e in entries.items() if e.role == PERSON and e.issuer_sha256 != current)
    if names:
        say(f"refused from now on, because the old root signed them: {', '.join(names)}")
