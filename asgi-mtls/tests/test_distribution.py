"""The wheel and the source distribution: what they hold and what they say about themselves."""

from __future__ import annotations

import email
import re
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from environments import REPOSITORY, ROOT, build_wheel, copy_source, run

SDIST = "from setuptools import build_meta; print(build_meta.build_sdist({!r}))"
COMMANDS = re.findall(r"^([a-z0-9-]+):.*##", (REPOSITORY / "Makefile").read_text(), re.M)
PATHS = [REPOSITORY, Path.home(), Path(sys.prefix)]
# What users of the library must not meet: the lab that it comes from, and the machine that it was made on.
OF_THE_LAB = [
    r"LAB_",
    r"(?i)mtls[- ]lab(?! contributors)",
    r"Lab Admins",
    r"(?i)catalogue",
    r"getLogger\([\"']lab",
    r"^\s*(from|import) (server|ca|client|bench|browser|examples|scripts|tests)\b",
    rf"(^|[`'\":;$] ?)make ({'|'.join(COMMANDS)})\b",
    rf"(?<![\w.-])({'|'.join(re.escape(str(path)) for path in PATHS)})\b",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


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


@pytest.fixture(scope="module")
def source_files(sdist: Path) -> dict[str, str]:
    """The text of every file in the source distribution, by name."""
    with tarfile.open(sdist) as archive:
        opened = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read().decode() for name, file in opened.items() if file}


def of_the_lab(files: dict[str, str]) -> list[str]:
    """Return where a word of the lab or a path of this machine stands: the file's name, and the word."""
    lines = [(name, line) for name, text in files.items() for line in text.splitlines()]
    return [f"{name}: {found[0]}" for name, line in lines for word in OF_THE_LAB if (found := re.search(word, line))]


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
    assert ending(files, ".dist-info/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_text()
    assert "asgi-mtls = asgi_mtls.__main__:main\n" in ending(files, ".dist-info/entry_points.txt")
    assert "<html" in files["asgi_mtls/handshake_log/page.html"]
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/asgi_mtls").rglob("*.py")}
    assert sources == {name for name in files if name.endswith(".py")}


def test_the_source_distribution_makes_the_same_wheel(sdist: Path, files: dict[str, str], tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        assert all(member.isfile() or member.isdir() for member in archive.getmembers())
        archive.extractall(tmp_path / "sdist", filter="data")
    [source] = (tmp_path / "sdist").iterdir()
    assert (source / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()
    with zipfile.ZipFile(build_wheel(source, tmp_path / "wheel")) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files


def test_no_word_of_the_lab(files: dict[str, str], source_files: dict[str, str]) -> None:
    assert len(source_files) > len(files) > len(list((ROOT / "src").rglob("*.py")))
    assert not of_the_lab(files)
    assert not of_the_lab(source_files)


@pytest.mark.parametrize(
    "line",
    [
        'os.environ["LAB_LOG_FILE"]',
        "mtls-lab.test",
        "The mTLS lab shows it.",
        'OrganizationalUnit("Lab Admins")',
        "see catalogue/scenarios.toml",
        'LOGGER = logging.getLogger("lab")',
        "from server.app import app",
        "    import server",
        "try: make up",
        "`make test-required`",
        f"file://{ROOT}/src",
        f'PYTHON = "{sys.prefix}/bin/python"',
    ],
)
def test_a_word_of_the_lab_is_found(files: dict[str, str], line: str) -> None:
    found = of_the_lab(files | {"asgi_mtls/planted.py": f"first\n{line}\n"})
    assert {where.partition(":")[0] for where in found} == {"asgi_mtls/planted.py"}
