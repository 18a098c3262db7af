"""Answers of the media type `application/problem+json` (RFC 9457), and who may set their type."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PROBLEM_JSON = "application/problem+json"
_POLICY_VIOLATION = 1008  # RFC 6455 7.4.1
_prefix = "urn:x-asgi-mtls:"


def set_problem_type(prefix: str) -> None:
    """Set what the types of this process's problems begin with: a URI that you own (RFC 9457 3.1.1)."""
    global _prefix
    _prefix = prefix


def problem_type(kind: str) -> str:
    """Return the type of a kind of problem, like `certificate-required`."""
    return _prefix + kind


@dataclass(frozen=True)
class Problem:
    """A problem (RFC 9457 3.1), and the name of the rule that forbids, if one does."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    rule: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the members for JSON, without those that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}


async def answer(problem: Problem, scope: Mapping[str, Any], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer a request, or refuse a WebSocket's handshake, with a problem.

    A WebSocket is never accepted first. Where the server has no `websocket.http.response`, it is closed with 1008.
    """
    prefix = "" if scope["type"] == "http" else "websocket."
    if prefix and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    body = json.dumps(problem.as_json()).encode()
    headers = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}http.response.start", "status": problem.status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})
