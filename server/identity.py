"""Who is calling: a FastAPI dependency on top of the ASGI TLS extension."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from fastapi import Depends
from pydantic import BaseModel, ConfigDict
from starlette.requests import HTTPConnection

_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.RFC822Name: "EMAIL",
    x509.UniformResourceIdentifier: "URI",
    x509.DirectoryName: "DIR",
    x509.RegisteredID: "RID",
    x509.OtherName: "OTHER",
}


class ClientIdentity(BaseModel):
    """The certificate of an authenticated client.

    `subject` and `issuer` are RFC 4514 strings, `sans` like `EMAIL:a@b` or `DNS:a`, `serial` and `sha256` (of the
    DER) lower-case hex, the validity in UTC. `verified` tells that OpenSSL built a path to the trust file.
    """

    model_config = ConfigDict(frozen=True)

    subject: str
    common_name: str | None
    issuer: str
    sans: tuple[str, ...]
    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime
    verified: bool


def tls_of(connection: HTTPConnection) -> dict[str, Any] | None:
    """Return the ASGI TLS extension, or None for plain HTTP and servers that don't fill it (stock Uvicorn)."""
    return (connection.scope.get("extensions") or {}).get("tls")


def client_identity(connection: HTTPConnection) -> ClientIdentity | None:
    """Return who is calling, or None for an anonymous client."""
    tls = tls_of(connection)
    chain = list(tls["client_cert_chain"]) if tls else []
    if not tls or not chain:
        return None
    certificate = x509.load_pem_x509_certificate(chain[0].encode())
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ClientIdentity(
        subject=certificate.subject.rfc4514_string(),
        common_name=str(names[0].value) if names else None,
        issuer=certificate.issuer.rfc4514_string(),
        sans=_sans(certificate),
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        verified=tls["client_cert_error"] is None,
    )


Identity = Annotated[ClientIdentity | None, Depends(client_identity)]


def _sans(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(f"{_KINDS[type(name)]}:{_text(name)}" for name in names)


def _text(name: x509.GeneralName) -> str:
    if isinstance(name, x509.OtherName):
        return f"{name.type_id.dotted_string}={name.value.hex()}"
    if isinstance(name, x509.DirectoryName):
        return name.value.rfc4514_string()
    return name.value.dotted_string if isinstance(name, x509.RegisteredID) else str(name.value)
