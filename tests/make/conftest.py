"""The fixture of the tests that use make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workshop import Workshop, compose, copied


@pytest.fixture(scope="module", params=["local", pytest.param("compose", marks=compose)])
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A copy of the repository for a runtime; whatever it made is removed afterwards."""
    with copied(tmp_path_factory.mktemp("copy"), "test", request.param) as workshop:
        if workshop.runtime == "compose":
            workshop.run("docker", "compose", "--profile", "tools", "down", "--volumes")
        yield workshop
