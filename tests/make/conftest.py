"""The fixture of the tests that use make."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from running import unused_port
from workshop import Workshop, clean_environ, compose, repository_copy


@pytest.fixture(scope="module", params=["local", pytest.param("compose", marks=compose)])
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A copy of the repository for a runtime; whatever it made is removed afterwards."""
    folder = repository_copy(tmp_path_factory.mktemp("copy") / "lab")
    environ = clean_environ() | {
        "RUNTIME": request.param,
        "PORT": str(unused_port()),
        "COMPOSE_PROJECT_NAME": f"mtls-lab-test-{os.getpid()}",
    }
    workshop = Workshop(folder, request.param, environ)
    if workshop.runtime == "compose":
        workshop.run("docker", "compose", "--profile", "tools", "down", "--volumes")
    yield workshop
    done = workshop.make("clean")
    assert done.returncode == 0, done.stderr
