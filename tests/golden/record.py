"""Record how the lab behaves, and compare it with the record: `record.py take|compare [--part NAME]...`.

It uses the lab as a user does: make, `docker compose config` and the reports, in a copy of the working tree. A part is
one JSON file beside this program with one fact per line. `allowed.toml` lists intended differences; an entry that
applies to nothing is a difference, too. `--part verdicts` selects that part in both runtimes. It needs Docker and the
tools in `tools.json`. Exit status: 0 as recorded, 1 differences, 2 a part could not be compared. Not recorded: times,
ports, versions and messages.
"""

from __future__ import annotations

import argparse
import json
import os
import random
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
Record = dict[str, Any]
ABSENT = "absent"
KEPT = re.compile(r"PATH|HOME|USER|LANG|TERM|TMPDIR|SSL_CERT_FILE|(DOCKER|BUILDKIT|PIP)_.*|.*_proxy", re.I)
MODES = ("off", "optional", "required")
OURS = ("RUNTIME", "PORT", "COMPOSE_PROJECT_NAME", "SSL_CERT_FILE")
KINDS = {"f": "file", "d": "folder", "l": "link"}
SERIAL = re.compile(r"[0-9a-f]{30,}")
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

    def run(self, *command: str, to_the_end: bool = False) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=900,
            start_new_session=to_the_end,  # out of reach of Ctrl-C
        )
        if done.returncode < 0:  # a signal: the user's Ctrl-C goes to every process
            raise KeyboardInterrupt
        return done

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        start = time.monotonic()
        done = self.run("make", *arguments)
        say(f"{self.runtime:7} {time.monotonic() - start:5.1f} s  {done.returncode}  make {shlex.join(arguments)}")
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
        port = next(port for port in random.sample(range(16384, 32768), 99) if is_free(port))
        environ = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        library = copy / "asgi-mtls/src"
        if venv and library.exists():  # the environment may have that of another checkout
            environ["PYTHONPATH"] = str(library)
        project = f"golden-{runtime}-{os.getpid()}"
        lab = Lab(copy, environ | {"RUNTIME": runtime, "PORT": str(port), "COMPOSE_PROJECT_NAME": project})
        try:
            yield lab
        finally:
            lab.run("make", "clean", to_the_end=True)
            if runtime == "compose":  # the engine may have finished what an interrupted command began
                down = ("down", "--volumes", "--rmi=local", "--remove-orphans")
                lab.run("docker", "compose", "--profile=*", *down, to_the_end=True)


def is_free(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


def verdicts(lab: Lab) -> Record:
    """Judge every mode and the other servers, explained and stock, with all tools."""
    lab.good("make", "up")
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


def exits(lab: Lab) -> Record:
    """Run `commands.txt`, in its order: each target with good and with bad arguments."""
    record: Record = {}
    section = ""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        for line in (HERE / "commands.txt").read_text().splitlines():
            line = line.removeprefix(f"{lab.runtime}: ")
            if line.startswith("["):
                section = line
            elif line.startswith("$ "):
                lab.good("sh", "-c", line[2:])
            elif line and not line.startswith(("#", "local: ", "compose: ")):
                done = lab.make(*shlex.split(line.replace("{busy}", str(busy.getsockname()[1]))))
                key = f"{section} make {line}"
                record[f"{key} (again)" if key in record else key] = ended(done)
    return record


def files(lab: Lab) -> Record:
    """Look at everything that the CA issued, for clients, people, a revocation and another CA's certificate."""
    lab.good("make", "up")
    lab.good("make", "issue-client", "NAME=golden")
    lab.good("make", "export-p12", "NAME=golden", "LEGACY=1")
    lab.good("make", "revoke", "CREDENTIAL=golden")
    lab.good("sh", "tests/golden/own-certificate.sh")
    lab.good("make", "up", "LAB_SERVER_CERT_DIR=mycert")
    record: Record = {}

    def look(where: str, *command: str) -> None:
        for line in lab.good(*command).splitlines():
            kind, mode, owner, name = line.split(" ", 3)
            who = "runner" if owner == f"{os.getuid()}:{os.getgid()}" and where == "folder" else owner
            record[f"{where} {SERIAL.sub('SERIAL', name)}"] = f"{KINDS.get(kind, kind)} {mode} {who}"

    find = ["-printf", "%y %m %U:%G %p\n"]
    look("folder", "find", "certs", ".lab", *find)
    if lab.runtime == "compose":
        project = lab.environ["COMPOSE_PROJECT_NAME"]
        labelled = f"label=com.docker.compose.project={project}"
        volumes = lab.good("docker", "volume", "ls", "-q", "--filter", labelled).split()
        mounts = [f"-v{volume}:/{volume.removeprefix(f'{project}_')}:ro" for volume in volumes]
        found = [mount.split(":")[1] for mount in mounts]
        as_root = ("docker", "run", "--rm", "--network=none", "--user=0:0", "--entrypoint=find")
        look("volume", *as_root, *mounts, f"{project}-ca", *found, *find)
    return record


def config(lab: Lab) -> Record:
    """Return `docker compose config`, one value a line: of the services that start, of all, and behind a proxy."""
    record: Record = {}
    compose = ("docker", "compose", "--project-name=lab")
    variants = {
        "default": [],
        "all": ["--profile=*"],
        "behind": ["--file=docker-compose.yml", "--file=proxy/behind.yml", "--profile=proxy"],
    }
    plain = Lab(lab.folder, {name: lab.environ[name] for name in lab.environ if name not in OURS})
    for variant, options in variants.items():
        shown = plain.good(*compose, *options, "config", "--format=json").replace(str(lab.folder), "FOLDER")
        record |= {f"{variant} {path}": value for path, value in leaves(json.loads(shown))}
    return record


def reports(lab: Lab) -> Record:
    """Return the fields of the JSON report with their types, and the elements and attributes of the JUnit report."""
    found: dict[str, set[str]] = {}
    lab.good("make", "test-required", "PROBE=raw,curl")
    lab.good("make", "up", "MODE=off")
    for _ in range(2):
        for path, value in leaves(json.loads((lab.folder / "reports/required.json").read_text())):
            name = re.sub(r"^(scenarios|lessons|versions)\.[^.]+", r"\1.*", re.sub(r"\.\d+(?=\.|$)", "[]", path))
            found.setdefault(f"json {name}", set()).add(type(value).__name__)
        for element in ElementTree.parse(lab.folder / "reports/required.xml").iter():
            for attribute in element.attrib:
                found.setdefault(f"junit {element.tag} {attribute}", set()).add("attribute")
            found.setdefault(f"junit {element.tag}", set()).add("element")
        lab.make("matrix", "MODE=required", "PROBE=raw,curl")  # by a server in mode off, so that attempts fail
    return {name: " or ".join(sorted(types)) for name, types in found.items()}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values in a JSON document with their paths; an empty list or object is a value, too."""
    if not isinstance(value, dict | list) or not value:
        yield path, value
        return
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(item, f"{path}.{name}" if path else str(name))


OF_A_RUNTIME: dict[str, Callable[[Lab], Record]] = {"files": files, "verdicts": verdicts, "exits": exits}
OF_ONE: dict[str, Callable[[Lab], Record]] = {"compose": config, "reports": reports}
TAKEN = {
    "local": OF_ONE | {f"{part}-local": take for part, take in OF_A_RUNTIME.items()},
    "compose": {f"{part}-compose": take for part, take in OF_A_RUNTIME.items()},
}
PARTS = [part for parts in TAKEN.values() for part in parts]


def take(parts: Sequence[str], venv: Path | None) -> Record:
    """Return each part's record as it is now, if it could be taken. The runtimes are tried side by side."""

    def of_runtime(runtime: str) -> Record:
        taken = {}
        for part, record in TAKEN[runtime].items():
            if part in parts:
                start = time.monotonic()
                try:
                    with copied(runtime, venv) as lab:
                        taken[part] = record(lab)
                    say(f"{part}: taken in {time.monotonic() - start:.0f} s")
                except (TakingError, OSError, subprocess.SubprocessError) as error:
                    say(f"error: could not take {part}: {error}")
        return taken

    with ThreadPoolExecutor(len(TAKEN)) as pool:
        return {part: record for taken in pool.map(of_runtime, TAKEN) for part, record in taken.items()}


def tools() -> Record:
    """Return the versions on which the record depends."""
    commands = ("openssl version", "curl --version", "wget --version", "node --version", "make --version")
    docker = ("docker version --format {{.Server.Version}}", "docker compose version --short")
    found = {}
    for command in (*commands, *docker):
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        found[command] = done.stdout.split("\n")[0] if done.returncode == 0 else ABSENT
    return found


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
                entry
                for entry in matching("changed", part)
                if matches(entry["key"], key) and entry.get("now", is_) in (is_, json.dumps(is_))
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
    now = take(parts, None if arguments.fresh_venv else ROOT / ".venv")
    unknown = [part for part in parts if part not in now]
    if arguments.what == "take":
        for part, record in (now | {"tools": tools()}).items():
            (HERE / f"{part}.json").write_text(text(record))
        return 2 if unknown else 0
    for tool, version in tools().items():
        if load("tools").get(tool) != version:
            say(f"another version than the record's, which may be why verdicts differ: {tool}: {version}")
    found = differences({part: load(part) for part in now}, now, tomllib.loads((HERE / "allowed.toml").read_text()))
    for line in found[:SHOWN]:
        print(line)
    print(f"{len(found)} differences in {', '.join(now)}" + (f"; {SHOWN} are shown" if len(found) > SHOWN else ""))
    if unknown:
        print(f"not compared: {', '.join(unknown)}")
    return 2 if unknown else 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(2)
