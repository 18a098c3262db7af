"""What needs no server: help, and what make says where something is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from running import ROOT
from workshop import clean_environ

pytestmark = pytest.mark.live


def make(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=clean_environ() | environ, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def no_docker(tmp_path: Path) -> str:
    """A PATH on which docker is there and its engine does not answer."""
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def test_bare_make_prints_help() -> None:
    bare = make()
    assert bare.stdout == make("help").stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert all(f"make {target} " in bare.stdout for target in targets)


def test_without_an_engine_the_runtime_is_local(no_docker: str) -> None:
    done = make("-n", "status", PATH=no_docker)
    assert "local-server.sh status" in done.stdout


def test_an_engine_that_does_not_answer(no_docker: str) -> None:
    done = make("up", "RUNTIME=compose", PATH=no_docker)
    assert "error: RUNTIME=compose can't be used: no Docker engine answers" in done.stderr
    assert "make up RUNTIME=local" in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)


def why_not_compose(folder: Path, docker: str) -> str:
    """Say what runtime.sh finds missing where docker is this shell script."""
    (folder / "docker").write_text(f"#!/bin/sh\n{docker}\n")
    (folder / "docker").chmod(0o755)
    script = ["sh", "scripts/runtime.sh", "--why"]
    environ = clean_environ() | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(script, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=20).stdout


def test_an_engine_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    assert why_not_compose(tmp_path, "exec sleep 60") == "no Docker engine answers\n"


def test_an_old_compose_is_too_old(tmp_path: Path) -> None:
    old = '[ "$1" = version ] || echo v2.17.3'
    assert why_not_compose(tmp_path, old) == "Docker Compose 2.17.3 is older than 2.20\n"


@pytest.mark.parametrize("knob", ["SERVER_CREDENTIAL", "TRUST"])
def test_an_empty_knob_is_refused(knob: str) -> None:
    done = make("up", f"{knob}=", "RUNTIME=local")
    assert f"error: unknown {knob}: it is empty\n  try: make up {knob}=" in done.stderr


def test_no_python(tmp_path: Path) -> None:
    done = make("up", "RUNTIME=local", "PYTHON=/bin/false", f"VENV={tmp_path}/venv")
    assert "error: no virtual environment: /bin/false is not a Python >= 3.11" in done.stderr
    assert "sudo apt-get install python3 python3-venv" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("missing", ["openssl", "curl"])
def test_a_missing_tool(tmp_path: Path, missing: str) -> None:
    for tool in {"sh", "openssl", "curl"} - {missing}:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/nonexistent")
    knobs = {"MODE": "off", "SERVER": "stock", "PORT": "8443", "SERVER_CREDENTIAL": "server-good", "TRUST": "x"}
    environ = {"PATH": str(tmp_path), "RUNTIME": "local"} | knobs
    done = subprocess.run(["/bin/sh", "scripts/check.sh"], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: RUNTIME=local needs {missing}: it is not installed\n"
        f"  try: sudo apt-get install {missing} (or: brew install {missing})\n"
    )


@pytest.mark.parametrize(
    ("version", "options", "reason"),
    [
        (
            "LibreSSL 3.3.6",
            "-verify_hostname -tls1_2 -tls1_3",
            "LibreSSL 3.3.6 is too old: its s_client has no -cert_chain",
        ),
        (
            "OpenSSL 1.0.2u 20 Dec 2019",
            "-cert_chain -verify_hostname -tls1_2",
            "OpenSSL 1.0.2u is too old: its s_client has no -tls1_3",
        ),
    ],
)
def test_an_old_openssl_is_skipped_with_the_reason(tmp_path: Path, version: str, options: str, reason: str) -> None:
    (tmp_path / "openssl").write_text(f'#!/bin/sh\n[ "$1" = version ] && echo "{version}" || echo "{options}"\n')
    (tmp_path / "openssl").chmod(0o755)
    program = (
        "from types import SimpleNamespace; from client.probes import PROBES; from catalogue import Tls; "
        "print(PROBES['openssl'].lacks(SimpleNamespace(tls=Tls.V13)))"
    )
    environ = clean_environ() | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(ROOT / ".venv/bin/python"), "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.stdout.strip() == reason, done.stderr
