"""`python -m server [module:app]`: serve an application as the environment says, plain (`stock`) or explaining."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from server import log
from server.context import live_context
from server.environment import read_env_file
from server.protocol import PROTOCOLS, WithTls
from server.settings import (
    APP,
    LabSettings,
    SettingsError,
    await_certificate,
    check_followed_files,
    check_tls_files,
    equivalent_command,
    lab_settings,
    prepare,
    uvicorn_parameters,
)

_LOOPS = {"asyncio": "server.loop:asyncio_loop", "uvloop": "server.loop:uvloop_loop"}


def become_uvicorn(app: str) -> None:
    """Go on as the command of Uvicorn, with nothing of the lab's in the process but the application."""
    command = Path(sys.executable).with_name("uvicorn")
    os.execv(command, [str(command), app])


def main(stock: Callable[[str], None] = become_uvicorn) -> int:
    """Serve until stopped. Returns 2 if the environment can't be served.

    Args:
        stock: serves an application as plain Uvicorn does, and never returns.
    """
    app = sys.argv[1] if len(sys.argv) > 1 else APP
    try:
        read_env_file()
        await_certificate(os.environ)
        prepare(os.environ)
        lab = lab_settings(os.environ)
        parameters = uvicorn_parameters(app)
        check_tls_files(parameters)
        check_followed_files(parameters, lab)
        explained = lab.server == "explained" and parameters["ssl_certfile"]
        if explained and parameters["uds"]:
            fact = "LAB_SERVER=explained accepts TCP connections itself; of a socket file it would explain nothing"
            raise SettingsError("UVICORN_UDS", fact, "unset UVICORN_UDS, or: export LAB_SERVER=stock")
        if explained:
            parameters["loop"] = _loop(parameters["loop"])
        elif lab.server == "explained" and (parameters["workers"] or 1) > 1:
            fact = "with several workers, of which none would bound the log or the time of a request's head"
            raise SettingsError("LAB_PLAIN_HTTP", fact, "export UVICORN_WORKERS=1, or: export LAB_SERVER=stock")
        _open_log(lab)
    except SettingsError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2
    plain = None if parameters["ssl_certfile"] else "plain HTTP: no encryption, no client certificates"
    defaults = lab.defaults(parameters["ssl_ciphers"]) if explained else plain
    log.event(
        logging.INFO,
        "serving",
        server=lab.server,
        defaults=defaults and log.Own(defaults),
        equivalent=log.Own(equivalent_command(app)),
    )
    if explained and lab.proxy and lab.proxy.rule is None:
        fact = f"everybody who sends the header {lab.proxy.header} is who it says, with no key: never outside a lesson"
        log.event(logging.WARNING, "trusted_proxy_anybody", fact=fact)
    # Uvicorn would read the file again, and what is new in it by then would not be in the line above.
    os.environ.pop("UVICORN_ENV_FILE", None)
    parameters["env_file"] = None
    if lab.server == "stock":
        stock(app)
    if explained:
        parameters["ssl_context_factory"] = live_context
        Multiprocess.handle_hup = _reload_workers  # type: ignore[assignment]
    WithTls.head_timeout_s = lab.head_timeout_s  # for plain HTTP; with TLS each worker has it from live_context
    parameters["http"] = PROTOCOLS.get(parameters["http"], parameters["http"])
    uvicorn.run(**parameters)
    return 0


def _reload_workers(supervisor: Multiprocess) -> None:
    """Pass SIGHUP on, for each worker to read its files again: Uvicorn's own new workers end connections in use."""
    for process in supervisor.processes:
        if process.pid:
            os.kill(process.pid, signal.SIGHUP)


def _open_log(lab: LabSettings) -> None:
    try:
        log.configure(lab.log_file, lab.logged_refusals)
    except OSError as error:
        raise SettingsError("LAB_LOG_FILE", f"{lab.log_file}: {error.strerror}", "unset LAB_LOG_FILE") from None


def _loop(name: str) -> str:
    """Return the loop that explains handshakes for one of Uvicorn's.

    Raises:
        SettingsError: it is another one, with which nothing is explained and no file followed.
    """
    if name == "auto":
        try:
            import uvloop  # noqa: F401
        except ImportError:
            name = "asyncio"
        else:
            name = "uvloop"
    if name not in _LOOPS and name not in _LOOPS.values():
        fact = f"{name!r} is none of auto, asyncio, uvloop: with LAB_SERVER=explained no file would be followed"
        raise SettingsError("UVICORN_LOOP", fact, "export UVICORN_LOOP=auto, or: export LAB_SERVER=stock")
    return _LOOPS.get(name, name)


if __name__ == "__main__":
    sys.exit(main())
