"""Record how the lab behaves, and compare it with the record: `record.py take|compare [--part NAME]...`.

It uses the lab as a user does: make, `docker compose config` and the reports, in a copy of the working tree. A part is
one JSON file beside this program with one fact per line. `allowed.toml` lists intended differences; an entry that
applies to nothing is a difference, too. `--part verdicts` selects that part in both runtimes. It needs the machine
that made the record: the same tools, and Docker. Exit status: 0 as recorded, 1 differences, 2 nothing was compared.
Not recorded: times, ports, versions and messages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
Record = dict[str, Any]
ABSENT = "absent"
KEPT = re.compile(r"PATH|HOME|USER|LANG|TERM|TMPDIR|SSL_CERT_FILE|(DOCKER|BUILDKIT|PIP)_.*|.*_proxy", re.I)
MODES = ("off", "optional", "required")
SHOWN = 60


class TakingError(Exception):
    """The record could not be taken."""


@dataclass(frozen=True)
class Lab:
    """A copy of the repository, used in one runtime."""

    folder: Path
    environ: Mapping[str, str]

    @property
    def runtime(self) -> str:
        return self.environ["RUNTIME"]

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=900,
        )

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        start = time.monotonic()
        done = self.run("make", *arguments)
        say(f"  {time.monotonic() - start:5.1f} s  {done.returncode}  make {shlex.join(arguments)}")
        return done

    def good(self, *command: str) -> str:
        """Run what must succeed, and return what it prints.

        Raises:
            TakingError: it failed.
        """
        done = self.make(*command[1:]) if command[0] == "make" else self.run(*command)
        if done.returncode:
            raise TakingError(f"{shlex.join(command)} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


@contextmanager
def copied(runtime: str, venv: Path | None) -> Iterator[Lab]:
    """Make a copy with a port and a Compose project of its own. At the end `make clean` removes what was made."""
    with tempfile.TemporaryDirectory(prefix="mtls-golden-") as folder:
        copy = Path(folder) / "lab"
        git = ["git", "ls-files", "-co", "--exclude-standard"]
        for name in subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        if venv:
            (copy / ".venv").symlink_to(venv.resolve())
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = str(unused.getsockname()[1])
        environ = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        lab = Lab(
            copy,
            environ | {"RUNTIME": runtime, "PORT": port, "COMPOSE_PROJECT_NAME": f"golden-{runtime}-{os.getpid()}"},
        )
        try:
            yield lab
        finally:
            lab.make("clean")


def verdicts(lab: Lab) -> Record:
    """Judge every mode and the other servers, explained and stock, with all tools."""
    record: Record = {}
    for server in ("explained", "stock"):
        for run in (*MODES, "servers"):
            file = lab.folder / f"reports/{run}.json"
            file.unlink(missing_ok=True)
            done = lab.make(f"test-{run}", f"SERVER={server}")
            if not file.exists():
                raise TakingError(f"make test-{run} wrote no report\n{done.stderr[-2000:]}")
            record[f"{run} {server}: make"] = ended(done)
            for result in json.loads(file.read_text())["results"]:
                seen = result["observed"]
                key = f"{run} {server}: {result['scenario']} {result['probe']} {result['tls']}"
                record[key] = [seen["outcome"], seen["alert"], seen["verify_code"], result["verdict"]]
    return record


def ended(done: subprocess.CompletedProcess[str]) -> str:
    """Return how a make target ended: make's status, that of the recipe, and whether an error names a cure."""
    status = re.search(r"\*\*\* .*Error (\d+)", done.stderr)
    recipe = f", recipe {status[1]}" if status else ""
    error = ", error" if re.search(r"^error: ", done.stderr, re.M) else ""
    cure = ", cure" if re.search(r"^  try: ", done.stderr, re.M) else ""
    traceback = ", traceback" if "Traceback (most recent call last)" in done.stderr else ""
    return f"{done.returncode}{recipe}{error}{cure}{traceback}"


OF_A_RUNTIME: dict[str, Callable[[Lab], Record]] = {"verdicts": verdicts}
PARTS = [f"{part}-{runtime}" for runtime in ("local",) for part in OF_A_RUNTIME]


def take(parts: Sequence[str], venv: Path | None) -> Iterator[tuple[str, Record]]:
    """Yield each part's record as it is now."""
    for runtime in ("local", "compose"):
        wanted = [part for part in OF_A_RUNTIME if f"{part}-{runtime}" in parts]
        if not wanted:
            continue
        say(f"{runtime}: a copy of {ROOT}")
        with copied(runtime, venv) as lab:
            lab.good("make", "up")
            for part in wanted:
                start = time.monotonic()
                yield f"{part}-{runtime}", OF_A_RUNTIME[part](lab)
                say(f"{part}-{runtime}: {time.monotonic() - start:.0f} s")


def text(record: Record) -> str:
    """Return a record as JSON with one fact per line."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(record[key])}" for key in sorted(record)) + "\n}\n"


def load(part: str) -> Record:
    record: Record = json.loads((HERE / f"{part}.json").read_text())
    return record


def differences(recorded: Mapping[str, Record], now: Mapping[str, Record], allowed: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference that is not allowed, and for each allowance that nothing needs.

    Args:
        recorded, now: the records by part.
        allowed: what `allowed.toml` describes.
    """
    used: set[int] = set()
    found = []

    def matching(kind: str, part: str) -> list[Mapping[str, Any]]:
        return [entry for entry in allowed.get(kind, ()) if matches(entry["part"], part)]

    for part in now:
        before = {}
        for key, value in recorded[part].items():
            fact = json.dumps([key, value])
            for entry in matching("renamed", part):
                if json.dumps(entry["old"])[1:-1] in fact:
                    used.add(id(entry))
                    fact = fact.replace(json.dumps(entry["old"])[1:-1], json.dumps(entry["new"])[1:-1])
            key, before[key] = json.loads(fact)
        for key in sorted({*before, *now[part]}):
            was, is_ = before.get(key, ABSENT), now[part].get(key, ABSENT)
            if was == is_:
                continue
            entries = [
                e for e in matching("changed", part) if matches(e["key"], key) and e.get("now", is_) in (is_, str(is_))
            ]
            used |= {id(entry) for entry in entries}
            if not entries:
                found.append(f"{part}: {key}\n  - {json.dumps(was)}\n  + {json.dumps(is_)}")
    for entry in [*allowed.get("renamed", ()), *allowed.get("changed", ())]:
        complete = all(part in now for part in PARTS if matches(entry["part"], part))
        if complete and id(entry) not in used:
            found.append(f"allowed.toml: nothing differs so any more: {dict(entry)}")
    return found


def matches(pattern: str, name: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.S))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Take or compare the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("take", "compare"))
    parser.add_argument("--part", action="append", metavar="NAME", help=f"only these: {', '.join(PARTS)}")
    parser.add_argument("--fresh-venv", action="store_true", help="let make install a virtual environment of its own")
    arguments = parser.parse_args()
    parts = [p for p in PARTS if not arguments.part or any(p == a or p.startswith(f"{a}-") for a in arguments.part)]
    if not parts:
        parser.error(f"no such part: {arguments.part}")
    os.umask(0o022)
    now: dict[str, Record] = {}
    try:
        for part, record in take(parts, None if arguments.fresh_venv else ROOT / ".venv"):
            now[part] = record
            if arguments.what == "take":
                (HERE / f"{part}.json").write_text(text(record))
    except (TakingError, OSError, subprocess.SubprocessError) as error:
        say(f"error: could not take the record: {error}")
        return 2
    if arguments.what == "take":
        return 0
    found = differences({part: load(part) for part in now}, now, tomllib.loads((HERE / "allowed.toml").read_text()))
    for line in found[:SHOWN]:
        print(line)
    print(f"{len(found)} differences in {', '.join(now)}" + (f"; {SHOWN} are shown" if len(found) > SHOWN else ""))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
