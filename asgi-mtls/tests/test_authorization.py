"""Who may and who may not: what the refused are told, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from typing import Any

import pytest
from asgi_request import Answer, ask
from cert_factory import UNREADABLE, certificate, connection, identity, unreadable
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.exception_handlers import http_exception_handler
from starlette.responses import PlainTextResponse

from asgi_mtls.authorization import ForbiddenError, authorize
from asgi_mtls.fastapi import FORBIDDEN, Caller, _HttpForbiddenError, require
from asgi_mtls.problems import Problem
from asgi_mtls.rules import Fingerprints, OrganizationalUnit, Rule, SpiffePath, Uri, any_of

ADMINS = OrganizationalUnit("Team Admins")


def service(rule: Rule = ADMINS) -> FastAPI:
    """An application of somebody else, that registers nothing."""
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/private", responses=FORBIDDEN)
    async def private(caller: Caller) -> str:
        return caller.subject

    @app.get("/admin", dependencies=[Depends(require(rule))])
    def admin(caller: Caller) -> str:
        return caller.subject

    @app.websocket("/socket", dependencies=[Depends(require(rule))])
    async def socket(socket: WebSocket, caller: Caller) -> None:
        await socket.accept()
        await socket.send_text(caller.subject)

    return app


def tls(*chain: str, error: str | None = None) -> Any:
    """What a server says of a connection with this client certificate."""
    return connection(*chain, error=error).scope["extensions"]["tls"]


def get(app: FastAPI, path: str, *chain: str, error: str | None = None) -> Answer:
    """Ask as a client with this certificate."""
    answer = ask(app, path, tls=tls(*chain, error=error))
    if answer.status == 403:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = Problem(**answer.json)
        assert (problem.status, problem.instance) == (403, path.partition("?")[0])
        assert problem.detail.endswith((".", ")."))
        assert "www-authenticate" not in answer.headers
    return answer


def kind(answer: Answer) -> str:
    assert answer.status == 403
    return str(answer.json["type"]).rpartition(":")[2]


def test_the_problem_says_what_to_do() -> None:
    app = service()
    somebody, admin = certificate(("CN", "a")), certificate(("OU", "Team Admins"))
    assert kind(ask(app, "/private")) == "tls-unknown"
    assert kind(get(app, "/private?token=1")) == "certificate-required"
    assert kind(get(app, "/admin")) == "certificate-required"
    assert kind(get(app, "/admin", somebody)) == "certificate-forbidden"
    assert kind(get(app, "/private", certificate(("CN", "a\0")))) == "certificate-name"
    assert kind(get(app, "/admin", certificate(("OU", "Team Admins"), ("CN", "a\u200b")))) == "certificate-name"
    assert kind(get(app, "/private", somebody, error="expired")) == "certificate-unverified"
    assert kind(get(app, "/admin", admin, error="expired")) == "certificate-unverified"
    assert get(app, "/private", somebody).status == 200
    assert get(app, "/admin", admin).status == 200


@pytest.mark.parametrize(
    ("scheme", "client", "missing"),
    [
        ("http", ("192.0.2.1", 50000), "This connection is plain HTTP"),
        ("ws", None, "This connection is plain HTTP"),
        ("https", ["192.0.2.1", 50000], "does not fill the ASGI TLS extension"),
        ("wss", ["127.0.0.1", 50000], "does not fill the ASGI TLS extension"),
        ("http", ["testclient", 50000], "asgi_mtls.testing"),
        ("https", ("127.0.0.1", 123), "asgi_mtls.testing"),
    ],
)
def test_what_is_missing_is_named(scheme: str, client: Any, missing: str) -> None:
    scope = {"type": "http", "path": "/", "scheme": scheme, "client": client}
    with pytest.raises(ForbiddenError, match=re.escape(missing)) as refused:
        authorize(scope)
    assert refused.value.problem.type.endswith(":tls-unknown")
    causes = ("is plain HTTP", "does not fill the ASGI TLS extension", "asgi_mtls.testing")
    assert [cause in refused.value.problem.detail for cause in causes].count(True) == 1


def test_a_test_client_is_told_of_the_module_for_tests() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Starlettes prefer httpx2
        from starlette.testclient import TestClient
    problem = TestClient(service()).get("/private").json()
    assert problem["type"].endswith(":tls-unknown")
    assert "asgi_mtls.testing" in problem["detail"]


@pytest.mark.parametrize("name", UNREADABLE.values(), ids=UNREADABLE)
def test_a_certificate_that_nobody_can_read_is_refused(name: bytes) -> None:
    for path in ("/private", "/admin"):
        assert kind(get(service(), path, unreadable(name))) == "certificate-unreadable"


def test_the_refused_learn_the_rule_and_not_the_secret() -> None:
    other = identity(("CN", "somebody"))
    rule = any_of(ADMINS, Fingerprints([other.sha256]), Uri("https://team.example/secret/*"), SpiffePath("hidden.test"))
    answer = get(service(rule), "/admin", certificate(("CN", "a")))
    problem = answer.json
    assert answer.status == 403
    assert problem["rule"] == "any of (organizational unit, certificate fingerprint, URI, SPIFFE ID)"
    assert problem["rule"] in problem["detail"]
    for secret in (other.sha256, "Team Admins", "team.example", "hidden.test"):
        assert secret not in json.dumps(problem)
        assert secret not in repr(rule)


def test_an_application_may_answer_itself() -> None:
    app = service()
    app.add_exception_handler(ForbiddenError, lambda _, error: PlainTextResponse(error.problem.title, 418))  # type: ignore[attr-defined]
    answer = ask(app, "/private", tls=tls())
    assert (answer.status, answer.body) == (418, b"A client certificate is needed")


def test_an_application_below_another_is_served_the_same() -> None:
    outer = FastAPI(docs_url=None, redoc_url=None)
    outer.mount("/below", service())
    assert kind(get(outer, "/below/private")) == "certificate-required"
    assert get(outer, "/below/private", certificate(("CN", "a"))).status == 200


def test_the_instance_is_a_path_however_it_was_asked_for() -> None:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/{anything:path}")
    async def anything(caller: Caller) -> str:
        return caller.subject

    assert ask(app, "/a b/<script>", tls=tls()).json["instance"] == "/a%20b/%3Cscript%3E"


def test_without_its_handler_the_answer_is_a_problem_still() -> None:
    """RFC 9457 3.1: every member may be absent. So is the case where Starlette's handlers can't be reached."""
    problem = Problem(type="about:blank", title="Forbidden", status=403, detail="Connect again.", instance="/")
    response = asyncio.run(http_exception_handler(Request({"type": "http"}), _HttpForbiddenError(problem)))
    assert (response.status_code, response.headers["content-type"]) == (403, "application/problem+json")
    assert response.body == b'{"detail":"Connect again."}'


def test_a_socket_is_refused_before_it_is_accepted() -> None:
    app = service()
    for client in ((), (certificate(("CN", "a")),)):
        denied = ask(app, "/socket", "websocket", **{"tls": tls(*client), "websocket.http.response": {}})
        assert denied.status == 403
        assert denied.json["instance"] == "/socket"
        assert denied.headers["content-type"] == "application/problem+json"
        assert ask(app, "/socket", "websocket", tls=tls(*client)).status == 1008
    accepted = ask(app, "/socket", "websocket", tls=tls(certificate(("OU", "Team Admins"))))
    assert (accepted.status, accepted.body) == (101, b"OU=Team Admins")
