"""Who may: FastAPI dependencies that refuse with 403 and an RFC 9457 problem that says what to do.

Never 401: that owes a challenge (RFC 9110 15.5.2), and no authentication scheme names a TLS certificate; a client
that wants to show one has to connect again. A refused WebSocket is never accepted: its handshake is answered with the
same 403 and problem, or where the ASGI server has no `websocket.http.response`, closed with 1008.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, HTTPException
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from asgi_mtls.event_log import admits, event
from asgi_mtls.identity import ClientIdentity, Identity, tls_of
from asgi_mtls.problems import PROBLEM_JSON, problem_type
from asgi_mtls.rules import Rule

_POLICY_VIOLATION = 1008  # RFC 6455 7.4.1


class Problem(BaseModel):
    """A problem (RFC 9457 3.1), and the name of the rule that forbids, if one does."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    rule: str | None = None


class ForbiddenError(HTTPException):
    """A client may not; it carries the problem that is the answer.

    Without this module's handler FastAPI's own still answers 403 with `detail`, which is a problem, too.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, problem.detail, {"Content-Type": PROBLEM_JSON})
        self.problem = problem


# For a route's `responses`: documents the 403 in its OpenAPI.
FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {
        "description": "No client certificate, or not one that may.",
        "content": {PROBLEM_JSON: {"schema": Problem.model_json_schema()}},
    }
}


async def answer_forbidden(connection: HTTPConnection, error: Exception) -> Response | None:
    """Answer a request or a WebSocket handshake with the problem; the exception handler of `ForbiddenError`."""
    if not isinstance(error, ForbiddenError):
        raise error
    extensions = connection.scope.get("extensions") or {}
    if isinstance(connection, WebSocket) and "websocket.http.response" not in extensions:
        await connection.close(_POLICY_VIOLATION)
        return None
    body = json.dumps(error.problem.model_dump(exclude_none=True)).encode()
    return Response(body, error.status_code, media_type=PROBLEM_JSON)


async def require_certificate(connection: HTTPConnection, identity: Identity) -> ClientIdentity:
    """Return who is calling, or refuse: no certificate, none that can be read, or names with unseen characters."""
    tls = tls_of(connection)
    if identity is None and tls is None:
        raise _refusal(
            connection,
            "tls-unknown",
            "The server can't know who you are",
            "This connection is plain HTTP, or this server does not fill the ASGI TLS extension, as plain Uvicorn does"
            " not. Use https, and have the service started with the command `asgi-mtls` or `asgi_mtls.serve`.",
        )
    if identity is None and tls and tls["client_cert_chain"]:
        raise _refusal(
            connection,
            "certificate-unreadable",
            "Your certificate can't be read",
            "Your client certificate was verified, but it is malformed and names nobody."
            " Have it issued again; the server's log says what is wrong with it.",
        )
    if identity is None:
        raise _refusal(
            connection,
            "certificate-required",
            "A client certificate is needed",
            "You sent no client certificate. Connect again with a certificate of a CA that this server trusts, and its"
            " key (curl: --cert fullchain.pem --key privkey.pem).",
        )
    if not identity.verified:
        title = "Your certificate was not verified"
        detail = "No path leads from your client certificate to a CA that this server trusts. Use one of such a CA."
        raise _refusal(connection, "certificate-unverified", title, detail, identity)
    if identity.unsafe_names:
        title = "Your certificate has a name that can't be compared safely"
        detail = f"It has a character that can't be seen: {', '.join(identity.unsafe_names)}. Have it issued without."
        raise _refusal(connection, "certificate-name", title, detail, identity)
    return identity


Caller = Annotated[ClientIdentity, Depends(require_certificate)]
Dependency = Callable[[HTTPConnection, ClientIdentity], Awaitable[ClientIdentity]]


def require(rule: Rule, name: str | None = None) -> Dependency:
    """Return the dependency that refuses clients without a certificate, and those whom the rule does not allow.

    Args:
        rule: one of `asgi_mtls.rules`.
        name: what the refused are told; the rule's own name, which says what it looks at and not what for, if None.
    """
    told = name or rule.name

    async def allowed(connection: HTTPConnection, caller: Caller) -> ClientIdentity:
        if rule.allows(caller):
            return caller
        title = "Your certificate is not allowed here"
        detail = (
            f"You are authenticated, but a rule of this service does not allow you: {told}."
            " Use another certificate, or ask those who run the service."
        )
        raise _refusal(connection, "certificate-forbidden", title, detail, caller, told)

    return allowed


def _refusal(
    connection: HTTPConnection,
    kind: str,
    title: str,
    detail: str,
    identity: ClientIdentity | None = None,
    rule: str | None = None,
) -> ForbiddenError:
    path = quote(connection.scope["path"])  # without the query, which may hold what is nobody's business
    who = {"subject": identity.subject or None, "sha256": identity.sha256} if identity else {}
    via = (tls_of(connection) or {}).get("via")
    if admits("forbidden", connection.client.host if connection.client else ""):
        event(logging.INFO, "forbidden", path=path, problem=kind, rule=rule, via=via, **who)
    # The handlers of the application that runs: so it need not register ours. One it has registered stays.
    handlers = connection.scope.get("starlette.exception_handlers")
    if handlers:
        handlers[0].setdefault(ForbiddenError, answer_forbidden)
    return ForbiddenError(
        Problem(type=problem_type(kind), title=title, status=403, detail=detail, instance=path, rule=rule)
    )
