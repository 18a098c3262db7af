"""Starlette and plain ASGI, without FastAPI: who may, and what the others are answered."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_request import Answer, ask
from cert_factory import certificate, connection
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_mtls import AuthorizeMiddleware, ForbiddenError, OrganizationalUnit, authorize
from asgi_mtls.starlette import content_security_policy, handshake_log_routes, require

OPS = OrganizationalUnit("Ops")
OPERATOR, CLIENT = certificate(("OU", "Ops"), ("CN", "operator")), certificate(("CN", "client"))


async def called(request: Request) -> Response:
    return PlainTextResponse(authorize(request, OPS, "operators").common_name)


@require(OPS, name="operators")
async def decorated(request: Request) -> Response:
    return PlainTextResponse("operator")


@require(OPS, name="operators")
def in_thread(request: Request) -> Response:
    return PlainTextResponse("operator")


class Endpoint(HTTPEndpoint):
    @require(OPS, name="operators")
    async def get(self, request: Request) -> Response:
        return PlainTextResponse("operator")


@require(OPS, name="operators")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("operator")
    await websocket.close()


async def open_to_all(request: Request) -> Response:
    return PlainTextResponse("operator")


GUARDED = Middleware(AuthorizeMiddleware, rule=OPS, name="operators")
ROUTES = [
    Route("/called", called),
    Route("/decorated", decorated),
    Route("/in-thread", in_thread),
    Route("/endpoint", Endpoint),
    WebSocketRoute("/socket", socket),
    Mount("/below", routes=[Route("/called", called)]),
    Mount("/guarded", Starlette(routes=[Route("/open", open_to_all)], middleware=[GUARDED])),
]
PATHS = ["/called", "/decorated", "/in-thread", "/endpoint", "/below/called", "/guarded/open"]


def tls(*chain: str) -> Any:
    return connection(*chain)["extensions"]["tls"]


def kind(answer: Answer) -> str:
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json["type"]).rpartition(":")[2]


@pytest.mark.parametrize("path", PATHS)
def test_requests(path: str) -> None:
    app = Starlette(routes=ROUTES)
    assert ask(app, path, tls=tls(OPERATOR)).body == b"operator"
    refused = ask(app, path, tls=tls(CLIENT))
    assert kind(refused) == "certificate-forbidden"
    assert (refused.json["rule"], refused.json["instance"]) == ("operators", path)
    assert kind(ask(app, path, tls=tls())) == "certificate-required"
    assert kind(ask(app, path)) == "tls-unknown"


@pytest.mark.parametrize("app", [Starlette(routes=ROUTES), AuthorizeMiddleware(Starlette(routes=ROUTES), OPS)])
def test_sockets(app: Any) -> None:
    accepted = ask(app, "/socket", "websocket", tls=tls(OPERATOR))
    assert (accepted.status, accepted.body) == (101, b"operator")
    assert ask(app, "/socket", "websocket", tls=tls(CLIENT)).status == 1008
    answered = ask(app, "/socket", "websocket", **{"tls": tls(CLIENT), "websocket.http.response": {}})
    assert kind(answered) == "certificate-forbidden"


def test_an_application_may_answer_itself() -> None:
    async def forbidden(_: Request, error: Any) -> Response:
        return PlainTextResponse(error.problem.title, 418)

    async def status(_: Request, error: Any) -> Response:
        return PlainTextResponse("Forbidden", 418)

    own: dict[Any, Any] = {ForbiddenError: forbidden}
    for path in ("/called", "/decorated"):
        answer = ask(Starlette(routes=ROUTES, exception_handlers=own), path, tls=tls())
        assert (answer.status, answer.body) == (418, b"A client certificate is needed")
    answer = ask(Starlette(routes=ROUTES, exception_handlers={403: status}), "/decorated", tls=tls())
    assert (answer.status, answer.body) == (418, b"Forbidden")


def test_what_catches_starlettes_errors_catches_a_refusal() -> None:
    for error in (HTTPException, ForbiddenError):
        with pytest.raises(error) as refused:
            in_thread(Request(dict(connection())))
    assert refused.value.problem.status == 403  # type: ignore[attr-defined]


def test_the_middleware_passes_on_what_has_no_client() -> None:
    passed = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])
        await send({"type": "lifespan.startup.complete"})

    ask(AuthorizeMiddleware(app), "/", "lifespan")
    assert passed == ["lifespan"]


def test_routes_of_the_handshake_log() -> None:
    app = Starlette(routes=handshake_log_routes)
    answer = ask(app, "/handshakes", tls=tls(CLIENT))
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "script-src 'none'" in content_security_policy("<style>a {}</style>")
