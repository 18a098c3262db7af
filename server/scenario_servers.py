"""`python -m server.scenario_servers LINES`: run the scenarios' servers until standard input ends, for test-servers.

A line is one server: what `python -m client servers` prints of it, and its port. The environment is that of a server,
and SERVER_TLS and LOGS, the folders with their files and for their logs. What a server imports takes a second, so it is
imported once, and every server is a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from uvicorn.main import main as uvicorn_command

import server.app  # noqa: F401 (so that no fork has to)
from asgi_mtls import event_log
from server.__main__ import main as serve


def main() -> int:
    """Start them all, and end them when standard input ends."""
    servers = [_start(line) for line in sys.argv[1].splitlines()]
    sys.stdin.buffer.read()
    for pid in servers:
        os.kill(pid, signal.SIGTERM)  # who has ended already is not waited for yet, so the number is still its own
    for pid in servers:
        os.waitpid(pid, 0)
    return 0


def _start(line: str) -> int:
    """Return the number of a new process, which never returns from here."""
    pid = os.fork()
    if pid:
        return pid
    name, credential, trust, crl, crl_check, pass_phrase, port = line.split()
    tls, logs = Path(os.environ["SERVER_TLS"]), Path(os.environ["LOGS"])
    environ = os.environ | {
        "UVICORN_PORT": port,
        "UVICORN_WORKERS": "1",  # more, nineteen times, take longer to start than Uvicorn waits before it ends them
        "UVICORN_SSL_CERTFILE": str(tls / credential / "fullchain.pem"),
        "UVICORN_SSL_KEYFILE": str(tls / credential / "privkey.pem"),
        "UVICORN_SSL_CA_CERTS": str(tls / f"{trust}.pem"),
        "UVICORN_SSL_KEYFILE_PASSWORD": "" if pass_phrase == "-" else pass_phrase,  # noqa: S105
        "LAB_CRL": "" if crl == "none" else str(tls / f"{crl}.pem"),
        "LAB_CRL_CHECK": crl_check,
    }
    environ.pop("LAB_LOG_FILE", None)
    sys.exit(serve_as(environ, logs / f"{name}.log"))


def serve_as(environ: Mapping[str, str], log_file: Path) -> int:
    """Be, in a process of its own, what `python -m server` is in this environment, and write what it says to a file."""
    with open(os.devnull, "rb") as nothing, log_file.open("wb") as said:
        for file, number in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [sys.argv[0]]
    return serve(stock=_as_uvicorn)


def _as_uvicorn(app: str) -> None:
    """Do what the command `uvicorn` does, here: in a process of its own it would import all this once more."""
    event_log.forget()
    uvicorn_command([app])


if __name__ == "__main__":
    sys.exit(main())
