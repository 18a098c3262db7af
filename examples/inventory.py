"""The service that is called. It sees who connects: the service `orders`, never the person behind it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from asgi_mtls.fastapi import FORBIDDEN, Caller
from examples.on_behalf_of import Party, party, read

STOCK = {"bolt": 12, "nut": 40}
# Who may speak for others: exactly this identity, none below it.
MAY_FORWARD = "spiffe://mtls-lab.test/ns/default/sa/client-spiffe"

app = FastAPI(title="inventory", docs_url=None, redoc_url=None)  # why not: "Security notes" of asgi-mtls/README.md


class Stock(BaseModel):
    """How much there is, and who asked: `asked_by` by certificate, `on_behalf_of` by the word of `asked_by`.

    `on_behalf_of` is null where `asked_by` asks for itself. Clients are told apart by the fingerprints, not by names.
    """

    item: str
    available: int
    asked_by: str
    asked_by_sha256: str
    on_behalf_of: str | None
    on_behalf_of_sha256: str | None


async def client_of(caller: Caller, on_behalf_of: Annotated[list[str] | None, Header()] = None) -> Party | None:
    """Return the client that the caller asks for, or None if it asks for itself. Only one caller is believed."""
    values = on_behalf_of or []
    if caller.spiffe_id != MAY_FORWARD and len(values) < 2:
        return None
    try:
        return read(values)
    except ValueError as error:
        raise HTTPException(400, str(error), {"Content-Type": "application/problem+json"}) from None


@app.get("/stock/{item}", responses=FORBIDDEN)
async def stock(item: str, caller: Caller, client: Annotated[Party | None, Depends(client_of)]) -> Stock:
    """Say how much there is of an item."""
    by = party(caller)
    return Stock(
        item=item,
        available=STOCK.get(item, 0),
        asked_by=by.name,
        asked_by_sha256=by.sha256,
        on_behalf_of=client.name if client else None,
        on_behalf_of_sha256=client.sha256 if client else None,
    )


@app.get("/healthz", status_code=204, include_in_schema=False)
async def health() -> None:
    """Answer `python -m server.healthcheck`."""
