"""The servers that are compared: local processes on loopback, with certificates of their own in a temporary folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalogue import LabError

ROOT = Path(__file__).parent.parent
# name -> what its environment says; the first is what the others are compared with
KINDS = {
    "stock": {"LAB_SERVER": "stock"},
    "explained": {"LAB_SERVER": "explained", "LAB_HANDSHAKE_LOG": "0"},
    "explained, log on": {"LAB_SERVER": "explained", "LAB_HANDSHAKE_LOG": "1"},
}


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    name: str
    port: int
    pid: int

    def busy_s(self) -> float | None:
        """Return the CPU time that it has used, in seconds, or None where the system does not say (Linux does)."""
        try:
            tasks = list(Path(f"/proc/{self.pid}/task").iterdir())
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except (OSError, ValueError, IndexError):
            return None


def issue(folder: Path) -> None:
    """Issue the lab's certificates into a folder.

    Raises:
        LabError: the CA could not.
    """
    environ = os.environ | {"LAB_STATE": str(folder)}
    done = subprocess.run([sys.executable, "-m", "ca", "issue"], cwd=ROOT, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise LabError("could not issue the certificates", done.stderr.strip(), "make bench LAB_DEBUG=1")


@contextmanager
def running(folder: Path, cores: set[int] | None) -> Iterator[list[Served]]:
    """Run one server of each kind, all on the same cores, until the block ends. Only one is loaded at a time."""
    with ExitStack() as stack:
        yield [stack.enter_context(_serve(folder, name, environ, cores)) for name, environ in KINDS.items()]


@contextmanager
def _serve(folder: Path, name: str, environ: dict[str, str], cores: set[int] | None) -> Iterator[Served]:
    port = _unused_port()
    tls = folder / "server-tls"
    environment = os.environ | {
        "UVICORN_PORT": str(port),
        "UVICORN_HOST": "127.0.0.1",
        "UVICORN_SSL_CERT_REQS": "required",
        "UVICORN_SSL_CERTFILE": str(tls / "server-good/fullchain.pem"),
        "UVICORN_SSL_KEYFILE": str(tls / "server-good/privkey.pem"),
        "UVICORN_SSL_CA_CERTS": str(tls / "validation_fullchain.pem"),
        "UVICORN_ACCESS_LOG": "false",  # both would write the same lines: a smaller denominator is the harder test
        "LAB_HEALTHCHECK_DIR": str(tls / "healthcheck"),
        **environ,
    }
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"], cwd=ROOT, env=environment, stdout=file, stderr=file
        )
    try:
        if cores:
            os.sched_setaffinity(process.pid, cores)
        check = [sys.executable, "-m", "server.healthcheck", "--wait", "20"]
        ready = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True)
        if ready.returncode:
            fact = (log.read_text().strip().splitlines() or [ready.stderr.strip()])[-1]
            raise LabError(f"could not start the {name} server", fact, "make up RUNTIME=local")
        yield Served(name, port, process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
