"""A proxy tells who calls: believed by its certificate alone, and nobody else by any spelling of a header."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from lifted import lifted
from running import Running, context
from test_callers import SERVICE
from test_lifted import README, block
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_socket

from catalogue import Mode

pytestmark = pytest.mark.live

PROXY = "dns:proxy.mtls-lab.test"
PROTOCOLS = pytest.mark.parametrize("protocol", ["h11", "httptools"])
Header = tuple[str, str]


def as_proxy(state: Path) -> ssl.SSLContext:
    """The context of the proxy: its own certificate, towards the application."""
    proxy = ssl.create_default_context(cafile=state / "client-tls/public_root.pem")
    proxy.load_cert_chain(state / "proxy-tls/fullchain.pem", state / "proxy-tls/privkey.pem")
    return proxy


def pem(state: Path, name: str, file: str = "cert") -> str:
    return (state / "client-tls/clients" / name / f"{file}.pem").read_text()


def sequence(pem: str) -> str:
    """RFC 9440 2.1."""
    return f":{base64.b64encode(ssl.PEM_cert_to_DER_cert(pem)).decode()}:"


def cert(state: Path, name: str, header: str = "Client-Cert") -> Header:
    return header, sequence(pem(state, name))


def escaped(state: Path, name: str, header: str = "X-SSL-Client-Cert") -> Header:
    """As nginx's `$ssl_client_escaped_cert`."""
    return header, quote(pem(state, name), safe="-._~")


class Peer:
    """A connection that is kept alive."""

    def __init__(self, running: Running, client: ssl.SSLContext) -> None:
        self.state = running.state
        self.connection = http.client.HTTPSConnection("localhost", running.port, context=client, timeout=10)

    def ask(self, path: str, *headers: Header | tuple[bytes, bytes]) -> tuple[int, Any, http.client.HTTPMessage]:
        """Return the status, JSON and headers of the answer to these headers, exactly as they are spelled."""
        self.connection.putrequest("GET", path)
        for name, value in headers:
            self.connection.putheader(name, value)
        self.connection.endheaders()
        response = self.connection.getresponse()
        return response.status, json.loads(response.read()), response.headers

    def who(self, *headers: Header) -> str | None:
        status, body, _ = self.ask("/whoami", *headers)
        assert status == 200, body
        return body["identity"] and str(body["identity"]["common_name"])


@contextmanager
def peer(running: Running, client: ssl.SSLContext) -> Iterator[Peer]:
    new = Peer(running, client)
    with closing(new.connection):
        yield new


@pytest.fixture
def behind(serve: Callable[..., Running]) -> Callable[..., Running]:
    """A server in mode required that believes the proxy."""

    def get(protocol: str = "h11", **environ: str) -> Running:
        environ = {"UVICORN_HTTP": protocol, "LAB_TRUSTED_PROXY": PROXY, "LAB_HANDSHAKE_LOG": "1"} | environ
        return serve(Mode.REQUIRED, **environ)

    return get


@PROTOCOLS
def test_each_request_has_its_own_client(behind: Callable[..., Running], state: Path, protocol: str) -> None:
    """Over one connection, which belongs to the proxy and to none of them."""
    running = behind(protocol)
    good, admin = cert(state, "client-good"), cert(state, "client-admin")
    with peer(running, as_proxy(state)) as proxy:
        for _ in range(2):
            assert proxy.who(good) == "client-good"
            assert proxy.who() is None  # and not the proxy
            status, body, _ = proxy.ask("/private")
            assert (status, body["type"]) == (403, "tag:mtls-lab.test,2026:certificate-required")
            assert proxy.ask("/admin", admin)[0] == 200
            status, body, _ = proxy.ask("/admin", good)
            assert (status, body["type"]) == (403, "tag:mtls-lab.test,2026:certificate-forbidden")
        _, body, headers = proxy.ask(
            "/whoami", admin, ("Client-Cert-Chain", sequence(pem(state, "client-admin", "chain")))
        )
        handshakes = proxy.ask("/handshakes", admin)[1]["handshakes"]
    assert body["tls"] == {"version": "1.3", "cipher": body["tls"]["cipher"], "via": "DNS:proxy.mtls-lab.test"}
    assert body["identity"]["organizational_units"] == ["Lab Admins"]
    assert body["identity"]["chain"] == [body["identity"]["sha256"]]
    assert headers["Vary"] == "Client-Cert"
    assert handshakes[-1]["subjects"][0] == "CN=proxy,O=mTLS Lab"  # they are about connections
    log = [line for line in running.log.read_text().splitlines() if line.startswith("INFO forbidden ")]
    assert any("CN=client-good" in line and "via=DNS:proxy.mtls-lab.test" in line for line in log)


def forged(state: Path, name: str) -> list[list[Header]]:
    """Every way in which somebody may try to be another."""
    one = cert(state, name)[1]
    pem = escaped(state, name)[1]
    spelled = [
        *(("Client-Cert", "client-cert", "CLIENT-CERT", "cLiEnT-cErT", "Client_Cert", "client_cert", "CLIENT_CERT")),
        *("HTTP_CLIENT_CERT", "HTTP-Client-Cert", "X-Client-Cert", "Client-Certificate", "SSL_CLIENT_CERT"),
    ]
    escapes = ["X-SSL-Client-Cert", "x-ssl-client-cert", "X_SSL_Client_Cert", "X-SSL_Client-Cert", "SSL-Client-Cert"]
    names = [*((n, one) for n in spelled), *((n, pem) for n in escapes)]
    return [
        *([header] for header in names),
        [("Client-Cert", one)] * 2,
        [("Client-Cert", one), ("Client_Cert", one)],
        [("Client-Cert", f"{one}, {one}")],
        [("Client-Cert", one), ("Client-Cert-Chain", one)],
        [("Client-Cert", "")],
        [("Client-Cert", "nonsense")],
        names[::3],  # all of them would be a longer head than h11 takes
    ]


@PROTOCOLS
@pytest.mark.parametrize("proxy", [PROXY, ""], ids=["with a proxy", "without"])
def test_a_forged_header_changes_nothing(serve: Callable[..., Running], state: Path, protocol: str, proxy: str) -> None:
    """From a client who connects by itself, whether or not a proxy is believed."""
    running = serve(Mode.OPTIONAL, UVICORN_HTTP=protocol, LAB_TRUSTED_PROXY=proxy)
    for name in ("client-good", None):
        with peer(running, context(running, name)) as client:
            for headers in forged(state, "client-admin"):
                assert client.who(*headers) == name, headers
                assert client.ask("/admin", *headers)[0] == 403, headers
            assert client.ask("/whoami")[1]["tls"]["via"] is None


@PROTOCOLS
def test_other_names_are_not_read_from_the_proxy_either(
    behind: Callable[..., Running], state: Path, protocol: str
) -> None:
    """What a client sends through it under a name that it does not replace."""
    good, others = cert(state, "client-good"), ("Client_Cert", "CLIENT_CERT", "HTTP_CLIENT_CERT", "X-Client-Cert")
    with peer(behind(protocol), as_proxy(state)) as proxy:
        for name in others:
            forged = cert(state, "client-admin", name)
            assert proxy.who(forged) is None
            assert proxy.who(forged, good) == proxy.who(good, forged) == "client-good"
        assert proxy.who(escaped(state, "client-admin")) is None
        for name in ("client-cert", "CLIENT-CERT"):
            assert proxy.who(cert(state, "client-good", name)) == "client-good"


@PROTOCOLS
def test_a_trailer_is_no_header(behind: Callable[..., Running], state: Path, protocol: str) -> None:
    """A proxy takes forged header fields away and passes trailers on (RFC 9110 6.5.1)."""
    name, forged = cert(state, "client-admin")
    head = "GET /whoami HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: Client-Cert\r\n\r\n"
    with peer(behind(protocol), as_proxy(state)) as proxy:
        proxy.connection.connect()
        proxy.connection.sock.sendall(f"{head}0\r\n{name}: {forged}\r\n\r\n".encode())  # in one piece
        response = http.client.HTTPResponse(proxy.connection.sock)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["identity"] is None


def statuses(running: Running, *pieces: bytes) -> list[int]:
    """What the server answers to the proxy, who sends this in as many TLS records, until it closes the connection."""
    with (
        socket.create_connection(("localhost", running.port), 10) as tcp,
        as_proxy(running.state).wrap_socket(tcp, server_hostname="localhost") as connection,
    ):
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    return [int(status) for status in re.findall(rb"^HTTP/1.1 (\d+)", answer, re.MULTILINE)]


@PROTOCOLS
def test_a_client_gets_no_header_past_the_proxy(behind: Callable[..., Running], state: Path, protocol: str) -> None:
    """As a field that the proxy forwards as one, or in what it takes for the body of the client's request."""
    running = behind(protocol)
    asked = running.log.read_text().count(" /admin ")
    forged = ": ".join(cert(state, "client-admin")).encode()
    get, host = b"GET /whoami HTTP/1.1\r\n", b"Host: localhost\r\n"
    admin = b"GET /admin HTTP/1.1\r\n" + host + forged + b"\r\n\r\n"
    chunked, close = b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"
    for pieces in (
        [get + host + b"X: a\n" + forged + b"\r\n\r\n"],
        [get + host + b"X: a", b"\n" + forged + b"\r\n\r\n"],
        [get + host + b"X: a\n", forged + b"\r\n\r\n"],
        [get + host + b"X: a\r", forged + b"\r\n\r\n"],
        [get + host + b"X: a\n\n" + admin],
        [get + host + b"Client-Cert:\r\n", forged.partition(b":")[2] + b"\r\n\r\n"],
        [get + host + chunked + b"\r\n0\r\nX: a\n\n" + admin],
        [get + host + chunked + b"\r\n0\r\nX: a\n", b"\n" + admin],
        [get + host + chunked + b"\r\n2;\nxx\r\n%x\r\n0\r\n\r\n" % (len(admin) + 5) + admin],
        [get + host + chunked + b"Content-Length: %d\r\n\r\n0\r\n\r\n" % (len(admin) + 5) + admin],
    ):
        assert statuses(running, *pieces) == [400], pieces
    lines = b"\n\n" + admin
    good = host + close + forged + b"\r\n"
    assert statuses(running, get + good + b"\r\n") == [200]
    assert statuses(running, get + host + b"X: a\r", b"\n" + close + b"\r", b"\n\r\n") == [200]
    assert statuses(running, get + good + b"Content-Length: %d\r\n\r\n" % len(lines) + lines) == [200]
    assert statuses(running, get + good + chunked + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(lines), lines)) == [200]
    assert running.log.read_text().count(" /admin ") == asked
    assert statuses(running, admin.replace(host, host + close)) == [200]
    assert running.log.read_text().count(" /admin ") == asked + 1


@PROTOCOLS
def test_the_form_of_nginx(behind: Callable[..., Running], state: Path, protocol: str) -> None:
    running = behind(protocol, LAB_PROXY_HEADER="X-SSL-Client-Cert")
    with peer(running, as_proxy(state)) as proxy:
        assert proxy.who(escaped(state, "client-good")) == "client-good"
        assert proxy.who(escaped(state, "client-good", "x-ssl-client-cert")) == "client-good"
        assert proxy.who() is None
        assert proxy.who(escaped(state, "client-good"), cert(state, "client-admin")) == "client-good"
        for ignored in (
            cert(state, "client-admin"),
            escaped(state, "client-admin", "X_SSL_Client_Cert"),
            ("Client-Cert-Chain", "x"),
        ):
            assert proxy.who(ignored) is None
        assert proxy.ask("/whoami", *[escaped(state, "client-good")] * 2)[0] == 400
        assert proxy.ask("/whoami", ("X-SSL-Client-Cert", pem(state, "client-good").replace("\n", " ")))[0] == 400
        assert proxy.ask("/private", escaped(state, "client-good"))[2]["Vary"] == "X-SSL-Client-Cert"


@PROTOCOLS
def test_what_is_malformed_is_an_error_everywhere(behind: Callable[..., Running], state: Path, protocol: str) -> None:
    """And nobody: not the proxy, not a stranger, and no exception."""
    running = behind(protocol)
    name, one = cert(state, "client-good")
    wrong: list[list[tuple[Any, Any]]] = [
        [(name, "")],
        [(name, "::")],
        [(name, one[1:-1])],
        [(name, one)] * 2,
        [(name, one), ("CLIENT-CERT", one)],
        [(name, f"{one}, {one}")],
        [(name, f"{one};a=1")],
        [(name, one[:-9] + ":")],
        [(name, ":" + base64.b64encode(b"\x30\x03abc").decode() + ":")],
        [(name.encode(), b":\xc3\xa9:")],
        [(name, escaped(state, "client-good")[1])],
        [("Client-Cert-Chain", one)],
        [(name, one), ("Client-Cert-Chain", "::")],
        [(name, one), ("Client-Cert-Chain", one + one)],
    ]
    with peer(running, as_proxy(state)) as proxy:
        for headers in wrong:
            for path in ("/", "/whoami", "/private", "/nowhere"):
                status, body, answered = proxy.ask(path, *headers)
                assert (status, answered["Content-Type"]) == (400, "application/problem+json"), headers
                assert body == {
                    "type": "tag:mtls-lab.test,2026:client-cert-malformed",
                    "title": "The header with your certificate is malformed",
                    "status": 400,
                    "detail": body["detail"],
                    "instance": path,
                }
        assert proxy.who((name, one)) == "client-good"
    log = running.log.read_text()
    assert "WARNING telling_refused path=/nowhere problem=client-cert-malformed via=DNS:proxy.mtls-lab.test" in log
    assert "Traceback" not in log


@PROTOCOLS
def test_what_is_too_long(behind: Callable[..., Running], state: Path, protocol: str) -> None:
    """By the server's measure, or by h11's: 16 KiB of a head that has not come at once."""
    with peer(behind(protocol), as_proxy(state)) as proxy:
        proxy.connection.request("GET", "/", headers={"Client-Cert": f":{'A' * 40_000}:"})
        response = proxy.connection.getresponse()
        assert response.status == 400
        assert b"it is longer than 32768 bytes" in response.read() or protocol == "h11"


def test_a_certificate_that_has_expired_since(behind: Callable[..., Running], state: Path) -> None:
    with peer(behind(), as_proxy(state)) as proxy:
        for name, fact in (("client-expired", "it expired at 20"), ("client-not-yet-valid", "it is not valid yet")):
            status, body, _ = proxy.ask("/", cert(state, name))
            assert (status, body["type"]) == (403, "tag:mtls-lab.test,2026:certificate-not-valid")
            assert fact in body["detail"]


def test_a_name_that_deceives_is_refused_as_it_is_directly(behind: Callable[..., Running], state: Path) -> None:
    with peer(behind(), as_proxy(state)) as proxy:
        status, body, _ = proxy.ask("/private", cert(state, "client-admin-nul"))
    assert (status, body["type"]) == (403, "tag:mtls-lab.test,2026:certificate-name")


@PROTOCOLS
def test_web_sockets(state: Path, tmp_path: Path, protocol: str) -> None:
    environ = {"LAB_TRUSTED_PROXY": PROXY, "UVICORN_HTTP": protocol}

    def ask(running: Running, client: ssl.SSLContext, *headers: Header) -> Any:
        with connect_socket(f"wss://localhost:{running.port}/who", ssl=client, additional_headers=headers) as socket:
            socket.send("who am I?")
            identity = json.loads(socket.recv(10))
            return identity and identity["common_name"]

    with lifted(state, tmp_path, SERVICE, Mode.REQUIRED, **environ) as running:
        proxy, admin = as_proxy(state), cert(state, "client-admin")
        assert ask(running, proxy, admin) == "client-admin"
        assert ask(running, proxy, cert(state, "client-good")) == "client-good"
        assert ask(running, proxy) is None
        assert ask(running, proxy, cert(state, "client-admin", "Client_Cert")) is None
        assert ask(running, context(running, "client-good"), admin) == "client-good"
        for headers in ([admin, admin], [("Client-Cert", "nonsense")]):
            with pytest.raises(InvalidStatus) as refused:
                ask(running, proxy, *headers)
            response = refused.value.response
            assert (response.status_code, response.headers["Content-Type"]) == (400, "application/problem+json")
            assert b"client-cert-malformed" in (response.body or b"")
        assert running.log.read_text().count("telling_refused path=/who ") == 2


# The README says that the extension's `via` names the proxy.
VIA = """
from fastapi import Request

@app.get("/via")
def via(request: Request) -> str | None:
    return request.scope["extensions"]["tls"]["via"]
"""


def test_the_readme(state: Path, tmp_path: Path) -> None:
    """Its variables, with the name of the lab's proxy, and its Python."""
    environ = dict(re.findall(r"^export (ASGI_MTLS_[A-Z_]*PROXY[A-Z_]*)=(\S+)", README, re.M))
    assert environ == {"ASGI_MTLS_TRUSTED_PROXY": "dns:proxy.example", "ASGI_MTLS_PROXY_HEADER": "Client-Cert"}
    environ["ASGI_MTLS_TRUSTED_PROXY"] = PROXY
    good, greeting = cert(state, "client-good"), "Hello, CN=client-good,O=mTLS Lab!"
    with lifted(state, tmp_path, block("rules.py") + VIA, Mode.REQUIRED, **environ) as running:
        with peer(running, as_proxy(state)) as proxy:
            assert proxy.ask("/", good)[:2] == (200, greeting)
            assert proxy.ask("/via", good)[1] == "DNS:proxy.mtls-lab.test"
            assert proxy.ask("/admin", good)[0] == 403
            assert proxy.ask("/admin", cert(state, "client-admin"))[:2] == (200, "At your service, client-admin!")
        with peer(running, context(running, "client-good")) as client:
            assert client.ask("/", cert(state, "client-admin"))[:2] == (200, greeting)
            assert client.ask("/admin", cert(state, "client-admin"))[0] == 403
            assert client.ask("/via")[:2] == (200, None)


def test_the_trap(serve: Callable[..., Running], state: Path) -> None:
    """Who believes the header from anybody lets everybody be anybody: it takes a certificate and not its key."""
    trap = serve(Mode.REQUIRED, LAB_TRUSTED_PROXY="anybody")
    default = serve(Mode.REQUIRED)
    answers = {}
    for running in (trap, default):
        with peer(running, context(running, "client-good")) as client:
            answers[running.port] = client.ask("/admin", cert(state, "client-admin"))[:2]
    status, body = answers[trap.port]
    assert (status, body["message"]) == (200, "Hello, client-admin, at your service!")
    assert body["tls"]["via"] == "anybody"
    assert answers[default.port][0] == 403
    assert "WARNING trusted_proxy_anybody " in trap.log.read_text()
    assert "trusted_proxy" not in default.log.read_text()
