"""README's examples in an empty environment, with the wheel installed as a user installs it."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import Environment, attempt, build_wheel, copy_source, locked, make_environment, run, run_tests
from readme import Server, blocks, labelled, make_certificates, serving

TESTED = ["cryptography", "fastapi", "starlette", "uvicorn"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(copy_source(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["3.11", "3.13"])
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel with the highest versions that are tested: those of the repository's lock."""
    wanted = [f"{wheel}[uvicorn,fastapi,testing]", "mypy"]
    if request.param == "3.13":
        wanted += [
            "gunicorn",
            "httptools",
            "pytest",
            "pytest-timeout",
            "python-dotenv",
            "python-json-logger",
            "uvloop",
            "websockets",
        ]
    return make_environment(tmp_path_factory.mktemp(request.param), request.param, locked(), *wanted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has after README's first steps: the certificates, and each block of Python in a file."""
    folder = make_certificates(tmp_path_factory.mktemp("reader"))
    for number, block in enumerate(blocks("python")):
        (folder / (block.label or f"block_{number}.py")).write_text(block.text)
    return folder


@pytest.fixture
def server(installed: Environment, folder: Path) -> Iterator[Server]:
    with serving(installed, folder) as server:
        yield server


def test_the_environment_has_the_wheel_and_the_locked_versions(installed: Environment) -> None:
    where = run(installed.python, "-c", "import asgi_mtls; print(asgi_mtls.__file__)")
    assert Path(where).is_relative_to(installed.folder)
    versions = installed.versions()
    assert {name: versions[name] for name in TESTED} == {name: locked()[name] for name in TESTED}


def test_mypy_accepts_every_block(installed: Environment, folder: Path) -> None:
    modules = sorted(folder.glob("*.py"))
    assert len(modules) == len(blocks("python"))
    run(installed.program("mypy"), "--strict", "--cache-dir", installed.folder / "mypy", *modules, cwd=folder)


def test_mypy_sees_the_types_of_the_library(installed: Environment, tmp_path: Path) -> None:
    wrong = (
        labelled("myapp.py").replace("-> str:", "-> int:").replace('f"Hello, {caller.common_name}!"', "caller.sha256")
    )
    (tmp_path / "wrong.py").write_text(wrong)
    mypy: list[str | Path] = [installed.program("mypy"), "--strict", "--cache-dir", installed.folder / "mypy"]
    done = attempt(*mypy, "wrong.py", cwd=tmp_path)
    assert 'got "str", expected "int"' in done.stdout


def test_the_examples_run(installed: Environment, folder: Path) -> None:
    for block in blocks("python"):
        if "asgi_mtls.serve(" not in block.text:
            run(installed.python, "-c", block.text, cwd=folder)


def test_the_client_of_a_test_is_the_one_it_says(installed: Environment, folder: Path) -> None:
    [example] = [block.text for block in blocks("python") if "asgi_mtls.testing" in block.text]
    done = attempt(installed.python, "-c", example.replace("Hello, alice!", "Hello, bob!"), cwd=folder)
    assert "AssertionError" in done.stderr


def test_the_command_serves_alice_and_says_why_it_refuses(server: Server) -> None:
    assert server.ask("alice") == '"Hello, alice!"'
    with pytest.raises(ssl.SSLError) as refused:
        server.ask()
    assert refused.value.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    [shown] = [block.text for block in blocks("") if "handshake_refused" in block.text]
    [line] = [line for line in server.log() if "handshake_refused" in line]
    assert re.sub(r":\d+ ", ":PORT ", line) == re.sub(r":\d+ ", ":PORT ", shown.strip())


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_as_shown(server: Server, folder: Path) -> None:
    [console] = blocks("console")
    (alice, answer), (nobody, error) = re.findall(r"^\$ (curl .*)\n(.*)$", console.text, re.M)
    done = curl(alice, server, folder)
    assert (done.stdout, done.returncode) == (answer, 0)
    done = curl(nobody, server, folder)
    assert (done.stdout, done.returncode) == ("", int(re.findall(r"curl: \((\d+)\)", error)[0]))


def curl(command: str, server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of README; without the user's own settings and proxies."""
    command = command.replace("curl", "curl --disable --noproxy '*'", 1).replace(":8443", f":{server.port}")
    return attempt("sh", "-c", command, cwd=folder)


def test_the_tests_of_the_library(installed: Environment, tmp_path: Path) -> None:
    if not installed.program("pytest").exists():
        pytest.skip("with this Python they run with the lowest versions")
    run_tests(installed, tmp_path)
