"""What scripts/venv.sh installs, and when: the locked requirements, and asgi-mtls from the folder of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from recording import Lab

pytestmark = pytest.mark.live

LIBRARY = ["--no-deps", "--no-index", "--no-build-isolation", "-e", "./asgi-mtls"]
# A pip that fails when it is asked to install what $FAIL names.
FAILING = """#!/bin/sh
case "$*" in *" pip "*"$FAIL"*) echo "no such thing" >&2; exit 1 ;; esac
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab", "make")
    (lab.folder / ".venv/bin/pip").touch(mode=0o755)
    return lab


def installed(lab: Lab, **environ: str) -> list[list[str]]:
    """Run the script, and return what pip was asked to install, once per call."""
    done = run(lab, **environ)
    assert done.returncode == 0, done.stderr
    calls = [json.loads(line)[0] for line in lab.seen.read_text().splitlines()] if lab.seen.exists() else []
    return [call[call.index("install") + 3 :] for call in calls if call[:2] == ["-m", "pip"]]


def run(lab: Lab, **environ: str) -> subprocess.CompletedProcess[str]:
    lab.seen.unlink(missing_ok=True)
    environment = os.environ | {"VENV": ".venv", "PYTHON": ""} | environ
    command = ["sh", "scripts/venv.sh", "lab"]
    return subprocess.run(command, cwd=lab.folder, env=environment, capture_output=True, text=True, timeout=60)


def age(*paths: Path) -> None:
    """Make files older than everything else in the lab."""
    for path in paths:
        os.utime(path, (1, 1))


def test_nothing_is_installed_twice(lab: Lab) -> None:
    assert installed(lab) == []


def test_the_first_time_the_library_follows_its_build_backend(lab: Lab) -> None:
    for stamp in (".lab", ".asgi-mtls"):
        (lab.folder / ".venv" / stamp).unlink()
    requirements, library = installed(lab)
    assert requirements[:3] == ["--require-hashes", "--only-binary", ":all:"]
    assert "requirements/build.txt" in requirements
    assert library == LIBRARY
    assert installed(lab) == []


def test_newer_requirements_are_installed(lab: Lab) -> None:
    age(lab.folder / ".venv/.lab")
    [requirements] = installed(lab)
    assert "--require-hashes" in requirements
    assert installed(lab) == []


def test_a_changed_pyproject_installs_the_library_again(lab: Lab) -> None:
    age(lab.folder / ".venv/.asgi-mtls")
    assert installed(lab) == [LIBRARY]
    assert installed(lab) == []


def test_the_library_is_that_of_this_checkout(lab: Lab, tmp_path: Path) -> None:
    """As where VENV names one virtual environment for two checkouts, or where the checkout was moved."""
    other = tmp_path / "other"
    (other / "asgi-mtls/src").mkdir(parents=True)
    (lab.folder / ".venv/.asgi-mtls").write_text(f"{other}\n")
    assert installed(lab) == [LIBRARY]
    assert installed(lab) == []


@pytest.mark.parametrize(("there", "expected"), [(True, []), (False, [LIBRARY])])
def test_a_link_to_the_environment_of_another_checkout(
    lab: Lab, tmp_path: Path, there: bool, expected: list[list[str]]
) -> None:
    """Its library is used, whatever is newer here, as long as that checkout exists."""
    other = tmp_path / "other"
    if there:
        (other / "asgi-mtls/src").mkdir(parents=True)
    moved = (lab.folder / ".venv").rename(tmp_path / "environment")
    (lab.folder / ".venv").symlink_to(moved)
    (moved / ".asgi-mtls").write_text(f"{other}\n")
    age(moved / ".asgi-mtls")
    assert installed(lab) == expected
    assert installed(lab) == []


@pytest.mark.parametrize(
    ("fail", "error", "cure"),
    [
        ("--require-hashes", "could not install the requirements", "make up, when the network is there"),
        ("./asgi-mtls", "could not install asgi-mtls", "rm -r .venv, if nothing else needs it, then: make up"),
    ],
)
def test_pip_fails(lab: Lab, fail: str, error: str, cure: str) -> None:
    for stamp in (".lab", ".asgi-mtls"):
        (lab.folder / ".venv" / stamp).unlink()
    (lab.folder / ".venv/bin/python").write_text(FAILING)
    done = run(lab, FAIL=fail)
    assert done.returncode == 2
    assert f"no such thing\nerror: {error}: pip failed (its reason is above)\n  try: {cure}" in done.stderr
    assert not (lab.folder / ".venv/.asgi-mtls").exists()
