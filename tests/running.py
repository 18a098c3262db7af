"""Real servers on unused ports of loopback, and the client program that judges them."""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked

from catalogue import Server
from client.lab import Lab, open_lab
from server.healthcheck import answers

ROOT = Path(__file__).parent.parent
# LAB_TEST_THOROUGH=1 repeats more and loads more; what is stated is the same.
THOROUGH = os.environ.get("LAB_TEST_THOROUGH") == "1"
READY_S = 60.0  # beside other tests
_PORTS = (16384, 32768)
# What a server imports takes a second: it is imported once for all of a worker's tests, and every server is a fork.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["server.scenario_servers"])


@dataclass(frozen=True)
class Running:
    """A server process that answers."""

    process: BaseProcess
    port: int
    state: Path
    log: Path
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """What the client needs to find it."""
        return {
            "LAB_CERTS": str(self.state / "client-tls"),
            "LAB_URL": f"https://localhost:{self.port}",
            "LAB_SERVER_LOG": str(self.log),
            "LAB_REPORTS": str(self.state / "reports"),
            "LAB_SHOWN_PYTHON": sys.executable,
            "LAB_PORTS": " ".join(f"{name}={port}" for name, port in self.ports.items()),
        }

    @property
    def lab(self) -> Lab:
        return open_lab(self.environ)


def context(running: Running, name: str | None = None) -> ssl.SSLContext:
    """The context of a client, with one of the issued credentials or none."""
    client = ssl.create_default_context(cafile=running.state / "client-tls/public_root.pem")
    if name:
        folder = running.state / "client-tls/clients" / name
        client.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    return client


def slowness() -> float:
    """Return how many times as long as on a calm machine of 2026 things take here and now, at least 1.

    What a person waits for has a limit in seconds: here it has this one times that. Beside another worker's tests it is
    twice as much again, for their processes and their disk come and go.
    """
    crowd = 2 if "PYTEST_XDIST_WORKER" in os.environ else 1
    start = time.perf_counter()
    sum(number & 3 for number in range(3_000_000))
    return crowd * max(1.0, (time.perf_counter() - start) / 0.2)


def unused_port() -> int:
    return unused_ports(1)[0]


def unused_ports(count: int) -> list[int]:
    """Return as many different ports, none of those that the kernel gives to clients (from 32768 on): what is free
    now must be so when a server takes it, though the tests beside this one open thousands of connections.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_PORTS)
        with socket.socket() as trial, suppress(OSError):
            trial.bind(("127.0.0.1", port))
            found += {port} - set(found)
    return found


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
        "LAB_LOGGED_REFUSALS": "100000",  # as `make up` has it: a matrix reads the reasons in the log
    }


@contextmanager
def serving(
    state: Path, log: Path, mode: str, server: str = Server.EXPLAINED, descriptors: int | None = None, **environ: str
) -> Iterator[Running]:
    """Run a server until the block ends, with so few descriptors if need be."""
    port = unused_port()
    environment = server_environ(state, mode, port, server) | environ
    with process(environment, log, descriptors) as running:
        await_answer(running.is_alive, environment, log)
        yield Running(running, port, state, log)


def await_answer(runs: Callable[[], bool], environment: Mapping[str, str], log: Path) -> None:
    """Ask as `python -m server.healthcheck` does, which for each server would import the application once more."""
    folder = Path(environment["LAB_HEALTHCHECK_DIR"])
    _await(runs, log, lambda: answers(int(environment["UVICORN_PORT"]), folder))


def await_listener(runs: Callable[[], bool], port: int, log: Path) -> None:
    """Wait until it accepts connections: who refuses the health check and is plain Uvicorn answers nothing at all."""

    def refused() -> str | None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return None
        return "nobody listens"

    _await(runs, log, refused)


def _await(runs: Callable[[], bool], log: Path, problem_of: Callable[[], str | None]) -> None:
    deadline = time.monotonic() + READY_S
    while problem := problem_of():
        assert runs(), log.read_text()
        assert time.monotonic() < deadline, problem + log.read_text()
        time.sleep(0.02)


@contextmanager
def all_servers(state: Path, folder: Path, mode: str, server: str = Server.EXPLAINED) -> Iterator[Running]:
    """Run the default server and every other one that a scenario asks for; the others' ports are in `ports`."""
    with serving(state, folder / "server.log", mode, server) as default:
        others = client(default, "servers").stdout.splitlines()
        ports = dict(zip((other.split()[0] for other in others), unused_ports(len(others)), strict=True))
        lines = [f"{other} {port}" for other, port in zip(others, ports.values(), strict=True)]
        environ = server_environ(state, mode, default.port, server)
        environ |= {"SERVER_TLS": str(state / "server-tls"), "LOGS": str(folder)}
        command = [sys.executable, "-m", "server.scenario_servers", "\n".join(lines)]
        with subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.PIPE) as further:
            for name, port in ports.items():
                await_listener(lambda: further.poll() is None, port, folder / f"{name}.log")
            yield replace(default, ports=ports)  # they end with its standard input


@contextmanager
def process(environment: dict[str, str], log: Path, descriptors: int | None) -> Iterator[BaseProcess]:
    """Run a server process until the block ends."""
    log.touch()
    running = _FORKS.Process(target=forked.serve, args=(environment, log, descriptors))
    running.start()
    try:
        yield running
    finally:
        running.terminate()
        running.join(30)
        assert not running.is_alive(), "it does not end"


def client(running: Running | None, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the client program as make does."""
    environment = os.environ | (running.environ if running else {}) | environ
    command = [sys.executable, "-m", "client", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
