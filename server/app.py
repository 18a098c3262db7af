"""The application: it greets, and says who is calling."""

from __future__ import annotations

import html
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel

from asgi_mtls import ClientIdentity, OrganizationalUnit, TlsFacts, set_problem_type, tls_facts
from asgi_mtls.fastapi import FORBIDDEN, Caller, Identity, require
from asgi_mtls.starlette import content_security_policy, handshake_log_routes
from server import PROBLEM_TYPE
from server.healthcheck import HEALTH

Admin = Annotated[
    ClientIdentity, Depends(require(OrganizationalUnit("Lab Admins"), name='organizational unit "Lab Admins"'))
]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mTLS lab</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
dt {{ color: #555; }} dd {{ margin: 0 0 .6rem; font-family: monospace; overflow-wrap: anywhere; }}
</style>
<h1>{greeting}</h1>
<p>{explanation}</p>
<dl>{facts}</dl>
"""
# Of the page without names: a name that became markup would not be allowed by it.
PAGE_HEADERS = {"Content-Security-Policy": content_security_policy(PAGE.format(greeting="", explanation="", facts=""))}


class WhoAmI(BaseModel):
    """Who is calling: `identity` is null for an anonymous client, `tls` where the server can't know.

    `openssl` is what the server is built on, like `OpenSSL 3.5.9 4 Aug 2026`: what it accepts depends on it.
    """

    identity: ClientIdentity | None
    tls: TlsFacts | None
    openssl: str = ssl.OPENSSL_VERSION


class _NotHealth(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        # Uvicorn's arguments: client, method, path with its query, HTTP version, status.
        return not (isinstance(record.args, tuple) and len(record.args) > 2 and record.args[2] == HEALTH)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the health check out of the access log."""
    logging.getLogger("uvicorn.access").addFilter(_NotHealth())
    yield


set_problem_type(PROBLEM_TYPE)  # plain Uvicorn, too, answers with the lab's
# FastAPI's /docs and /redoc load scripts from a content network, into the origin that has the user's certificate.
app = FastAPI(title="mTLS lab", lifespan=lifespan, docs_url=None, redoc_url=None)
app.router.routes.extend(handshake_log_routes)


@app.get("/whoami")
def whoami(request: Request, identity: Identity) -> WhoAmI:
    """Say who is calling, over what."""
    return WhoAmI(identity=identity, tls=tls_facts(request))


@app.get("/", response_model=None)
def greet(request: Request, identity: Identity, accept: Annotated[str, Header()] = "") -> Response:
    """Greet: as JSON, or as a page for a browser."""
    who = whoami(request, identity)
    greeting = f"Hello, {_name(identity)}!"
    if "text/html" in accept:
        return HTMLResponse(_page(greeting, who), headers=PAGE_HEADERS)
    return _greeting(greeting, who)


@app.get("/private", response_model=None, responses=FORBIDDEN)
def greet_caller(request: Request, caller: Caller) -> Response:
    """Greet who has a certificate."""
    return _greeting(f"Hello, {_name(caller)}, in private!", whoami(request, caller))


@app.get("/admin", response_model=None, responses=FORBIDDEN)
def greet_admin(request: Request, admin: Admin) -> Response:
    """Greet who has a certificate with the organizational unit "Lab Admins"."""
    return _greeting(f"Hello, {_name(admin)}, at your service!", whoami(request, admin))


@app.get(HEALTH, status_code=204, include_in_schema=False)
def health() -> None:
    """Answer the health check."""


def _name(identity: ClientIdentity | None) -> str:
    return (identity.common_name or identity.subject or identity.sha256) if identity else "stranger"


def _greeting(message: str, who: WhoAmI) -> JSONResponse:
    return JSONResponse({"message": message} | who.model_dump(mode="json"))


def _page(greeting: str, who: WhoAmI) -> str:
    if who.identity:
        by = " by the proxy in front of me" if who.tls and who.tls.via else ""
        explanation = f"Your client certificate was verified{by}."
    elif who.tls:
        explanation = "You sent no client certificate, so I don't know who you are."
    else:
        explanation = "This server does not tell the application about TLS, so I can't know who you are."
    facts = who.identity.as_json() if who.identity else {}
    facts.pop("names", None)
    facts |= {f"TLS {key}": value for key, value in asdict(who.tls).items() if value is not None} if who.tls else {}
    rows = "".join(f"<dt>{html.escape(_words(k))}</dt><dd>{html.escape(_line(v))}</dd>" for k, v in facts.items())
    return PAGE.format(greeting=html.escape(greeting), explanation=explanation, facts=rows)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _line(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
