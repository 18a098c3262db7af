"""What a fork that is to be a server does first. Each imports this anew, so it imports little."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from server.scenario_servers import serve_as


def serve(environ: Mapping[str, str], log: Path, descriptors: int | None) -> None:
    """Be a server with so many descriptors, or as many as the tests have."""
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sys.stdin = os.fdopen(0)  # multiprocessing has opened another, which Uvicorn's workers would not get
    sys.exit(serve_as(environ, log))
