"""A service with the library and without the lab, and its clients."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from running import Running, server_environ, unused_port

from asgi_mtls.environment import variable
from asgi_mtls.settings import DEFAULTS
from ca.certificates import make
from ca.credentials import AUTHORITIES, recipes
from ca.store import Store

START_S = 20.0


@contextmanager
def lifted(state: Path, folder: Path, source: str, mode: str = "optional", **environ: str) -> Iterator[Running]:
    """Run `asgi-mtls tiny:app` in a folder of its own until the block ends; `source` is tiny.py."""
    (folder / "tiny.py").write_text(source)
    port = unused_port()
    library = {variable(setting, "LAB_"): variable(setting) for setting in DEFAULTS}
    environment = {
        library.get(name, name): value
        for variables in (server_environ(state, mode, port), environ)  # what make exports empty comes first
        for name, value in variables.items()
    }
    log = folder / "server.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "asgi_mtls", "tiny:app"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        _wait(process, port, log)
        yield Running(process, port, state, log)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("localhost", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def context(running: Running, name: str | None = None) -> ssl.SSLContext:
    """Return the context of a client with this credential."""
    client = ssl.create_default_context(cafile=running.state / "client-tls/public_root.pem")
    if name:
        client.load_cert_chain(credential(running.state, name))
    return client


def credential(state: Path, name: str) -> Path:
    """Return a PEM file with a client credential of the catalogue, made now and once."""
    path = state / "lifted" / f"{name}.pem"
    if not path.exists():
        store = Store(state)
        made = make(recipes(name)[-1], store.read(AUTHORITIES[3], store.read(AUTHORITIES[2], None)))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made.cert_pem() + made.chain_pem() + made.key_pem())
    return path


def connect(running: Running, name: str | None = None) -> http.client.HTTPSConnection:
    """Return a connection that is kept alive, as a client with this credential."""
    return http.client.HTTPSConnection("localhost", running.port, context=context(running, name), timeout=10)


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str, Any]:
    """Return the status, media type and JSON of an answer."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.headers["Content-Type"], json.loads(response.read())


def get(running: Running, name: str | None, path: str) -> tuple[int, str, Any]:
    """Ask on a new connection."""
    with closing(connect(running, name)) as connection:
        return ask(connection, path)
