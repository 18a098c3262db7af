"""PUBLIC_CA=acme: the server's certificate comes from an ACME server by certbot. One session, in its order."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from matrices import FEW, MOST
from other_ca import Other
from test_own_certificate import assert_own_root_is_named, authenticated, back_to_the_lab, browser, serve_own
from workshop import Workshop, clean_environ, compose, copied

pytestmark = [*compose]

NAME = "mtls-lab.test"
BROKEN = "services: {pebble: {entrypoint: ['false']}}\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), "acme", "compose") as workshop:
        yield workshop


def served(lab: Workshop) -> list[x509.Certificate]:
    """What the server serves now, leaf first, as a client sees it that believes the root in certs/."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{lab.port}", "-servername", NAME, "-showcerts"]
    done = lab.run(*command, "-verify_return_error", "-verify_hostname", NAME, "-CAfile", "certs/public_root.pem")
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    return x509.load_pem_x509_certificates(done.stdout.encode())


def test_without_an_acme_server_the_old_server_stays(lab: Workshop) -> None:
    lab.up("MODE=off")
    server, root = lab.server_id(), (lab.folder / "certs/public_root.pem").read_bytes()
    (lab.folder / "docker-compose.override.yml").write_text(BROKEN)
    done = lab.make("up", "PUBLIC_CA=acme")
    (lab.folder / "docker-compose.override.yml").unlink()
    assert "error: the ACME server does not answer" in done.stderr
    assert "\n  try: " in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)
    assert lab.server_id() == server
    assert lab.make("renew").returncode == 2
    assert lab.make("certs").returncode == 0
    assert (lab.folder / "certs/public_root.pem").read_bytes() == root


def test_up_says_commands_that_work(lab: Workshop) -> None:
    lab.make("down")  # from nothing: the server waits for its first certificate
    text = lab.up("PUBLIC_CA=acme")
    assert f"URL            https://{NAME}:{lab.port}" in text
    live = f"/etc/letsencrypt/live/{NAME}"
    assert f"--ssl-keyfile {live}/privkey.pem --ssl-certfile {live}/fullchain.pem" in text
    assert "INFO awaiting_certificate" in lab.make("logs").stdout
    commands = [line.strip() for line in text.splitlines() if line.startswith(("  curl ", "  printf "))]
    anonymous, good, by_hand = (lab.run("sh", "-c", command) for command in commands)
    assert "alert certificate required" in anonymous.stderr
    assert good.stdout.startswith('{"message":"Hello, client-good!"'), good.stderr
    assert by_hand.stdout.startswith("HTTP/1.1 200 OK"), by_hand.stderr


def test_the_management_port_is_inside_its_container_only(lab: Workshop) -> None:
    """It gives every client the key of the root."""
    pebble = lab.run("docker", "compose", "--profile", "acme", "ps", "-q", "pebble").stdout.strip()
    script = "for port in 14000 15000; do curl -sk -o /dev/null https://{}:$port/; echo $?; done"
    inside = lab.run("docker", "exec", pebble, "sh", "-c", script.format("127.0.0.1")).stdout.split()
    assert inside == ["0", "0"]  # so it is there to be had
    networks = json.loads(lab.run("docker", "inspect", pebble).stdout)[0]["NetworkSettings"]["Networks"]
    addresses = [net["IPAddress"] for net in networks.values()]
    assert addresses
    network = next(iter(networks))
    for host in ("pebble", *addresses):
        run = [
            "docker",
            "run",
            "--rm",
            "--network",
            network,
            "--entrypoint",
            "sh",
            f"{lab.environ['COMPOSE_PROJECT_NAME']}-client",
        ]
        assert lab.run(*run, "-c", script.format(host)).stdout.split() == ["0", "7"], host  # curl: (7) refused
    if sys.platform == "linux":  # elsewhere containers are in a machine of their own
        for address in addresses:
            socket.create_connection((address, 14000), 5).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, 15000), 5)


@pytest.mark.parametrize("knobs", [(), ("PUBLIC_CA=acme",), ("PUBLIC_CA=lab",)])
def test_nobody_is_told_to_trust_the_acme_servers_root(lab: Workshop, knobs: tuple[str, ...]) -> None:
    """What the running server serves counts, not the knob in this shell."""
    done = lab.make("browser", *knobs)
    assert done.returncode == 2
    assert "error: a browser must not trust the CA of the server: " in done.stderr
    assert "\n  try: make up PUBLIC_CA=lab" in done.stderr
    assert done.stdout == ""


def test_what_the_acme_server_issues(lab: Workshop) -> None:
    """Pebble 2.6 still puts clientAuth into its leaves, which Let's Encrypt does no longer: the lesson says so."""
    leaf, intermediate = served(lab)
    assert leaf.subject.rfc4514_string() == ""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (names.value.get_values_for_type(x509.DNSName), names.critical) == ([NAME], True)
    usages = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days in (89, 90)
    assert "Pebble Intermediate" in intermediate.subject.rfc4514_string()


def test_it_is_no_client_certificate_here(lab: Workshop) -> None:
    """It has clientAuth; but the server believes the validation PKI alone."""
    copy = f"cat /etc/letsencrypt/live/{NAME}/fullchain.pem /etc/letsencrypt/live/{NAME}/privkey.pem"
    both = lab.run("docker", "compose", "exec", "-T", "server", "sh", "-c", copy).stdout
    (lab.folder / "both.pem").write_text(both)
    url, resolve = f"https://{NAME}:{lab.port}/", f"{NAME}:{lab.port}:127.0.0.1"
    command = ["curl", "-sS", "--noproxy", "*", "--resolve", resolve, "--cacert", "certs/public_root.pem"]
    done = lab.run(*command, "--cert", "both.pem", url)
    assert done.returncode == 56
    assert "alert unknown ca" in done.stderr


@pytest.mark.parametrize("mode", ["off", "optional", "required"])
def test_every_mode_passes(lab: Workshop, mode: str) -> None:
    done = lab.make(f"test-{mode}", "PUBLIC_CA=acme", f"PROBE={'' if mode == 'required' else FEW}")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((lab.folder / f"reports/{mode}.json").read_text())
    assert {result["verdict"] for result in report["results"]} == {"PASS", "SKIP"}
    tried = {result["probe"] for result in report["results"] if result["verdict"] == "PASS"}
    assert tried == ({*MOST.split(","), "wget"} if mode == "required" else {*FEW.split(",")})
    assert all(
        f"://{NAME}:" in r["command"] or f'"{NAME}"' in r["command"] or f" {NAME} " in r["command"]
        for r in report["results"]
    )


def test_renew_loses_no_request(lab: Workshop) -> None:
    before, server = served(lab)[0].serial_number, lab.server_id()
    done = lab.make("renew")
    assert done.returncode == 0, done.stdout + done.stderr
    asked = re.search(r"requests (\d+) answered, \d+ on connections of their own, \d+ on one; none failed", done.stdout)
    assert asked, done.stdout
    assert int(asked[1]) >= 20
    after = served(lab)[0].serial_number
    assert f"serials {before:x} {after:x}\n" in done.stdout
    assert before != after
    assert lab.server_id() == server


def test_others_follow_the_name(lab: Workshop) -> None:
    assert "is enrolled" in lab.make("enroll", "CLIENT=bob").stdout
    done = lab.make("rotate", "WHAT=server")
    assert f"another CA issued the one that is served, for {NAME}\n  try: make renew" in done.stderr
    assert lab.make("probe", "S=client-good", "PROBE=curl").stdout.endswith("outcome: authenticated\n")


def test_the_acme_server_forgets_when_it_ends(lab: Workshop) -> None:
    root = (lab.folder / "certs/public_root.pem").read_bytes()
    lab.run("docker", "compose", "--profile", "acme", "rm", "--stop", "--force", "pebble")
    done = lab.make("renew")
    assert "it has another root, and knows no account\n  try: make up PUBLIC_CA=acme" in done.stderr
    lab.up("PUBLIC_CA=acme", "SERVER=stock")
    assert (lab.folder / "certs/public_root.pem").read_bytes() != root
    assert served(lab)
    assert "stock Uvicorn reads its files once" in lab.make("renew").stderr


def test_a_certificate_of_ones_own_and_back_to_the_lab(lab: Workshop, tmp_path: Path) -> None:
    serve_own(lab, tmp_path, "localhost")  # as mkcert makes them; in a container localhost is somebody else
    assert_own_root_is_named(lab, "localhost")
    server = lab.server_id()
    (tmp_path / "fullchain.pem").write_bytes(Other().leaf("localhost"))
    bad = lab.make("up", f"LAB_SERVER_CERT_DIR={tmp_path}")
    assert "privkey.pem is not the key of the first certificate in fullchain.pem\n  try: " in bad.stderr
    assert lab.server_id() == server
    assert authenticated(lab)
    back_to_the_lab(lab)
    assert "mTLS Lab Public Root" in browser(lab, "linux")


@pytest.mark.parametrize(
    ("service", "own"), [("pebble", "/lab/acme-tls/"), ("certbot", "/(etc/letsencrypt|deployed)/")]
)
def test_separated_and_unprivileged(lab: Workshop, service: str, own: str) -> None:
    script = "id -u; touch /x; grep -E 'CapEff|NoNewPrivs' /proc/self/status; find /lab /etc /deployed -name 'privkey*'"
    command = ["docker", "compose", "--profile", "acme", "run", "--rm", "-T", "--no-deps", "--entrypoint", "sh"]
    done = lab.run(*command, service, "-c", script)
    user, capabilities, privileges, *keys = done.stdout.splitlines()
    assert (user, capabilities) == ("10001", "CapEff:\t0000000000000000")
    assert privileges == "NoNewPrivs:\t1"
    assert "Read-only file system" in done.stderr
    assert keys
    assert all(re.match(own, key) for key in keys), keys


def test_it_needs_docker(lab: Workshop) -> None:
    done = subprocess.run(
        ["make", "up", "PUBLIC_CA=acme", "RUNTIME=local", f"VENV={lab.folder}/other"],
        cwd=lab.folder, env=clean_environ(), capture_output=True, text=True,
    )  # fmt: skip
    assert "error: make up PUBLIC_CA=acme needs Docker: RUNTIME is local (as asked)\n  try: " in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)
    assert not (lab.folder / "other").exists()
