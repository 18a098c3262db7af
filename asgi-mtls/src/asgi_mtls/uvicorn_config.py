"""Uvicorn's configuration with mutual TLS in it.

Uvicorn calls `load` in each process that serves, inside its event loop: with several workers, on reload, in your own
program. So every server with this configuration has all of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from asyncio import sslproto
from contextlib import suppress
from typing import Any

import uvicorn

from asgi_mtls import event_log, problems
from asgi_mtls.http_protocols import PROTOCOLS
from asgi_mtls.reloading_context import ReloadingContext
from asgi_mtls.settings import Settings, SettingsError
from asgi_mtls.tls_acceptor import TlsAcceptor
from asgi_mtls.tls_extension import TlsExtension

# Of each TLS connection of the process in asyncio: its own, 256 KiB, is what an unauthenticated connection costs.
READ_BUFFER_BYTES = 32 * 1024


class MtlsConfig(uvicorn.Config):
    """The configuration of a server: Uvicorn's options, and `settings`.

    `uvicorn.Server(MtlsConfig(...)).serve()` serves in a running event loop. The logger, the log file and the problem
    type are the process's: those of the configuration that was loaded last.
    """

    def __init__(self, app: Any, settings: Settings, **options: Any) -> None:
        """Take Uvicorn's options but those of TLS, which are settings.

        Raises:
            SettingsError: an option with which no client could be told from another, or a bad configuration of logging.
            TypeError: an option of TLS.
        """
        if of_tls := [name for name in options if name.startswith("ssl_")]:
            raise TypeError(f"{of_tls[0]} belongs in asgi_mtls.Settings, not among Uvicorn's options")
        http = options.pop("http", None) or "auto"
        if http not in PROTOCOLS or options.get("http2"):
            fact = f"{http!r} is none of {', '.join(sorted(PROTOCOLS))}: the application would know no client"
            raise SettingsError("http", fact, ("http", "auto"))
        if options.get("uds") and settings.ssl_certfile:
            fact = "asgi-mtls accepts TCP connections itself; on a socket file no refused client would get its alert"
            raise SettingsError("uds", fact, ("uds", ""))
        self.settings = settings
        if settings.ssl_certfile:
            options |= {"ssl_certfile": settings.ssl_certfile, "ssl_context_factory": _context}
        super().__init__(app, http=PROTOCOLS[http], **options)

    def configure_logging(self) -> None:
        """Do what the user's own configuration of logging says.

        Raises:
            SettingsError: it can't be read.
        """
        try:
            super().configure_logging()
        except Exception as error:  # whatever the classes that it names raise
            file = f"{self.log_config}: " if isinstance(self.log_config, str) else ""
            facts = error.strerror if isinstance(error, OSError) else " ".join(map(str, (error, error.__cause__ or "")))
            if file and not os.path.exists(str(self.log_config)):
                facts = "No such file"
            missing = error.__cause__.name if isinstance(error.__cause__, ImportError) else None
            cures = ["pip install pyyaml"] if missing == "yaml" else []
            fact = file + (" ".join(str(facts).split()) or repr(error))  # configparser's has several lines
            raise SettingsError("log_config", fact, *cures, ("log_config", "")) from None

    def load(self) -> None:
        """Load the application and the TLS files, and have this loop accept connections as `TlsAcceptor` does."""
        event_log.configure(self.settings)
        if self.settings.problem_type:
            problems.set_problem_type(self.settings.problem_type)
        proxy = self.settings.proxy
        if proxy and proxy.rule is None:
            fact = f"everybody who sends the header {proxy.header} is who it says, with no key: never outside a lesson"
            event_log.event(logging.WARNING, "trusted_proxy_anybody", fact=fact)
        super().load()
        event_log.configure(self.settings)  # again: the application may have configured logging when it was imported
        if isinstance(self.ssl, ReloadingContext):
            self.loaded_app: Any = TlsExtension(self.loaded_app, self.ssl.handshake_log)
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                fact = "the configuration was loaded outside the event loop: no file is followed, no alert is sent"
                event_log.event(logging.ERROR, "files_not_followed", fact=fact, cure="use asgi_mtls.serve_async")
            else:
                _accept_in(loop)


def _context(config: uvicorn.Config, _: Any) -> ssl.SSLContext:
    assert isinstance(config, MtlsConfig)  # noqa: S101
    return ReloadingContext(config.settings)


def _accept_in(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop's `create_server` leave the connections of a `ReloadingContext` to a `TlsAcceptor`.

    `create_server` of asyncio and uvloop does not say whose handshake is in progress, and Uvicorn has no option for
    the handshake's time limit.

    Raises:
        SettingsError: the loop can't be extended.
    """
    if getattr(loop.create_server, "accepts_tls", False):
        return
    sslproto.SSLProtocol.max_size = READ_BUFFER_BYTES
    plain = loop.create_server

    async def create_server(
        protocol_factory: Any,
        host: Any = None,
        port: Any = None,
        *,
        sock: socket.socket | None = None,
        ssl: ssl.SSLContext | None = None,
        backlog: int = 100,
        **keywords: Any,
    ) -> Any:
        if not isinstance(ssl, ReloadingContext):
            return await plain(protocol_factory, host, port, sock=sock, ssl=ssl, backlog=backlog, **keywords)
        if sock is None:
            family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
            sock = socket.create_server((host or "", port or 0), family=family, backlog=backlog)
        # Accepted sockets inherit it. asyncio sets it itself only where the socket names its protocol, which these
        # don't; without it a response with a body waits 40 ms for the ACK of its head. A UNIX socket refuses it; which
        # kind it is can't be told from the family: Uvicorn takes each descriptor that it is given (`fd`) for one.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.listen(backlog)
        sock.setblocking(False)
        return TlsAcceptor(sock, protocol_factory, ssl)

    create_server.accepts_tls = True  # type: ignore[attr-defined]
    try:
        loop.create_server = create_server  # type: ignore[assignment, method-assign]
    except AttributeError:
        fact = f"{type(loop).__qualname__} can't be extended: no file would be followed"
        raise SettingsError("loop", fact, ("loop", "asyncio")) from None
