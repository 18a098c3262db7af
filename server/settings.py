"""The lab's `LAB_*` variables: those of the library under the lab's prefix, and two of the lab's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asgi_mtls import SettingsError
from asgi_mtls.command_line import Command, read
from server import PROBLEM_TYPE

APP = "server.app:app"  # unless `python -m server` is given another


@dataclass(frozen=True)
class LabCommand:
    """What `python -m server` is to do: `kind` is LAB_SERVER, `explained` or `stock`."""

    kind: str
    command: Command


def lab_command(arguments: Sequence[str]) -> LabCommand:
    """Read arguments and environment. An env file's variables are added to the environment.

    Raises:
        SettingsError: something can't be read, or not be served.
    """
    command = read(arguments, prefix="LAB_", name="python -m server", default_app=APP)
    kind = os.environ.get("LAB_SERVER") or "explained"
    if kind not in ("explained", "stock"):
        raise SettingsError("LAB_SERVER", f"{kind!r} is neither explained nor stock", "make up SERVER=explained")
    settings = replace(command.settings, logger="lab", problem_type=PROBLEM_TYPE)
    return LabCommand(kind, replace(command, settings=settings))
