"""Real servers on unused ports of loopback, and the client program that judges them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalogue import Server
from client.lab import Lab, open_lab

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Running:
    """A server process that answers."""

    process: subprocess.Popen[bytes]
    port: int
    state: Path
    log: Path

    @property
    def environ(self) -> dict[str, str]:
        """What the client needs to find it."""
        return {
            "LAB_CERTS": str(self.state / "client-tls"),
            "LAB_URL": f"https://localhost:{self.port}",
            "LAB_SERVER_LOG": str(self.log),
            "LAB_REPORTS": str(self.state / "reports"),
            "LAB_SHOWN_PYTHON": sys.executable,
        }

    @property
    def lab(self) -> Lab:
        return open_lab(self.environ)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_environ(state: Path, mode: str, port: int, server: str = Server.EXPLAINED) -> dict[str, str]:
    """The environment that makes a server of an issued state, on top of this process's."""
    tls = state / "server-tls"
    return os.environ | {
        "LAB_SERVER": server,
        "UVICORN_PORT": str(port),
        "UVICORN_SSL_CERT_REQS": mode,
        "UVICORN_SSL_CERTFILE": str(tls / "server-good/fullchain.pem"),
        "UVICORN_SSL_KEYFILE": str(tls / "server-good/privkey.pem"),
        "UVICORN_SSL_CA_CERTS": str(tls / "validation_fullchain.pem"),
        "LAB_HEALTHCHECK_DIR": str(tls / "healthcheck"),
    }


@contextmanager
def serving(state: Path, log: Path, mode: str, server: str = Server.EXPLAINED, **environ: str) -> Iterator[Running]:
    """Run a server until the block ends."""
    port = unused_port()
    environment = server_environ(state, mode, port, server) | environ
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"], cwd=ROOT, env=environment, stderr=file, stdout=file
        )
    try:
        check = [sys.executable, "-m", "server.healthcheck", "--wait", "20"]
        ready = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ready.returncode == 0, ready.stderr + log.read_text()
        yield Running(process, port, state, log)
    finally:
        process.terminate()
        process.wait(10)


def client(running: Running | None, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the client program as make does."""
    environment = os.environ | (running.environ if running else {}) | environ
    command = [sys.executable, "-m", "client", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
