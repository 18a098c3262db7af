"""Mutual TLS in applications of FastAPI: dependencies for the caller's certificate, with their OpenAPI.

The dependencies are `async`: FastAPI would send a plain function to a thread for each request.
"""

# No postponed annotations here: FastAPI can't find what those of a callable instance mean.
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from fastapi.security.base import SecurityBase
from pydantic import TypeAdapter
from starlette.requests import HTTPConnection

from asgi_mtls.authorization import check_certificate, check_rule
from asgi_mtls.identity import ClientIdentity, client_identity
from asgi_mtls.openapi import OPTIONAL, MutualTlsScheme, extend_documents
from asgi_mtls.problems import PROBLEM_JSON, Problem
from asgi_mtls.rules import Rule, check_is_rule
from asgi_mtls.starlette import HttpForbiddenError

__all__ = ["FORBIDDEN", "Caller", "Identity", "MutualTLS", "require"]

# For a route's `responses`: documents the 403 in its OpenAPI.
FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {
        "description": "No client certificate, or not one that may.",
        "content": {PROBLEM_JSON: {"schema": TypeAdapter(Problem).json_schema()}},
    }
}


class _HttpForbiddenError(HttpForbiddenError, HTTPException):
    """Also an `HTTPException` of FastAPI: handlers of that class and of the status 403 get it.

    If only FastAPI's default handler is reached, the body is `detail`, which is a problem, too (RFC 9457 3.1).
    """


class MutualTLS(SecurityBase):
    """The caller's certificate, as a security scheme like those of `fastapi.security`.

    Use an instance as a dependency: `Annotated[ClientIdentity, Depends(MutualTLS())]`. In the OpenAPI document the
    route then needs the scheme `mutualTLS`.
    """

    model: MutualTlsScheme

    def __init__(
        self, *, scheme_name: str | None = None, description: str | None = None, auto_error: bool = True
    ) -> None:
        """Make a scheme.

        Args:
            scheme_name: its name in the OpenAPI document; `mutualTLS` if None.
            description: what the document says about it.
            auto_error: answer 403 if there is no certificate. If false, the identity is then None, and the document
                says that the route can be used without.
        """
        self.model = MutualTlsScheme(description=description)
        self.scheme_name = (scheme_name or "mutualTLS") + ("" if auto_error else OPTIONAL)
        self.auto_error = auto_error

    async def __call__(self, connection: HTTPConnection) -> ClientIdentity | None:
        identity = client_identity(connection)
        return check_certificate(connection, identity, _HttpForbiddenError) if self.auto_error else identity


_DESCRIPTION = "A client certificate, shown in the TLS handshake."
_needed = MutualTLS(description=_DESCRIPTION)

Caller = Annotated[ClientIdentity, Depends(_needed)]
Identity = Annotated[ClientIdentity | None, Depends(MutualTLS(description=_DESCRIPTION, auto_error=False))]


def require(
    rule: Rule, name: str | None = None, *, scheme: MutualTLS = _needed
) -> Callable[[HTTPConnection, ClientIdentity], Awaitable[ClientIdentity]]:
    """Return a dependency that refuses clients without a certificate, and those that the rule does not allow.

    Args:
        rule: one of `asgi_mtls`.
        name: how the 403 names the rule. By default its own name: what it looks at, not the value it wants.
        scheme: the security scheme that the OpenAPI document names.

    Raises:
        TypeError: this is not a rule.
    """
    check_is_rule(rule)

    async def allowed(
        connection: HTTPConnection, identity: Annotated[ClientIdentity | None, Depends(scheme)]
    ) -> ClientIdentity:
        caller = check_certificate(connection, identity, _HttpForbiddenError)
        check_rule(connection, caller, rule, name, _HttpForbiddenError)
        return caller

    return allowed


extend_documents()
