"""Shared fixtures."""

from __future__ import annotations

import pytest
from pki import Pki, make_pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The authorities, a server's credential and those of clients, made once. Tests write elsewhere."""
    return make_pki(tmp_path_factory.mktemp("pki"))
