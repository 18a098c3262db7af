"""`python -m server.further LINES`: run further servers until standard input ends, for `make test-servers`.

A line is one server: name, port, credential, trust file, revocation list or none, LAB_CRL_CHECK, and the key's pass
phrase or -. The environment is that of a server, and SERVER_TLS and LOGS, the folders with their files and for their
logs. What a server imports takes a second, so it is imported once, and every server is a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from server.__main__ import main as serve
from server.settings import APP


def main() -> int:
    """Start them all, and end them when standard input ends."""
    import_module(APP.partition(":")[0])
    servers = [_start(line, os.environ) for line in sys.argv[1].splitlines()]
    sys.stdin.buffer.read()
    for pid in servers:
        os.kill(pid, signal.SIGTERM)  # who has ended already is not waited for yet, so the number is still its own
    for pid in servers:
        os.waitpid(pid, 0)
    return 0


def _start(line: str, environ: Mapping[str, str]) -> int:
    """Return the number of a new process, which never returns from here."""
    pid = os.fork()
    if pid:
        return pid
    name, port, credential, trust, crl, crl_check, pass_phrase = line.split()
    tls = Path(environ["SERVER_TLS"])
    os.environ |= {
        "UVICORN_PORT": port,
        "UVICORN_SSL_CERTFILE": str(tls / credential / "fullchain.pem"),
        "UVICORN_SSL_KEYFILE": str(tls / credential / "privkey.pem"),
        "UVICORN_SSL_CA_CERTS": str(tls / f"{trust}.pem"),
        "UVICORN_SSL_KEYFILE_PASSWORD": "" if pass_phrase == "-" else pass_phrase,  # noqa: S105
        "LAB_CRL": "" if crl == "none" else str(tls / f"{crl}.pem"),
        "LAB_CRL_CHECK": crl_check,
    }
    os.environ.pop("LAB_LOG_FILE", None)
    with open(os.devnull, "rb") as nothing, (Path(environ["LOGS"]) / f"{name}.log").open("wb") as log:
        for file, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(file.fileno(), number)
    sys.argv = [sys.argv[0]]
    sys.exit(serve())


if __name__ == "__main__":
    sys.exit(main())
