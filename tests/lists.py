"""Revocation lists of an issued state's CAs, made here and not by the lab's CA."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
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
    state: Path, *revoked: x509.Certificate, issuer: str = "validation-intermediate", days: float = 1, since: float = -2
) -> bytes:
    """A revocation list of an authority, made here and not by the lab's CA; `days` < 0 is an expired one."""
    by = authority(state, issuer)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(now + timedelta(days=since))
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def leaf(state: Path, name: str = "client-good") -> x509.Certificate:
    return x509.load_pem_x509_certificate((state / "client-tls/clients" / name / "cert.pem").read_bytes())
