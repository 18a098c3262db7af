"""`python -m server.healthcheck [--wait SECONDS [--pid PID]]`: does the server answer?

It presents the health check's own credential (LAB_HEALTHCHECK_DIR), so that it works in every mode without filling
the log with refusals. It does not judge the server's certificate: that is the clients' business.
"""

from __future__ import annotations

import argparse
import http.client
import os
import ssl
import sys
import time
from pathlib import Path

from asgi_mtls.environment import read_env_file
from asgi_mtls.settings import SettingsError

HEALTH = "/healthz"  # the application takes it from here: to import that for it would cost 0.4 s at each check
TIMEOUT_S = 3.0
INTERVAL_S = 0.05


def answers(port: int, credential: Path | None, *, plain: bool = False) -> str | None:
    """Ask the server on this machine. Returns None if it answers, else what happened instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        if plain
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
    )
    try:
        if credential:
            context.load_cert_chain(credential / "fullchain.pem", credential / "privkey.pem")
        connection.request("GET", HEALTH)
        status = connection.getresponse().status
    except ssl.SSLError as error:
        # An alert is an answer: a server whose revocation lists have expired refuses everybody, and runs.
        return None if "_ALERT_" in (error.reason or "") else str(error)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None if status == http.HTTPStatus.NO_CONTENT else f"HTTP status {status}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # it ended, or another user's process has got its number
        return False
    return True


def main() -> int:
    """Exit 0 if the server answers, now or within the time to wait; else print why not and exit 1."""
    parser = argparse.ArgumentParser(prog="python -m server.healthcheck")
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--pid", type=int, help="the server's process: without it there is nothing to wait for")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.wait
    try:
        read_env_file(os.environ.get("UVICORN_ENV_FILE"))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    port_text = os.environ.get("UVICORN_PORT") or "8000"
    if not port_text.isdigit():
        print(f"error: UVICORN_PORT: {port_text!r} is no port number\n  try: export UVICORN_PORT=8443", file=sys.stderr)
        return 1
    port = int(port_text)
    folder = os.environ.get("LAB_HEALTHCHECK_DIR")
    plain = os.environ.get("LAB_PLAIN_HTTP") == "1"
    while problem := answers(port, Path(folder) if folder else None, plain=plain):
        if time.monotonic() > deadline or (arguments.pid and not _runs(arguments.pid)):
            print(f"error: the server does not answer on port {port}: {problem}\n  try: make logs", file=sys.stderr)
            return 1
        time.sleep(INTERVAL_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
