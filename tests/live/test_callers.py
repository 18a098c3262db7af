"""Who is calling: over HTTP and WebSocket, kept alive, from several workers, and after a resumed session."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from lifted import ask, connect, context, get, lifted
from running import Running
from websockets.sync.client import connect as connect_socket

from catalogue import Mode, Server

pytestmark = pytest.mark.live

BOTH = [(loop, protocol) for loop in ("asyncio", "uvloop") for protocol in ("h11", "httptools")]
KNOWS_CHAINS = hasattr(ssl.SSLObject, "get_verified_chain")  # Python 3.13
WORKERS_S = 60.0
SERVICE = """
import os
from fastapi import FastAPI, WebSocket
from pydantic import TypeAdapter
from asgi_mtls.fastapi import Identity
from asgi_mtls.identity import ClientIdentity

IDENTITY = TypeAdapter(ClientIdentity | None)

app = FastAPI(docs_url=None, redoc_url=None)

@app.get("/who")
async def who(identity: Identity) -> dict[str, ClientIdentity | int | None]:
    return {"identity": identity, "worker": os.getpid()}

@app.websocket("/who")
async def who_in_a_socket(socket: WebSocket, identity: Identity) -> None:
    await socket.accept()
    while True:
        await socket.receive_text()
        await socket.send_json(IDENTITY.dump_python(identity, mode="json"))
"""

# Middleware of each kind, added before and after the routes; nothing in it knows of TLS.
MIDDLEWARE = """
from fastapi import FastAPI, Request, WebSocket
from asgi_mtls import client_identity
from asgi_mtls.fastapi import Identity

class Pure:
    def __init__(self, app, name):
        self.app, self.name = app, name

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            scope.setdefault("seen", {})[self.name] = name(client_identity(scope))
        await self.app(scope, receive, send)

def name(identity):
    return identity and identity.common_name

app = FastAPI(docs_url=None, redoc_url=None)
app.add_middleware(Pure, name="first added")

@app.middleware("http")
async def decorated(request: Request, call_next):
    request.scope["seen"]["decorated"] = name(client_identity(request))
    return await call_next(request)

@app.get("/seen")
async def seen(request: Request, identity: Identity) -> dict[str, str | None]:
    return {"route": name(identity), **request.scope["seen"]}

@app.websocket("/seen")
async def seen_in_a_socket(socket: WebSocket, identity: Identity) -> None:
    await socket.accept()
    await socket.send_json({"route": name(identity), **socket.scope["seen"]})

app.add_middleware(Pure, name="last added")
"""


@pytest.fixture(scope="module")
def service(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Servers of the service above, by their variables."""
    running: dict[tuple[Any, ...], Running] = {}
    with ExitStack() as stack:

        def get(**environ: str) -> Running:
            key = tuple(sorted(environ.items()))
            if key not in running:
                folder = tmp_path_factory.mktemp("service")
                running[key] = stack.enter_context(lifted(state, folder, SERVICE, **environ))
            return running[key]

        yield get


@pytest.mark.parametrize(("loop", "protocol"), BOTH)
def test_each_connection_keeps_its_identity(service: Callable[..., Running], loop: str, protocol: str) -> None:
    """HTTP and WebSocket at the same time, kept alive, one after the other."""
    running = service(UVICORN_LOOP=loop, UVICORN_HTTP=protocol)
    names = ("client-admin", None, "client-operator")
    units = {None: None, "client-admin": ["Lab Admins"], "client-operator": ["Lab Operators"]}
    url = f"wss://localhost:{running.port}/who"
    with ExitStack() as stack:
        kept = {name: stack.enter_context(closing(connect(running, name))) for name in names}
        sockets = {name: stack.enter_context(connect_socket(url, ssl=context(running, name))) for name in names}
        for _ in range(3):
            for name in names:
                by_http = ask(kept[name], "/who")[2]["identity"]
                sockets[name].send("who am I?")
                assert json.loads(sockets[name].recv(10)) == by_http
                assert (by_http and by_http["organizational_units"]) == units[name]


def test_several_workers(service: Callable[..., Running]) -> None:
    running = service(UVICORN_WORKERS="2")
    deadline = time.monotonic() + WORKERS_S
    workers: set[int] = set()
    while len(workers) < 2 and time.monotonic() < deadline:
        # Together, so that a worker that is busy leaves some to the other.
        with ExitStack() as stack:
            pairs = [(n, stack.enter_context(closing(connect(running, n)))) for n in ("client-good", None) * 4]
            for name, connection in pairs:
                _, _, answer = ask(connection, "/who")
                assert (answer["identity"] and answer["identity"]["common_name"]) == name
                workers.add(answer["worker"])
    assert len(workers) == 2


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_remains_known_after_resumption(service: Callable[..., Running], tls: ssl.TLSVersion) -> None:
    running = service(LAB_SESSION_TICKETS="1")
    client = context(running, "client-admin")
    client.minimum_version = client.maximum_version = tls
    known, session = [], None
    for resumed in (False, True):
        with (
            socket.create_connection(("localhost", running.port), 10) as tcp,
            client.wrap_socket(tcp, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            known.append(json.loads(response.read())["identity"])
            session = connection.session
            assert connection.session_reused == resumed
    first, second = known
    assert first["organizational_units"] == ["Lab Admins"]
    assert first["chain_known"] is KNOWS_CHAINS
    assert len(first["chain"]) == (2 if KNOWS_CHAINS else 1)  # PARTIAL_CHAIN: the intermediate is an anchor
    assert second["chain_known"] is False
    assert second["chain"] == [first["sha256"]] == first["chain"][:1]
    assert {**first, "chain": 0, "chain_known": 0} == {**second, "chain": 0, "chain_known": 0}


def test_every_middleware_knows_who_is_calling(state: Path, tmp_path: Path) -> None:
    """In whatever order it was added: the server wraps the application."""
    with lifted(state, tmp_path, MIDDLEWARE) as running:
        for name in ("client-good", None):
            expected = dict.fromkeys(("route", "last added", "decorated", "first added"), name)
            assert get(running, name, "/seen")[2] == expected
            with connect_socket(f"wss://localhost:{running.port}/seen", ssl=context(running, name)) as socket:
                del expected["decorated"]  # it is of HTTP only
                assert json.loads(socket.recv(10)) == expected


def test_stock_uvicorn_can_not_know(serve: Callable[..., Running]) -> None:
    running = serve(Mode.REQUIRED, Server.STOCK)
    assert get(running, "client-good", "/")[2]["identity"] is None
    status, media_type, problem = get(running, "client-good", "/private")
    assert (status, media_type) == (403, "application/problem+json")
    assert problem["type"].endswith(":tls-unknown")
    assert "does not fill the ASGI TLS extension" in problem["detail"]


@pytest.mark.parametrize(
    ("name", "private", "admin"),
    [
        (None, "certificate-required", "certificate-required"),
        ("client-good", None, "certificate-forbidden"),
        ("client-admin", None, None),
        ("client-operator", None, "certificate-forbidden"),
        ("client-admin-substring", None, "certificate-forbidden"),
        ("client-admin-lookalike", None, "certificate-forbidden"),
        ("client-admin-in-cn", None, "certificate-forbidden"),
        ("client-admin-nul", "certificate-name", "certificate-name"),
        ("client-empty-subject", None, "certificate-forbidden"),
        ("client-unicode-subject", None, "certificate-forbidden"),
    ],
)
def test_the_labs_routes(
    serve: Callable[..., Running], name: str | None, private: str | None, admin: str | None
) -> None:
    running = serve(Mode.OPTIONAL)
    with closing(connect(running, name)) as connection:
        public = ask(connection, "/")
        assert public[0] == 200
        for path, kind in (("/private", private), ("/admin", admin)):
            status, media_type, body = ask(connection, path)
            if kind:
                assert (status, media_type) == (403, "application/problem+json")
                assert body["type"] == f"tag:mtls-lab.test,2026:{kind}"
                assert body["instance"] == path
            else:
                assert (status, media_type) == (200, "application/json")
                assert body.keys() == public[2].keys()
                assert {**body, "message": ""} == {**public[2], "message": ""}


def test_the_log_says_who_was_forbidden(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL)
    _, _, problem = get(running, "client-operator", "/admin?secret=1")
    assert problem["rule"] == 'organizational unit "Lab Admins"'
    lines = [line for line in running.log.read_text().splitlines() if line.startswith("INFO forbidden ")]
    assert any("path=/admin problem=certificate-forbidden" in line and "CN=client-operator" in line for line in lines)
    assert not any("secret" in line for line in lines)
