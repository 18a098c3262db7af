"""Wheels of this distribution, and virtual environments with nothing else in them than what a test asks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REPOSITORY = ROOT.parent
_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.M)
_OFFLINE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|Network is unreachable"
)
_OWN = re.compile("(ASGI_MTLS|UVICORN|PYTEST|PYTHON|MYPY|LAB|WEB)_?|VIRTUAL_ENV$|FORWARDED_ALLOW_IPS$")


def attempt(*command: str | Path, cwd: Path | None = None, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command without the variables that say what Python, Uvicorn or pytest do."""
    return subprocess.run(command, cwd=cwd, env=variables(), capture_output=True, text=True, timeout=timeout_s)


def run(*command: str | Path, cwd: Path | None = None, timeout_s: float = 300) -> str:
    """Run a command that must succeed, and return its output."""
    done = attempt(*command, cwd=cwd, timeout_s=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def variables() -> dict[str, str]:
    """Return the variables of this process without those that say what Python, Uvicorn or pytest do."""
    return {name: value for name, value in os.environ.items() if not _OWN.match(name)}


def copy_source(folder: Path) -> Path:
    """Copy the distribution as git clones it: its licence is a link to the one of the repository."""
    made = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "tests")
    shutil.copytree(ROOT, folder / "asgi-mtls", symlinks=True, ignore=made)
    shutil.copy(REPOSITORY / "LICENSE", folder)
    return folder / "asgi-mtls"


def build_wheel(source: Path, folder: Path) -> Path:
    """Build a wheel with the installed build backend, without an index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source)
    [wheel] = folder.glob("*.whl")
    return wheel


def locked() -> dict[str, str]:
    """Return the versions of the repository's lock, the highest that are tested."""
    return dict(_PIN.findall((REPOSITORY / "requirements/dev.txt").read_text()))


def floors() -> dict[str, str]:
    """Return the lowest version of each package that the metadata allow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    required = {*project["dependencies"], *(line for extra in extras for line in extra)}
    found = dict(line.split(">=") for line in required)
    assert len(found) == len(required), "one package has two lowest versions"
    return found


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    def program(self, name: str) -> Path:
        return self.folder / "bin" / name

    @property
    def python(self) -> Path:
        return self.program("python")

    def versions(self) -> dict[str, str]:
        """Return the version of each distribution in it."""
        listed = "import importlib.metadata as m; [print(d.name.lower(), d.version) for d in m.distributions()]"
        return dict(line.split() for line in run(self.python, "-c", listed).splitlines())


def make_environment(folder: Path, version: str, constraints: dict[str, str], *requirements: str) -> Environment:
    """Make an empty environment and install requirements from the index.

    The test is skipped if there is no Python of this version (`3.13`), or if the index cannot be reached.
    """
    run(_python(version), "-m", "venv", "--without-pip", folder / "venv")
    constraint = folder / "constraints.txt"
    constraint.write_text("".join(f"{name}=={pin}\n" for name, pin in constraints.items()))
    made = Environment(folder / "venv")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", made.python, "--disable-pip-version-check"]
    how = ["--quiet", "--retries=1", "--no-compile", "--only-binary=:all:"]
    command = [*pip, "install", *how, "--constraint", constraint, *requirements]
    done = attempt(*command)
    if done.returncode and (found := _OFFLINE.search(done.stderr)):
        pytest.skip(f"the package index cannot be reached: {found[0]}")
    assert done.returncode == 0, done.stderr
    return made


def run_tests(made: Environment, folder: Path) -> str:
    """Run a copy of the library's tests, without those of the distribution itself; return what pytest says."""
    of_distribution = ["environments.py", "readme.py", "test_distribution.py", "test_floors.py", "test_installed.py"]
    left = shutil.ignore_patterns("__pycache__", "test_readme.py", *of_distribution)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=left)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return run(made.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder, timeout_s=500)


def _python(version: str) -> Path:
    names = [sys.executable, shutil.which(f"python{version}")]
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in [*filter(None, names), *map(str, pyenv)]:
        if (
            attempt(candidate, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])").stdout.strip()
            == version
        ):
            return Path(candidate)
    pytest.skip(f"no Python {version} on the PATH or in ~/.pyenv/versions")
