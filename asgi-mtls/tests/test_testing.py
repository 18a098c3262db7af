"""Clients with a certificate in tests without a server."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from asgi_request import ask
from cryptography import x509
from fastapi import Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from asgi_mtls import ClientIdentity, OrganizationalUnit, TlsFacts, authorize, client_identity, tls_facts
from asgi_mtls.fastapi import Caller, require
from asgi_mtls.testing import as_client, client_certificate, make_certificate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Starlettes prefer httpx2, and warn where there is only httpx
    from starlette.testclient import TestClient, WebSocketDenialResponse, httpx

ALICE, BOB = make_certificate("alice", organizational_units=["Ops"]), make_certificate("bob")
OPS = OrganizationalUnit("Ops")


def service() -> FastAPI:
    app, below = FastAPI(docs_url=None, redoc_url=None), FastAPI(docs_url=None, redoc_url=None)

    @app.get("/name")
    @below.get("/name")
    async def name(caller: Caller) -> str | None:
        return caller.common_name

    @app.get("/ops", dependencies=[Depends(require(OPS))])
    def ops() -> str:
        return "ops"

    @below.websocket("/socket")
    async def socket(socket: WebSocket, caller: Caller) -> None:
        await socket.accept()
        await socket.send_text(f"{caller.common_name} over {socket.url.scheme}")
        await socket.close()

    async def plain(request: Request) -> Response:
        return JSONResponse(authorize(request).common_name)

    app.mount("/below", below)
    app.mount("/starlette", Starlette(routes=[Mount("/in", routes=[Route("/name", plain)])]))
    return app


def test_a_client_of_an_application() -> None:
    with TestClient(as_client(service(), ALICE)) as client:
        for path in ("/name", "/below/name", "/starlette/in/name"):
            assert client.get(path).json() == "alice"
        assert client.get("/ops").status_code == 200
    assert TestClient(as_client(service(), BOB)).get("/ops").json()["type"].endswith(":certificate-forbidden")
    assert TestClient(as_client(service(), None)).get("/name").json()["type"].endswith(":certificate-required")


def test_a_socket_of_a_mounted_application() -> None:
    with TestClient(as_client(service(), ALICE)).websocket_connect("/below/socket") as socket:
        assert socket.receive_text() == "alice over wss"
    with pytest.raises(WebSocketDenialResponse) as refused, TestClient(as_client(service(), None)) as client:  # noqa: SIM117
        with client.websocket_connect("/below/socket"):
            pass
    assert refused.value.json()["type"].endswith(":certificate-required")


def test_a_client_that_is_there_already() -> None:
    client = TestClient(service())
    client_certificate(client, BOB)
    assert client.get("/below/name").json() == "bob"
    with client_certificate(client, ALICE):
        assert client.get("/below/name").json() == "alice"
        with client_certificate(client, None):
            assert client.get("/below/name").status_code == 403
        assert client.get("/below/name").json() == "alice"
        with client.websocket_connect("/below/socket") as socket:
            assert socket.receive_text() == "alice over wss"
    assert client.get("/below/name").json() == "bob"


def test_an_asynchronous_client() -> None:
    async def ask_twice() -> list[str]:
        transport = httpx.ASGITransport(app=service())
        async with httpx.AsyncClient(transport=transport, base_url="https://a.test") as client:
            client_certificate(client, ALICE)
            first = await client.get("/name")
            with client_certificate(client, BOB):
                return [first.json(), (await client.get("/name")).json()]

    assert asyncio.run(ask_twice()) == ["alice", "bob"]


@pytest.mark.parametrize("client", [object(), httpx.Client()], ids=["object", "network"])
def test_no_client_of_an_application(client: object) -> None:
    with pytest.raises(TypeError, match="is not a TestClient or an httpx client with an ASGITransport"):
        client_certificate(client, ALICE)


@pytest.mark.parametrize("text", ["", "alice.pem", ALICE.replace("-----BEGIN", " -----BEGIN")])
def test_no_certificate(text: str) -> None:
    with pytest.raises(ValueError, match="no PEM certificate"):
        as_client(service(), text)


def seen(certificate: str | None, **options: Any) -> dict[str, Any]:
    """Return what an application sees of such a client."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send({"type": "http.response.start", "status": 200})

    ask(as_client(app, certificate, **options), "/")
    scope: dict[str, Any] = scopes[0]
    return scope


def test_the_facts_of_the_connection() -> None:
    assert tls_facts(seen(ALICE)) == TlsFacts("1.3", "TLS_AES_256_GCM_SHA384")
    old = seen(ALICE, tls_version="1.2")
    assert tls_facts(old) == TlsFacts("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert old["extensions"]["tls"]["cipher_suite"] == 0xC02C
    unverified = client_identity(seen(ALICE, verified=False))
    assert unverified
    assert not unverified.verified


def identity(certificate: str) -> ClientIdentity:
    known = client_identity(seen(certificate))
    assert known
    return known


def test_a_chain() -> None:
    known = identity(ALICE + BOB)
    assert (known.common_name, known.chain_known, len(known.chain)) == ("alice", True, 2)


def test_the_names_of_a_certificate() -> None:
    certificate = make_certificate(
        "a",
        organizational_units=["One", "Two"],
        dns=["a.test"],
        email="a@a.test",
        uri=["spiffe://a.test/x"],
        ip="::1",
    )
    known = identity(certificate)
    assert (known.common_name, known.organizational_units) == ("a", ("One", "Two"))
    assert known.sans == ("DNS:a.test", "EMAIL:a@a.test", "URI:spiffe://a.test/x", "IP:::1")
    assert known.spiffe_id == "spiffe://a.test/x"
    nameless = identity(make_certificate(None, dns=["a.test"]))
    assert (nameless.subject, nameless.names.dns) == ("", ("a.test",))


@pytest.mark.parametrize("days", [-2, -0.5, 0.5, 90])
def test_how_long_a_certificate_is_valid(days: float) -> None:
    known = identity(make_certificate(days=days))
    now = x509.load_pem_x509_certificate(ALICE.encode()).not_valid_before_utc
    assert known.not_before < known.not_after
    assert (known.not_after > now) == (days > 0)
