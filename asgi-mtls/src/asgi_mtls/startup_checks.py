"""What is checked before a server starts, so that a fault is an error here and not a traceback in each worker."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import shlex
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from asgi_mtls import event_log
from asgi_mtls.http_protocols import NEEDED_OF_UVICORN, PROTOCOLS
from asgi_mtls.pem_files import CIPHERS, blocks, certificates, check_whole, load_context, trust
from asgi_mtls.requirements import unfit, unfit_platform
from asgi_mtls.revocation import load_lists
from asgi_mtls.settings import Settings, SettingsError

_POLL_S = 0.1


def check(settings: Settings) -> None:
    """Check what is installed and all files.

    Raises:
        SettingsError: this can't be served.
    """
    check_installed()
    if settings.ssl_certfile:
        check_files(settings)


def check_installed() -> None:
    """Check that the system and the installed packages have what is used of them.

    Uvicorn promises little of what is used here, h11 nothing of it; so all of it is looked up.

    Raises:
        SettingsError: something is missing; the package's version and ours are named.
    """
    if not hasattr(os, "fork"):
        raise unfit_platform("it has no processes that fork")
    if not hasattr(x509.Certificate, "not_valid_after_utc"):
        raise unfit("cryptography", "x509.Certificate has no not_valid_after_utc")
    if "ssl_context_factory" not in inspect.signature(uvicorn.Config.__init__).parameters:
        raise unfit("uvicorn", "uvicorn.Config has no ssl_context_factory")
    for owner, name in _of_classes():
        if not hasattr(owner, name):
            raise unfit("uvicorn", f"uvicorn.{owner.__name__} has no {name}")
    loop = asyncio.new_event_loop()
    try:
        for protocol in set(PROTOCOLS.values()):
            _check_protocol(protocol, loop)
    finally:
        loop.close()


def _of_classes() -> list[tuple[Any, str]]:
    config = ("load", "load_app", "bind_socket", "should_reload", "configure_logging")
    server = ("run", "serve", "shutdown")
    of_classes = [(uvicorn.Config, name) for name in config] + [(uvicorn.Server, name) for name in server]
    return [*of_classes, (Multiprocess, "handle_hup"), (Multiprocess, "run")]


def _check_protocol(protocol: type[asyncio.Protocol], loop: asyncio.AbstractEventLoop) -> None:
    """Make a protocol as Uvicorn does for a connection, and look for what `http_protocols` uses of it."""
    try:
        config = uvicorn.Config(_no_application, log_config=None, lifespan="off", ws="none")
        config.load()
        made = protocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)  # type: ignore[call-arg]
    except (TypeError, AttributeError) as error:
        raise unfit("h11" if "_receive_buffer" in str(error) else "uvicorn", str(error)) from None
    for name in NEEDED_OF_UVICORN:
        if not hasattr(made, name):
            raise unfit("uvicorn", f"its {protocol.__base__.__name__ if protocol.__base__ else ''} has no {name}")


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    """Stand in for an application."""


def await_certificate(settings: Settings) -> None:
    """Wait until certificate and key are there, for `certificate_wait_s` seconds.

    An ACME client that answers challenges where the server runs may have to get the first certificate while the server
    is about to start. Files that are there still may be unfit; that is for others to find.

    Raises:
        SettingsError: they did not come in time.
    """
    for pause_s in pauses_for_certificate(settings):
        time.sleep(pause_s)


def pauses_for_certificate(settings: Settings) -> Iterator[float]:
    """Give the seconds to wait before each further look for certificate and key, until they are there.

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
        yield _POLL_S


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
    try:
        load_context(settings)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise _fault(settings, error) from None
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


def _fault(settings: Settings, error: Exception) -> SettingsError:
    """Return the error about the setting with which OpenSSL could not load all."""
    certificate, key, trusted = settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_ca_certs
    files = {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_ca_certs": trusted}
    for name, path in files.items():
        try:
            check_whole([path] if path else [])
        except ValueError as damage:
            return SettingsError(name, f"OpenSSL can't use it: {damage}", f"grep -n -e ----- {_quoted(path)}")
    for name in ("ssl_certfile", "ssl_ca_certs"):
        try:
            if path := files[name]:
                trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path)
        except ValueError as damage:
            return SettingsError(name, str(damage), f"openssl x509 -in {_quoted(files[name])} -noout -text")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(settings.ssl_ciphers or CIPHERS)
    except ssl.SSLError:
        fact = f"OpenSSL knows no cipher suite of TLS 1.2 in {settings.ssl_ciphers!r}"
        return SettingsError("ssl_ciphers", fact, ("ssl_ciphers", ""))
    return _fault_of_key(settings, key or certificate or Path(), error)


def _fault_of_key(settings: Settings, path: Path, error: Exception) -> SettingsError:
    certificate, password = settings.ssl_certfile, settings.ssl_keyfile_password
    look = f"openssl pkey -in {_quoted(path)} -noout -text_pub"
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        fact = f"{path} is not the key of the certificate in {certificate}: {error}"
        return SettingsError("ssl_keyfile", fact, f"{look}, and: openssl x509 -in {_quoted(certificate)} -noout -text")
    if not any(block.label.endswith("PRIVATE KEY") for block in blocks(path)):
        if path == certificate:
            fact = f"not set, and {path} has no private key"
            return SettingsError("ssl_keyfile", fact, ("ssl_keyfile", "privkey.pem"))
        return SettingsError("ssl_keyfile", f"{path} has no private key", f"grep -n -e ----- {_quoted(path)}")
    if b"ENCRYPTED" in path.read_bytes():  # RFC 7468 11, or a header (RFC 1421 4.6.1.1)
        fact = f"it does not open {path}" if password else f"not set, and {path} is encrypted"
        return SettingsError("ssl_keyfile_password", fact, look)
    return SettingsError("ssl_certfile", f"OpenSSL can't use {certificate} with {path}: {error}", look)


def _check_readable(setting: str, path: Path) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        command = f"chown {os.getuid()}" if isinstance(error, PermissionError) else "ls -l"
        raise SettingsError(setting, f"{path}: {error.strerror}", f"{command} {_quoted(path)}") from None


def _quoted(path: Path | None) -> str:
    return shlex.quote(str(path))
