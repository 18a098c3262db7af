"""The client's certificate as told by a proxy that ends TLS in front of this server.

A header can be sent by anybody, so one is believed only on a connection whose peer has shown the proxy's own
certificate (RFC 9440 4), never because of an address. Two forms are known: RFC 9440's `Client-Cert`, with
`Client-Cert-Chain`, and PEM that is percent-encoded, as nginx's `$ssl_client_escaped_cert`. The proxy has verified the
certificate; what is checked here is that it is exactly one, and still valid.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cryptography import x509

from asgi_mtls.event_log import admits, event
from asgi_mtls.identity import identity_of
from asgi_mtls.peer_certificate import UNREADABLE, subject
from asgi_mtls.problems import Problem, answer, problem_type
from asgi_mtls.rules import DnsName, Rule, Uri

ANYBODY = "anybody"
RFC_9440 = "Client-Cert"
Headers = Iterable[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Any, Any], Awaitable[None]]

_CHAIN = b"client-cert-chain"
_MAX_BYTES = 32 * 1024  # of a field: the largest certificates (ML-DSA-87) take 15 KiB
_RULES: dict[str, Callable[[str], Rule]] = {"DNS": DnsName, "URI": Uri}
# No underscore: CGI and WSGI make one of every dash, so two names would become the same.
_NAME = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*", re.ASCII)
_BYTE_SEQUENCE = re.compile(rb":([A-Za-z0-9+/]*={0,2}):")  # RFC 9651 4.2.7, RFC 8941 4.2.7
_ESCAPED = re.compile(rb"(?:[A-Za-z0-9._~+/=-]|%[0-9A-Fa-f]{2})*")  # RFC 3986 2.1
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----(?:\r?\n)?")


class ClientCertHeaderError(Exception):
    """What the proxy tells can't be taken; its text is the fact, the rest what the problem says (RFC 9457 3.1)."""

    def __init__(self, fact: str, kind: str, status: int, title: str, detail: str) -> None:
        super().__init__(fact)
        self.kind, self.status, self.title, self.detail = kind, status, title, detail


@dataclass(frozen=True)
class TrustedProxy:
    """The proxy that is believed.

    name: its identity, as `DNS:proxy.example` or `URI:spiffe://example/proxy`, or `anybody`.
    rule: what its certificate must hold; None believes every peer, which lets everybody be anybody.
    header: the name of the one header that is read.
    """

    name: str
    rule: Rule | None
    header: str = RFC_9440

    def is_peer(self, tls: dict[str, Any]) -> bool:
        """Tell whether this proxy is at the other end of a connection, by the connection's TLS extension."""
        if self.rule is None:
            return True
        peer = identity_of(tls)
        return peer is not None and peer.verified and self.rule.allows(peer)

    def with_client(self, tls: dict[str, Any], headers: Headers) -> dict[str, Any]:
        """Return a connection's TLS extension with the client in the proxy's place; without a header it is anonymous.

        `via`, which is not of the specification, names the proxy. The chain is what the proxy sent and nobody
        verified here, whatever is in it.

        Raises:
            ClientCertHeaderError: the header is there and is not one valid certificate.
        """
        chain = self._chain(list(headers))
        return tls | {
            "client_cert_chain": [ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain],
            "client_cert_name": subject(chain[0]) if chain else None,
            "client_cert_error": None,
            "via": self.name,
        }

    async def serve(self, app: App, tls: dict[str, Any], scope: Scope, receive: Any, send: Send) -> None:
        """Serve a request of this proxy: with the client that its header tells of, or with a problem."""
        send = _varying(send, self.header)
        try:
            tls = self.with_client(tls, scope["headers"])
        except ClientCertHeaderError as error:
            who = {"via": self.name, "header": self.header}
            if admits("telling_refused", (scope.get("client") or ("",))[0]):
                path = quote(scope["path"])
                event(logging.WARNING, "telling_refused", path=path, problem=error.kind, **who, fact=error)
            await answer(_problem(error, scope), scope, send)
            return
        scope["extensions"] = {**(scope.get("extensions") or {}), "tls": tls}
        await app(scope, receive, send)

    def _chain(self, headers: list[tuple[bytes, bytes]]) -> list[bytes]:
        rfc_9440 = self.header.lower() == RFC_9440.lower()
        leaves = _values(headers, self.header.lower().encode())
        above = _values(headers, _CHAIN) if rfc_9440 else []
        if len(leaves) > 1:
            raise _malformed("it is there more than once")  # RFC 9440 2.2; RFC 9110 5.5
        if not leaves and above:
            raise _malformed("Client-Cert-Chain is there without it")
        if not leaves:
            return []
        leaf = _byte_sequence(leaves[0]) if rfc_9440 else _escaped_pem(leaves[0])
        _check_time(_certificate(leaf))
        chain = _byte_sequences(b",".join(above))  # RFC 9440 2.3: a list, on one line or several
        for certificate in chain:
            _certificate(certificate)
        return [leaf, *chain]


def is_header_name(text: str) -> bool:
    """Tell whether a text can name the header that is believed."""
    return bool(_NAME.fullmatch(text)) and text.lower().encode() != _CHAIN


def trusted_proxy(name: str, header: str = RFC_9440) -> TrustedProxy:
    """Return the proxy that is meant by an identity, `dns:` or `uri:` and the name in its certificate, or `anybody`.

    Raises:
        ValueError: it is none, or has a `*`.
    """
    if name == ANYBODY:
        return TrustedProxy(ANYBODY, None, header)
    kind, colon, value = name.partition(":")
    kind = kind.upper()
    if not colon or kind not in _RULES or "*" in value:
        raise ValueError(f"{name!r} is neither dns: and a DNS name nor uri: and a URI, of one proxy")
    return TrustedProxy(f"{kind}:{value}", _RULES[kind](value), header)


def _varying(send: Send, header: str) -> Send:
    """Return a `send` that says in each response that it depends on the header, for caches (RFC 9440 2.4)."""

    async def send_varying(message: Scope) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            message["headers"] = [*message.get("headers", ()), (b"vary", header.encode())]
        await send(message)

    return send_varying


def _problem(error: ClientCertHeaderError, scope: Scope) -> Problem:
    return Problem(problem_type(error.kind), error.title, error.status, error.detail, quote(scope["path"]))


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _byte_sequence(value: bytes) -> bytes:
    match = _BYTE_SEQUENCE.fullmatch(value.strip(b" ")) if len(value) <= _MAX_BYTES else None
    if not match:
        raise _malformed("it is not one byte sequence, base64 between colons (RFC 9440 2.1)", value)
    return _base64(match[1])


def _byte_sequences(value: bytes) -> list[bytes]:
    if len(value) > _MAX_BYTES:
        raise _malformed("Client-Cert-Chain is too long", value)
    return [_byte_sequence(member.strip(b" \t")) for member in value.split(b",")] if value.strip(b" \t") else []


def _escaped_pem(value: bytes) -> bytes:
    if len(value) > _MAX_BYTES or not _ESCAPED.fullmatch(value):
        raise _malformed("it is not percent-encoded", value)
    match = _PEM.fullmatch(unquote_to_bytes(value))
    if not match:
        raise _malformed("it is not the PEM of one certificate")
    return _base64(b"".join(match[1].split()))


def _base64(text: bytes) -> bytes:
    try:
        # RFC 9651 4.2.7: what lacks its padding is not to be refused.
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise _malformed("it is not base64") from None


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE:
        raise _malformed("it is not the DER of one certificate, and nothing else") from None


def _check_time(certificate: x509.Certificate) -> None:
    """The proxy looked at the time in the handshake; this connection may be older, or a resumed one."""
    now = datetime.now(UTC)
    if certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return
    until = certificate.not_valid_after_utc
    fact = f"it expired at {until:%Y-%m-%dT%H:%M:%SZ}" if until < now else "it is not valid yet"
    title, detail = "Your certificate is not valid now", f"Your client certificate can't be used: {fact}."
    raise ClientCertHeaderError(fact, "certificate-not-valid", 403, title, detail)


def _malformed(fact: str, value: bytes = b"") -> ClientCertHeaderError:
    if len(value) > _MAX_BYTES:
        fact = f"it is longer than {_MAX_BYTES} bytes"
    detail = f"The header in which a proxy tells this service of your certificate is wrong: {fact}. Tell who runs it."
    return ClientCertHeaderError(
        fact, "client-cert-malformed", 400, "The header with your certificate is malformed", detail
    )
