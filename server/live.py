"""`GET /handshakes`: the last handshakes of the worker that answers, as a page, as JSON, and as they happen.

For an application of your own: `app.include_router(live.router)`. Who may look learns the names of other clients, so
without LAB_OPEN_HANDSHAKES=1 it takes a client certificate.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.requests import HTTPConnection

from server import record
from server.attempt import Attempt
from server.authorization import PROBLEM_JSON, Problem, require_certificate
from server.identity import client_identity

PAGE = Path(__file__).with_name("handshakes.html").read_text(encoding="utf-8")
_RETRY_MS = 1000
_NOTE = "These are the handshakes of one worker process; others keep their own, and the next connection may reach them."


def policy(page: str) -> str:
    """Return the Content-Security-Policy of a page: its own styles and scripts, and requests to its origin."""

    def own(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        hashes = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
        return f"{tag}-src " + (" ".join(f"'sha256-{text}'" for text in hashes) or "'none'")

    return (
        f"default-src 'none'; {own('style')}; {own('script')}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


HEADERS = {
    "Content-Security-Policy": policy(PAGE),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


async def _may_look(connection: HTTPConnection) -> None:
    if record.HANDSHAKES is not None and os.environ.get("LAB_OPEN_HANDSHAKES") != "1":
        await require_certificate(connection, client_identity(connection))


router = APIRouter(dependencies=[Depends(_may_look)], include_in_schema=False)


@router.get("/handshakes", response_model=None)
async def handshakes(
    request: Request, accept: Annotated[str, Header()] = "", format: str = "", after: str = ""
) -> Response:
    """Show the handshakes: a page for a browser; JSON for others, with `after` an id only what came after it."""
    log = record.HANDSHAKES
    if log is None:
        return _off(request)
    if "text/html" in accept and format != "json":
        return HTMLResponse(PAGE, headers=HEADERS)
    attempts = [as_json(attempt) for attempt in log.list(log.position(after))]
    return JSONResponse(_worker(log) | {"handshakes": attempts}, headers={"Cache-Control": "no-store"})


@router.get("/handshakes/events", response_model=None)
async def events(request: Request, last_event_id: Annotated[str, Header()] = "") -> Response:
    """Stream the handshakes as server-sent events: those known, then each as it ends."""
    log = record.HANDSHAKES
    if log is None:
        return _off(request)
    if log.full:
        detail = (
            f"{record.MAX_FOLLOWERS} others are watching already: close a page, or ask for /handshakes?format=json."
        )
        return _problem(request, 503, "Service Unavailable", detail)
    stream = _events(log, log.position(last_event_id))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def as_json(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt for JSON."""
    return asdict(attempt) | {"time": attempt.time.isoformat(timespec="milliseconds")}


async def _events(log: record.HandshakeLog, after: int) -> AsyncIterator[str]:
    yield f"retry: {_RETRY_MS}\nevent: worker\ndata: {json.dumps(_worker(log))}\n\n"
    async for attempt in log.follow(after):
        if attempt is None:
            yield ": nothing new\n\n"
        else:
            yield f"id: {attempt.id}\nevent: handshake\ndata: {json.dumps(as_json(attempt))}\n\n"


def _worker(log: record.HandshakeLog) -> dict[str, Any]:
    return {"worker": log.worker, "note": _NOTE, "limit": record.MAX_ATTEMPTS}


def _off(request: Request) -> Response:
    detail = (
        "The handshake log is off. Switch it on with LAB_HANDSHAKE_LOG=1; it takes the explained server "
        "(LAB_SERVER=explained) with a certificate."
    )
    return _problem(request, 404, "Not Found", detail)


def _problem(request: Request, status: int, title: str, detail: str) -> Response:
    problem = Problem(type="about:blank", title=title, status=status, detail=detail, instance=request.url.path)
    return JSONResponse(problem.model_dump(exclude_none=True), status, media_type=PROBLEM_JSON)
