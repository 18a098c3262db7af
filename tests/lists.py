"""Revocation lists of an issued state's CAs, made here and not by the lab's CA."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

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
    signer = key or by.key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name or by.certificate.subject)
        .last_update(now + timedelta(days=since))
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    if key_id:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())  # type: ignore[arg-type]
        builder = builder.add_extension(identifier, critical=False)
    for extension in critical:
        builder = builder.add_extension(extension, critical=True)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def leaf(state: Path, name: str = "client-good") -> x509.Certificate:
    return x509.load_pem_x509_certificate((state / "client-tls/clients" / name / "cert.pem").read_bytes())
