"""However a script ends, no key stays in a temporary folder, and what it was writing is whole or absent."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from running import ROOT, unused_port
from workshop import clean_environ

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE]
READY_S = 60.0
# Stands for a program: notes which files are in temporary places when it is called as in HOLD, and waits there if it is
# told to until the file `go` is there.
PROGRAM = """#!/bin/sh
case "$*" in
*"$HOLD"*)
    find "$TMPDIR" .lab/work.* certs/clients/bob -type f 2>/dev/null >>held
    while [ -n "$WAIT" ] && ! [ -e go ]; do sleep 0.02; done
    ;;
esac
{action}
"""


@dataclass(frozen=True)
class Script:
    """A script that has a key in a temporary place while it runs a program, whose arguments have `hold` in them."""

    arguments: str
    hold: str
    environ: dict[str, str] = field(default_factory=dict)


SCRIPTS = {
    "certs": Script("certs.sh certs", "client export"),
    "export-p12": Script("people.sh export-p12", "ca export-p12", {"LAB_NAME": "client-good"}),
    "up": Script("local-up.sh", "ca elsewhere", {"LAB_SERVER_CERT_DIR": "theirs"}),
    "enroll": Script("enroll.sh", "ca sign", {"LAB_CLIENT": "bob"}),
    "test-postman": Script("test-postman.sh", "export-p12 --legacy", {"RUNTIME": "compose", "MAKE": "true"}),
    "test-browser": Script("test-browser.sh", "export-p12 --", {"RUNTIME": "compose"}),
}
# Docker, as far as these scripts use it: images are built, containers run, and the CA makes a bundle.
DOCKER = 'case "$*" in *export-p12*) echo a bundle ;; "volume inspect "*) pwd -P ;; esac'


@dataclass
class Lab:
    """A lab whose certificates are issued, with programs that can be held."""

    folder: Path
    temporary: Path

    def start(self, script: Script, *, wait: bool, **streams: int) -> subprocess.Popen[bytes]:
        knobs = {"MODE": "required", "SERVER": "explained", "TRUST": "validation_fullchain", "PROXY": "none"}
        knobs |= {"SERVER_CREDENTIAL": "server-good", "PUBLIC_CA": "lab", "CRL": "none", "WHY": "as asked"}
        environ = clean_environ() | knobs | {"RUNTIME": "local", "VENV": "venv", "PORT": str(unused_port())}
        environ |= {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "TMPDIR": str(self.temporary)}
        environ |= {"HOLD": script.hold, "WAIT": "yes" if wait else "", "COMPOSE_PROJECT_NAME": "mtls-lab-left"}
        return subprocess.Popen(
            ["sh", *f"scripts/{script.arguments}".split()],
            cwd=self.folder,
            env=environ | script.environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **({"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | streams),
        )

    def until_held(self, running: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_S
        while not (self.folder / "held").exists():
            assert running.poll() is None, "it ended before"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def go_on(self, running: subprocess.Popen[bytes]) -> int:
        (self.folder / "go").touch()
        return running.wait(READY_S)

    def left(self) -> list[Path]:
        """Return the files in temporary places."""
        folders = (self.temporary, *self.folder.glob(".lab/work.*"))
        return [path for folder in folders for path in (folder, *folder.rglob("*")) if path != self.temporary]

    def assert_certs_are_whole_or_absent(self) -> None:
        certs = self.folder / "certs"
        if certs.exists():
            issued = self.folder / ".lab/client-tls"
            for path in issued.rglob("*"):
                if path.suffix in (".pem", ".json") and path.name != "untrusted_crl.pem":  # which is for no person
                    assert (certs / path.relative_to(issued)).read_bytes() == path.read_bytes()
            assert not (certs / "clients/bob").exists()


def not_ignored(number: signal.Signals) -> None:
    """Skip where the tests were started with a signal ignored, as by nohup: nothing below them can take it."""
    if number is not signal.SIGPIPE and signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here")


@pytest.fixture
def lab(state: Path, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab", tmp_path / "temporary")
    lab.temporary.mkdir()
    (lab.folder / "bin").mkdir(parents=True)
    (lab.folder / "venv/bin").mkdir(parents=True)
    for name in ("scripts", "client", "ca", "catalogue", "asgi-mtls", "server", "docker-compose.yml"):
        (lab.folder / name).symlink_to(ROOT / name)
    shutil.copytree(state, lab.folder / ".lab", ignore=shutil.ignore_patterns("*.log"))
    theirs = lab.folder / "theirs"
    shutil.copytree(state / "server-tls/server-good", theirs)
    shutil.copy(state / "client-tls/public_root.pem", theirs / "root.pem")
    real = {"venv/bin/python": f'exec {sys.executable} "$@"', "bin/docker": DOCKER, "bin/curl": "exit 0"}
    real["bin/cp"] = f'exec {shutil.which("cp")} "$@"'
    for name, action in real.items():
        (lab.folder / name).write_text(PROGRAM.format(action=action))
        (lab.folder / name).chmod(0o755)
    yield lab
    subprocess.run(["sh", "scripts/local-server.sh", "stop"], cwd=lab.folder, check=True)  # "up" may have started it


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal(lab: Lab, name: str, number: signal.Signals) -> None:
    not_ignored(number)
    running = lab.start(SCRIPTS[name], wait=True)
    lab.until_held(running)
    held = lab.left() or (lab.folder / "certs/clients/bob/privkey.pem").exists()
    assert held, "there is something to remove"
    os.killpg(running.pid, number)
    assert lab.go_on(running) != 0
    assert not lab.left()
    lab.assert_certs_are_whole_or_absent()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGPIPE], ids=lambda number: number.name)
def test_a_signal_for_the_script_alone(lab: Lab, number: signal.Signals) -> None:
    running = lab.start(SCRIPTS["certs"], wait=True)
    lab.until_held(running)
    os.kill(running.pid, number)
    assert lab.go_on(running) != 0
    assert not lab.left()
    lab.assert_certs_are_whole_or_absent()


@pytest.mark.parametrize("name", SCRIPTS)
def test_nobody_reads_what_it_says(lab: Lab, name: str) -> None:
    reader, writer = os.pipe()
    running = lab.start(SCRIPTS[name], wait=True, stdout=writer, stderr=writer)
    os.close(writer)
    lab.until_held(running)
    os.close(reader)
    lab.go_on(running)
    assert not lab.left()
    if name in ("certs", "export-p12"):
        lab.assert_certs_are_whole_or_absent()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_copy_that_was_begun_is_made_whole(lab: Lab, number: signal.Signals) -> None:
    running = lab.start(Script("certs.sh certs", "-R "), wait=True)
    lab.until_held(running)
    os.killpg(running.pid, number)
    assert lab.go_on(running) == 0
    assert not lab.left()
    assert (lab.folder / "certs/manifest.json").exists()
    lab.assert_certs_are_whole_or_absent()


@pytest.mark.parametrize("before", ["absent", "stale"])
@pytest.mark.parametrize("hold", ["client export", "-R "])
def test_what_a_kill_leaves_goes_with_the_next_run(lab: Lab, before: str, hold: str) -> None:
    if before == "stale":
        assert lab.start(SCRIPTS["certs"], wait=False).wait(READY_S) == 0
        (lab.folder / "held").unlink()
        (lab.folder / "certs/clients/client-good/privkey.pem").write_text("stale")
    running = lab.start(Script("certs.sh certs", hold), wait=True)
    lab.until_held(running)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(READY_S)
    assert lab.left(), "nobody could remove it"
    assert all(path.is_relative_to(lab.folder / ".lab") for path in lab.left())
    assert all(path.stat().st_mode & 0o077 == 0 for path in lab.folder.glob(".lab/work.*"))
    assert lab.start(SCRIPTS["certs"], wait=False).wait(READY_S) == 0
    assert not lab.left()
    assert sorted(path.name for path in (lab.folder / "certs").glob(".*")) == []
    assert (lab.folder / "certs/manifest.json").exists()
    lab.assert_certs_are_whole_or_absent()


def test_what_another_script_works_with_stays(lab: Lab) -> None:
    running = lab.start(SCRIPTS["export-p12"], wait=True)
    lab.until_held(running)
    works = lab.left()
    assert works
    assert lab.start(SCRIPTS["certs"], wait=False).wait(READY_S) == 0
    assert lab.left() == works
    assert lab.go_on(running) == 0
    assert (lab.folder / "certs/clients/client-good/bundle.p12").stat().st_size > 0
    assert not lab.left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_measurement(tmp_path: Path, number: signal.Signals) -> None:
    not_ignored(number)
    environ = clean_environ() | {"TMPDIR": str(tmp_path)}
    bench = [sys.executable, "-m", "bench"]
    running = subprocess.Popen(bench, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + READY_S
    while not list(tmp_path.glob("*/client-tls/clients/*/privkey.pem")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(number)
    assert running.wait(READY_S) != 0
    assert list(tmp_path.iterdir()) == []


def test_a_signature_is_not_lost_where_nobody_reads_what_is_said_about_it(lab: Lab) -> None:
    request = lab.folder / "bob.csr"
    new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    key = str(lab.folder / "bob.key")
    subprocess.run([*new, "-keyout", key, "-subj", "/CN=bob", "-out", str(request)], capture_output=True, check=True)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ca", "sign", "--name=bob", str(request)]
    environ = clean_environ() | {"LAB_STATE": ".lab"}
    done = subprocess.run(command, cwd=lab.folder, env=environ, stdout=subprocess.PIPE, stderr=writer, text=True)
    os.close(writer)
    assert done.returncode == 0
    assert done.stdout.count("BEGIN CERTIFICATE") == 2


def test_there_is_one_way_to_end() -> None:
    """No script but this one makes a temporary folder, or says itself what happens on a signal."""
    for path in (ROOT / "scripts").glob("*.sh"):
        found = re.findall(r"^[^#\n]*\b(?:trap ['\"\w]|mktemp)[^\n]*", path.read_text(), re.M)
        allowed = {"temporary.sh": 3, "test.sh": 1, "certs.sh": 1}
        assert len(found) == allowed.get(path.name, 0), (path.name, found)
