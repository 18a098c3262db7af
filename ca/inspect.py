"""Say in words what is in a file: certificate, chain, request, revocation list, PKCS#12 bundle or private key.

Keys are named by kind and size and never printed. Names are printed with control and invisible characters written out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from ca import names, requests
from ca.certificates import UNREADABLE, signed_by
from ca.crl import reason_of
from ca.entry import key_kind
from catalogue import LabError, visible

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_CURE = "make inspect FILE=certs/clients/client-good/fullchain.pem"
_LISTED = 20  # entries of a revocation list that are shown


def describe(data: bytes, password: str = "") -> str:
    """Return what is in a file, in words.

    Args:
        data: PEM (one object or several) or DER.
        password: of a PKCS#12 bundle.

    Raises:
        LabError: it holds nothing known, or the password is wrong.
    """
    if not data.strip():
        raise LabError("could not inspect the file", "it is empty", _CURE)
    try:
        return _pem_blocks(data) if b"-----BEGIN" in data else _der(data, password)
    except UNREADABLE as error:
        raise LabError("could not inspect the file", f"what it holds is damaged ({_said(error)})", _CURE) from None


def _pem_blocks(data: bytes) -> str:
    blocks = [(match[1].decode(), match[0]) for match in _BLOCK.finditer(data)]
    if not blocks:
        raise LabError(
            "could not inspect the file", "it has a BEGIN line and no END line that fits: it is cut off", _CURE
        )
    certificates = [x509.load_pem_x509_certificate(pem) for kind, pem in blocks if kind.endswith("CERTIFICATE")]
    parts = [_chain(certificates)] if certificates else []
    return "\n\n".join([*parts, *(_pem(kind, pem) for kind, pem in blocks if not kind.endswith("CERTIFICATE"))])


def _pem(kind: str, pem: bytes) -> str:
    if kind.endswith("CERTIFICATE REQUEST"):
        return _request(x509.load_pem_x509_csr(pem))
    if kind == "X509 CRL":
        return _list(x509.load_pem_x509_crl(pem))
    if kind == "ENCRYPTED PRIVATE KEY" or (kind.endswith("PRIVATE KEY") and b"ENCRYPTED" in pem):
        return "private key, encrypted with a pass phrase"
    if kind.endswith("PRIVATE KEY"):
        return _key(load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True))
    return f"{kind.lower()}: not looked into"


def _der(data: bytes, password: str) -> str:
    for load in (_der_certificate, _der_request, _der_list, _der_key):
        try:
            return load(data)
        except UNREADABLE:
            continue
    try:
        bundle = load_pkcs12(data, password.encode() or None)
    except ValueError as error:
        if "password" in str(error).lower():
            cure = "make inspect FILE=bundle.p12 PASSWORD=..."
            raise LabError("could not inspect the bundle", "its password is another", cure) from None
        raise LabError(
            "could not inspect the file", "it is none of what this knows, neither PEM nor DER", _CURE
        ) from None
    leaf = [bundle.cert] if bundle.cert else []
    named = visible((bundle.cert.friendly_name or b"").decode(errors="replace")) if bundle.cert else ""
    key = f"with its private key ({key_kind(bundle.key.public_key())}, not shown)" if bundle.key else "without a key"
    chain = [c.certificate for c in (*leaf, *bundle.additional_certs)]
    return f"PKCS#12 bundle {named!r} {key}\n\n{_chain(chain)}"


def _der_certificate(data: bytes) -> str:
    return _chain([x509.load_der_x509_certificate(data)])


def _der_request(data: bytes) -> str:
    return _request(x509.load_der_x509_csr(data))


def _der_list(data: bytes) -> str:
    return _list(x509.load_der_x509_crl(data))


def _der_key(data: bytes) -> str:
    return _key(load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True))


def _key(key: PrivateKeyTypes) -> str:
    return f"private key: {key_kind(key.public_key())}, not encrypted (the key itself is not shown)"


def _chain(certificates: list[x509.Certificate]) -> str:
    if len(certificates) == 1:
        return _certificate(certificates[0])
    parts = [f"{len(certificates)} certificates, in this order"]
    for number, certificate in enumerate(certificates, 1):
        parts.append(f"certificate {number}\n{_certificate(certificate)}")
        if number < len(certificates):
            parts.append(_link(certificate, certificates[number], number, certificates))
    return "\n\n".join(parts)


def _link(lower: x509.Certificate, upper: x509.Certificate, number: int, every: list[x509.Certificate]) -> str:
    if signed_by(lower, upper):
        return f"certificate {number} is signed by certificate {number + 1}"
    others = [n for n, other in enumerate(every, 1) if n != number and signed_by(lower, other)]
    if others:
        return f"WRONG ORDER: certificate {number} is signed by certificate {others[0]}, which should follow it"
    if signed_by(upper, lower):
        return f"WRONG ORDER: certificate {number} signed certificate {number + 1}, and should follow it"
    return f"BROKEN CHAIN: certificate {number} is not signed by certificate {number + 1}"


def _certificate(certificate: x509.Certificate) -> str:
    algorithm = certificate.signature_hash_algorithm
    rows = [
        ("subject", _name(certificate.subject)),
        ("issuer", _name(certificate.issuer) + (" (itself)" if certificate.subject == certificate.issuer else "")),
        ("serial", f"{certificate.serial_number:x}"),
        ("valid", _validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)),
        ("key", key_kind(certificate.public_key())),
        ("signature", f"{certificate.signature_algorithm_oid._name}{' (WEAK)' if _is_weak(algorithm) else ''}"),
        *_extensions(certificate.extensions),
        ("sha256", certificate.fingerprint(hashes.SHA256()).hex()),
    ]
    return _rows(rows)


def _request(request: x509.CertificateSigningRequest) -> str:
    holds = "holds: the sender has the key" if request.is_signature_valid else "DOES NOT HOLD: not made with this key"
    rows = [("subject", _name(request.subject)), ("key", key_kind(request.public_key())), ("signature", holds)]
    rows += _extensions(request.extensions)
    try:
        wish = requests.check(request)
    except LabError as error:
        refused = error.fact
    else:
        refused = names.problem(wish.common_name)
    if refused:
        rows.append(("our CA", f"refuses it: {refused}"))
    else:
        units = "".join(f", OU={unit}" for unit in wish.organizational_units)
        rows.append(("our CA", f"takes CN={wish.common_name}{units}{''.join(f', {san}' for san in wish.sans)}"))
        rows += [("ignores", line) for line in wish.ignored]
    return "certificate signing request\n" + _rows(rows)


def _list(crl: x509.CertificateRevocationList) -> str:
    try:
        number = str(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    except x509.ExtensionNotFound:
        number = "none"
    until = crl.next_update_utc
    rows = [
        ("issuer", _name(crl.issuer)),
        ("number", number),
        ("this update", f"{crl.last_update_utc:%Y-%m-%d %H:%M} UTC"),
        ("next update", f"{until:%Y-%m-%d %H:%M} UTC ({_relative(until)})" if until else "none"),
        ("revoked", str(len(crl))),
    ]
    entries = [(f"{entry.serial_number:x}", _entry(entry)) for entry, _ in zip(crl, range(_LISTED), strict=False)]
    more = [("...", f"and {len(crl) - _LISTED} more")] if len(crl) > _LISTED else []
    return "certificate revocation list\n" + _rows([*rows, *entries, *more])


def _entry(entry: x509.RevokedCertificate) -> str:
    return f"at {entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC, {reason_of(entry)}"


def _extensions(extensions: x509.Extensions) -> list[tuple[str, str]]:
    rows = []
    for extension in extensions:
        critical = " (critical)" if extension.critical else ""
        rows.append(_extension(extension.value, extension.oid.dotted_string, critical))
    return rows


def _extension(value: x509.ExtensionType, oid: str, critical: str) -> tuple[str, str]:
    if isinstance(value, x509.SubjectAlternativeName):
        return "names", ", ".join(_general_name(name) for name in value) + critical
    if isinstance(value, x509.ExtendedKeyUsage):
        return "usage", ", ".join(
            use._name if use._name != "Unknown OID" else use.dotted_string for use in value
        ) + critical
    if isinstance(value, x509.KeyUsage):
        said = [word for word in _USAGES if getattr(value, word)]
        return "key usage", ", ".join(word.replace("_", " ") for word in said) + critical
    if isinstance(value, x509.BasicConstraints):
        length = "any number of" if value.path_length is None else str(value.path_length)
        return "CA", (f"yes, {length} intermediates below it" if value.ca else "no") + critical
    if isinstance(value, x509.SubjectKeyIdentifier):
        return "key id", value.digest.hex()
    if isinstance(value, x509.AuthorityKeyIdentifier):
        return "issuer key", (value.key_identifier or b"").hex() or "by name and serial"
    return "extension", f"{oid} {type(value).__name__}{critical}"


_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign"),
)


def _validity(start: datetime, end: datetime) -> str:
    now = datetime.now(UTC)
    said = f"not valid for another {_days(start - now)}" if start > now else _relative(end)
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC ({said})"


def _relative(end: datetime) -> str:
    now = datetime.now(UTC)
    return f"EXPIRED {_days(now - end)} ago" if end < now else f"{_days(end - now)} left"


def _days(span: object) -> str:
    days = getattr(span, "days", 0)
    return "less than a day" if days == 0 else f"{days} day{'s' if days > 1 else ''}"


def _is_weak(algorithm: hashes.HashAlgorithm | None) -> bool:
    return isinstance(algorithm, (hashes.SHA1, hashes.MD5))


def _general_name(name: x509.GeneralName) -> str:
    kind = (
        type(name).__name__.removesuffix("Name").replace("RFC822", "EMAIL").replace("UniformResourceIdentifier", "URI")
    )
    value = _name(name.value) if isinstance(name.value, x509.Name) else visible(str(name.value))
    return f"{kind.replace('IPAddress', 'IP')}:{value}"


def _name(name: x509.Name) -> str:
    return visible(name.rfc4514_string()) or "(empty)"


def _said(error: Exception) -> str:
    return visible(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _rows(rows: list[tuple[str, str]]) -> str:
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:{width}}  {text}" for label, text in rows)
