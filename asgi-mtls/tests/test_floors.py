"""The library's tests with the lowest versions that its metadata allow."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from environments import Environment, build_wheel, copy_source, floors, locked, make_environment, run_tests
from readme import labelled, make_certificates, serving

# The low Uvicorn imports what websockets has called deprecated since 14.
OF_ITS_TIME = {"websockets": "13.1"}
BESIDES = ["gunicorn", "httptools", "pytest", "pytest-timeout", "python-dotenv", "python-json-logger", "websockets"]


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("lowest")
    wheel = build_wheel(copy_source(folder / "source"), folder / "wheel")
    wanted = [f"{wheel}[uvicorn,fastapi,uvloop,testing]", *BESIDES]
    return make_environment(folder, "3.11", locked() | OF_ITS_TIME | floors(), *wanted)


def test_the_versions_are_the_lowest(lowest: Environment) -> None:
    versions = lowest.versions()
    assert [name for name, floor in floors().items() if not f"{versions[name]}.".startswith(f"{floor}.")] == []


def test_the_tests_pass(lowest: Environment, tmp_path: Path) -> None:
    run_tests(lowest, tmp_path)


def test_the_example_of_readme_runs(lowest: Environment, tmp_path: Path) -> None:
    (make_certificates(tmp_path) / "myapp.py").write_text(labelled("myapp.py"))
    with serving(lowest, tmp_path) as server:
        assert server.ask("alice") == '"Hello, alice!"'
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            server.ask()
