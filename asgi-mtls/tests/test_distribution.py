"""The wheel and the source distribution: what they hold and what they say about themselves."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SDIST = "from setuptools import build_meta; print(build_meta.build_sdist({!r}))"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, as git clones it: the licence is a link to the one of the repository."""
    folder = tmp_path_factory.mktemp("source")
    made = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "tests")
    shutil.copytree(ROOT, folder / "asgi-mtls", symlinks=True, ignore=made)
    shutil.copy(ROOT.parent / "LICENSE", folder)
    return folder / "asgi-mtls"


def wheel_of(source: Path, folder: Path) -> Path:
    """Build a wheel with the installed build backend, without an index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", SDIST.format(str(folder)), cwd=source)
    [sdist] = folder.glob("*.tar.gz")
    return sdist


@pytest.fixture(scope="module")
def files(wheel: Path) -> dict[str, str]:
    """The text of every file in the wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def ending(files: dict[str, str], end: str) -> str:
    [name] = [name for name in files if name.endswith(end)]
    return files[name]


@pytest.fixture(scope="module")
def metadata(files: dict[str, str]) -> Message:
    return email.message_from_string(ending(files, ".dist-info/METADATA"))


def test_names_and_licence(metadata: Message) -> None:
    assert metadata["Name"] == "asgi-mtls"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_dependencies(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    core = [line for line in required if ";" not in line]
    assert [line.partition(">=")[0] for line in core] == ["cryptography"]
    assert set(metadata.get_all("Provides-Extra", [])) == {"uvicorn", "fastapi", "uvloop", "testing"}
    assert not [line for line in required if any(sign in line.partition(";")[0] for sign in ("<", "~", "==", "!="))]


def test_the_wheel_has_what_the_package_needs(files: dict[str, str]) -> None:
    assert "asgi_mtls/py.typed" in files
    assert ending(files, ".dist-info/licenses/LICENSE") == (ROOT.parent / "LICENSE").read_text()
    assert "asgi-mtls = asgi_mtls.__main__:main\n" in ending(files, ".dist-info/entry_points.txt")
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/asgi_mtls").rglob("*.py")}
    assert sources == {name for name in files if name.endswith(".py")}


def test_the_source_distribution_makes_the_same_wheel(sdist: Path, files: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        assert all(member.isfile() or member.isdir() for member in archive.getmembers())
        archive.extractall(tmp_path / "sdist", filter="data")
    [source] = (tmp_path / "sdist").iterdir()
    assert (source / "LICENSE").read_text() == (ROOT.parent / "LICENSE").read_text()
    with zipfile.ZipFile(wheel_of(source, tmp_path / "wheel")) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
