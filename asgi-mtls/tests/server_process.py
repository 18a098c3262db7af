"""Servers in processes of their own, on ports that the kernel picks, and clients that ask them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pki import Pki

READY_S = 60.0
ASGI_MTLS = (sys.executable, "-m", "asgi_mtls")
# Answers with what it knows of the process and the client.
APP = """
import json, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                print("the application has shut down", flush=True)
                return
    tls = (scope.get("extensions") or {}).get("tls") or {}
    body = json.dumps({"pid": os.getpid(), "client": tls.get("client_cert_name")}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def make():
    return app
"""


@dataclass(frozen=True)
class ServerProcess:
    """A process and what it has printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def ports(self) -> list[int]:
        """The ports that Uvicorn or gunicorn says it listens on, in this order."""
        return [int(port) for port in re.findall(r"https?://127\.0\.0\.1:(\d+)", self.text)]

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until it has printed a text so many times."""
        deadline = time.monotonic() + READY_S
        while self.text.count(text) < count:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, f"{text!r} is missing in:\n{self.text}"
            time.sleep(0.02)

    def ask(self, context: ssl.SSLContext, port: int | None = None) -> dict[str, Any]:
        """Return the application's answer on a new connection."""
        with closing(http.client.HTTPSConnection("localhost", port or self.ports[0], context=context, timeout=30)) as c:
            c.request("GET", "/")
            answer: dict[str, Any] = json.load(c.getresponse())
            return answer

    def serial(self, context: ssl.SSLContext, port: int | None = None) -> int:
        """Return the serial number of the certificate that the server shows now."""
        with closing(http.client.HTTPSConnection("localhost", port or self.ports[0], context=context, timeout=30)) as c:
            c.connect()
            shown: Any = c.sock.getpeercert()
            return int(shown["serialNumber"], 16)

    def wait_for_serial(self, serial: int, context: ssl.SSLContext, port: int | None = None) -> None:
        deadline = time.monotonic() + READY_S
        while self.serial(context, port) != serial:
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)

    def alert(self, context: ssl.SSLContext, port: int | None = None) -> str:
        """Return why the server refuses a client, as the client's OpenSSL calls its alert."""
        try:
            self.ask(context, port)
        except ssl.SSLError as error:
            return error.reason or ""
        return "it was served"

    def send(self, number: signal.Signals, pid: int | None = None) -> None:
        os.kill(pid or self.process.pid, number)

    def wait(self) -> int:
        """Return the exit status."""
        return self.process.wait(READY_S)


@contextmanager
def running(
    command: Sequence[str | Path], folder: Path, ready: str = "startup complete", **environ: str
) -> Iterator[ServerProcess]:
    """Run a server in a folder, which gets an application in myapp.py, until the block ends."""
    (folder / "myapp.py").write_text(APP)
    with started(command, folder, **environ) as server:
        server.wait_for(ready)
        server.wait_for("://127.0.0.1:")
        yield server


@contextmanager
def started(command: Sequence[str | Path], folder: Path, **environ: str) -> Iterator[ServerProcess]:
    """Run a command in a folder until the block ends, whatever comes of it."""
    log = folder / "output"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=clean_environ() | environ, stdout=file, stderr=file)
    try:
        yield ServerProcess(process, log)
    finally:
        process.terminate()
        process.wait(READY_S)


def refused(command: Sequence[str | Path], folder: Path, status: int = 2, **environ: str) -> str:
    """Run a command that can't serve, and return what it prints."""
    (folder / "myapp.py").write_text(APP)
    done = subprocess.run(
        command, cwd=folder, env=clean_environ() | environ, capture_output=True, text=True, timeout=READY_S
    )
    printed = done.stdout + done.stderr
    assert done.returncode == status, printed
    assert "Traceback" not in printed
    return printed


def clean_environ() -> dict[str, str]:
    """Return this environment without what configures a server."""
    ours = ("UVICORN_", "ASGI_MTLS_", "LAB_", "GUNICORN_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours) and k not in ("WEB_CONCURRENCY", "COLUMNS")}


def as_options(pki: Pki, **settings: Any) -> list[str]:
    """Return the options that make `Pki.tls`, on a port that the kernel picks."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in pki.tls(**settings).items()]
    return ["--port=0", *options]


def replace_server_certificate(pki: Pki, folder: Path) -> int:
    """Put a new certificate and key where a server has its own; return the new serial number."""
    new = pki.public_root.intermediate("Public Intermediate").server("localhost").write(folder / "new")
    for name in ("privkey.pem", "fullchain.pem"):
        os.replace(folder / "new" / name, folder / name)
    return new.certificate.serial_number
