"""`python -m server [module:app]`: serve an application with `asgi-mtls` (`explained`) or plain Uvicorn (`stock`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from asgi_mtls import SettingsError
from asgi_mtls.event_log import Own
from asgi_mtls.serving import log_serving
from asgi_mtls.settings import CERT_REQS
from asgi_mtls.startup_checks import await_certificate, check_files
from server.settings import lab_command


def become_uvicorn(app: str) -> None:
    """Go on as the command of Uvicorn, with nothing of the lab's in the process but the application."""
    command = Path(sys.executable).with_name("uvicorn")
    os.execv(command, [str(command), app])


def main(stock: Callable[[str], None] = become_uvicorn) -> int:
    """Serve until stopped. Returns 2 if the environment can't be served.

    Args:
        stock: serves an application as plain Uvicorn does, and never returns.
    """
    try:
        lab = lab_command(sys.argv[1:])
        settings, command = lab.command.settings, lab.command
        with command.spelled():
            if lab.kind == "explained":
                command.run(server=lab.kind)
                return 0
            if settings.ssl_certfile:
                await_certificate(settings)
                check_files(settings, followed=False)
            of_library = {"defaults": None} if settings.ssl_certfile else {}
            log_serving(settings, server=lab.kind, **of_library, equivalent=Own(command.equivalent))
    except SettingsError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2
    # Uvicorn would read the file again, and what is new in it by then would not be in the line above.
    os.environ.pop("UVICORN_ENV_FILE", None)
    if settings.ssl_cert_reqs:
        os.environ["UVICORN_SSL_CERT_REQS"] = str(int(CERT_REQS[settings.ssl_cert_reqs]))  # it takes numbers only
    stock(command.app)
    return 0


if __name__ == "__main__":
    sys.exit(main())
