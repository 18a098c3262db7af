"""An ASGI server for one request or WebSocket, without a socket: Starlette's own test client wants another package."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What an application sent; a WebSocket's `status` is 101 if it was accepted, and its close code if closed."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(app: Any, path: str, kind: str = "http", accept: str = "", **extensions: Any) -> Answer:
    """Ask an application for a path (with its query), or open a WebSocket there and hear its first message."""
    path, _, query = path.partition("?")
    scope = {
        "type": kind,
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"accept", accept.encode())] if accept else [],
        "server": ("localhost", 443),
        "scheme": "https",
        "extensions": extensions,
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    first = sent[0]
    if first["type"] == "websocket.close":
        return Answer(first["code"], {}, b"")
    headers = {name.decode().lower(): value.decode() for name, value in first.get("headers", ())}
    body = b"".join(message.get("body", b"") or message.get("text", "").encode() for message in sent[1:])
    return Answer(first.get("status", 101), headers, body)
