"""What accepting does to a socket, with TLS and without, on both loops."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import closing

import pytest
import uvloop
from pki import Pki

from asgi_mtls.reloading_context import ReloadingContext
from asgi_mtls.settings import Settings
from asgi_mtls.uvicorn_config import _accept_in


class Accepted(asyncio.Protocol):
    """Says whether the accepted socket sends at once."""

    def __init__(self, told: asyncio.Future[bool]) -> None:
        self._told = told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        with socket.socket(fileno=descriptor) as same:
            self._told.set_result(bool(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        transport.close()


@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
@pytest.mark.parametrize("bound", [True, False], ids=["bound by Uvicorn", "bound by the loop"])
def test_responses_are_sent_at_once(pki: Pki, make: Callable[[], asyncio.AbstractEventLoop], bound: bool) -> None:
    """Uvicorn writes head and body one after the other: with Nagle's algorithm the body waits for an ACK, 40 ms."""
    context = ReloadingContext(Settings(ssl_certfile=pki.server.fullchain, ssl_keyfile=pki.server.privkey))

    async def at_once() -> bool:
        loop = asyncio.get_running_loop()
        _accept_in(loop)
        told: asyncio.Future[bool] = loop.create_future()
        listener = None
        if bound:
            listener = socket.socket()  # as `uvicorn.Config.bind_socket` does for several workers
            listener.bind(("127.0.0.1", 0))
        where = {"sock": listener} if listener else {"host": "127.0.0.1", "port": 0}
        server = await loop.create_server(lambda: Accepted(told), ssl=context, **where)  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        client = pki.calling()
        _, writer = await asyncio.open_connection("localhost", port, ssl=client)
        try:
            return await asyncio.wait_for(told, 10)
        finally:
            writer.close()
            server.close()
            await server.wait_closed()

    with closing(make()) as loop:
        assert loop.run_until_complete(at_once())


@pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_other_servers_of_the_loop_stay_what_they_were(pki: Pki, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """An application may listen, too: with no TLS, or with a context of its own."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(pki.server.fullchain, pki.server.privkey)

    async def kinds() -> list[str]:
        loop = asyncio.get_running_loop()
        _accept_in(loop)
        _accept_in(loop)
        servers = [await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=context) for context in (None, own)]
        for server in servers:
            server.close()
        return [type(server).__name__ for server in servers]

    with closing(make()) as loop:
        assert loop.run_until_complete(kinds()) == ["Server", "Server"]
