"""Shared fixtures: an issued set of certificates, and servers that are started once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from running import Running, serving
from xdist.scheduler import LoadScopeScheduling

import catalogue
from ca.issue import issue
from ca.store import Store
from catalogue import Catalogue, Mode, Server


class Schedule(LoadScopeScheduling):
    """Who shares a server shares a worker: the tests of a file, in `tests/make` those of a runtime or proxy."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        with_make = re.search(r"\[(?:.*-)?(local|compose|haproxy|nginx)\b", test) if "/make/" in file else None
        return f"{file} {with_make[1] if with_make else ''}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule:
    return Schedule(config, log)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("dsession"):  # `make test`: who is interrupted takes down what it has started
        from xdist.workermanage import NodeManager

        NodeManager.EXIT_TIMEOUT = 90


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything issued."""
    folder = tmp_path_factory.mktemp("lab")
    issue(catalogue.load(), Store(folder), say=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def issued(known: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the catalogue `known` of a test file asks for, issued once; its tests copy it."""
    folder = tmp_path_factory.mktemp("issued")
    issue(known, Store(folder), say=lambda _: None)
    return folder


@pytest.fixture(scope="session")
def serve(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """A server by mode, kind and variables; each is started once and shared by all tests."""
    running: dict[tuple[object, ...], Running] = {}
    with ExitStack() as stack:

        def get(mode: str = Mode.REQUIRED, server: str = Server.EXPLAINED, **environ: str) -> Running:
            key = (mode, server, *sorted(environ.items()))
            if key not in running:
                log = tmp_path_factory.mktemp("server") / "server.log"
                running[key] = stack.enter_context(serving(state, log, mode, server, **environ))
            return running[key]

        yield get
