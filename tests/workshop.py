"""A copy of the repository in which make can be used as a person would, in either runtime."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import ROOT, unused_port

NO_ENGINE = subprocess.run(
    ["sh", "scripts/runtime.sh", "--why"], cwd=ROOT, capture_output=True, text=True
).stdout.strip()
compose = (pytest.mark.compose, pytest.mark.skipif(bool(NO_ENGINE), reason=f"RUNTIME=compose: {NO_ENGINE}"))


@dataclass(frozen=True)
class Workshop:
    """A copy of the repository with a port and, for Compose, a project of its own."""

    folder: Path
    runtime: str
    environ: dict[str, str]

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=580,
        )

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", *arguments, **environ)

    def up(self, *arguments: str) -> str:
        done = self.make("up", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def port(self) -> str:
        return self.environ["PORT"]

    def server_id(self) -> str:
        """Identify the running server: another one has another id."""
        if self.runtime == "compose":
            return self.run("docker", "compose", "ps", "-q", "server").stdout.strip()
        return (self.folder / ".lab/server.pid").read_text()


@contextmanager
def copied(folder: Path, name: str, runtime: str, **knobs: str) -> Iterator[Workshop]:
    """A copy of the repository, with a port and a Compose project of its own; what it made is removed afterwards."""
    environ = clean_environ() | {
        "RUNTIME": runtime,
        "PORT": str(unused_port()),
        "COMPOSE_PROJECT_NAME": f"mtls-lab-{name}-{os.getpid()}",
    }
    workshop = Workshop(repository_copy(folder / "lab"), runtime, environ | knobs)
    yield workshop
    done = workshop.make("clean")
    assert done.returncode == 0, done.stderr


def repository_copy(target: Path) -> Path:
    """Copy what git would clone (the working tree, so that uncommitted work is tested too)."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".venv").symlink_to(ROOT / ".venv")
    return target


def clean_environ() -> dict[str, str]:
    """Return the environment without the knobs, which `make test` exports."""
    knobs = {
        "MODE",
        "PORT",
        "SERVER",
        "PROXY",
        "COMPOSE_FILE",
        "COMPOSE_PROJECT_NAME",
        "SERVER_CREDENTIAL",
        "TRUST",
        "PUBLIC_CA",
        "CRL",
        "CRL_CHECK",
        "CREDENTIAL",
        "REASON",
        "WHAT",
        "STEP",
        "CLIENT",
        "CSR",
        "FILE",
        "DAYS",
        "OU",
        "URI",
        "VERBOSE",
        "E",
        "RUNTIME",
        "WHY",
        "OUT",
        "VENV",
        "PYTHON",
        "S",
        "PROBE",
        "TLS",
        "NAME",
        "TESTS",
        "PICTURES",
        "FOR",
        "MFLAGS",
    }
    return {
        k: v
        for k, v in os.environ.items()
        if k not in knobs and not k.startswith(("LAB_", "UVICORN_", "MAKE", "MFLAGS"))
    }
