"""A service that is called, and calls another: `/orders` with httpx, `/orders-in-threads` with requests.

INVENTORY_URL is the other service; INVENTORY_CERTFILE, INVENTORY_KEYFILE and INVENTORY_CA_CERTS are the credential that
this service shows it, and the root of that service's certificate. They are not what this service serves with.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import requests
from fastapi import FastAPI, Request, Response

from asgi_mtls.fastapi import FORBIDDEN, Caller
from examples.calling import AsyncCaller, Credential, ThreadCaller, tls_reason
from examples.on_behalf_of import headers, party

_LOGGER = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the two callers, one of each library, for as long as the service runs."""
    files = (Path(os.environ[f"INVENTORY_{name}"]) for name in ("CERTFILE", "KEYFILE", "CA_CERTS"))
    credential, url = Credential(*files), os.environ["INVENTORY_URL"]
    app.state.inventory, app.state.inventory_in_threads = AsyncCaller(credential, url), ThreadCaller(credential, url)
    yield
    await app.state.inventory.aclose()
    app.state.inventory_in_threads.close()


app = FastAPI(title="orders", lifespan=lifespan, docs_url=None, redoc_url=None)


@app.get("/orders/{item}", responses=FORBIDDEN)
async def order(request: Request, item: str, caller: Caller) -> Any:
    """Ask with httpx, in the event loop."""
    async with request.app.state.inventory.client() as client:
        response = await client.get(f"/stock/{quote(item, safe='')}", headers=headers(party(caller)))
    response.raise_for_status()
    return {"ordered_by": party(caller).name, "inventory": response.json()}


@app.get("/orders-in-threads/{item}", responses=FORBIDDEN)
def order_in_thread(request: Request, item: str, caller: Caller) -> Any:
    """Ask with requests, which blocks: a plain `def`, so FastAPI runs it in a thread."""
    response = request.app.state.inventory_in_threads.get(f"/stock/{quote(item, safe='')}", headers(party(caller)))
    response.raise_for_status()
    return {"ordered_by": party(caller).name, "inventory": response.json()}


@app.exception_handler(
    ssl.SSLError
)  # a TLS 1.3 alert comes with the response, and httpx's async client does not wrap it
@app.exception_handler(httpx.HTTPError)
@app.exception_handler(requests.RequestException)
async def upstream_failed(request: Request, error: Exception) -> Response:
    """Answer 502, or 504 for a timeout, with a problem (RFC 9457) that says why, if TLS does.

    403 from the inventory is a 502, too: it is this service that may not, and its caller can't cure that.
    """
    late = isinstance(error, (httpx.TimeoutException, requests.Timeout))
    answer = getattr(error, "response", None)
    reason = tls_reason(error) or (f"it answered {answer.status_code}" if answer is not None else "no connection")
    detail = "The inventory did not answer in time." if late else f"The inventory could not be asked: {reason}."
    _LOGGER.error("inventory failed: %s: %s", type(error).__name__, error)
    status = 504 if late else 502
    problem = {"type": "about:blank", "title": "The inventory failed", "status": status, "detail": detail}
    return Response(json.dumps(problem | {"instance": request.url.path}), status, media_type="application/problem+json")


@app.get("/healthz", status_code=204, include_in_schema=False)
async def health() -> None:
    """Answer `python -m server.healthcheck`."""
