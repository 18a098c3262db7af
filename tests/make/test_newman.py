"""newman, in containers: all three modes, and red where it should be."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from running import ROOT
from workshop import Workshop, clean_environ, compose, copied

from catalogue import Mode
from client.postman.runs import runs

pytestmark = pytest.mark.live

MAX_IMAGE_MB = 260


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), "postman", "compose") as workshop:
        yield workshop


def one_run(lab: Workshop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run and judge without switching the server's mode."""
    bundles = "tar -cf - -C certs/clients/client-good bundle.p12 | sh scripts/compose-run.sh postman"
    return lab.run("sh", "-c", f'{bundles} "$@"', "sh", *arguments)


@pytest.mark.compose
@compose[1]
def test_all_three_modes(lab: Workshop) -> None:
    done = lab.make("test-postman")
    assert done.returncode == 0, done.stdout + done.stderr
    for mode in Mode:
        every = runs(mode, int(lab.port), "")
        assert re.search(rf"newman, mode {mode}\n(  PASS .*\n){{{len(every)}}}{len(every)} runs: ", done.stdout)
        for run in every:
            folder = lab.folder / f"reports/postman/{mode}"
            assert (folder / f"{run.name}.txt").read_text().startswith(("$ newman run ", "$ HTTPS_PROXY="))
            assert json.loads((folder / f"{run.name}.json").read_text())["run"]["stats"]["assertions"]["total"] > 0
            assert "PRIVATE KEY" not in (folder / f"{run.name}.json").read_text()


@pytest.mark.compose
@compose[1]
def test_the_container_reads_client_credentials_alone(lab: Workshop) -> None:
    script = "id -u; ls /lab; touch /lab/client-tls/x; find / -name privkey.pem 2>/dev/null | cut -d/ -f-4 | sort -u"
    done = lab.run("docker", "compose", "run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "postman", "-c", script)
    assert done.stdout.split() == ["10001", "certs", "client", "client-tls", "reports", "/lab/client-tls/clients"]
    assert "Read-only file system" in done.stderr
    image = f"{lab.environ['COMPOSE_PROJECT_NAME']}-postman"
    size = int(lab.run("docker", "image", "inspect", image, "--format", "{{.Size}}").stdout)
    assert size < MAX_IMAGE_MB * 1_000_000


@pytest.mark.compose
@compose[1]
def test_off_judged_as_required_is_red(lab: Workshop) -> None:
    lab.up("MODE=off")
    assert lab.make("export-p12", "NAME=client-good").returncode == 0
    for name, said in (("none", "not alert 116"), ("list-pem", "6 failed, not 0")):
        done = one_run(lab, "--mode", "required", "--run", name)
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"WRONG {name}" in done.stdout
        assert said in done.stdout
    assert one_run(lab, "--mode", "off", "--run", "none").returncode == 0


@pytest.mark.compose
@compose[1]
def test_a_broken_lab_is_not_judged(lab: Workshop) -> None:
    wrong = one_run(lab, "--mode", "off", "--run", "nun")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "mode off has no such run" in wrong.stderr
    assert lab.make("down").returncode == 0
    done = one_run(lab, "--mode", "off")
    assert done.returncode == 2
    assert "the server, whose network it shares, does not run\n  try: make up" in done.stderr


def test_elsewhere_it_says_that_it_needs_docker() -> None:
    environ = clean_environ() | {"RUNTIME": "local"}
    done = subprocess.run(["make", "test-postman"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "error: make test-postman needs Docker" in done.stderr
