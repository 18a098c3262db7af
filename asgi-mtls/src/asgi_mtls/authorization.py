"""Authorization by certificate: a refusal is 403 with an RFC 9457 problem that says what to do. No framework is needed.

Never 401: it requires a challenge (RFC 9110 15.5.2), and no authentication scheme names a TLS certificate; a client
has to connect again to show one. A refused WebSocket is never accepted: its handshake is answered with the same 403
and problem, or closed with 1008 where the ASGI server has no `websocket.http.response`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from asgi_mtls import problems
from asgi_mtls.event_log import admits, event
from asgi_mtls.identity import ClientIdentity, Connection, chain_of, client_identity, tls_of
from asgi_mtls.problems import Problem, problem_type
from asgi_mtls.rules import Rule, check_is_rule

# The addresses that Starlette's TestClient and httpx's ASGITransport make up.
_TEST_CLIENTS = {("testclient", 50000), ("127.0.0.1", 123)}
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class ForbiddenError(Exception):
    """The client is not allowed; `problem` is the answer.

    Routes of Starlette and FastAPI need not catch it. To answer something else, register an exception handler for this
    class, before the first request. Middleware and plain ASGI applications catch it and `await error.answer(...)`.
    """

    def __init__(self, problem: Problem) -> None:
        Exception.__init__(self, problem.detail)
        self.problem = problem

    async def answer(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request or a WebSocket's handshake with the problem: an ASGI application."""
        await problems.answer(self.problem, scope, send)


def authorize(connection: Connection, rule: Rule | None = None, name: str | None = None) -> ClientIdentity:
    """Return the client's identity, if the client is allowed.

    Args:
        connection: an ASGI scope, or Starlette's `Request`, `WebSocket` or `HTTPConnection`.
        rule: one of `asgi_mtls`; None for every client with a certificate.
        name: how the 403 names the rule. By default its own name: what it looks at, not the value it wants.

    Raises:
        ForbiddenError: no certificate, one that was not verified or cannot be parsed, one with an invisible character
            in a name, or one that the rule does not allow.
    """
    caller = check_certificate(connection, client_identity(connection))
    if rule is not None:
        check_rule(connection, caller, rule, name)
    return caller


class AuthorizeMiddleware:
    """ASGI middleware: the application sees only clients that `authorize` allows, over HTTP and WebSocket."""

    def __init__(self, app: App, rule: Rule | None = None, name: str | None = None) -> None:
        if rule is not None:
            check_is_rule(rule)
        self.app, self._rule, self._name = app, rule, name

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                authorize(scope, self._rule, self._name)
            except ForbiddenError as error:
                await error.answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


def check_certificate(
    connection: Connection, identity: ClientIdentity | None, error: type[ForbiddenError] = ForbiddenError
) -> ClientIdentity:
    """Return the identity, or refuse: no certificate, not verified, cannot be parsed, invisible characters in a name.

    Raises:
        ForbiddenError: the class `error` of it.
    """

    def refusal(kind: str, title: str, detail: str) -> ForbiddenError:
        return error(_problem(connection, kind, title, detail, identity))

    tls = tls_of(connection)
    if identity is None and tls is None:
        raise refusal("tls-unknown", "The server can't know who you are", _what_is_missing(connection))
    if identity is None and chain_of(tls):
        raise refusal(
            "certificate-unreadable",
            "Your certificate can't be read",
            "Your client certificate was verified, but it is malformed, so it has no identity."
            " Have it issued again; the server's log says what is wrong with it.",
        )
    if identity is None:
        raise refusal(
            "certificate-required",
            "A client certificate is needed",
            "You sent no client certificate. Connect again with a certificate of a CA that this server trusts, and its"
            " key (curl: --cert fullchain.pem --key privkey.pem).",
        )
    if not identity.verified:
        raise refusal(
            "certificate-unverified",
            "Your certificate was not verified",
            "No path leads from your client certificate to a CA that this server trusts. Use one of such a CA.",
        )
    if identity.unsafe_names:
        raise refusal(
            "certificate-name",
            "Your certificate has a name that can't be compared safely",
            f"It has a character that can't be seen: {', '.join(identity.unsafe_names)}. Have it issued without.",
        )
    return identity


def _what_is_missing(connection: Connection) -> str:
    """Say why the scope has no ASGI TLS extension."""
    if tuple(connection.get("client") or ()) in _TEST_CLIENTS:
        return (
            "This is a test client, and no server fills the ASGI TLS extension. Give it a certificate with"
            " asgi_mtls.testing: client_certificate(client, make_certificate()); for an anonymous client, use None."
        )
    if connection.get("scheme") in ("https", "wss"):
        return (
            "This server does not fill the ASGI TLS extension, as plain Uvicorn does not."
            " Have the service started with the command `asgi-mtls` or with `asgi_mtls.serve`."
        )
    return (
        "This connection is plain HTTP, and a client certificate needs TLS. Use https, with the service started with"
        " the command `asgi-mtls` or with `asgi_mtls.serve`. A proxy in front of it has to connect with TLS, too."
    )


def check_rule(
    connection: Connection,
    caller: ClientIdentity,
    rule: Rule,
    name: str | None,
    error: type[ForbiddenError] = ForbiddenError,
) -> None:
    """Refuse a caller that a rule does not allow.

    Raises:
        ForbiddenError: the class `error` of it.
    """
    if rule.allows(caller):
        return
    told = name or rule.name
    title = "Your certificate is not allowed here"
    detail = (
        f"You are authenticated, but a rule of this service does not allow you: {told}."
        " Use another certificate, or ask those who run the service."
    )
    raise error(_problem(connection, "certificate-forbidden", title, detail, caller, told))


def _problem(
    connection: Connection,
    kind: str,
    title: str,
    detail: str,
    identity: ClientIdentity | None = None,
    rule: str | None = None,
) -> Problem:
    path = quote(connection["path"])  # without the query, which may hold secrets
    who = {"subject": identity.subject or None, "sha256": identity.sha256} if identity else {}
    via = (tls_of(connection) or {}).get("via")
    if admits("forbidden", (connection.get("client") or ("",))[0]):
        event(logging.INFO, "forbidden", path=path, problem=kind, rule=rule, via=via, **who)
    # The handlers of the Starlette application that runs, so it need not register ours. Its own handler stays.
    handlers = connection.get("starlette.exception_handlers")
    if handlers:
        handlers[0].setdefault(ForbiddenError, _starlette_handler)
    return Problem(type=problem_type(kind), title=title, status=403, detail=detail, instance=path, rule=rule)


async def _starlette_handler(_: Any, error: ForbiddenError) -> Any:
    return error.answer
