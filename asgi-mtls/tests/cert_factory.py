"""Client certificates with the names that a test wants, and what an application sees of them. They sign themselves."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtensionOID, NameOID
from starlette.requests import HTTPConnection

from asgi_mtls.identity import ClientIdentity, client_identity

OIDS = {"CN": NameOID.COMMON_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "O": NameOID.ORGANIZATION_NAME}
KINDS: dict[str, Any] = {"DNS": x509.DNSName, "EMAIL": x509.RFC822Name, "URI": x509.UniformResourceIdentifier}
KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate(
    *names: tuple[str, str] | Sequence[tuple[str, str]],
    sans: Sequence[str | x509.GeneralName] = (),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    days: tuple[int, int] = (0, 1),
) -> str:
    """Return a certificate (PEM), valid for these days from now; several names in one item are one RDN."""
    rdns = []
    for item in names:
        pairs = [item] if isinstance(item[0], str) else item
        rdns.append(x509.RelativeDistinguishedName([x509.NameAttribute(OIDS[k], v) for k, v in pairs]))  # type: ignore[misc]
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name(rdns)
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days=days[0], minutes=-1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days[1]))
    if sans:
        general = [s if isinstance(s, x509.GeneralName) else _general(*s.split(":", 1)) for s in sans]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _general(kind: str, text: str) -> x509.GeneralName:
    name: x509.GeneralName = KINDS[kind]._init_without_validation(text)  # as a hostile CA would
    return name


def connection(*chain: str, path: str = "/", kind: str = "http", error: str | None = None) -> HTTPConnection:
    """Return what an application sees of a TLS connection whose client has this verified chain (PEM, leaf first)."""
    tls = {"client_cert_chain": list(chain), "client_cert_error": error, "tls_version": 0x0304, "cipher_name": "X"}
    server = ("localhost", 443)
    return HTTPConnection(
        {"type": kind, "path": path, "headers": [], "server": server, "scheme": "https", "extensions": {"tls": tls}}
    )


def identity(*names: tuple[str, str], sans: Sequence[str | x509.GeneralName] = ()) -> ClientIdentity:
    """Return the identity of a client with these names."""
    known = client_identity(connection(certificate(*names, sans=sans)))
    assert known
    return known


def tlv(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


# Subject alternative names that OpenSSL takes and `cryptography` does not.
UNREADABLE = {
    "an e-mail address in Latin-1": tlv(0x81, b"zo\xeb@team.test"),
    "an IP address of three bytes": tlv(0x87, b"abc"),
    "an EDI party": tlv(0xA5, tlv(0xA1, tlv(0x0C, b"x"))),
}


def unreadable(name: bytes) -> str:
    """Return an administrator's certificate (PEM) with such a name."""
    san = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, tlv(0x30, name))
    return certificate(("CN", "a"), ("OU", "Team Admins"), extensions=[(san, False)])
