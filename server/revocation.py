"""Judge client certificates where OpenSSL does not look again: resumed sessions, and connections that are open.

OpenSSL verifies a certificate once, in a full handshake. What has expired or was revoked since is found here, by the
same rules: notAfter, and the certificate revocation lists (RFC 5280 5) that the server was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID

from server.files import REVOCATION_LIST, blocks
from server.peer import UNREADABLE

# OpenSSL's X509_V_ERR numbers.
_UNSPECIFIED, _EXPIRED, _NO_CRL, _CRL_EXPIRED, _REVOKED, _UNTRUSTED = 1, 10, 3, 12, 23, 20


@dataclass(frozen=True)
class Problem:
    """Why a certificate is good no longer: OpenSSL's X509_V_ERR number and words."""

    verify_code: int
    verify_message: str


class Judge:
    """What a server believes at a time: trust anchors and revocation lists."""

    def __init__(
        self,
        anchors: Sequence[x509.Certificate] = (),
        lists: Sequence[x509.CertificateRevocationList] | None = None,
        *,
        chain: bool = False,
        every_anchor: bool = True,
    ) -> None:
        """Judge by these.

        Args:
            lists: revocation lists, None to check none.
            chain: look up every certificate below a self-signed one, not the leaf alone.
            every_anchor: the anchors are all that OpenSSL has; if not, nobody's is missed.
        """
        self.anchors, self.lists, self.chain, self.every_anchor = tuple(anchors), lists, chain, every_anchor

    def problem(self, certificates: Sequence[bytes], now: datetime | None = None) -> Problem | None:
        """Return what is wrong with a chain (DER, leaf first; the leaf alone if that is all that is known), or None.

        What can't be judged is good no longer: it could be revoked, and nobody would know.
        """
        try:
            chain = [x509.load_der_x509_certificate(certificate) for certificate in certificates]
            return self._problem(chain, now or datetime.now(UTC))
        except Exception as error:  # whatever one client has in it: the others are still to be judged
            return Problem(_UNSPECIFIED, f"its certificate can't be judged: {error!r}")

    def _problem(self, chain: Sequence[x509.Certificate], now: datetime) -> Problem | None:
        if any(certificate.not_valid_after_utc < now for certificate in chain):
            return Problem(_EXPIRED, "certificate has expired")
        if self.every_anchor and len(chain) > 1 and not any(self._anchored(certificate) for certificate in chain):
            return Problem(_UNTRUSTED, "its trust anchor was removed")
        if self.lists is None:
            return None
        looked_up = [c for c in chain if c.issuer != c.subject] if self.chain else chain[:1]
        return next(filter(None, (self._revoked(certificate, now) for certificate in looked_up)), None)

    def _revoked(self, certificate: x509.Certificate, now: datetime) -> Problem | None:
        lists = [crl for crl in self.lists or () if crl.issuer == certificate.issuer and _by_key_of(crl, certificate)]
        if not lists:
            return Problem(_NO_CRL, "unable to get certificate CRL")
        if any(crl.get_revoked_certificate_by_serial_number(certificate.serial_number) for crl in lists):
            return Problem(_REVOKED, "certificate revoked")
        if all(is_stale(crl, now) for crl in lists):
            return Problem(_CRL_EXPIRED, "CRL has expired")
        return None

    def _anchored(self, certificate: x509.Certificate) -> bool:
        return any(certificate == anchor or _signed_by(certificate, anchor) for anchor in self.anchors)


def load_lists(path: Path, anchors: Sequence[x509.Certificate]) -> list[x509.CertificateRevocationList]:
    """Read the revocation lists of a PEM file.

    Raises:
        OSError: it can't be read.
        ValueError: it has none, or another block (OpenSSL would trust a certificate), or a list that can't be read, or
            that carries the name of a trust anchor and not its signature; the file is named.
    """
    found = blocks(path)
    if any(block.label != REVOCATION_LIST for block in found):
        fact = "something besides revocation lists in it, and OpenSSL would trust a certificate"
        raise ValueError(f"{path}: {fact}; keep these: sed -n '/^-----BEGIN X509 CRL/,/^-----END X509 CRL/p' {path}")
    if not found:
        raise ValueError(f"{path}: no revocation list (PEM, X509 CRL) in it")
    try:
        lists = [x509.load_der_x509_crl(block.content) for block in found]
        for crl in lists:
            issuers = [a for a in anchors if a.subject == crl.issuer and _key_id(crl) in (None, _own_key_id(a))]
            if issuers and not any(crl.is_signature_valid(a.public_key()) for a in issuers):  # type: ignore[arg-type]
                raise ValueError(f"the list of {crl.issuer.rfc4514_string()} is not signed by it")
    except UNREADABLE as error:
        raise ValueError(f"{path}: {error}") from None
    return lists


def is_stale(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """Tell whether a list's nextUpdate has passed: OpenSSL then refuses everybody below its issuer."""
    return crl.next_update_utc is not None and crl.next_update_utc < now


def is_early(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """Tell whether a list's thisUpdate is still to come: OpenSSL then refuses everybody below its issuer."""
    return crl.last_update_utc > now


def is_about(crl: x509.CertificateRevocationList, anchors: Iterable[x509.Certificate]) -> bool:
    """Tell whether a list is of one of these CAs."""
    return any(anchor.subject == crl.issuer for anchor in anchors)


def _by_key_of(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    return None in (wanted := (_key_id(crl), _key_id(certificate))) or wanted[0] == wanted[1]


def _key_id(signed: x509.Certificate | x509.CertificateRevocationList) -> bytes | None:
    try:
        extension = signed.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    except (x509.ExtensionNotFound, *UNREADABLE):  # one odd name must not hide a revocation: the issuer's is left
        return None
    return extension.value.key_identifier  # type: ignore[attr-defined, no-any-return]


def _own_key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True
