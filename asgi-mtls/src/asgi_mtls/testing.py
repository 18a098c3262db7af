"""Clients with a certificate, for tests without a server: in Starlette's TestClient, httpx and plain ASGI.

The application gets the ASGI TLS extension that the server would fill; mounted applications and WebSockets get it too.
No handshake takes place and nothing is verified.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cache
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from asgi_mtls.tls_extension import extension

__all__ = ["as_client", "client_certificate", "make_certificate"]

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
TlsVersion = Literal["1.2", "1.3"]

_PEM = re.compile(r"^-----BEGIN CERTIFICATE-----$.*?^-----END CERTIFICATE-----$", re.M | re.S)
_CIPHERS = {"1.2": "ECDHE-ECDSA-AES256-GCM-SHA384", "1.3": "TLS_AES_256_GCM_SHA384"}
_SECURE = {"http": "https", "ws": "wss"}


def make_certificate(
    common_name: str | None = "client",
    *,
    organizational_units: Sequence[str] = (),
    dns: Sequence[str] = (),
    email: Sequence[str] = (),
    uri: Sequence[str] = (),
    ip: Sequence[str] = (),
    days: float = 1,
) -> str:
    """Return a new client certificate (PEM), self-signed and made in memory.

    Args:
        common_name: the subject's CN; without one if None.
        organizational_units: the subject's OUs.
        dns: subject alternative names; so are `email`, `uri` (SPIFFE IDs, too) and `ip`.
        days: how long it is valid from now on; it has expired if negative.
    """
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=days)
    names = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in _several(organizational_units)]
    if common_name is not None:
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    subject, key = x509.Name(names), _key()
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(min(now, until) - datetime.timedelta(minutes=1)).not_valid_after(until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    sans = [
        *(x509.DNSName(name) for name in _several(dns)),
        *(x509.RFC822Name(name) for name in _several(email)),
        *(x509.UniformResourceIdentifier(name) for name in _several(uri)),
        *(x509.IPAddress(ipaddress.ip_address(name)) for name in _several(ip)),
    ]
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=not names)  # RFC 5280 4.2.1.6
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def as_client(app: App, certificate: str | None, *, verified: bool = True, tls_version: TlsVersion = "1.3") -> App:
    """Return an ASGI application that serves every request and WebSocket as one of a client with this certificate.

    Args:
        app: the ASGI application.
        certificate: PEM of a certificate, or of a chain, leaf first; None for an anonymous client over TLS.
        verified: whether the server found a path to its trust file.
        tls_version: the version of TLS.

    Raises:
        ValueError: `certificate` contains no PEM certificate.
    """
    return _AsClient(app, certificate, verified, tls_version)


class client_certificate:
    """Set the certificate of an existing TestClient, or of an httpx client of an ASGI application.

    It holds from now on; with `with`, until the block ends:

        with client_certificate(client, make_certificate("alice")):
            assert client.get("/private").status_code == 200
    """

    def __init__(
        self, client: object, certificate: str | None, *, verified: bool = True, tls_version: TlsVersion = "1.3"
    ) -> None:
        """Take the same arguments as `as_client`, with the client in the place of the application.

        Raises:
            TypeError: it is not a client of an ASGI application.
            ValueError: `certificate` contains no PEM certificate.
        """
        transport: Any = getattr(client, "_transport", None)
        if not callable(getattr(transport, "app", None)):
            raise TypeError(f"{type(client).__name__} is not a TestClient or an httpx client with an ASGITransport")
        self._transport, self._before = transport, transport.app
        app = self._before.app if isinstance(self._before, _AsClient) else self._before
        self._transport.app = _AsClient(app, certificate, verified, tls_version)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._transport.app = self._before


class _AsClient:
    def __init__(self, app: App, certificate: str | None, verified: bool, tls_version: TlsVersion) -> None:
        chain = [ssl.PEM_cert_to_DER_cert(pem) for pem in _PEM.findall(certificate or "")]
        if certificate is not None and not chain:
            raise ValueError("certificate contains no PEM certificate")
        error = None if verified else "unable to get local issuer certificate"
        self.app = app
        self._tls = extension(chain, f"TLSv{tls_version}", _CIPHERS[tls_version], error)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            scheme = scope.get("scheme", "http")
            extensions = {**(scope.get("extensions") or {}), "tls": {**self._tls}}
            scope = {**scope, "scheme": _SECURE.get(scheme, scheme), "extensions": extensions}
        await self.app(scope, receive, send)


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _several(names: Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names
