"""The security scheme `mutualTLS` (OpenAPI 3.1.0 4.8.27) in FastAPI's documents.

FastAPI has no class for it, and its model of a document refuses the type (seen in 0.115.14 to 0.165.0). FastAPI also
cannot say that a route's scheme is optional: `{}` in its `security` (OpenAPI 3.1.0 4.8.10). This module extends the
model with which `fastapi.openapi.utils` makes documents by both.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi.openapi import models, utils
from pydantic import Field, model_validator

OPTIONAL = "?"  # marks the name of an optional scheme; no name in a document can have it


class MutualTlsScheme(models.SecurityBase):
    """The scheme in a document."""

    type_: Literal["mutualTLS"] = Field(default="mutualTLS", alias="type")  # type: ignore[assignment]


class _Components(models.Components):
    securitySchemes: dict[str, models.SecurityScheme | MutualTlsScheme | models.Reference] | None = None  # type: ignore[assignment]


class _Document(models.OpenAPI):
    components: _Components | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_optional_schemes(cls, document: dict[str, Any]) -> dict[str, Any]:
        components = document.get("components") or {}
        schemes = components.get("securitySchemes") or {}
        if not any(name.endswith(OPTIONAL) for name in schemes):
            return document
        named = {name.removesuffix(OPTIONAL): scheme for name, scheme in schemes.items()}
        parts = {key: _with_alternatives(document[key]) for key in ("paths", "webhooks") if key in document}
        return document | parts | {"components": components | {"securitySchemes": named}}


def extend_documents() -> None:
    """Have FastAPI take the scheme into its documents."""
    utils.OpenAPI = _Document  # type: ignore[assignment, attr-defined]


def _with_alternatives(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_alternatives(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {key: _security(value) if key == "security" else _with_alternatives(value) for key, value in part.items()}


def _security(requirements: Any) -> Any:
    """Return an operation's security: the required schemes; if there are none, the optional ones and `{}`."""
    if not isinstance(requirements, list) or not all(isinstance(one, dict) for one in requirements):
        return requirements  # a property of that name
    needed = [one for one in requirements if not any(name.endswith(OPTIONAL) for name in one)]
    names = dict.fromkeys(name for one in requirements for name in one if name.endswith(OPTIONAL))
    if needed or not names:
        return needed
    return [*({name.removesuffix(OPTIONAL): []} for name in names), {}]
