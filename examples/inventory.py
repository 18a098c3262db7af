"""The service that is called. It sees who connects: the service `orders`, never the person behind it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote

from fastapi import FastAPI, Header
from pydantic import BaseModel

from server.authorization import FORBIDDEN, Caller
from server.protocol import TlsExtension
from server.rules import SpiffePath

STOCK = {"bolt": 12, "nut": 40}
# Who may speak for others. The header is that service's word, not a proof.
MAY_FORWARD = SpiffePath("mtls-lab.test", "/ns/default/sa/client-spiffe")

app = FastAPI(title="inventory", docs_url=None, redoc_url=None)  # why not: "Security notes" of server/README.md
app.add_middleware(TlsExtension)


class Stock(BaseModel):
    """How much there is, and who asked: `asked_by` by certificate, `on_behalf_of` by the word of `asked_by`."""

    item: str
    available: int
    asked_by: str
    on_behalf_of: str | None


@app.get("/stock/{item}", responses=FORBIDDEN)
async def stock(item: str, caller: Caller, on_behalf_of: Annotated[str | None, Header()] = None) -> Stock:
    """Say how much there is of an item."""
    believed = unquote(on_behalf_of) if on_behalf_of and MAY_FORWARD.allows(caller) else None
    return Stock(item=item, available=STOCK.get(item, 0), asked_by=caller.subject, on_behalf_of=believed)


@app.get("/healthz", status_code=204, include_in_schema=False)
async def health() -> None:
    """Answer `python -m server.healthcheck`."""
