"""What the ledger and the manifest record of a certificate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from ca.certificates import san_text
from ca.recipe import Recipe
from ca.store import CERT, CHAIN, FULLCHAIN, KEY, PERSON, SUPERSEDED
from catalogue.manifest import Issued

ELSEWHERE = "elsewhere"  # an issuer that is not here, and so has no fingerprint


def entry_of(
    recipe: Recipe,
    certificate: x509.Certificate,
    issuer_sha256: str,
    files: Mapping[str, str] = MappingProxyType({}),
) -> Issued:
    """Return what is recorded of a certificate; `issuer_sha256` is empty if it is its own issuer."""
    return Issued(
        role=recipe.role,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        sha256=sha256(certificate),
        sans=san_text(certificate),
        eku=recipe.eku,
        not_before=certificate.not_valid_before_utc.isoformat(),
        not_after=certificate.not_valid_after_utc.isoformat(),
        files=dict(files),
        recipe=recipe.digest(),
        issuer_sha256=issuer_sha256,
        pass_phrase=recipe.pass_phrase or "",
        key=key_kind(certificate.public_key()),
    )


def superseded(name: str, entry: Issued | None) -> dict[str, Issued]:
    """Return the entry, by name and serial, of a client's certificate that is replaced: it may have to be revoked."""
    if entry is None or entry.role not in ("client", PERSON):
        return {}
    if datetime.fromisoformat(entry.not_after) < datetime.now(UTC):
        return {}
    return {f"{name}@{entry.serial}": replace(entry, role=SUPERSEDED, files={})}


def find(entries: Mapping[str, Issued], text: str) -> str | None:
    """Return the name under which a certificate is recorded, or None.

    Args:
        text: its name or, if nothing has that name, its serial number: hexadecimal, in either case, with 0x, leading
            zeros or colons if need be, as tools print it.
    """
    if text in entries:
        return text
    serial = text.lower().removeprefix("0x").replace(":", "").lstrip("0")
    return next((name for name, entry in entries.items() if entry.serial == serial), None)


def client_files(name: str) -> dict[str, str]:
    """Return a client credential's files, relative to the manifest, by certbot's names."""
    files = {"cert": CERT, "chain": CHAIN, "fullchain": FULLCHAIN, "privkey": KEY}
    return {key: f"clients/{name}/{file}" for key, file in files.items()}


def sha256(certificate: x509.Certificate) -> str:
    """Return a certificate's fingerprint, SHA-256 of its DER in lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_kind(key: PublicKeyTypes) -> str:
    """Return a public key's kind and size in words, as `ca.recipe.Key` has them: `RSA 3072`, `EC P-256`."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
        return f"EC {names.get(key.curve.name, key.curve.name)}"
    return re.sub(r"^_|PublicKey$", "", type(key).__name__).replace("MLDSA", "ML-DSA-")
