"""What the explaining loops do to a socket, with TLS and without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from server.loop import asyncio_loop, uvloop_loop


class Accepted(asyncio.Protocol):
    """Says whether the accepted socket sends at once."""

    def __init__(self, told: asyncio.Future[bool]) -> None:
        self._told = told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        with socket.socket(fileno=descriptor) as same:
            self._told.set_result(bool(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        transport.close()


@pytest.mark.parametrize("make", [asyncio_loop, uvloop_loop])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("bound", [True, False], ids=["bound by Uvicorn", "bound by the loop"])
def test_responses_are_sent_at_once(
    state: Path, make: Callable[[], asyncio.AbstractEventLoop], tls: bool, bound: bool
) -> None:
    """Uvicorn writes head and body one after the other: with Nagle's algorithm the body waits for an ACK, 40 ms."""
    context = None
    if tls:
        files = state / "server-tls/server-good"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files / "fullchain.pem", files / "privkey.pem")

    async def at_once() -> bool:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[bool] = loop.create_future()
        listener = None
        if bound:
            listener = socket.socket()  # as `uvicorn.Config.bind_socket` does for several workers
            listener.bind(("127.0.0.1", 0))
        where = {"sock": listener} if listener else {"host": "127.0.0.1", "port": 0}
        server = await loop.create_server(lambda: Accepted(told), ssl=context, **where)  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        client = ssl.create_default_context(cafile=state / "client-tls/public_root.pem") if tls else None
        _, writer = await asyncio.open_connection("localhost" if tls else "127.0.0.1", port, ssl=client)
        try:
            return await asyncio.wait_for(told, 10)
        finally:
            writer.close()
            server.close()
            await server.wait_closed()

    with closing(make()) as loop:
        assert loop.run_until_complete(at_once())
