"""Mutual TLS in applications of FastAPI: dependencies for the caller's certificate.

The dependencies are `async`: FastAPI would send a plain function to a thread for each request.
"""

# No postponed annotations here: FastAPI can't find what those of a callable instance mean.
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from pydantic import TypeAdapter
from starlette.requests import HTTPConnection

from asgi_mtls.authorization import ForbiddenError, check_certificate, check_rule
from asgi_mtls.identity import ClientIdentity, client_identity
from asgi_mtls.problems import PROBLEM_JSON, Problem
from asgi_mtls.rules import Rule

__all__ = ["FORBIDDEN", "Caller", "Identity", "require"]

# For a route's `responses`: documents the 403 in its OpenAPI.
FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {
        "description": "No client certificate, or not one that may.",
        "content": {PROBLEM_JSON: {"schema": TypeAdapter(Problem).json_schema()}},
    }
}


class _HttpForbiddenError(ForbiddenError, HTTPException):
    """What handlers of FastAPI's `HTTPException` and of the status 403 take, too.

    Without any handler FastAPI's own still answers 403 with `detail`, which is a problem, too.
    """

    def __init__(self, problem: Problem) -> None:
        HTTPException.__init__(self, problem.status, problem.detail, {"Content-Type": PROBLEM_JSON})
        self.problem = problem


async def _identity(connection: HTTPConnection) -> ClientIdentity | None:
    return client_identity(connection)


Identity = Annotated[ClientIdentity | None, Depends(_identity)]


async def _caller(connection: HTTPConnection, identity: Identity) -> ClientIdentity:
    return check_certificate(connection, identity, _HttpForbiddenError)


Caller = Annotated[ClientIdentity, Depends(_caller)]


def require(
    rule: Rule, name: str | None = None
) -> Callable[[HTTPConnection, ClientIdentity], Awaitable[ClientIdentity]]:
    """Return the dependency that refuses clients without a certificate, and those whom the rule does not allow.

    Args:
        rule: one of `asgi_mtls`.
        name: what the refused are told; the rule's own name, which says what it looks at and not what for, if None.
    """

    async def allowed(connection: HTTPConnection, caller: Caller) -> ClientIdentity:
        check_rule(connection, caller, rule, name, _HttpForbiddenError)
        return caller

    return allowed
