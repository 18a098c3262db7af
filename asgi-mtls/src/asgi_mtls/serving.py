"""Serve an ASGI application with Uvicorn and mutual TLS, as a program or inside a running event loop."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
from typing import Any

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from asgi_mtls import event_log
from asgi_mtls.settings import Settings, SettingsError
from asgi_mtls.startup_checks import check
from asgi_mtls.uvicorn_config import MtlsConfig

STARTUP_FAILURE = 3  # Uvicorn's own exit status


def serve(app: Any, settings: Settings, **options: Any) -> None:
    """Serve an application until the process is stopped, as `uvicorn.run` does.

    The application finds the client in the ASGI TLS extension, and so does each middleware. The files are followed.

    Args:
        app: an ASGI application, or `module:attribute`, which several workers and reloading need.
        settings: what to do about TLS and client certificates.
        options: those of `uvicorn.run` but its `ssl_...`: `host`, `port`, `workers`, ...

    Raises:
        SettingsError: this can't be served.
        SystemExit: the application can't be loaded, or the address is in use; Uvicorn has logged which.
    """
    config = prepare(app, settings, options)
    log_serving(settings)
    run(config)


def prepare(app: Any, settings: Settings, options: dict[str, Any]) -> MtlsConfig:
    """Check everything, and return the configuration of a server. Args and errors are those of `serve`."""
    check(settings)
    app_dir = options.pop("app_dir", None)
    if app_dir is not None:
        sys.path.insert(0, app_dir)
    config = MtlsConfig(app, settings, **options)
    if (config.reload or config.workers > 1) and not isinstance(app, str):
        fact = "several workers and reload need the application as a text"
        raise SettingsError("workers", fact, 'serve("module:attribute", ...)')
    return config


def log_serving(settings: Settings, *, equivalent: event_log.Own | None = None, **fields: object) -> None:
    """Log what is about to be served, and how.

    Args:
        settings: what is in force.
        equivalent: the plain `uvicorn` command that says the same.
        fields: further ones of the event; `defaults` replaces what a connection may do.

    Raises:
        SettingsError: the log file can't be written.
    """
    event_log.configure(settings)
    fields.setdefault("defaults", event_log.Own(settings.in_words()))
    event_log.event(logging.INFO, "serving", **fields, equivalent=equivalent)


def run(config: MtlsConfig) -> None:
    """Serve until the process is stopped."""
    server = uvicorn.Server(config)
    try:
        if config.should_reload:
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
        elif config.workers > 1:
            _supervisor(server).run()
        else:
            config.load_app()  # or SystemExit, before anything is opened
            server.run()
    except KeyboardInterrupt:
        return
    if not server.started and not config.should_reload and config.workers == 1:
        sys.exit(STARTUP_FAILURE)


async def serve_async(app: Any, settings: Settings, **options: Any) -> None:
    """Serve an application inside the running event loop, in one process, until SIGTERM, SIGINT or cancellation.

    Args:
        app: an ASGI application, or `module:attribute`.
        settings: what to do about TLS and client certificates.
        options: those of `uvicorn.run` but its `ssl_...`.

    Raises:
        SettingsError: this can't be served.
    """
    if (options.get("workers") or 1) > 1 or options.get("reload"):
        raise SettingsError("workers", "serve_async serves in this process and starts no other", "asgi_mtls.serve(...)")
    config = prepare(app, settings, options)
    log_serving(settings)
    await uvicorn.Server(config).serve()


class _Supervisor(Multiprocess):
    """Passes SIGHUP on, for each worker to load its files again: Uvicorn's own new workers end connections in use."""

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid:
                os.kill(process.pid, signal.SIGHUP)


def _supervisor(server: uvicorn.Server) -> Multiprocess:
    sockets = [server.config.bind_socket()]
    if "target" in inspect.signature(Multiprocess).parameters:  # an older Uvicorn
        return _Supervisor(server.config, target=server.run, sockets=sockets)  # type: ignore[call-arg]
    return _Supervisor(server.config, sockets=sockets)
