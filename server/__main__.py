"""`python -m server`: serve the application as the environment says, plain (`stock`) or explaining refusals."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from server import log
from server.handshake import explained_context
from server.protocol import PROTOCOLS
from server.settings import (
    APP,
    SettingsError,
    check_tls_files,
    equivalent_command,
    lab_settings,
    prepare,
    uvicorn_parameters,
)

_LOOPS = {"asyncio": "server.loop:asyncio_loop", "uvloop": "server.loop:uvloop_loop"}


def main() -> int:
    """Serve until stopped. Returns 2 if the environment can't be served."""
    try:
        prepare(os.environ)
        lab = lab_settings(os.environ)
        parameters = uvicorn_parameters()
        check_tls_files(parameters)
        _open_log(lab.log_file)
    except SettingsError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2
    log.event(logging.INFO, "serving", server=lab.server, equivalent=equivalent_command())
    if lab.server == "stock":
        command = Path(sys.executable).with_name("uvicorn")
        os.execv(command, [str(command), APP])
    if parameters["ssl_certfile"]:
        parameters["ssl_context_factory"] = ssl_context
    parameters["loop"] = _loop(parameters["loop"])
    parameters["http"] = PROTOCOLS.get(parameters["http"], parameters["http"])
    uvicorn.run(**parameters)
    return 0


def _open_log(file: Path | None) -> None:
    try:
        log.configure(file)
    except OSError as error:
        raise SettingsError("LAB_LOG_FILE", f"{file}: {error.strerror}", "unset LAB_LOG_FILE") from None


def ssl_context(_: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Uvicorn's `ssl_context_factory`, called in each worker."""
    lab = lab_settings(os.environ)
    log.configure(lab.log_file)
    return explained_context(default, strict=lab.strict, tickets=lab.tickets)


def _loop(name: str) -> str:
    if name == "auto":
        try:
            import uvloop  # noqa: F401
        except ImportError:
            name = "asyncio"
        else:
            name = "uvloop"
    return _LOOPS.get(name, name)


if __name__ == "__main__":
    sys.exit(main())
