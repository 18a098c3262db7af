"""The ASGI TLS extension (django/asgiref's specs/tls.rst 0.2), which Uvicorn does not have yet (Kludex/uvicorn#1119).

A connection's TLS facts are read once, when it is made, and reach every request and WebSocket on it through Uvicorn's
`app_state`; `TlsExtension` lifts them to `scope["extensions"]["tls"]`. A server that fills this key takes neither.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from asgi_mtls.peer_certificate import client_chain, subject

if TYPE_CHECKING:
    from asgi_mtls.handshake_log.recorder import HandshakeLog

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

STATE_KEY = "asgi_mtls.tls"  # in Uvicorn's `app_state`
HANDSHAKE_LOG = "asgi_mtls.handshake_log"  # in a scope's `extensions`
_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def tls_extension(connection: ssl.SSLObject) -> dict[str, Any]:
    """Return the ASGI TLS extension of a connection.

    `client_cert_chain` is PEM, leaf first: the verified chain from Python 3.13 on, only the leaf before, and empty
    for a client without certificate. `server_cert` stays None, as the specification allows.
    """
    cipher = connection.cipher()
    return extension(client_chain(connection), connection.version(), cipher[0] if cipher else None)


def extension(
    chain: Sequence[bytes], version: str | None, cipher: str | None, error: str | None = None
) -> dict[str, Any]:
    """Return the extension for a client's chain (DER), and for OpenSSL's names of TLS version and cipher suite."""
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain],
        "client_cert_name": subject(chain[0]) if chain else None,
        "client_cert_error": error,
        "tls_version": _VERSIONS.get(version or ""),
        "cipher_suite": _suite(cipher) if cipher else None,
        # Not of the specification: its number in words.
        "cipher_name": cipher,
        # Nor this: the proxy that named the client, instead of the connection (`asgi_mtls.client_cert_header`).
        "via": None,
    }


@cache
def _suite(name: str) -> int | None:
    """Return a cipher suite's IANA number by OpenSSL's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return next((suite["id"] & 0xFFFF for suite in context.get_ciphers() if suite["name"] == name), None)


class TlsExtension:
    """ASGI middleware: `scope["extensions"]["tls"]` for a connection of `asgi_mtls.http_protocols`.

    On a connection from the trusted proxy each request has its own client: the one in the proxy's header.
    """

    def __init__(self, app: App, handshake_log: HandshakeLog | None = None) -> None:
        self.app = app
        self._log = {} if handshake_log is None else {HANDSHAKE_LOG: handshake_log}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        known = scope.get("state", {}).pop(STATE_KEY, None) if scope["type"] != "lifespan" else None
        if known is not None:
            tls, proxy = known
            scope["extensions"] = {**(scope.get("extensions") or {}), **self._log, "tls": tls}
            if proxy is not None:
                await proxy.serve(self.app, tls, scope, receive, send)
                return
        await self.app(scope, receive, send)
