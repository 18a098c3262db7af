"""Revocation lists of an issued state's CAs, made here and not by the lab's CA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pki
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.certificates import Credential
from ca.credentials import AUTHORITIES
from ca.store import Store


def authority(state: Path, name: str) -> Credential:
    """An issued authority, with those above it."""
    recipe = next(r for r in AUTHORITIES if r.name == name)
    issuer = None if recipe.issuer == "self" else authority(state, recipe.issuer)
    credential = Store(state).read(recipe, issuer)
    assert credential
    return credential


def crl(
    state: Path,
    *revoked: x509.Certificate,
    issuer: str = "validation-intermediate",
    days: float = 1,
    since: float = -2,
    name: x509.Name | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    key_id: bool = True,
    critical: Sequence[x509.ExtensionType] = (),
) -> bytes:
    """A revocation list of an authority, made here and not by the lab's CA; `days` < 0 is an expired one.

    name, key: another name or key than the authority's. key_id: name the key. critical: further extensions.
    """
    by = authority(state, issuer)
    options: dict[str, Any] = {"days": days, "since": since, "key_id": key_id, "critical": critical}
    return pki.crl(name or by.certificate.subject, key or by.key, *revoked, **options)


def leaf(state: Path, name: str = "client-good") -> x509.Certificate:
    return x509.load_pem_x509_certificate((state / "client-tls/clients" / name / "cert.pem").read_bytes())
