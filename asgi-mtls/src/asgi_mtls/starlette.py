"""Mutual TLS in applications of Starlette: a decorator for endpoints, and the routes of the handshake log.

In an endpoint, `asgi_mtls.authorize(request, rule)` does what the decorator does, and returns the caller.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from asgi_mtls.authorization import ForbiddenError, check_certificate, check_rule
from asgi_mtls.handshake_log.routes import ROUTES, policy
from asgi_mtls.identity import client_identity
from asgi_mtls.problems import PROBLEM_JSON, Problem
from asgi_mtls.rules import Rule, check_is_rule

__all__ = ["content_security_policy", "handshake_log_routes", "require"]

handshake_log_routes = ROUTES
content_security_policy = policy
_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


class HttpForbiddenError(ForbiddenError, HTTPException):
    """Also an `HTTPException` of Starlette: handlers of that class and of the status 403 get it."""

    def __init__(self, problem: Problem) -> None:
        HTTPException.__init__(self, problem.status, problem.detail, {"Content-Type": PROBLEM_JSON})
        self.problem = problem


def require(rule: Rule | None = None, name: str | None = None) -> Callable[[_Endpoint], _Endpoint]:
    """Return a decorator of endpoints (functions and methods, HTTP and WebSocket) that refuses as `authorize` does.

    Args:
        rule: one of `asgi_mtls`; None for every client with a certificate.
        name: how the 403 names the rule. By default its own name: what it looks at, not the value it wants.

    Raises:
        TypeError: this is not a rule.
    """
    if rule is not None:
        check_is_rule(rule)

    def check(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        connection = next(value for value in (*arguments, *keywords.values()) if isinstance(value, HTTPConnection))
        caller = check_certificate(connection, client_identity(connection), HttpForbiddenError)
        if rule is not None:
            check_rule(connection, caller, rule, name, HttpForbiddenError)

    def decorate(endpoint: _Endpoint) -> _Endpoint:
        if inspect.iscoroutinefunction(endpoint):

            @wraps(endpoint)
            async def wrapper(*arguments: Any, **keywords: Any) -> Any:
                check(arguments, keywords)
                return await endpoint(*arguments, **keywords)

        else:

            @wraps(endpoint)
            def wrapper(*arguments: Any, **keywords: Any) -> Any:
                check(arguments, keywords)
                return endpoint(*arguments, **keywords)

        return cast(_Endpoint, wrapper)

    return decorate
