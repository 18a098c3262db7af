"""The Makefile and its scripts in a folder of their own, with a Python that notes what it is given and does nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from running import ROOT
from workshop import clean_environ

# Each would make the file X, or stop make, if anybody but the program for which it is looked into it.
HOSTILE = [
    "$(shell touch X)",
    "${shell touch X}",
    "$(eval $(shell touch X))",
    "$$(touch X)",
    "$(touch X)",
    "`touch X`",
    '"; touch X; "',
    "'; touch X; '",
    "; touch X; #",
    "a\ntouch X",
    "a\n\ttouch X",
    "$(error x)",
    "$(warning x)",
    "$(info",
    "$",
    "$1 of $HOME, $$ and ${HOME}",
    "100% of %",
    "a\\",
    "a\\\nb",
    "a # b",
    "a:b=c d:=e",
    "\x1b[31mred",
]
RECORDER = """#!{python} -IS
import json, os, sys
with open({seen!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
"""


class Lab:
    """The Makefile and its scripts in a folder, with a Python that notes what it is given."""

    def __init__(self, folder: Path, make: str) -> None:
        self.folder, self.program = folder, make
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        shutil.copytree(ROOT / "requirements", folder / "requirements")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "asgi-mtls").mkdir()
        shutil.copy2(ROOT / "asgi-mtls/pyproject.toml", folder / "asgi-mtls")
        (folder / ".venv/bin").mkdir(parents=True)
        self.seen = folder / "seen"
        python = folder / ".venv/bin/python"
        python.write_text(RECORDER.format(python=sys.executable, seen=str(self.seen)))
        python.chmod(0o755)
        for stamp in (".lab", ".dev", ".mtls-lab"):
            (folder / ".venv" / stamp).touch()
        (folder / ".venv/.asgi-mtls").write_text(f"{folder.resolve()}\n")

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        self.seen.unlink(missing_ok=True)
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env=clean_environ() | {"RUNTIME": "local"} | environ,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def given(self) -> tuple[list[str], dict[str, str]]:
        """Return the arguments and the environment of the first program."""
        arguments, environ = json.loads(self.seen.read_text().splitlines()[0])
        return arguments, environ

    def assert_untouched(self, *context: object) -> None:
        assert not list(self.folder.rglob("X")), context
