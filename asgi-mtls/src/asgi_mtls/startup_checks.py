"""What is checked before a server starts, so that a fault is an error here and not a traceback in each worker."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

import asgi_mtls
from asgi_mtls import event_log
from asgi_mtls.http_protocols import NEEDED_OF_UVICORN, PROTOCOLS
from asgi_mtls.pem_files import certificates, check_whole, load_context
from asgi_mtls.revocation import load_lists
from asgi_mtls.settings import Settings, SettingsError

LOWEST_UVICORN = "0.47.0"
_POLL_S = 0.1


def check(settings: Settings) -> None:
    """Check Uvicorn and all files, and wait for a certificate that is not there yet.

    Raises:
        SettingsError: this can't be served.
    """
    if not hasattr(os, "fork"):
        raise SettingsError("platform", f"{sys.platform} can't be served on", "serve on Linux, macOS or in a container")
    check_uvicorn()
    if settings.ssl_certfile:
        await_certificate(settings)
        check_files(settings)


def check_uvicorn() -> None:
    """Check that Uvicorn has the private names that are used of it.

    Raises:
        SettingsError: it lacks one; both versions are named.
    """
    missing = [f"{owner.__name__}.{name}" for owner, name in _of_classes() if not hasattr(owner, name)]
    if not missing:
        loop = asyncio.new_event_loop()
        try:
            config = uvicorn.Config(_no_application, log_config=None, lifespan="off", ws="none")
            config.load()
            protocol = PROTOCOLS["auto"](config=config, server_state=ServerState(), app_state={}, _loop=loop)  # type: ignore[call-arg]
            missing = [f"{type(protocol).__name__}.{name}" for name in NEEDED_OF_UVICORN if not hasattr(protocol, name)]
        except TypeError as error:
            missing = [str(error)]
        finally:
            loop.close()
    if missing:
        fact = f"asgi-mtls {asgi_mtls.__version__} needs {missing[0]}, which Uvicorn {uvicorn.__version__} lacks"
        raise SettingsError("uvicorn", fact, f"pip install 'uvicorn>={LOWEST_UVICORN}', or a newer asgi-mtls")


def _of_classes() -> list[tuple[Any, str]]:
    config = ("load", "load_app", "bind_socket", "should_reload", "configure_logging")
    return [*((uvicorn.Config, name) for name in config), (Multiprocess, "handle_hup"), (uvicorn.Server, "serve")]


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    """Stand in for an application."""


def await_certificate(settings: Settings) -> None:
    """Wait until certificate and key are there, for `certificate_wait_s` seconds.

    An ACME client that answers challenges where the server runs may have to get the first certificate while the server
    is about to start. Files that are there still may be unfit; that is for others to find.

    Raises:
        SettingsError: they did not come in time.
    """
    files = [path for path in (settings.ssl_certfile, settings.ssl_keyfile) if path]
    wait_s = settings.certificate_wait_s

    def missing() -> str:
        return ", ".join(str(path) for path in files if not path.exists())

    if not wait_s or not missing():
        return
    event_log.configure(settings)
    event_log.event(logging.INFO, "awaiting_certificate", files=missing(), seconds=f"{wait_s:g}")
    deadline = time.monotonic() + wait_s
    while names := missing():
        if time.monotonic() > deadline:
            fact = f"{names} did not come within {wait_s:g} s"
            raise SettingsError("certificate_wait_s", fact, "look at what your ACME client says")
        time.sleep(_POLL_S)


def check_files(settings: Settings, *, followed: bool = True) -> None:
    """Load all files once.

    Args:
        settings: they name the files.
        followed: look, too, for what only a server that follows its files minds.

    Raises:
        SettingsError: a file is missing, may not be read, or can't be used.
    """
    files = {name: getattr(settings, name) for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "crl")}
    for name, path in files.items():
        if path:
            _check_readable(name, path)
    crl = files.pop("crl")
    named = [path for path in files.values() if path]
    look = f"openssl x509 -in {_quoted(settings.ssl_certfile)} -text"
    try:
        load_context(settings)
    except (ssl.SSLError, OSError, ValueError) as error:
        fact = f"OpenSSL can't use {', '.join(map(str, named))}: {error}"
        raise SettingsError("ssl_certfile", fact, look) from None
    for name, path in files.items():
        try:
            if followed and path:
                check_whole([path])
        except (OSError, ValueError) as error:
            raise SettingsError(name, str(error), f"grep -n -e ----- {_quoted(path)}") from None
    if crl:
        try:
            load_lists(crl, certificates(settings.ssl_ca_certs), settings.ssl_ca_certs)
        except (OSError, ValueError) as error:
            raise SettingsError("crl", str(error), f"openssl crl -in {_quoted(crl)} -noout -text") from None


def _check_readable(setting: str, path: Path) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        command = f"chown {os.getuid()}" if isinstance(error, PermissionError) else "ls -l"
        raise SettingsError(setting, f"{path}: {error.strerror}", f"{command} {_quoted(path)}") from None


def _quoted(path: Path | None) -> str:
    return shlex.quote(str(path))
