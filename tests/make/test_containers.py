"""The containers keep the secrets apart: mounts, users, modes, layers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from matrices import SOME
from running import ROOT
from workshop import Workshop, clean_environ, compose, copied

import catalogue

pytestmark = [*compose]

MAX_IMAGE_MB = 190


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), "boxes", "compose") as workshop:
        workshop.up()
        yield workshop


def inside(lab: Workshop, service: str, script: str) -> str:
    """Run a shell script in a new container of a service, with its mounts, user and limits."""
    command = ["docker", "compose", "run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", service, "-c", script]
    done = lab.run(*command)
    return done.stdout + done.stderr


@pytest.mark.parametrize("service", ["ca", "server", "client", "shell"])
def test_unprivileged_and_read_only(lab: Workshop, service: str) -> None:
    text = inside(lab, service, "id -u; touch /app/x; touch /x; grep -E 'CapEff|NoNewPrivs' /proc/self/status")
    assert text.splitlines()[0] == "10001"
    assert text.count("Read-only file system") == 2
    assert "CapEff:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text


def test_mounts_separate_the_keys(lab: Workshop) -> None:
    find = "find /lab -name privkey.pem 2>/dev/null | sed 's,/[^/]*$,,; s,/lab/,,' | sort"
    server = inside(lab, "server", find).split()
    assert server == sorted(f"server-tls/{name}" for name in ("healthcheck", *catalogue.load().server_credentials))
    client = inside(lab, "client", find).split()
    assert client
    assert all(name.startswith("client-tls/clients/client-") for name in client)
    assert {"ca-private/public-root", "ca-private/validation-root"} <= set(inside(lab, "ca", find).split())


@pytest.mark.parametrize("name", ["mtls-lab", "My_Lab-2.0", "__a b$'\"", "mTLS-übung", "-9Straße_"])
def test_the_engine_is_asked_for_the_project_as_compose_names_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "Makefile").write_text(f"include {ROOT}/scripts/compose.mk\nname:\n\t@echo $(COMPOSE_PROJECT_NAME)\n")
    (folder / "docker-compose.yml").write_text("services: {server: {image: none}}\n")
    asked = {"cwd": folder, "env": clean_environ(), "text": True}
    ours = subprocess.check_output(["make", "-s", "name"], **asked).strip()
    theirs = subprocess.check_output(["docker", "compose", "config", "--format", "json"], **asked)
    assert ours == json.loads(theirs)["name"]


def test_an_image_may_have_another_name(lab: Workshop) -> None:
    """As where a trainer has it pulled: docker-compose.override.yml names it."""
    ours, theirs = f"{lab.environ['COMPOSE_PROJECT_NAME']}-client", f"{lab.environ['COMPOSE_PROJECT_NAME']}-theirs"
    override = lab.folder / "docker-compose.override.yml"
    override.write_text(f"services: {{client: {{image: {theirs}}}}}\n")
    assert lab.run("docker", "tag", ours, theirs).returncode == 0
    assert lab.run("docker", "rmi", ours).returncode == 0
    try:
        done = lab.make("probe", "S=client-good", "PROBE=raw")
        assert done.stdout.endswith("outcome: authenticated\n"), done.stderr
    finally:
        override.unlink()
        lab.run("docker", "tag", theirs, ours)
        lab.run("docker", "rmi", theirs)


def test_who_may_write(lab: Workshop) -> None:
    for service in ("server", "client"):
        assert "Read-only file system" in inside(lab, service, f"touch /lab/{service}-tls/x")
    assert "Read-only file system" in inside(lab, "client", "touch /lab/log/x")


def test_modes_in_the_volumes(lab: Workshop) -> None:
    modes = inside(lab, "ca", "find /lab -name privkey.pem -exec stat -c '%a %u' {} +; stat -c '%a %u' /lab/ca-private")
    lines = modes.split("\n")[:-1]
    assert set(lines[:-1]) == {"600 10001"}
    assert lines[-1] == "700 10001"


def test_the_ca_has_no_network(lab: Workshop) -> None:
    assert inside(lab, "ca", "cat /proc/net/dev | tail -n +3 | cut -d: -f1").split() == ["lo"]


def test_the_port_is_on_loopback_only(lab: Workshop) -> None:
    config = json.loads(lab.run("docker", "compose", "config", "--format", "json").stdout)
    assert [port["host_ip"] for port in config["services"]["server"]["ports"]] == ["127.0.0.1"]


@pytest.mark.parametrize("part", ["ca", "server", "client"])
def test_images_are_small_and_hold_no_secret(lab: Workshop, part: str, tmp_path: Path) -> None:
    image = f"{lab.environ['COMPOSE_PROJECT_NAME']}-{part}"
    size = int(lab.run("docker", "image", "inspect", image, "--format", "{{.Size}}").stdout)
    assert size < MAX_IMAGE_MB * 1_000_000
    text = inside(
        lab,
        part,
        "grep -rlE '^-----BEGIN .*PRIVATE KEY-----$' /app /venv /lab/certs/. /etc /run 2>/dev/null; ls /run/secrets",
    )
    assert [
        line for line in text.splitlines() if line.startswith("/app") or line.startswith("/etc") or "ca_bundle" in line
    ] == []
    history = lab.run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout
    assert "BEGIN" not in history


@pytest.mark.parametrize("part", ["ca", "server", "client"])
def test_layers_hold_no_key(lab: Workshop, tmp_path: Path, part: str) -> None:
    image = f"{lab.environ['COMPOSE_PROJECT_NAME']}-{part}"
    layers = tmp_path / "layers"
    unpack = f"docker save {image} | tar -xO --wildcards '*layer.tar' '*blobs*' 2>/dev/null >{layers}"
    subprocess.run(unpack, shell=True, check=False, timeout=120)

    def found(pattern: str) -> int:
        return int(subprocess.run(["grep", "-ac", pattern, str(layers)], capture_output=True, text=True).stdout)

    assert found(f"python -m {part}")  # so it is really these layers that are searched
    assert found("^-----BEGIN .*PRIVATE KEY-----$") == 0
    layers.unlink()


def test_the_container_is_healthy_in_required_mode_without_refusals(lab: Workshop) -> None:
    done = lab.run("docker", "compose", "up", "-d", "--wait", "--no-deps", "--no-recreate", "server")
    assert done.returncode == 0, done.stderr
    log = lab.make("logs").stdout
    assert "handshake_refused" not in log
    assert "/healthz" not in log


def test_a_bare_docker_compose_up_works_too(lab: Workshop) -> None:
    done = lab.run("docker", "compose", "up", "-d", "--wait")
    assert done.returncode == 0, done.stderr
    assert lab.make("matrix", SOME).returncode == 0


def test_the_lab_runs_in_one_runtime_at_a_time(lab: Workshop) -> None:
    lab.up()
    text = lab.up("RUNTIME=local")
    assert "stopping the server of RUNTIME=compose" in text
    pid = int((lab.folder / ".lab/server.pid").read_text())
    lab.up()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert lab.make("probe", "S=client-good", "PROBE=raw").stdout.endswith("outcome: authenticated\n")


def test_a_stale_volume_is_named(lab: Workshop) -> None:
    """The catalogue of the client is not the one that the volume was issued for."""
    spoil = r"sed -i 's/\"catalogue_sha256\": \"..../\"catalogue_sha256\": \"0000/' /lab/client-tls/manifest.json"
    inside(lab, "ca", spoil)
    done = lab.make("matrix")
    assert "issued for another catalogue than this client's (a stale volume)\n  try: make up" in done.stderr
    assert lab.make("up").returncode == 0
    assert lab.make("matrix", SOME).returncode == 0
