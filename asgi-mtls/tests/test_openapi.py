"""What an application's OpenAPI document says of the caller's certificate, without a line of the application."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi import models
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ValidationError

from asgi_mtls.fastapi import FORBIDDEN, Caller, Identity, MutualTLS, require
from asgi_mtls.identity import ClientIdentity
from asgi_mtls.rules import OrganizationalUnit

ADMINS = OrganizationalUnit("Admins")
NEEDED, OPTIONAL = [{"mutualTLS": []}], [{"mutualTLS": []}, {}]
BEARER = Annotated[Any, Depends(HTTPBearer())]
Partner = Annotated[ClientIdentity, Depends(MutualTLS(scheme_name="partner", description="A partner's certificate."))]
Known = Annotated[ClientIdentity | None, Depends(MutualTLS(scheme_name="partner", auto_error=False))]


class Lock(BaseModel):
    """A body with a property of the name that OpenAPI gives to requirements."""

    security: str


def caller(caller: Caller) -> None: ...
def identity(identity: Identity) -> None: ...
def both(identity: Identity, caller: Caller) -> None: ...
def with_token(identity: Identity, token: BEARER) -> None: ...
def partner(caller: Partner) -> None: ...
def known(caller: Known) -> None: ...
def lock(lock: Lock, identity: Identity) -> Lock:
    return lock


def nobody() -> None: ...


def document(endpoint: Any, **options: Any) -> dict[str, Any]:
    app = FastAPI(docs_url=None, redoc_url=None)
    router = APIRouter()
    router.post("/", **options)(endpoint)
    app.include_router(router)
    made: dict[str, Any] = app.openapi()
    return made


@pytest.mark.parametrize(
    ("endpoint", "security"),
    [
        (caller, NEEDED),
        (identity, OPTIONAL),
        (both, NEEDED),
        (with_token, [{"HTTPBearer": []}]),
        (partner, [{"partner": []}]),
        (known, [{"partner": []}, {}]),
        (lock, OPTIONAL),
        (nobody, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_route_needs(endpoint: Any, security: Any) -> None:
    made = document(endpoint)
    assert made["paths"]["/"]["post"].get("security") == security
    named = {name for one in security or [] for name in one}
    assert {*made.get("components", {}).get("securitySchemes", {})} >= named
    assert "?" not in str(made)


def test_the_schemes_are_described() -> None:
    schemes = document(caller)["components"]["securitySchemes"]
    assert schemes == {"mutualTLS": {"type": "mutualTLS", "description": schemes["mutualTLS"]["description"]}}
    partners = document(partner)["components"]["securitySchemes"]["partner"]
    assert partners == {"type": "mutualTLS", "description": "A partner's certificate."}
    token = document(with_token)["components"]["securitySchemes"]["HTTPBearer"]
    assert token == {"type": "http", "scheme": "bearer"}


def test_a_rule_is_a_certificate_needed() -> None:
    made = document(nobody, dependencies=[Depends(require(ADMINS))], responses=FORBIDDEN)
    operation = made["paths"]["/"]["post"]
    assert operation["security"] == NEEDED
    schema = operation["responses"]["403"]["content"]["application/problem+json"]["schema"]
    assert {"type", "title", "status", "detail", "instance"} <= {*schema["required"]}
    made = document(nobody, dependencies=[Depends(require(ADMINS, scheme=MutualTLS(scheme_name="partner")))])
    assert made["paths"]["/"]["post"]["security"] == [{"partner": []}]


def test_callbacks_and_webhooks_too() -> None:
    app, callbacks = FastAPI(docs_url=None, redoc_url=None), APIRouter()
    callbacks.post("{$request.body}")(identity)
    app.post("/", callbacks=callbacks.routes)(nobody)
    app.webhooks.post("hook")(identity)
    made = app.openapi()
    [called] = made["paths"]["/"]["post"]["callbacks"].values()
    assert called["{$request.body}"]["post"]["security"] == OPTIONAL
    assert made["webhooks"]["hook"]["post"]["security"] == OPTIONAL


def test_other_properties_are_left_alone() -> None:
    assert document(lock)["components"]["schemas"]["Lock"]["properties"]["security"]["type"] == "string"


def test_fastapi_itself_still_refuses_the_type() -> None:
    """When it takes it, half of `asgi_mtls.openapi` can go."""
    scheme = {"securitySchemes": {"mutualTLS": {"type": "mutualTLS"}}}
    with pytest.raises(ValidationError):
        models.Components(**scheme)  # type: ignore[arg-type]
