"""The copy of the certificates on the host: it is looked at closely only if something of it may have changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import ROOT
from workshop import clean_environ

FRESH, SAME, STALE = "copied to certs", "in certs are up to date", "in certs were stale: copied again"
COPIED = Path("certs/clients/client-good")


@pytest.fixture
def copy(state: Path, tmp_path: Path) -> Callable[..., tuple[str, bool]]:
    """Run certs.sh in a folder; returns what it says, and whether it asked for the certificates themselves."""
    for name in ("scripts", "client", "catalogue"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".lab").mkdir()
    (tmp_path / ".lab/client-tls").symlink_to(state / "client-tls")
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n: >asked\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "elsewhere/certs").mkdir(parents=True)
    environ = clean_environ() | {"RUNTIME": "local", "VENV": "venv", "CDPATH": str(tmp_path / "elsewhere")}

    def run(*arguments: str) -> tuple[str, bool]:
        asked = tmp_path / "asked"
        asked.unlink(missing_ok=True)
        command = ["sh", "scripts/certs.sh", "certs", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr.removeprefix("certificates ").strip(), asked.exists()

    return run


def test_what_nobody_has_changed_is_not_asked_for(copy: Callable[..., tuple[str, bool]]) -> None:
    assert copy("a-state") == (FRESH, True)
    assert copy("a-state") == (SAME, False)
    assert copy("another-state") == (SAME, True)  # of what nobody here has a copy of, say
    assert copy("another-state") == (SAME, False)
    assert copy() == (SAME, True)  # it is not known which state that is


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes().replace(b"A", b"B")),
        lambda file: file.with_name("cert.pem").write_bytes(file.read_bytes()),
    ],
)
def test_a_damaged_copy_is_mended(
    copy: Callable[..., tuple[str, bool]], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    copy("a-state")
    before = {path.name: path.read_bytes() for path in (tmp_path / COPIED).iterdir()}
    damage(tmp_path / COPIED / "privkey.pem")
    assert copy("a-state") == (STALE, True)
    assert {path.name: path.read_bytes() for path in (tmp_path / COPIED).iterdir()} == before
    assert copy("a-state") == (SAME, False)


def test_a_link_is_followed(copy: Callable[..., tuple[str, bool]], tmp_path: Path) -> None:
    copy("a-state")
    key = tmp_path / COPIED / "privkey.pem"
    moved = key.rename(tmp_path / "on-a-stick.pem")
    key.symlink_to(moved)
    assert copy("a-state") == (SAME, False)
    moved.write_text("another key")
    assert copy("a-state") == (STALE, True)


def test_what_else_a_person_keeps_there_stays(copy: Callable[..., tuple[str, bool]], tmp_path: Path) -> None:
    copy("a-state")
    mine = tmp_path / COPIED / "bundle.p12"
    mine.write_bytes(b"mine")
    assert copy("a-state") == (SAME, True)
    assert copy("a-state") == (SAME, False)
    assert mine.read_bytes() == b"mine"


def test_another_way_of_copying_copies_again(copy: Callable[..., tuple[str, bool]], tmp_path: Path) -> None:
    copy("a-state")
    program = (tmp_path / "client/commands.py").read_text()
    (tmp_path / "client").unlink()
    shutil.copytree(ROOT / "client", tmp_path / "client", ignore=shutil.ignore_patterns("__pycache__"))
    assert copy("a-state") == (SAME, False)
    (tmp_path / "client/commands.py").write_text(program + "# a newer one\n")
    assert copy("a-state") == (SAME, True)
