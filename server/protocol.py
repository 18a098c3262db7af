"""Uvicorn's HTTP protocols, with the ASGI TLS extension that Uvicorn does not have yet (Kludex/uvicorn#1119).

A connection's TLS facts are read once, when it is made, and reach every request and WebSocket on it through
Uvicorn's `app_state`; `TlsExtension` lifts them to `scope["extensions"]["tls"]`, as specified by django/asgiref's
specs/tls.rst 0.2. When Uvicorn fills that key itself, this module can go.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cryptography import x509
from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

_STATE_KEY = "server.protocol.tls"
_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def tls_extension(connection: ssl.SSLObject) -> dict[str, Any]:
    """Return the ASGI TLS extension of a connection.

    `client_cert_chain` is PEM, leaf first: the verified chain from Python 3.13 on, the leaf alone before, and empty
    for a client without certificate. `server_cert` stays None, as the specification allows.
    """
    leaf = connection.getpeercert(binary_form=True)
    chain = [leaf] if leaf else []
    if leaf and hasattr(connection, "get_verified_chain"):
        chain = connection.get_verified_chain() or chain  # a resumed session has none
    cipher = connection.cipher()
    suites = {suite["name"]: suite["id"] & 0xFFFF for suite in connection.context.get_ciphers()}
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain],
        "client_cert_name": x509.load_der_x509_certificate(leaf).subject.rfc4514_string() if leaf else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": suites.get(cipher[0]) if cipher else None,
        # Not of the specification: its number in words.
        "cipher_name": cipher[0] if cipher else None,
    }


class _WithTls(asyncio.Protocol):
    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            # A new dict: the old one is shared by all connections.
            self.app_state = {**self.app_state, _STATE_KEY: tls_extension(connection)}


class H11WithTls(_WithTls, H11Protocol):
    """Uvicorn's h11 protocol with the TLS extension."""


PROTOCOLS: dict[str, type[asyncio.Protocol]] = {"h11": H11WithTls, "auto": H11WithTls}
try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:
    pass
else:

    class HttpToolsWithTls(_WithTls, HttpToolsProtocol):
        """Uvicorn's httptools protocol with the TLS extension."""

    PROTOCOLS |= {"httptools": HttpToolsWithTls, "auto": HttpToolsWithTls}


class TlsExtension:
    """ASGI middleware: `scope["extensions"]["tls"]` for a connection of one of these protocols."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        tls = scope.get("state", {}).pop(_STATE_KEY, None) if scope["type"] != "lifespan" else None
        if tls is not None:
            scope["extensions"] = {**(scope.get("extensions") or {}), "tls": tls}
        await self.app(scope, receive, send)
