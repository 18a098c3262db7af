"""The commands for people. In a container, files come in by stdin and leave by stdout."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import catalogue
from ca import adopt, bundle, inspect, names, people, requests
from ca.issue import ledger
from ca.store import Store
from catalogue import LabError, say, visible, word

_MAX_BYTES = 1024 * 1024


def add(commands: Any) -> None:
    """Add the commands to those of `python -m ca`."""
    sign = commands.add_parser("sign", help="sign a request (PEM or DER); print the certificate and its chain")
    sign.add_argument("file", help="the request, or - for stdin")
    sign.add_argument("--name", default="", help="whom you know it to be from; must be its common name")
    sign.add_argument("--shown-as", default="bob.csr", help="the name of the file that stdin is read from")
    sign.set_defaults(run=_sign)
    issue = commands.add_parser("issue-client", help="make a key and a certificate for a person or a service")
    issue.add_argument("name")
    issue.add_argument("--email", action=argparse.BooleanOptionalAction, default=True)
    issue.add_argument("--key-type", default=people.KEY_TYPE, help=", ".join(people.KEY_TYPES))
    issue.set_defaults(run=_issue_client)
    for parser in (sign, issue):
        parser.add_argument("--ou", action="append", default=[], help="an organizational unit; again for another")
        parser.add_argument("--uri", action="append", default=[], help=f"like spiffe://{requests.DOMAIN}/people/bob")
        parser.add_argument("--days", default="", help=f"{people.DAYS}, or until its issuer ends if that is sooner")
        parser.add_argument("--replace", action="store_true", help="take the place of an earlier one of that name")
    check = commands.add_parser("check-name", help="print why a person's certificate can't have a name; or nothing")
    check.add_argument("name")
    check.set_defaults(run=lambda _, arguments: print(names.problem(arguments.name)))
    export = commands.add_parser("export-p12", help="write a client's key and certificates to stdout, as PKCS#12")
    export.add_argument("name")
    export.add_argument("--legacy", action="store_true", help="3DES and SHA-1, for older macOS, Windows and Java")
    export.add_argument("--password", default=bundle.DEFAULT_PASSWORD)
    export.set_defaults(run=_export)
    look = commands.add_parser("inspect", help="say what is in a certificate, chain, request, list, bundle or key")
    look.add_argument("file", help="PEM or DER, or - for stdin")
    look.add_argument("--password", default=bundle.DEFAULT_PASSWORD, help="of a PKCS#12 bundle")
    look.set_defaults(run=_inspect)
    own = commands.add_parser("adopt", help="issue clients below the intermediate on stdin: certificates, then its key")
    own.add_argument("--none", action="store_true", help="go back to the lab's own intermediate")
    own.set_defaults(run=_adopt)


def _sign(store: Store, arguments: argparse.Namespace) -> None:
    wish = requests.read(_read(arguments.file))
    desk = people.Desk(store, catalogue.load(), say)
    units, uris = tuple(arguments.ou), tuple(arguments.uri)
    again, file = arguments.replace, arguments.shown_as
    days = _days(arguments.days, people.signing(file, arguments.name or wish.common_name, units, uris, again=again))
    pem = desk.sign(wish, arguments.name, days, units=units, uris=uris, again=again, file=file)
    print(pem.decode(), end="")


def _issue_client(store: Store, arguments: argparse.Namespace) -> None:
    desk = people.Desk(store, catalogue.load(), say)
    units, uris = tuple(arguments.ou), tuple(arguments.uri)
    key_type, again = arguments.key_type, arguments.replace
    days = _days(arguments.days, people.issuing(arguments.name, units, uris, key_type, again=again))
    desk.issue(arguments.name, units, uris, days, key_type, email=arguments.email, again=again)


def _export(store: Store, arguments: argparse.Namespace) -> None:
    if sys.stdout.isatty():
        cure = f"make export-p12 NAME={word(arguments.name, 'client-good')}"
        raise LabError(f"could not export {arguments.name}", "stdout is a terminal, and a bundle is binary", cure)
    data = bundle.export(store, ledger(store), arguments.name, arguments.password, legacy=arguments.legacy)
    sys.stdout.buffer.write(data)
    kind = "3DES and SHA-1, for older importers" if arguments.legacy else "AES-256"
    shown = arguments.password if arguments.password == bundle.DEFAULT_PASSWORD else "as given"
    say(f"bundled {arguments.name} ({kind}); its password: {shown}")


def _inspect(_: Store, arguments: argparse.Namespace) -> None:
    warnings.simplefilter("ignore")  # what is odd about a file is said in the words about it
    print(inspect.describe(_read(arguments.file), arguments.password))


def _adopt(store: Store, arguments: argparse.Namespace) -> None:
    if arguments.none:
        there = adopt.leave(store)
        say("back to the lab's own validation-intermediate" if there else "no intermediate was adopted")
        return
    held, changed = adopt.adopt(store, _read("-"))
    name = visible(held.certificate.subject.rfc4514_string())
    if changed:
        say(f"adopted {name}; back to the lab's own: make up LAB_VALIDATION_CA_CERT=none")
    if not any(c.subject == c.issuer for c in held.above):
        say("its root was not given: servers that want a root in their trust file need it after the intermediate")


def _read(file: str) -> bytes:
    look = f"ls -l {word(file, '.')}"
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise LabError(f"could not read {file}", error.strerror or str(error), look) from None
    if len(data) > _MAX_BYTES:
        raise LabError(f"could not read {file}", "it is larger than 1 MiB", look)
    return data


def _days(text: str, used: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise LabError("could not issue", f"{text!r} is no number of days", f"{used} DAYS={people.DAYS}")
    return int(text)
