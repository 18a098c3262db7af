"""`python -m ca`: issue, list, show, revoke and rotate the lab's certificates.

Reads LAB_STATE (the folder that holds ca-private, server-tls, client-tls and so on), LAB_SERVER_NAMES, and what is
to be served: LAB_SERVER_CREDENTIAL, LAB_TRUST and LAB_PUBLIC_CA.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import datetime
from pathlib import Path

import catalogue
from ca import commands_people, commands_revocation, elsewhere
from ca.entry import find
from ca.issue import issue, ledger, parse_names, serving
from ca.store import CERT, SUPERSEDED, Store
from catalogue import GOOD_SERVER, LabError, Trust, nearest, say, visible

_MAX_BYTES = 8 * 1024 * 1024  # of stdin: a system's roots are 0.2 MB


def main() -> int:
    """Run one command; print results on stdout, progress and errors on stderr. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ca", description="The lab's certificate authority.")
    commands = parser.add_subparsers(dest="command", required=True)
    issuing = commands.add_parser("issue", help="issue what is missing; print what the server's environment needs")
    issuing.set_defaults(run=_issue)
    other = commands.add_parser(
        "elsewhere", help="serve what another CA issued: certificate, chain, key, roots on stdin"
    )
    other.add_argument("--with-key", action="store_true", help="take the key, too, for the server to read")
    other.add_argument("--none", action="store_true", help="go back to what the lab's CA issued")
    other.set_defaults(run=_elsewhere)
    commands.add_parser("list", help="list everything that was issued").set_defaults(run=_list)
    show = commands.add_parser("show", help="print one certificate in words and as PEM")
    show.add_argument("name", help="or a serial number")
    show.set_defaults(run=_show)
    commands_revocation.add(commands)
    commands_people.add(commands)
    arguments = parser.parse_args()
    store = Store(Path(os.environ.get("LAB_STATE") or ".lab"))
    try:
        arguments.run(store, arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `make list | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LabError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2
    return 0


def _issue(store: Store, arguments: argparse.Namespace, *, again: bool = False) -> None:
    start = time.monotonic()
    known = catalogue.load()
    names = os.environ.get("LAB_SERVER_NAMES", "")
    acme = os.environ.get("LAB_PUBLIC_CA") == "acme"
    done = issue(known, store, names, say=say, acme=acme)
    duration_s = time.monotonic() - start
    if done.issued or not again:
        say(f"certificates: {len(done.issued)} issued, {done.kept} kept, in {duration_s:.2f} s")
    credential = os.environ.get("LAB_SERVER_CREDENTIAL") or GOOD_SERVER
    for variable, value in serving(done, known, credential, os.environ.get("LAB_TRUST") or Trust.FULLCHAIN).items():
        print(f"{variable}={value}")
    print(f"CLIENT_FILES={done.client_digest}")
    if other := elsewhere.read(store):
        print(f"LAB_ELSEWHERE={other.name}")


def _elsewhere(store: Store, arguments: argparse.Namespace) -> None:
    if arguments.none:
        elsewhere.leave(store)
    else:
        wanted = parse_names(os.environ.get("LAB_SERVER_NAMES", "")) if arguments.with_key else ()
        checked = elsewhere.check(sys.stdin.buffer.read(_MAX_BYTES), wanted, with_key=arguments.with_key)
        elsewhere.record(store, checked)
        print(f"LAB_ELSEWHERE_SERIAL={checked.serial}")
    _issue(store, arguments, again=True)


def _list(store: Store, arguments: argparse.Namespace) -> None:
    for name, entry in ledger(store).items():
        until = datetime.fromisoformat(entry.not_after)
        print(f"{name:32} {entry.role:13} until {until:%Y-%m-%d}  {visible(entry.subject)}")


def _show(store: Store, arguments: argparse.Namespace) -> None:
    name = arguments.name
    entries = ledger(store)
    if not name:
        raise LabError("could not show a certificate", "none was named", "make show NAME=client-good")
    found = find(entries, name)
    if found is None:
        raise LabError(f"could not show {name}", f"no such certificate; {nearest(name, entries)}", "make list")
    entry = entries[found]
    for label, value in (
        ("subject", entry.subject),
        ("issuer", entry.issuer),
        ("serial", entry.serial),
        ("sha256", entry.sha256),
        ("names", ", ".join(entry.sans) or "none"),
        ("usage", ", ".join(entry.eku) or "none"),
        ("valid", f"{entry.not_before} to {entry.not_after}"),
    ):
        print(f"{label:8} {visible(value)}")
    if entry.role == SUPERSEDED:
        print(f"another took its place; revoke it: make revoke CREDENTIAL={entry.serial}")
        return
    path = store.folder(entry.role, found) / CERT
    try:
        pem = path.read_text()
    except OSError as error:
        raise LabError(f"could not read {path}", error.strerror or str(error), "make up") from None
    print(pem, end="")


if __name__ == "__main__":
    sys.exit(main())
