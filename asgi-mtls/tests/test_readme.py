"""README against the code: the tables of settings and versions, and how to install."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from environments import REPOSITORY, ROOT, floors, locked
from readme import table

from asgi_mtls.environment import variable
from asgi_mtls.requirements import LOWEST
from asgi_mtls.settings import Settings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# An argument of pip that is a name: not a path, not a wheel.
FROM_AN_INDEX = re.compile(r"asgi[-_.]mtls(\[.*\])?([=<>~!@ ].*)?", re.I)


def shown(default: object) -> str:
    """Return a default as the environment variable has it."""
    if default is None:
        return ""
    return f"`{default:g}`" if isinstance(default, int | float) else f"`{default}`"


def test_each_setting_has_one_row() -> None:
    ours = [setting for setting in fields(Settings) if not setting.name.startswith("ssl_")]
    rows = [[f"`{variable(one.name)}`", shown(one.default), one.metadata["help"]] for one in ours]
    assert table("Settings") == rows


def test_the_lowest_versions_are_those_of_the_metadata() -> None:
    lowest = {name: low for name, low, _ in version_rows()}
    python = PROJECT["requires-python"].removeprefix(">=")
    assert lowest == {"python": python} | {name: floors()[name] for name in lowest if name != "python"}


def test_the_errors_name_the_same_lowest_versions() -> None:
    assert {name: low for name, low in LOWEST.items() if name in floors()}.items() <= floors().items()


def test_the_highest_versions_are_those_of_the_lock() -> None:
    highest = {name: high for name, _, high in version_rows()}
    pythons = [line.split()[-1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert highest.pop("python") == pythons[-1]
    assert set(highest) == {"cryptography", "uvicorn", "fastapi", "starlette"}
    assert {name: high for name, high in highest.items() if not f"{locked()[name]}.".startswith(f"{high}.")} == {}


def version_rows() -> list[tuple[str, ...]]:
    """Return name, lowest and highest of each package: a cell of the table may have two, with a semicolon between."""
    return [one for row in table("Versions") for one in zip(*(cell.lower().split("; ") for cell in row), strict=True)]


def pages() -> list[Path]:
    """Return the pages of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name]


def from_an_index(text: str) -> list[str]:
    """Return the commands that install this package from an index: it is on none."""
    commands = re.findall(r"(?:pip3?|pipx|uv) (?:install|add|download) [^\n`;&|]*", text)
    words = {command: command.replace('"', " ").replace("'", " ").split()[2:] for command in commands}
    return [command for command, arguments in words.items() if any(map(FROM_AN_INDEX.fullmatch, arguments))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_page_installs_it_from_an_index(page: Path) -> None:
    assert not from_an_index(page.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "pip install asgi-mtls",
        "pip install 'asgi-mtls[uvicorn,fastapi]'",
        "run `python -m pip install -U asgi_mtls`",
        "uv add asgi-mtls==0.1",
        'pip install fastapi "asgi-mtls>=0.1"',
    ],
)
def test_an_installation_from_an_index_is_found(line: str) -> None:
    assert from_an_index(f"Install it:\n    {line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "pip install './asgi-mtls[uvicorn,fastapi]'",
        "pip install --no-index /wheels/asgi_mtls-0.1.0-py3-none-any.whl",
        "pip install -e ./asgi-mtls",
        "pip install asgi-mtls-doctor",
    ],
)
def test_an_installation_from_a_path_is_not(line: str) -> None:
    assert not from_an_index(line)
