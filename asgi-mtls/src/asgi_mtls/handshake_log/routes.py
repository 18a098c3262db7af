"""`GET /handshakes`: the last handshakes of the worker that answers, as a page, as JSON, and as they happen.

Who may look learns the names of other clients, so without the setting `open_handshakes` it takes a client certificate.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from asgi_mtls.authorization import authorize
from asgi_mtls.handshake_log import recorder
from asgi_mtls.handshake_log.summary import HandshakeSummary
from asgi_mtls.problems import PROBLEM_JSON, Problem
from asgi_mtls.tls_extension import HANDSHAKE_LOG

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
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


async def handshakes(request: Request) -> Response:
    """Show the handshakes: a page for a browser; JSON for others, with `after` an id only what came after it."""
    log = _log(request)
    if log is None:
        return _off(request)
    if "text/html" in request.headers.get("accept", "") and request.query_params.get("format") != "json":
        return HTMLResponse(PAGE, headers=HEADERS)
    after = log.position(request.query_params.get("after"))
    summaries = [as_json(summary) for summary in log.list(after)]
    return JSONResponse(_worker(log) | {"handshakes": summaries}, headers={"Cache-Control": "no-store"})


async def events(request: Request) -> Response:
    """Stream the handshakes as server-sent events: those known, then each as it ends."""
    log = _log(request)
    if log is None:
        return _off(request)
    if log.full:
        detail = (
            f"{recorder.MAX_FOLLOWERS} others are watching already: close a page, or ask for /handshakes?format=json."
        )
        return _problem(request, 503, "Service Unavailable", detail)
    stream = _events(log, log.position(request.headers.get("last-event-id")))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


ROUTES = [
    Route("/handshakes", handshakes, include_in_schema=False),
    Route("/handshakes/events", events, include_in_schema=False),
]


def _log(request: Request) -> recorder.HandshakeLog | None:
    log: recorder.HandshakeLog | None = (request.scope.get("extensions") or {}).get(HANDSHAKE_LOG)
    if log is not None and not log.is_open:
        authorize(request)
    return log


def as_json(summary: HandshakeSummary) -> dict[str, Any]:
    """Return a summary for JSON."""
    return asdict(summary) | {"time": summary.time.isoformat(timespec="milliseconds")}


async def _events(log: recorder.HandshakeLog, after: int) -> AsyncIterator[str]:
    yield f"retry: {_RETRY_MS}\nevent: worker\ndata: {json.dumps(_worker(log))}\n\n"
    async for summary in log.follow(after):
        if summary is None:
            yield ": nothing new\n\n"
        else:
            yield f"id: {summary.id}\nevent: handshake\ndata: {json.dumps(as_json(summary))}\n\n"


def _worker(log: recorder.HandshakeLog) -> dict[str, Any]:
    return {"worker": log.worker, "note": _NOTE, "limit": recorder.MAX_HANDSHAKES}


def _off(request: Request) -> Response:
    detail = (
        "The handshake log is off, or this is another server. Switch it on with the setting handshake_log, and have"
        " the service started with the command `asgi-mtls` or `asgi_mtls.serve`."
    )
    return _problem(request, 404, "Not Found", detail)


def _problem(request: Request, status: int, title: str, detail: str) -> Response:
    problem = Problem("about:blank", title, status, detail, instance=request.url.path)
    return JSONResponse(problem.as_json(), status, media_type=PROBLEM_JSON)
