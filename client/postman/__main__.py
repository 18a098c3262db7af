"""`python -m client.postman --mode required`: run newman in every way that a mode has, and judge what it reports.

Reads a tar archive with the PKCS#12 bundles on stdin, LAB_URL, LAB_CERTS and LAB_REPORTS. Exit status: 0 all as
expected, 1 something differs, 2 the lab is broken. Nothing of the environment reaches newman but PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from catalogue import ALERTS, LabError, Mode, alert_name
from client.lab import open_lab, reports_folder
from client.postman import judge
from client.postman.runs import COLLECTION, Run, runs

_AT_ONCE = 2
_DEADLINE_S = 60
_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")  # of a table, even with --color off
_PASSWORD = "mtls-lab"  # noqa: S105 (of every bundle of the lab)


def main() -> int:
    """Run and judge one mode."""
    parser = argparse.ArgumentParser(prog="python -m client.postman", description="Run newman, and judge its reports.")
    parser.add_argument("--mode", choices=[str(mode) for mode in Mode], default="required")
    parser.add_argument("--run", help="the name of one run, instead of all")
    arguments = parser.parse_args()
    mode = Mode(arguments.mode)
    try:
        with tempfile.TemporaryDirectory() as bundles:
            return _judged(mode, arguments.run, bundles)
    except LabError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2


def _judged(mode: Mode, name: str | None, bundles: str) -> int:
    port = open_lab(os.environ).view.port  # so a stale volume is named
    _unpack(bundles)
    folder = reports_folder(os.environ) / "postman" / mode
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    every = [run for run in runs(mode, port, bundles) if name in (None, run.name)]
    if not every:
        raise LabError(f"could not run {name}", f"mode {mode} has no such run", "make test-postman")
    collection = json.loads(Path(COLLECTION).read_text(encoding="utf-8"))
    start = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seen = list(pool.map(lambda run: _seen(run, port, folder), every))
    wrong, width = 0, max(len(run.shows) for run in every) + 2
    print(f"newman, mode {mode}")
    for run, done in zip(every, seen, strict=True):
        different = judge.differences(run, done, judge.assertions_of(collection, run.folders))
        wrong += bool(different)
        print(f"  {'WRONG' if different else 'PASS':6}{run.name:26}{run.shows:{width}}{_words(done)}")
        for difference in different:
            print(f"        {difference}; see {folder.name}/{run.name}.txt in reports/postman")
    print(f"{len(every)} runs: {len(every) - wrong} PASS, {wrong} WRONG, in {time.monotonic() - start:.1f} s")
    return 1 if wrong else 0


def _unpack(bundles: str) -> None:
    """Take the bundles from stdin, and make of one of them one without a key, as people export them."""
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            archive.extractall(bundles, filter="data")
        keyless = ["openssl", "pkcs12", "-in", "bundle.p12", "-nokeys", "-passin", f"pass:{_PASSWORD}"]
        certificates = subprocess.run(keyless, cwd=bundles, capture_output=True, check=True, timeout=20).stdout
        export = ["openssl", "pkcs12", "-export", "-nokeys", "-out", "keyless.p12", "-passout", f"pass:{_PASSWORD}"]
        subprocess.run(export, cwd=bundles, input=certificates, capture_output=True, check=True, timeout=20)
    except (tarfile.TarError, subprocess.CalledProcessError) as error:
        raise LabError("could not read the bundles from stdin", str(error), "make test-postman") from None


def _seen(run: Run, port: int, folder: Path) -> judge.Seen:
    """Run newman once; what it printed and its reports are kept."""
    shown = os.path.relpath(folder)
    command = run.command(port, shown)
    if run.entries:
        (folder / f"{run.name}.certificates.json").write_text(json.dumps(run.entries, indent=2) + "\n")
    environ = {"PATH": os.environ["PATH"], "HOME": "/tmp", "NO_COLOR": "1", **run.environ}  # noqa: S108
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_DEADLINE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"could not judge {run.name}", str(error), "make test-postman") from None
    typed = " ".join([f"{name}={value}" for name, value in run.environ.items()] + [shlex.join(command)])
    (folder / f"{run.name}.txt").write_bytes(f"$ {typed}\n".encode() + _COLOUR.sub(b"", done.stdout))
    return judge.read(run, done.returncode, folder / f"{run.name}.json")


def _words(seen: judge.Seen) -> str:
    passed = seen.assertions - len(seen.failed)
    said = [f"{passed} of {seen.assertions} assertions"]
    for error in dict.fromkeys(seen.errors):
        kind, _, number = error.partition(" ")
        known = kind == "alert" and number.isdigit() and int(number) in ALERTS.values()
        said.append(f"{error} {alert_name(int(number))}" if known else error)
    return f"exit {seen.exit_status}: " + ", ".join(said)


if __name__ == "__main__":
    sys.exit(main())
