"""Another project, or another copy of the lab, has the name of the lab's Compose project: nothing of it is touched."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import unused_port
from workshop import Workshop, clean_environ, compose, copied, repository_copy

pytestmark = [*compose]

IMAGE = "debian:trixie-slim"  # every image of the lab is made from it
DATA = "years of work"
PLAIN = {"web": "data"}  # service -> volume
SAME_NAMES = {"server": "ca-private", "client": "client-tls", "db": "reports"}


@dataclass(frozen=True)
class Foreign:
    """A project of somebody else, in a folder of its own, with data in its volumes."""

    folder: Path
    project: str
    services: dict[str, str]
    port: str = ""
    file: str = "compose.yaml"

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "-p", self.project, "-f", self.file, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=clean_environ(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done

    def up(self) -> None:
        self.folder.mkdir(exist_ok=True)
        service = {"image": IMAGE, "init": True, "command": ["sleep", "infinity"]}
        services: dict[str, object] = {
            name: service | {"volumes": [f"{volume}:/data"]} for name, volume in self.services.items()
        }
        if self.port:
            services["server"] = service | {"ports": [f"127.0.0.1:{self.port}:80"]}
        volumes: dict[str, object] = {volume: {} for volume in self.services.values()}
        (self.folder / self.file).write_text(json.dumps({"services": services, "volumes": volumes}))
        self.compose("up", "-d")
        for name in self.services:
            self.compose("exec", "-T", name, "sh", "-c", f"echo {DATA} >/data/notes")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=120).stdout


def there(project: str) -> dict[str, list[str]]:
    """Return all that carries a project's name: containers with their state, what the rest is called, the data."""
    mine = f"label=com.docker.compose.project={project}"
    ids = docker("ps", "-aq", "--no-trunc", "--filter", mine).split()
    form = "{{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}"
    volumes = sorted(docker("volume", "ls", "-q", "--filter", f"name={project}_").split())
    mounts = [word for volume in volumes for word in ("-v", f"{volume}:/volumes/{volume}:ro")]
    read = [
        "run",
        "--rm",
        "--network",
        "none",
        *mounts,
        IMAGE,
        "sh",
        "-c",
        "cd /volumes && ls -A * && cat */notes || true",
    ]
    return {
        "containers": sorted(docker("inspect", "--format", form, *ids).splitlines()) if ids else [],
        "volumes": [*volumes, *(docker(*read).splitlines() if volumes else [])],
        "networks": sorted(docker("network", "ls", "-q", "--no-trunc", "--filter", f"name={project}_").split()),
        "images": sorted(docker("images", "--format", "{{.ID}} {{.Repository}}", f"{project}-*").splitlines()),
    }


def remove(project: str) -> None:
    """Remove what carries a project's name: it was made here, and the name is this test's."""
    mine = f"label=com.docker.compose.project={project}"
    for ids, command in (
        (docker("ps", "-aq", "--filter", mine), ("rm", "-f")),
        (docker("volume", "ls", "-q", "--filter", f"name={project}_"), ("volume", "rm")),
        (docker("network", "ls", "-q", "--filter", f"name={project}_"), ("network", "rm")),
        (docker("images", "--format", "{{.Repository}}", f"{project}-*"), ("rmi",)),
    ):
        if ids.split():
            docker(*command, *ids.split())


@contextmanager
def project(tmp_path: Path, name: str) -> Iterator[tuple[Workshop, str]]:
    """A copy of the lab that has never been up, and the name of its project."""
    own = f"mtls-lab-{name}-{os.getpid()}"
    environ = clean_environ() | {"RUNTIME": "compose", "PORT": str(unused_port()), "COMPOSE_PROJECT_NAME": own}
    try:
        yield Workshop(repository_copy(tmp_path / "lab"), "compose", environ), own
    finally:
        remove(own)


def left_as_it_was(foreign: Foreign) -> None:
    foreign.up()


def stopped(foreign: Foreign) -> None:
    foreign.up()
    foreign.compose("stop", "-t", "0")


def only_its_volumes(foreign: Foreign) -> None:
    foreign.up()
    foreign.compose("down", "-t", "0")


def only_an_image(foreign: Foreign) -> None:
    docker("tag", IMAGE, f"{foreign.project}-server")


COMMANDS = (
    ("up",), ("up", "PROXY=haproxy"), ("up", "PUBLIC_CA=acme"), ("test-required", "PROBE=raw"), ("test-servers",),
    ("test-browser",), ("test-postman",), ("matrix", "PROBE=raw"), ("probe", "S=client-good", "PROBE=raw"), ("list",),
    ("renew",), ("rotate", "WHAT=server"), ("revoke", "CREDENTIAL=client-good"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("state", "services"),
    [
        (left_as_it_was, PLAIN),
        (left_as_it_was, SAME_NAMES),
        (stopped, SAME_NAMES),
        (only_its_volumes, PLAIN),
        (only_its_volumes, SAME_NAMES),
        (only_an_image, {}),
    ],
)
def test_a_foreign_project_is_not_touched(
    tmp_path: Path, state: Callable[[Foreign], None], services: dict[str, str]
) -> None:
    with project(tmp_path, "foreign") as (lab, name):
        state(Foreign(tmp_path / "theirs", name, services))
        before = there(name)
        for command in COMMANDS if state is left_as_it_was else COMMANDS[:1]:
            done = lab.make(*command)
            assert done.returncode == 2, (command, done.stdout + done.stderr)
            assert "error: " in done.stderr
            if command[0] == "up":
                assert f"error: could not use the project name '{name}': " in done.stderr
                assert f"\n  try: make up COMPOSE_PROJECT_NAME={name}-2" in done.stderr
                assert "building" not in done.stderr
            assert there(name) == before, command
        for command in (("status",), ("logs",), ("down",), ("clean",), ("clean", "RUNTIME=local")):
            done = lab.make(*command)
            assert command[0] not in ("down", "clean") or done.returncode == 0, done.stderr
            assert there(name) == before, command
        assert f"nothing with the project name '{name}' was removed" in done.stderr


def test_the_error_names_who_has_the_name(tmp_path: Path) -> None:
    with project(tmp_path, "named") as (lab, name):
        foreign = Foreign(tmp_path / "theirs", name, PLAIN)
        foreign.up()
        assert f"{name}-web-1 of {foreign.folder}" in lab.make("up").stderr
        foreign.compose("down", "-t", "0")
        assert f"{name}_data" in lab.make("up").stderr


def test_a_project_in_the_same_folder_is_foreign_too(tmp_path: Path) -> None:
    with project(tmp_path, "beside") as (lab, name):
        Foreign(lab.folder, name, {"server": "ca-private"}, file="mine.yml").up()
        before = there(name)
        assert lab.make("up").returncode == 2
        for command in ("down", "clean"):
            assert lab.make(command).returncode == 0
        assert there(name) == before


def test_a_lab_whose_folder_was_moved_is_taken_over(tmp_path: Path) -> None:
    """By the command that the error prints; nothing of another project is, whatever it is called."""
    with project(tmp_path, "moved") as (lab, name):
        lab.up()
        root = keys(lab)
        moved = Workshop(lab.folder.rename(tmp_path / "elsewhere"), "compose", lab.environ)
        done = moved.make("up")
        assert done.returncode == 2
        assert f"a lab whose folder is gone uses it: {lab.folder}" in done.stderr
        cure = done.stderr.rpartition("  try: ")[2].splitlines()[0]
        again = f"COMPOSE_PROJECT_NAME={name}"
        assert cure == f"{again} sh scripts/project.sh take-over && make up {again}"
        taken = moved.run("sh", "-c", cure)
        assert taken.returncode == 0, taken.stderr
        assert keys(moved) == root
        twice = moved.run("sh", "scripts/project.sh", "take-over")
        assert twice.returncode == 2
        assert "no lab whose folder is gone has it" in twice.stderr


def test_the_local_runtime_stops_no_foreign_server(tmp_path: Path) -> None:
    """It stops the server of the other runtime, which has its port: the lab's, and no other."""
    with project(tmp_path, "port") as (lab, name):
        Foreign(tmp_path / "theirs", name, PLAIN, port=lab.port).up()
        before = there(name)
        done = lab.make("up", "RUNTIME=local")
        assert f"port {lab.port} is in use by another program" in done.stderr
        assert lab.make("clean", "RUNTIME=local").returncode == 0
        assert there(name) == before


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), "mixed", "compose") as workshop:
        yield workshop


def keys(lab: Workshop) -> bytes:
    assert lab.make("certs").returncode == 0
    return (lab.folder / "certs/public_root.pem").read_bytes()


def marker(lab: Workshop) -> str:
    return f"{lab.environ['COMPOSE_PROJECT_NAME']}_mtls-lab"


class TestTheLab:
    """One session, in this order: a lab that is up, and what comes beside it."""

    def test_one_that_comes_later_stays_and_so_does_the_lab(self, lab: Workshop, tmp_path: Path) -> None:
        lab.up()
        name, server, root = lab.environ["COMPOSE_PROJECT_NAME"], lab.server_id(), keys(lab)
        foreign = Foreign(tmp_path / "theirs", name, PLAIN)
        foreign.up()
        web = foreign.compose("ps", "-q", "web").stdout
        done = lab.make("up", "MODE=off")
        assert done.returncode == 2
        assert f"{name}-web-1 of {foreign.folder}" in done.stderr
        assert lab.server_id() == server
        assert lab.make("down").returncode == 0
        assert docker("ps", "-q", "--filter", f"id={server}") == ""
        assert foreign.compose("ps", "-q", "web").stdout == web
        foreign.compose("down", "-t", "0", "-v")
        lab.up()  # and with its volumes of before
        assert keys(lab) == root

    def test_clean_beside_another_removes_the_labs_alone(self, lab: Workshop, tmp_path: Path) -> None:
        name = lab.environ["COMPOSE_PROJECT_NAME"]
        foreign = Foreign(tmp_path / "theirs", name, PLAIN)
        foreign.up()
        web = foreign.compose("ps", "-q", "web").stdout
        done = lab.make("clean")
        assert done.returncode == 0, done.stderr
        assert foreign.compose("ps", "-q", "web").stdout == web
        assert foreign.compose("exec", "-T", "web", "cat", "/data/notes").stdout.strip() == DATA
        assert docker("volume", "ls", "-q", "--filter", f"name={name}_").split() == [f"{name}_data"]
        foreign.compose("down", "-t", "0", "-v")

    def test_a_volume_that_another_uses_stays_and_is_named(self, lab: Workshop, tmp_path: Path) -> None:
        lab.up()
        name = lab.environ["COMPOSE_PROJECT_NAME"]
        foreign = Foreign(tmp_path / "theirs", name, {"web": "reports"})
        foreign.up()
        labels = [f"--label=com.docker.compose.{key}" for key in (f"project={name}", "volume=reports")]
        docker("volume", "create", *labels, f"{name}-yearly")  # `reports: {name: ...}` in their file, and not in use
        done = lab.make("clean")
        assert done.returncode == 2
        assert docker("volume", "rm", f"{name}-yearly").strip() == f"{name}-yearly"
        assert f"{name}_reports" in done.stderr
        assert "\n  try: " in done.stderr
        assert foreign.compose("exec", "-T", "web", "cat", "/data/notes").stdout.strip() == DATA
        assert docker("volume", "ls", "-q", "--filter", f"name={name}_ca-private") == ""  # the keys are gone
        foreign.compose("down", "-t", "0")
        done = lab.make("clean")
        assert done.returncode == 0, done.stderr
        assert docker("volume", "ls", "-q", "--filter", f"name={name}_") == ""

    def test_two_copies_of_the_lab_share_nothing(self, lab: Workshop, tmp_path: Path) -> None:
        """Whether the first one runs or not: its volumes have its keys."""
        lab.up()
        name, server, root = lab.environ["COMPOSE_PROJECT_NAME"], lab.server_id(), keys(lab)
        second = Workshop(repository_copy(tmp_path / "lab"), "compose", lab.environ)
        for words in (f"server-1 of {lab.folder.resolve()}", f"the lab in {lab.folder.resolve()} uses it"):
            before = there(name)
            done = second.make("up")
            assert done.returncode == 2
            assert words in done.stderr
            for command in ("down", "clean"):
                assert second.make(command).returncode == 0
            assert there(name) == before
            assert lab.make("down").returncode == 0
        lab.up()
        assert keys(lab) == root
        assert lab.server_id() != server

    def test_a_lab_of_an_earlier_version_is_known(self, lab: Workshop, tmp_path: Path) -> None:
        """It has no volume that names its folder; it has containers, or the mark of images that were built."""
        root = keys(lab)
        docker("volume", "rm", marker(lab))
        lab.up()
        assert keys(lab) == root
        docker("volume", "inspect", marker(lab))
        lab.make("down")
        docker("volume", "rm", marker(lab))
        done = lab.make("up")
        assert done.returncode == 2
        assert f"docker compose -p {lab.environ['COMPOSE_PROJECT_NAME']} create ca && make up" in done.stderr
        (lab.folder / ".lab/images-ca-server-client").touch()
        lab.up()
        assert keys(lab) == root

    def test_what_compose_made_by_itself_is_the_labs(self, lab: Workshop) -> None:
        """`docker compose up`, or the cure of the error above."""
        root = keys(lab)
        lab.make("down")
        docker("volume", "rm", marker(lab))
        assert lab.run("docker", "compose", "create", "ca").returncode == 0
        lab.up()
        assert keys(lab) == root
        name = lab.environ["COMPOSE_PROJECT_NAME"]
        assert lab.make("clean").returncode == 0
        assert there(name) == {"containers": [], "volumes": [], "networks": [], "images": []}
        assert lab.run("docker", "compose", "up", "-d").returncode == 0
        assert re.search("server.*Up", lab.make("status").stdout)
        assert lab.make("clean").returncode == 0
        assert there(name) == {"containers": [], "volumes": [], "networks": [], "images": []}
