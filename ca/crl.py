"""Certificate revocation lists (RFC 5280 5): signing, and telling them in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca.certificates import Credential, authority_key_identifier
from ca.recipe import BACKDATED, DAY
from catalogue import visible

LIFETIME = 30 * DAY
UNSPECIFIED = x509.ReasonFlags.unspecified.value
ON_HOLD = x509.ReasonFlags.certificate_hold.value
# removeFromCRL is for delta lists alone (RFC 5280 5.3.1).
REASONS = tuple(reason.value for reason in x509.ReasonFlags if reason is not x509.ReasonFlags.remove_from_crl)


@dataclass(frozen=True)
class Revoked:
    """One revoked certificate.

    `serial` and `issuer_sha256` are lower-case hex as in the manifest; `at` (when it was revoked) and `until` (its
    notAfter) ISO 8601 in UTC; `by_recipe` tells that the lab revoked it as soon as it issued it.
    """

    name: str
    issuer_sha256: str
    serial: str
    reason: str
    at: str
    until: str
    by_recipe: bool = False

    def listed(self, now: datetime) -> bool:
        """Tell whether it is still to be listed: on one list more after it expired (RFC 5280 3.3)."""
        return datetime.fromisoformat(self.until) + LIFETIME > now


def sign(issuer: Credential, revoked: Iterable[Revoked], number: int, now: datetime, next_update: datetime) -> str:
    """Return an issuer's list as PEM. It is backdated a minute, because clocks differ."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now + BACKDATED)
        .next_update(next_update)
        .add_extension(authority_key_identifier(issuer.certificate), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(_entry(entry))
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def is_current(pem: str, issuer: Credential, revoked: Iterable[Revoked], number: int, now: datetime) -> bool:
    """Tell whether a list is this issuer's, says just this, and more than two thirds of its time are left."""
    try:
        listed = x509.load_pem_x509_crl(pem.encode())
    except ValueError:
        return False
    next_update = listed.next_update_utc
    return (
        next_update is not None
        and listed.is_signature_valid(issuer.key.public_key())
        and listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
        and sorted(map(_said, listed)) == sorted(map(_said, map(_entry, revoked)))
        and listed.last_update_utc <= now
        and next_update - now > LIFETIME * 2 / 3
    )


def words(pem: str, names: dict[str, str]) -> str:
    """Return one list in words: whose, its number, its time, and what is on it.

    Args:
        names: of the certificates by serial (lower-case hex).
    """
    listed = x509.load_pem_x509_crl(pem.encode())
    number = listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    lines = [
        f"issuer      {visible(listed.issuer.rfc4514_string())}",
        f"number      {number}",
        f"this update {listed.last_update_utc:%Y-%m-%d %H:%M:%S} UTC",
        f"next update {listed.next_update_utc:%Y-%m-%d %H:%M:%S} UTC",
    ]
    for entry in listed:
        serial, reason, at = _said(entry)
        lines.append(f"revoked     {names.get(serial, '(unknown)'):26} {at}  {reason:20} serial {serial}")
    return "\n".join([*lines, *([] if len(listed) else ["revoked     nothing"])])


def _entry(revoked: Revoked) -> x509.RevokedCertificate:
    """Return a list's entry. Reason `unspecified` is said by saying none (RFC 5280 5.3.1)."""
    at = datetime.fromisoformat(revoked.at)
    builder = x509.RevokedCertificateBuilder().serial_number(int(revoked.serial, 16)).revocation_date(at)
    if revoked.reason != UNSPECIFIED:
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(revoked.reason)), critical=False)
    return builder.build()


def reason_of(entry: x509.RevokedCertificate) -> str:
    """Return why a certificate was revoked, by RFC 5280's name (5.3.1)."""
    try:
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        return UNSPECIFIED


def _said(entry: x509.RevokedCertificate) -> tuple[str, str, str]:
    """Return what an entry says: serial, reason, and when."""
    return f"{entry.serial_number:x}", reason_of(entry), entry.revocation_date_utc.isoformat()


def expired_times(now: datetime) -> tuple[datetime, datetime]:
    """Return the times of a list that ran out yesterday."""
    return now - LIFETIME - DAY, now - DAY


def now_s() -> datetime:
    """Return the time in whole seconds, as certificates and lists have it."""
    return datetime.now(UTC).replace(microsecond=0)
