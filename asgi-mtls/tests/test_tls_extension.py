"""The client's identity is that of its connection, and nothing else of the application's scope changes."""

from __future__ import annotations

import asyncio
import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pki import Pki
from server_process import ASGI_MTLS, as_options, running

from asgi_mtls.tls_extension import STATE_KEY, TlsExtension, extension

STATES = """
import json

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["of the application"] = 1
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = json.dumps([scope["extensions"]["tls"]["client_cert_name"], scope["state"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("protocol", ["h11", "httptools"])
def test_each_connection_keeps_its_own_client(pki: Pki, tmp_path: Path, protocol: str) -> None:
    (tmp_path / "states.py").write_text(STATES)
    clients = [pki.good, pki.client("other")]
    with running([*ASGI_MTLS, "states:app", f"--http={protocol}", *as_options(pki)], tmp_path) as server:
        port = server.ports[0]
        calls = [http.client.HTTPSConnection("localhost", port, context=pki.calling(c), timeout=30) for c in clients]
        with closing(calls[0]), closing(calls[1]):
            for _ in range(3):
                answers = []
                for call in calls:
                    call.request("GET", "/")
                    answers.append(json.load(call.getresponse()))
                state = {"of the application": 1}
                assert answers == [["CN=good,O=Example", state], ["CN=other,O=Example", state]]


def test_only_the_extension_is_added() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    tls = extension([], "TLSv1.3", "TLS_AES_256_GCM_SHA384")
    state = {"mine": 1, STATE_KEY: (tls, None)}
    scope = {"type": "websocket", "state": state, "extensions": {"websocket.http.response": {}}}
    asyncio.run(TlsExtension(app)(scope, None, None))
    assert seen[0]["state"] == {"mine": 1}
    assert seen[0]["extensions"] == {"websocket.http.response": {}, "tls": tls}
    lifespan = {"type": "lifespan", "state": {}}
    asyncio.run(TlsExtension(app)(lifespan, None, None))
    assert seen[1] == {"type": "lifespan", "state": {}}
