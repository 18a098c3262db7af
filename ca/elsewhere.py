"""Serve a certificate that another CA issued: Let's Encrypt, its test server, or one's own CA.

It is checked as a client would check it. Recorded are the name by which clients have to ask for the server, and the
root that they have to believe; issuing then publishes both. A key, if one is given, is copied to where the server
reads it.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from ca import plain_key
from ca.certificates import UNREADABLE
from ca.store import FULLCHAIN, KEY, Store, write_changed
from catalogue import LabError, visible, word

STATE = "elsewhere.json"
FOLDER = "elsewhere"  # of the server, with fullchain.pem and privkey.pem
ROOTS = b"\n# roots\n"  # the line between a certificate with its chain and key, and the roots that may vouch for it
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_CURE = (
    "make up LAB_SERVER_CERT_DIR=<folder with fullchain.pem, privkey.pem and, unless the system trusts it, root.pem>"
)


@dataclass(frozen=True)
class Elsewhere:
    """By which name clients ask, and what they believe: a root in PEM."""

    name: str
    root: str


@dataclass(frozen=True)
class Checked:
    """A certificate that a client would accept. `fullchain` and `key` are PEM; `key` is empty if none was given."""

    name: str
    serial: str
    fullchain: bytes
    key: bytes
    root: bytes


def read(store: Store) -> Elsewhere | None:
    """Return what was recorded, or None if the lab's own CA issued what is served.

    Raises:
        LabError: the record is corrupt.
    """
    path = store.private / STATE
    if not path.exists():
        return None
    try:
        return Elsewhere(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise LabError(f"could not read {path}", f"it is corrupt ({error})", "make clean up") from None


def record(store: Store, checked: Checked) -> None:
    """Keep a certificate that was checked; the key is written first, as the server expects it."""
    with store.locked():
        folder = store.server / FOLDER
        if not checked.key:
            _forget_key(store)
        else:
            folder.mkdir(mode=0o700, exist_ok=True)
            write_changed(folder / KEY, checked.key, 0o600)
            write_changed(folder / FULLCHAIN, checked.fullchain)
        kept = {"name": checked.name, "root": checked.root.decode()}
        write_changed(store.private / STATE, (json.dumps(kept, indent=2) + "\n").encode(), 0o600)


def leave(store: Store) -> None:
    """Go back to what the lab's own CA issued; the key of another's certificate is forgotten."""
    with store.locked():
        (store.private / STATE).unlink(missing_ok=True)
        _forget_key(store)


def check(text: bytes, wanted: tuple[str, ...] = (), *, with_key: bool = False) -> Checked:
    """Return what a client would accept.

    Args:
        text: PEM: the leaf, its intermediates, the key if there is to be one, the line ROOTS, and roots.
        wanted: `DNS:` names that the certificate must have; clients ask for the first.

    Raises:
        LabError: a client would refuse it; says why.
    """
    own, _, below = text.partition(ROOTS)
    blocks = _CERTIFICATE.findall(own)
    if not blocks:
        raise _refused("fullchain.pem holds no certificate in PEM")
    try:
        leaf, *chain = (x509.load_pem_x509_certificate(block) for block in blocks)
        dns = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        raise _refused("its certificate has no subjectAltName, and so no name that a client looks at") from None
    except UNREADABLE as error:
        raise _refused(f"fullchain.pem can't be understood ({visible(str(error))})") from None
    key = _key(own, leaf) if with_key else b""
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc < now:
        raise _refused(f"its certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC", "renew it")
    if leaf.not_valid_before_utc > now:
        raise _refused(f"its certificate is valid only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", "date -u")
    name = _name(dns, wanted)
    root = _root(leaf, chain, name, _certificates(below))
    fullchain = b"".join(block + b"\n" for block in blocks)
    return Checked(name, f"{leaf.serial_number:x}", fullchain, key, root.public_bytes(Encoding.PEM))


def _forget_key(store: Store) -> None:
    for name in (KEY, FULLCHAIN):
        (store.server / FOLDER / name).unlink(missing_ok=True)


def _key(pem: bytes, leaf: x509.Certificate) -> bytes:
    try:
        key, block = plain_key.read(pem)
    except plain_key.UnusableKeyError as error:
        cure = "openssl pkey -in privkey.pem -out plain.pem, and use that as privkey.pem" if error.encrypted else _CURE
        raise _refused(f"privkey.pem {error}", cure) from None
    if key.public_key() != leaf.public_key():
        raise _refused("privkey.pem is not the key of the first certificate in fullchain.pem")
    return block


def _name(dns: list[str], wanted: tuple[str, ...]) -> str:
    """Return the name by which clients ask: the first that is wanted, or the first that is no wildcard."""
    wishes = [san.removeprefix("DNS:") for san in wanted if san.startswith("DNS:")]
    for wish in wishes:
        if not {wish, f"*.{wish.partition('.')[2]}"} & {name.lower() for name in dns}:
            fact = f"LAB_SERVER_NAMES has {wish}, and its certificate is for {visible(', '.join(dns)) or 'no DNS name'}"
            names = word(f"LAB_SERVER_NAMES={next(iter(dns), '')}", "LAB_SERVER_NAMES=...")
            raise _refused(fact, f"make up {names} ...")
    plain = [*wishes, *(name for name in dns if not name.startswith("*"))]
    if not plain:
        fact = f"its certificate is for {visible(', '.join(dns)) or 'no DNS name'}: no name to ask for"
        raise _refused(fact, "make up LAB_SERVER_NAMES=<one of the names that it covers> ...")
    return min(plain, key=lambda name: name == "localhost")


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates that can be understood: a system's roots are old, and many."""
    known = []
    for block in _CERTIFICATE.findall(pem):
        with suppress(*UNREADABLE):
            known.append(x509.load_pem_x509_certificate(block))
    return known


def _root(
    leaf: x509.Certificate, chain: list[x509.Certificate], name: str, roots: list[x509.Certificate]
) -> x509.Certificate:
    """Return which of the roots vouches for a leaf, as a strict client finds it."""
    if not roots:
        raise _refused("root.pem holds no certificate in PEM")
    builder = verification.PolicyBuilder().store(verification.Store(roots))
    try:
        return builder.build_server_verifier(x509.DNSName(name)).verify(leaf, chain)[-1]
    except verification.VerificationError as error:
        issuer = (chain or [leaf])[-1].issuer.rfc4514_string()
        fact = f"no root vouches for its certificate, which {visible(issuer)} issued ({visible(str(error))})"
        cure = "put the root of that CA into root.pem, beside fullchain.pem, which needs the intermediates"
        raise _refused(fact, cure) from None


def _refused(fact: str, cure: str = _CURE) -> LabError:
    return LabError("could not serve the certificate of another CA", fact, cure)
