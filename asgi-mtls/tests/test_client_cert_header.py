"""What a proxy tells of its clients: whom the server believes, and what of it."""

from __future__ import annotations

import base64
import ssl
from typing import Any
from urllib.parse import quote

import pytest
from cert_factory import UNREADABLE as UNREADABLE_NAMES
from cert_factory import certificate, connection, unreadable

from asgi_mtls.client_cert_header import ClientCertHeaderError, TrustedProxy, is_header_name, trusted_proxy
from asgi_mtls.identity import identity_of

PEM = certificate(("CN", "alice"), sans=["EMAIL:alice@example.test"])
OTHER = certificate(("CN", "bob"))
PROXY = certificate(("CN", "p"), sans=["DNS:proxy.example.test"])
RFC = trusted_proxy("dns:proxy.example.test")
NGINX = trusted_proxy("dns:proxy.example.test", "X-SSL-Client-Cert")
DER, OTHER_DER = ssl.PEM_cert_to_DER_cert(PEM), ssl.PEM_cert_to_DER_cert(OTHER)
TLS: dict[str, Any] = connection(PROXY).scope["extensions"]["tls"]
MALFORMED, EARLY = "client-cert-malformed", "certificate-not-valid"


def sequence(der: bytes) -> bytes:
    return b":" + base64.b64encode(der) + b":"


def escaped(pem: str) -> bytes:
    return quote(pem, safe="-._~").encode()


def told(proxy: TrustedProxy, *headers: tuple[bytes, bytes]) -> list[str]:
    chain: list[str] = proxy.with_client(TLS, headers)["client_cert_chain"]
    return chain


ONE = sequence(DER)
UNPADDED = b":" + base64.b64encode(DER).rstrip(b"=") + b":"


@pytest.mark.parametrize(
    ("proxy", "headers", "chain"),
    [
        (RFC, [], []),
        (RFC, [(b"client-cert", ONE)], [PEM]),
        (RFC, [(b"Client-Cert", ONE)], [PEM]),  # ASGI lowers names; a server that forgot it changes nothing
        (RFC, [(b"client-cert", b" " + ONE + b" ")], [PEM]),
        (RFC, [(b"client-cert", UNPADDED)], [PEM]),
        (RFC, [(b"client-cert", ONE), (b"client-cert-chain", sequence(OTHER_DER))], [PEM, OTHER]),
        (RFC, [(b"client-cert", ONE), (b"client-cert-chain", ONE + b" ,\t" + ONE)], [PEM, PEM, PEM]),
        (RFC, [(b"client-cert", ONE), (b"client-cert-chain", ONE), (b"client-cert-chain", ONE)], [PEM, PEM, PEM]),
        (RFC, [(b"client-cert", ONE), (b"client-cert-chain", b"")], [PEM]),
        (NGINX, [], []),
        (NGINX, [(b"x-ssl-client-cert", escaped(PEM))], [PEM]),
        (NGINX, [(b"x-ssl-client-cert", quote(PEM, safe="+/=").encode())], [PEM]),
        (NGINX, [(b"x-ssl-client-cert", escaped(PEM.replace("\n", "\r\n")))], [PEM]),
        (NGINX, [(b"x-ssl-client-cert", escaped(PEM)), (b"client-cert-chain", b"nonsense")], [PEM]),
        # Other names are other names, and the other form is not looked at.
        (RFC, [(b"client_cert", ONE), (b"x-ssl-client-cert", escaped(PEM)), (b"client-certs", ONE)], []),
        (NGINX, [(b"client-cert", ONE), (b"x_ssl_client_cert", escaped(PEM)), (b"ssl-client-cert", b"x")], []),
    ],
)
def test_what_is_read(proxy: TrustedProxy, headers: list[tuple[bytes, bytes]], chain: list[str]) -> None:
    assert told(proxy, *headers) == chain


def bad_sequences(value: bytes = ONE) -> list[bytes]:
    inside = value[1:-1]
    return [
        b"",
        b" ",
        b"::",
        b":",
        inside,
        b":" + inside,
        inside + b":",
        b'"' + inside + b'"',
        value + b", " + value,
        value + b";a=1",
        b"(" + value + b")",
        value + b"x",
        b":" + inside[:8] + b" " + inside[8:] + b":",
        b":" + inside[:8] + b"*" + inside[8:] + b":",
        b":" + inside[:8] + b"=" + inside[8:] + b":",
        b":" + inside + b"====:",
        b":-_" + inside + b":",
        b":" + inside[:-8] + b":",
        sequence(DER[:-1]),
        sequence(DER + b"\0"),
        sequence(DER + OTHER_DER),
        sequence(b"\x30\x00"),
        sequence(b"not DER"),
        sequence(PEM.encode()),
        escaped(PEM),
        ":\N{LATIN SMALL LETTER E WITH ACUTE}:".encode(),
        b":\xff\0:",
        sequence(DER + bytes(64 * 1024)),
        b":" + b"A" * 10_000_000,
    ]


@pytest.mark.parametrize("value", bad_sequences())
def test_what_is_no_byte_sequence_of_a_certificate(value: bytes) -> None:
    """As the client's certificate, and as one above it unless it is an empty list."""
    for headers in ([(b"client-cert", value)], [(b"client-cert", ONE), (b"client-cert-chain", ONE + b"," + value)]):
        if value == ONE + b", " + ONE and len(headers) == 2:
            continue  # a list is what it should be
        with pytest.raises(ClientCertHeaderError) as refused:
            told(RFC, *headers)
        assert (refused.value.status, refused.value.kind) == (400, MALFORMED)
        assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"-",
        PEM.encode(),
        PEM.encode().replace(b"\n", b" "),
        escaped(PEM) + escaped(OTHER),
        escaped(PEM + OTHER),
        escaped("x" + PEM),
        escaped(PEM + "x"),
        escaped(PEM).replace(b"%0A", b"%0"),
        escaped(PEM).replace(b"%0A", b"%zz"),
        escaped(PEM).replace(b"%20", b"+"),
        escaped(PEM).replace(b"CERTIFICATE", b"TRUSTED%20CERTIFICATE"),
        escaped(PEM).replace(b"CERTIFICATE", b"PRIVATE%20KEY"),
        escaped("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        escaped("-----BEGIN CERTIFICATE-----\n=\n-----END CERTIFICATE-----\n"),
        escaped(ssl.DER_cert_to_PEM_cert(DER + OTHER_DER)),
        escaped(ssl.DER_cert_to_PEM_cert(DER[:-1])),
        escaped(PEM) + b"%00",
        quote(escaped(PEM)).encode(),
        ONE,
        b"\xff",
        b"%" * 10_000_000,
    ],
)
def test_what_is_no_escaped_pem_of_a_certificate(value: bytes) -> None:
    with pytest.raises(ClientCertHeaderError) as refused:
        told(NGINX, (b"x-ssl-client-cert", value))
    assert (refused.value.status, refused.value.kind) == (400, MALFORMED)


@pytest.mark.parametrize(
    ("proxy", "headers"),
    [
        (RFC, [(b"client-cert", ONE), (b"client-cert", ONE)]),
        (RFC, [(b"client-cert", ONE), (b"CLIENT-CERT", b"")]),
        (RFC, [(b"client-cert-chain", ONE)]),
        (NGINX, [(b"x-ssl-client-cert", escaped(PEM))] * 2),
    ],
)
def test_what_contradicts_itself(proxy: TrustedProxy, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ClientCertHeaderError):
        told(proxy, *headers)


def test_the_client_takes_the_proxys_place() -> None:
    """In every key that tells of a client; the proxy itself is nobody, and the chain is not taken for verified."""
    tls = RFC.with_client(TLS, [(b"client-cert", ONE), (b"client-cert-chain", sequence(OTHER_DER))])
    assert (tls["client_cert_name"], tls["client_cert_error"], tls["via"]) == (
        "CN=alice",
        None,
        "DNS:proxy.example.test",
    )
    identity = identity_of(tls)
    assert identity
    assert (identity.common_name, identity.names.email, identity.verified) == ("alice", ("alice@example.test",), True)
    assert (identity.chain, identity.chain_known) == ((identity.sha256,), False)
    nobody = RFC.with_client(TLS, [])
    assert identity_of(nobody) is None
    assert (nobody["client_cert_name"], nobody["client_cert_chain"]) == (None, [])
    assert identity_of(TLS)  # unchanged: it belongs to the connection


@pytest.mark.parametrize("name", UNREADABLE_NAMES)
def test_who_has_an_unreadable_name_is_nobody_and_not_anonymous(name: str) -> None:
    tls = RFC.with_client(
        TLS, [(b"client-cert", sequence(ssl.PEM_cert_to_DER_cert(unreadable(UNREADABLE_NAMES[name]))))]
    )
    assert tls["client_cert_chain"]
    assert identity_of(tls) is None


@pytest.mark.parametrize(("days", "fact"), [((-2, -1), "it expired at 20"), ((1, 2), "it is not valid yet")])
def test_the_time_is_looked_at_again(days: tuple[int, int], fact: str) -> None:
    der = ssl.PEM_cert_to_DER_cert(certificate(("CN", "alice"), days=days))
    with pytest.raises(ClientCertHeaderError, match=fact) as refused:
        told(RFC, (b"client-cert", sequence(der)))
    assert (refused.value.status, refused.value.kind) == (403, EARLY)


def peer(*sans: str, cn: str = "p", error: str | None = None) -> dict[str, Any]:
    tls: dict[str, Any] = connection(certificate(("CN", cn), sans=sans), error=error).scope["extensions"]["tls"]
    return tls


@pytest.mark.parametrize(
    ("name", "tls", "believed"),
    [
        ("dns:proxy.example.test", TLS, True),
        ("DNS:Proxy.example.test", TLS, True),  # RFC 4343
        ("dns:proxy.example.test", peer("DNS:a.test", "DNS:proxy.example.test"), True),
        ("dns:proxy.example.test", peer("DNS:*.example.test"), False),
        ("dns:proxy.example.test", peer("DNS:proxy.example.test\0.evil.test"), False),
        ("dns:proxy.example.test", peer("DNS:a.proxy.example.test"), False),
        ("dns:proxy.example.test", peer("DNS:proxy.example.test."), False),
        ("dns:proxy.example.test", peer("EMAIL:proxy.example.test", "URI:proxy.example.test"), False),
        ("dns:proxy.example.test", peer(cn="proxy.example.test"), False),
        ("dns:proxy.example.test", peer("DNS:proxy.example.test", error="self-signed certificate"), False),
        ("dns:proxy.example.test", TLS | {"client_cert_chain": []}, False),
        ("uri:spiffe://example.test/proxy", peer("URI:spiffe://example.test/proxy"), True),
        ("uri:spiffe://example.test/proxy", peer("URI:spiffe://example.test/proxy/x"), False),
        ("uri:spiffe://example.test/proxy", peer("DNS:spiffe://example.test/proxy"), False),
        ("anybody", TLS | {"client_cert_chain": []}, True),
    ],
)
def test_whom_the_server_believes(name: str, tls: dict[str, Any], believed: bool) -> None:
    assert trusted_proxy(name).is_peer(tls) is believed


@pytest.mark.parametrize(
    "name",
    [
        "proxy.example.test",
        "ip:10.0.0.1",
        "10.0.0.1",
        "cn:proxy",
        "dns:",
        "dns:*.a.test",
        "dns:a b",
        "uri:",
        "uri:spiffe://a/*",
        "*",
        "Anybody",
        "any",
        "dns:a,dns:b",
        "dns: a",
        " dns:a",
        "dns:proxy\0",
    ],
)
def test_what_names_no_proxy(name: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        trusted_proxy(name)


@pytest.mark.parametrize(
    ("name", "fine"),
    [("Client-Cert", True), ("client-cert", True), ("X-SSL-Client-Cert", True), ("ssl-client-cert", True)]
    + [(bad, False) for bad in ("client_cert", "Client-Cert-Chain", "", "a b", "a:", "a\n", "-", "a--b", "\u212aa")],
)
def test_what_names_a_header(name: str, fine: bool) -> None:
    assert is_header_name(name) is fine
