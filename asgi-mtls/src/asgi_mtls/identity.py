"""The client's identity, read from the ASGI TLS extension. No framework is needed.

OpenSSL or a trusted proxy (`asgi_mtls.client_cert_header`) has verified the certificate; this module verifies nothing.
Names are read from the certificate's attributes, never from their string form: there, a value may contain what looks
like a separator.
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from asgi_mtls.event_log import event
from asgi_mtls.handshake_log.tls_messages import VERSIONS
from asgi_mtls.peer_certificate import UNREADABLE

# An ASGI scope. Starlette's `HTTPConnection`, `Request` and `WebSocket` are mappings with the same keys.
Connection = Mapping[str, Any]

_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.RFC822Name: "EMAIL",
    x509.UniformResourceIdentifier: "URI",
    x509.DirectoryName: "DIR",
    x509.RegisteredID: "RID",
    x509.OtherName: "OTHER",
}
# Control characters (NUL, line feed), invisible ones (bidi overrides, zero width), surrogates, private and unassigned
# ones, and all that separates (lines, paragraphs, words) but the space itself.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# Those of Unicode's Default_Ignorable_Code_Point that are in no such category (`unicodedata` lacks the property):
# grapheme joiner, Hangul fillers, Khmer inherent vowels, variation selectors. And three more whose glyph is empty.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
    "\u2800\U00016fe4\U0001d159]"
)
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]+)+")
_SPIFFE_BYTES = 2048


@dataclass(frozen=True)
class Names:
    """The subject alternative names of the kinds that are compared, as they stand in the certificate."""

    dns: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClientIdentity:
    """The certificate of an authenticated client.

    `subject` and `issuer` are RFC 4514 strings, to be shown and not to be taken apart. `organizational_units` are in
    the order of the certificate, those of multi-valued RDNs too. `sans` are all subject alternative names, like
    `EMAIL:a@b` or `DNS:a`, and `names` those of four kinds. `spiffe_id` is set for an X509-SVID: exactly one URI,
    which is a SPIFFE ID with a path, in a certificate that cannot sign others. `serial` and `sha256` (of the DER) are
    lower-case hex, the validity is UTC. `verified`: OpenSSL built a path to the trust file, here or in the trusted
    proxy that the extension's `via` names.

    `chain` are the SHA-256 fingerprints of the verified chain, leaf first and trust anchor last, if `chain_known`. With
    PARTIAL_CHAIN (`verify_strict`) an intermediate in the trust file is such an anchor. If not `chain_known`, it is
    only the leaf: before Python 3.13, in a resumed session (OpenSSL keeps only the leaf there; all other fields stay
    known), behind a proxy, and for a leaf that is itself the trust anchor.

    `unsafe_names` are the names with an invisible character, like `CN U+0000`. `authorize` refuses them. Check this
    field before you compare names yourself.
    """

    subject: str
    common_name: str | None
    organizational_units: tuple[str, ...] = ()
    issuer: str
    sans: tuple[str, ...]
    names: Names = Names()
    spiffe_id: str | None = None
    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime
    verified: bool
    chain: tuple[str, ...] = ()
    chain_known: bool = False
    unsafe_names: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON: the times as RFC 3339 has them, in UTC: `2026-11-28T12:00:00Z`."""
        times = {"not_before": self.not_before, "not_after": self.not_after}
        return asdict(self) | {key: time.isoformat().replace("+00:00", "Z") for key, time in times.items()}


@dataclass(frozen=True)
class TlsFacts:
    """The connection: TLS version (`1.3`), cipher suite (its IANA name), and the proxy that named the client.

    Each is None if the server does not say.
    """

    version: str | None
    cipher: str | None
    via: str | None = None


def tls_facts(connection: Connection) -> TlsFacts | None:
    """Return what is known of the TLS connection, or None for plain HTTP and servers that don't say."""
    tls = tls_of(connection)
    if tls is None:
        return None
    version, cipher = tls.get("tls_version"), tls.get("cipher_name") or tls.get("cipher_suite")
    if isinstance(version, int):
        version = VERSIONS.get(version)
    return TlsFacts(
        version=version.removeprefix("TLSv") if isinstance(version, str) else None,
        cipher=cipher if isinstance(cipher, str) else None,
        via=tls.get("via"),
    )


def tls_of(connection: Connection) -> Mapping[str, Any] | None:
    """Return the ASGI TLS extension, or None for plain HTTP and servers that don't fill it (stock Uvicorn)."""
    return (connection.get("extensions") or {}).get("tls")


def client_identity(connection: Connection) -> ClientIdentity | None:
    """Return the client's identity over HTTP or WebSocket, or None for an anonymous client.

    Args:
        connection: an ASGI scope, or Starlette's `Request`, `WebSocket` or `HTTPConnection`.

    A certificate that OpenSSL accepted and `cryptography` cannot parse has no identity: None, too. The log has the
    event `certificate_unreadable`, and `authorize` refuses the client with a problem of that name.
    """
    return identity_of(tls_of(connection))


def identity_of(tls: Mapping[str, Any] | None) -> ClientIdentity | None:
    """Return what `client_identity` does, from the extension.

    Of its keys only `client_cert_chain` is needed, or `client_cert`.
    """
    chain = chain_of(tls)
    if not tls or not chain:
        return None
    # A proxy's chain above the leaf was not verified here.
    return _read(chain[:1] if tls.get("via") else chain, tls.get("client_cert_error") is None)


def chain_of(tls: Mapping[str, Any] | None) -> tuple[str | bytes, ...]:
    """Return the client's certificates, leaf first, each in PEM or DER; none if it is anonymous.

    The specification (0.2) has PEM in `client_cert_chain`. Uvicorn may come to fill nothing else (Kludex/uvicorn#3133),
    or the leaf's DER in `client_cert` (#3132).
    """
    chain = tuple((tls and tls.get("client_cert_chain")) or ())
    leaf = tls.get("client_cert") if tls and not chain else None
    return (leaf,) if leaf else chain


@lru_cache(maxsize=512)
def _read(chain: tuple[str | bytes, ...], verified: bool) -> ClientIdentity | None:
    try:
        ders = [_der(certificate) for certificate in chain]
    except ValueError as error:
        event(logging.WARNING, "certificate_unreadable", fact=error)
        return None
    fingerprints = tuple(hashlib.sha256(der).hexdigest() for der in ders)
    try:
        return _identity(x509.load_der_x509_certificate(ders[0]), fingerprints, verified)
    except UNREADABLE as error:
        event(logging.WARNING, "certificate_unreadable", sha256=fingerprints[0], fact=error)
        return None


def _der(certificate: str | bytes) -> bytes:
    if isinstance(certificate, bytes) and not certificate.startswith(b"-----BEGIN"):
        return certificate
    return ssl.PEM_cert_to_DER_cert(certificate if isinstance(certificate, str) else certificate.decode("ascii"))


def _identity(certificate: x509.Certificate, fingerprints: tuple[str, ...], verified: bool) -> ClientIdentity:
    sans = _sans(certificate)
    common_names = _values(certificate, NameOID.COMMON_NAME)
    return ClientIdentity(
        subject=certificate.subject.rfc4514_string(),
        common_name=common_names[0] if common_names else None,
        organizational_units=_values(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME),
        issuer=certificate.issuer.rfc4514_string(),
        sans=tuple(f"{kind}:{text}" for kind, text in sans),
        names=Names(**{k.lower(): tuple(t for kind, t in sans if kind == k) for k in ("DNS", "EMAIL", "URI", "IP")}),
        spiffe_id=_spiffe_id(certificate, [text for kind, text in sans if kind == "URI"]),
        serial=f"{certificate.serial_number:x}",
        sha256=fingerprints[0],
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        verified=verified,
        chain=fingerprints,
        chain_known=len(fingerprints) > 1,
        unsafe_names=tuple(_unsafe(certificate, sans)),
    )


def _values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(a.value for a in certificate.subject.get_attributes_for_oid(oid) if isinstance(a.value, str))


def _sans(certificate: x509.Certificate) -> list[tuple[str, str]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [(_KINDS[type(name)], _text(name)) for name in names]


def _text(name: x509.GeneralName) -> str:
    if isinstance(name, x509.OtherName):
        return f"{name.type_id.dotted_string}={name.value.hex()}"
    if isinstance(name, x509.DirectoryName):
        return name.value.rfc4514_string()
    return name.value.dotted_string if isinstance(name, x509.RegisteredID) else str(name.value)


def unsafe_character(text: str) -> str | None:
    """Return the first invisible character of a name, like `U+200B`, or None."""
    return next((f"U+{ord(character):04X}" for character in text if _is_hidden(character)), None)


def _is_hidden(character: str) -> bool:
    return character != " " and (unicodedata.category(character) in _UNSAFE or bool(_IGNORABLE.match(character)))


def _unsafe(certificate: x509.Certificate, sans: list[tuple[str, str]]) -> Iterator[str]:
    subject = ((a.rfc4514_attribute_name, str(a.value)) for a in certificate.subject if isinstance(a.value, str))
    for kind, text in (*subject, *sans):
        if character := unsafe_character(text):
            yield f"{kind} {character}"


def is_spiffe_id(text: str) -> bool:
    """Tell whether a text is a SPIFFE ID with a path (SPIFFE-ID 2).

    A trust domain of lower-case letters, digits, dots, dashes and underscores, without user or port; path segments
    of the same and upper-case letters, not empty, `.` or `..`; no query, fragment or percent sign.
    """
    segments = text.split("/")[3:]
    return len(text) <= _SPIFFE_BYTES and bool(_SPIFFE_ID.fullmatch(text)) and not {".", ".."}.intersection(segments)


def _spiffe_id(certificate: x509.Certificate, uris: list[str]) -> str | None:
    # X509-SVID 5.2: exactly one URI, in a certificate that cannot sign others.
    return uris[0] if len(uris) == 1 and is_spiffe_id(uris[0]) and not _signs(certificate) else None


def _signs(certificate: x509.Certificate) -> bool:
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return True
        if isinstance(value, x509.KeyUsage) and (value.key_cert_sign or value.crl_sign):
            return True
    return False
