"""Serve an ASGI application with Uvicorn and mutual TLS, as a program or inside a running event loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.supervisors import ChangeReload, Multiprocess

from asgi_mtls import event_log
from asgi_mtls.settings import Settings, SettingsError
from asgi_mtls.startup_checks import await_certificate, check, pauses_for_certificate
from asgi_mtls.uvicorn_config import MtlsConfig

STARTUP_FAILURE = 3  # Uvicorn's own exit status
_OF_PROCESS = ("logger", "log_file", "logged_refusals", "problem_type")  # settings that one process has once
_SERVED_HERE: list[Settings] = []  # by serve_async


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
    await_certificate(settings)
    check(settings)
    return _configuration(app, settings, options)


def _configuration(app: Any, settings: Settings, options: dict[str, Any]) -> MtlsConfig:
    options = dict(options)
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

    Cancelled, it answers the requests that it has begun, as on SIGTERM. SIGHUP loads the files again, unless the
    program has a handler of its own. Several may serve in one program; they share the log and the problem type.

    Args:
        app: an ASGI application, or `module:attribute`.
        settings: what to do about TLS and client certificates.
        options: those of `uvicorn.run` but its `ssl_...`.

    Raises:
        SettingsError: this can't be served.
        SystemExit: the application can't be loaded, or the address is in use; Uvicorn has logged which.
    """
    if (options.get("workers") or 1) > 1 or options.get("reload"):
        raise SettingsError("workers", "serve_async serves in this process and starts no other", "asgi_mtls.serve(...)")
    with _in_this_process(settings):
        for pause_s in pauses_for_certificate(settings):
            await asyncio.sleep(pause_s)
        await asyncio.to_thread(check, settings)  # which takes long with a long list
        config = _configuration(app, settings, options)
        config.load_app()  # or SystemExit, before anything is opened
        log_serving(settings)
        server = uvicorn.Server(config)
        try:
            await server.serve()
        except asyncio.CancelledError:
            if server.started and not server.should_exit:
                await server.shutdown()
            raise
        if not server.started:
            sys.exit(STARTUP_FAILURE)


@contextmanager
def _in_this_process(settings: Settings) -> Iterator[None]:
    """Note that these are served, and undo what was done to logging when none are any more.

    Raises:
        SettingsError: they ask for another log or problem type than those that are served already.
    """
    for other in _SERVED_HERE:
        for name in _OF_PROCESS:
            value, first = getattr(settings, name), getattr(other, name)
            if value != first:
                fact = f"{value and str(value)!r}, but another server of this process has {first and str(first)!r}"
                raise SettingsError(name, fact, (name, str(first or "")))
    _SERVED_HERE.append(settings)
    try:
        yield
    finally:
        _SERVED_HERE.remove(settings)
        if not _SERVED_HERE:
            event_log.forget()


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
