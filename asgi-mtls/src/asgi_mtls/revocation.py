"""Check client certificates where OpenSSL does not look again: resumed sessions, and connections that are open.

OpenSSL verifies a certificate once, in a full handshake. What has expired or was revoked since is found here, by the
same rules: notAfter, and the certificate revocation lists (RFC 5280 5) that the server was given.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from asgi_mtls.peer_certificate import UNREADABLE
from asgi_mtls.pem_files import REVOCATION_LIST, blocks

_Folded = tuple[frozenset[tuple[x509.ObjectIdentifier, bytes]], ...]
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
# OpenSSL's X509_V_ERR numbers; their texts below are OpenSSL's, too (x509_txt.c, Apache-2.0).
_UNSPECIFIED, _NO_CRL, _EXPIRED, _UNTRUSTED, _REVOKED = 1, 3, 10, 20, 23
_CRL_EARLY, _CRL_EXPIRED, _CRL_SCOPE = 11, 12, 44
# The critical extensions of a list that OpenSSL knows.
_KNOWN = (x509.IssuingDistributionPoint, x509.AuthorityKeyIdentifier, x509.DeltaCRLIndicator)


@dataclass(frozen=True)
class VerifyError:
    """Why a certificate is good no longer: OpenSSL's X509_V_ERR number and words."""

    verify_code: int
    verify_message: str


class RevocationChecker:
    """What a server trusts at a time: trust anchors and revocation lists."""

    def __init__(
        self,
        anchors: Sequence[x509.Certificate] = (),
        lists: Sequence[x509.CertificateRevocationList] | None = None,
        *,
        chain: bool = False,
        every_anchor: bool = True,
    ) -> None:
        """RevocationChecker by these.

        Args:
            lists: revocation lists, None to check none.
            chain: look up every certificate below a self-signed one, not the leaf alone.
            every_anchor: the anchors are all that OpenSSL has; if not, nobody's is missed.
        """
        self.anchors, self.lists, self.chain, self.every_anchor = tuple(anchors), lists, chain, every_anchor
        self._lists_of: dict[_Folded, list[x509.CertificateRevocationList]] = {}
        for crl in lists or ():
            self._lists_of.setdefault(_folded(crl.issuer), []).append(crl)

    def verify_error(self, certificates: Sequence[bytes], now: datetime | None = None) -> VerifyError | None:
        """Return what is wrong with a chain (DER, leaf first; the leaf alone if that is all that is known), or None.

        What can't be judged is good no longer: it could be revoked, and nobody would know.
        """
        try:
            chain = [x509.load_der_x509_certificate(certificate) for certificate in certificates]
            return self._verify_error(chain, now or datetime.now(UTC))
        except Exception as error:  # one odd certificate must not keep the others from being checked
            return VerifyError(_UNSPECIFIED, f"its certificate can't be judged: {error!r}")

    def _verify_error(self, chain: Sequence[x509.Certificate], now: datetime) -> VerifyError | None:
        if any(certificate.not_valid_after_utc < now for certificate in chain):
            return VerifyError(_EXPIRED, "certificate has expired")
        if self.every_anchor and len(chain) > 1 and not any(self._anchored(certificate) for certificate in chain):
            return VerifyError(_UNTRUSTED, "its trust anchor was removed")
        if self.lists is None:
            return None
        pairs = list(zip(chain, [*chain[1:], None], strict=True))  # each with its issuer, None if that is not known
        looked_up = [(c, issuer) for c, issuer in pairs if c.issuer != c.subject] if self.chain else pairs[:1]
        return next(filter(None, (self._revoked(c, issuer, now) for c, issuer in looked_up)), None)

    def _revoked(
        self, certificate: x509.Certificate, issuer: x509.Certificate | None, now: datetime
    ) -> VerifyError | None:
        lists = self._lists_of.get(_folded(certificate.issuer), [])
        key = (_own_key_id(issuer) if issuer else None) or _key_id(certificate)
        # If the key is not known, all keys of the name are looked at: a revocation must not be missed.
        keys = {key} if key else {_key_id(crl) for crl in lists} or {None}
        found = (_look_up(certificate, [c for c in lists if _is_same_key(_key_id(c), key)], now) for key in keys)
        return next(filter(None, found), None)

    def lists_in_force(self, now: datetime) -> list[x509.CertificateRevocationList]:
        """Return the lists that have no better one beside them: of each CA the newest current one, or the newest."""
        return [
            crl
            for lists in self._lists_of.values()
            for crl in lists
            if crl is max((other for other in lists if _is_instead(other, crl)), key=lambda other: _rank(other, now))
        ]

    def _anchored(self, certificate: x509.Certificate) -> bool:
        return any(certificate == anchor or _signed_by(certificate, anchor) for anchor in self.anchors)


def load_lists(
    path: Path, anchors: Sequence[x509.Certificate], trust_file: str | os.PathLike[str] | None = None
) -> list[x509.CertificateRevocationList]:
    """Read the revocation lists of a PEM file, and those in the trust file, which OpenSSL uses too; each once.

    Raises:
        OSError: a file can't be read.
        ValueError: it has none, or another block (OpenSSL would trust a certificate), or a list that can't be read or
            used, or that carries the name of a trust anchor and not its signature; the file is named.
    """
    found = blocks(path)
    if any(block.label != REVOCATION_LIST for block in found):
        fact = "something besides revocation lists in it, and OpenSSL would trust a certificate"
        only_lists = f"sed -n '/^-----BEGIN X509 CRL/,/^-----END X509 CRL/p' {shlex.quote(str(path))}"
        raise ValueError(f"{path}: {fact}; keep these: {only_lists}")
    if not found:
        raise ValueError(f"{path}: no revocation list (PEM, X509 CRL) in it")
    before = [block for block in blocks(trust_file) if block.label == REVOCATION_LIST] if trust_file else []
    files = {block.content: trust_file for block in before}
    for block in found:
        files.setdefault(block.content, path)
    return [_read(content, file, anchors) for content, file in files.items()]


def _read(
    content: bytes, file: str | os.PathLike[str] | None, anchors: Sequence[x509.Certificate]
) -> x509.CertificateRevocationList:
    try:
        crl = x509.load_der_x509_crl(content)
        issuers = [anchor for anchor in anchors if is_about(crl, [anchor])]
        fact = _unusable(crl)
        if issuers and not any(crl.is_signature_valid(a.public_key()) for a in issuers):  # type: ignore[arg-type]
            fact = "is not signed by it"
        if fact:
            raise ValueError(f"the list of {crl.issuer.rfc4514_string()} {fact}")
    except UNREADABLE as error:
        raise ValueError(f"{file}: {error}") from None
    return crl


def _unusable(crl: x509.CertificateRevocationList) -> str | None:
    """Return why a list must not be given to OpenSSL, which would misread it or refuse every client; None if it may."""
    if _extension(crl, x509.DeltaCRLIndicator):
        return "has only the changes since another one (delta CRL), and OpenSSL 3.0 takes it for complete"
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if scope and scope.indirect_crl:
        return "is for several CAs (indirect CRL): OpenSSL does not use it"
    if scope and scope.only_some_reasons:
        return "is for some reasons only: OpenSSL does not use it"
    unknown = [e.oid.dotted_string for e in _extensions(crl) if e.critical and not isinstance(e.value, _KNOWN)]
    return f"has a critical extension that OpenSSL does not know: {unknown[0]}" if unknown else None


def is_stale(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """Tell whether a list's nextUpdate has passed."""
    return crl.next_update_utc is not None and crl.next_update_utc < now


def is_early(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """Tell whether a list's thisUpdate is still to come."""
    return crl.last_update_utc > now


def is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """Tell whether a list is neither stale nor early: OpenSSL prefers such a list."""
    return not is_stale(crl, now) and not is_early(crl, now)


def is_about(crl: x509.CertificateRevocationList, anchors: Iterable[x509.Certificate]) -> bool:
    """Tell whether a list is of one of these CAs: by the name and, where both say it, by the key."""
    return any(_is_same_name(a.subject, crl.issuer) and _is_same_key(_key_id(crl), _own_key_id(a)) for a in anchors)


def key_of(crl: x509.CertificateRevocationList) -> str | None:
    """Return the identifier of the key that signed a list, in hex, or None if the list does not say it."""
    key_id = _key_id(crl)
    return key_id.hex() if key_id else None


def is_partial(crl: x509.CertificateRevocationList) -> bool:
    """Tell whether a list is about a part of what its CA has issued (RFC 5280 5.2.5)."""
    return _extension(crl, x509.IssuingDistributionPoint) is not None


def _look_up(
    certificate: x509.Certificate, lists: Sequence[x509.CertificateRevocationList], now: datetime
) -> VerifyError | None:
    """Look up a certificate in the one list of its issuer that OpenSSL would choose (`get_crl_sk` in x509_vfy.c)."""
    if not lists:
        return VerifyError(_NO_CRL, "unable to get certificate CRL")
    crl = max(lists, key=lambda crl: (_is_about_it(crl, certificate), *_rank(crl, now)))
    if not _is_about_it(crl, certificate):
        return VerifyError(_CRL_SCOPE, "different CRL scope")
    if is_early(crl, now):
        return VerifyError(_CRL_EARLY, "CRL is not yet valid")
    if is_stale(crl, now):
        return VerifyError(_CRL_EXPIRED, "CRL has expired")
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number):
        return VerifyError(_REVOKED, "certificate revoked")
    return None


def _rank(crl: x509.CertificateRevocationList, now: datetime) -> tuple[bool, datetime]:
    return is_current(crl, now), crl.last_update_utc


def _is_instead(other: x509.CertificateRevocationList, crl: x509.CertificateRevocationList) -> bool:
    """Tell whether another list of the same name may be used for all certificates that a list is about."""
    scopes = [_extension(some, x509.IssuingDistributionPoint) for some in (other, crl)]
    return _is_same_key(_key_id(other), _key_id(crl)) and scopes[0] in (None, scopes[1])


def _is_about_it(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Tell whether a list of a certificate's issuer is about this certificate (RFC 5280 5.2.5)."""
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if scope is None:
        return True
    constraints = _extension(certificate, x509.BasicConstraints)
    others = scope.only_contains_user_certs if constraints and constraints.ca else scope.only_contains_ca_certs
    if others or scope.only_contains_attribute_certs:
        return False
    places = {*(scope.full_name or ()), scope.relative_name} - {None}
    points = _extension(certificate, x509.CRLDistributionPoints) or ()
    return not places or any(places.intersection((*(p.full_name or ()), p.relative_name)) for p in points)


def _is_same_name(one: x509.Name, other: x509.Name) -> bool:
    return one == other or _folded(one) == _folded(other)


def _folded(name: x509.Name) -> _Folded:
    """Return what OpenSSL compares of a name: neither ASCII's case nor the number of spaces, nor the kind of string."""

    def folded(value: str | bytes) -> bytes:
        return b" ".join(value.encode().lower().split()) if isinstance(value, str) else value

    return tuple(frozenset((attribute.oid, folded(attribute.value)) for attribute in rdn) for rdn in name.rdns)


def _is_same_key(one: bytes | None, other: bytes | None) -> bool:
    return None in (one, other) or one == other


def _key_id(signed: x509.Certificate | x509.CertificateRevocationList) -> bytes | None:
    identifier = _extension(signed, x509.AuthorityKeyIdentifier)
    return identifier.key_identifier if identifier else None


def _own_key_id(certificate: x509.Certificate) -> bytes | None:
    identifier = _extension(certificate, x509.SubjectKeyIdentifier)
    return identifier.digest if identifier else None


def _extension(signed: x509.Certificate | x509.CertificateRevocationList, kind: type[_Kind]) -> _Kind | None:
    return next((extension.value for extension in _extensions(signed) if isinstance(extension.value, kind)), None)


def _extensions(signed: x509.Certificate | x509.CertificateRevocationList) -> Iterable[x509.Extension[Any]]:
    try:
        return signed.extensions
    except UNREADABLE:  # one odd name must not hide a revocation: the issuer's name is left
        return ()


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True
