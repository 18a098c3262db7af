"""LAB_SERVER_CERT_DIR: the server has a certificate that another CA issued. test_acme.py has it in Docker, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from other_ca import Other, pem
from workshop import Workshop, copied

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), "own", "local") as workshop:
        yield workshop


def served(lab: Workshop) -> str:
    """Return the serial that the server says it has."""
    serials: list[str] = re.findall(r"tls_(?:re)?loaded .*serial=(\w+)", lab.make("logs").stdout)
    return serials[-1]


def authenticated(lab: Workshop) -> bool:
    done = lab.make("probe", "S=client-good", "PROBE=curl")
    return done.stdout.endswith("outcome: authenticated\n")


def serve_own(lab: Workshop, folder: Path, name: str) -> None:
    """Serve a certificate of one's own, and try what `make up` says."""
    other = Other()
    other.write(folder, other.leaf(name))
    text = lab.up(f"LAB_SERVER_CERT_DIR={folder}")
    assert re.search(r"--ssl-certfile \S*server-tls/elsewhere/fullchain.pem", text)
    assert f"URL            https://{name}:{lab.port}" in text
    commands = [line.strip() for line in text.splitlines() if line.startswith(("  curl ", "  printf "))]
    anonymous, good, by_hand = (lab.run("sh", "-c", command) for command in commands)
    assert "alert certificate required" in anonymous.stderr
    assert good.stdout.startswith('{"message":"Hello, client-good!"'), good.stderr
    assert by_hand.stdout.startswith("HTTP/1.1 200 OK"), by_hand.stderr
    assert authenticated(lab)


def back_to_the_lab(lab: Workshop) -> None:
    assert f"URL            https://localhost:{lab.port}" in lab.up()
    assert authenticated(lab)
    assert "make rotate WHAT=server" in lab.make("renew").stderr


def browser(lab: Workshop, system: str) -> str:
    done = lab.make("browser", f"FOR={system}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_own_root_is_named(lab: Workshop, name: str) -> None:
    """The commands that remove a root name the one that is served, or its fingerprint, and not the lab's."""
    said = {system: browser(lab, system) for system in ("linux", "macos", "windows")}
    for text in said.values():
        assert f"https://{name}:{lab.port}/" in text
        assert "Authorities > Other Root > Delete" in text
        assert "If your browser trusts it already" in text
        assert "mTLS Lab Public Root" not in text
    assert "security delete-certificate -c 'Other Root' " in said["macos"]
    assert 'certutil -user -delstore Root "Other Root"' in said["windows"]
    assert "-A -t C,, -n mtls-lab-root -i " in said["linux"]


def test_the_labs_own_root_is_named(local: Workshop) -> None:
    local.up()
    said = browser(local, "macos")
    assert "security delete-certificate -c 'mTLS Lab Public Root' " in said
    assert "Authorities > mTLS Lab Public Root > Delete" in said
    assert "Remove it afterwards: whoever gets this lab's keys" in said
    assert f"https://localhost:{local.port}/" in said


def test_removal_follows_a_rotation(local: Workshop) -> None:
    """A rotated intermediate has a number in its name."""
    local.up()
    assert local.make("rotate", "WHAT=intermediate").returncode == 0
    chain = (local.folder / "certs/clients/client-good/chain.pem").read_bytes()
    intermediate = (
        x509.load_pem_x509_certificates(chain)[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    )
    assert intermediate != "mTLS Lab Validation Intermediate"
    assert f"-D -n '{intermediate} - mTLS Lab'\n" in browser(local, "linux")
    assert f"security delete-certificate -c '{intermediate}' " in browser(local, "macos")
    assert f'certutil -user -delstore CA "{intermediate}"\n' in browser(local, "windows")


def system_root() -> bytes | None:
    """One of the roots that this machine trusts, in PEM."""
    for path in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"):
        if Path(path).exists():
            blocks = re.findall(
                rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", Path(path).read_bytes(), re.S
            )
            return blocks[-1] if blocks else None
    return None


def publish(lab: Workshop, root: bytes) -> None:
    """Have the CA publish a root as the one that vouches for what is served."""
    (lab.folder / ".lab/ca-private/elsewhere.json").write_text(json.dumps({"name": "localhost", "root": root.decode()}))
    assert lab.run(".venv/bin/python", "-m", "ca", "issue", LAB_STATE=".lab").returncode == 0


def test_nobody_is_told_to_trust_or_remove_a_public_root(local: Workshop) -> None:
    root = system_root()
    if not root:
        pytest.skip("this system has no roots in a file")
    local.up()
    publish(local, root)
    of_roots = (
        "public_root.pem",
        "mtls-lab-root",
        "Authorities",
        "add-trusted-cert",
        "-addstore Root",
        "-delstore Root",
    )
    for system in ("linux", "macos", "windows"):
        said = browser(local, system)
        assert "this machine trusts the CA of the server already" in said
        assert [word for word in of_roots if word in said] == []
        assert re.search(r"-(D|c|delstore CA) .*mTLS Lab Validation Intermediate", said)  # of the client: to be removed


def test_a_hostile_name_is_in_no_command(local: Workshop) -> None:
    """Root and intermediate come from anywhere; what is printed is pasted into a shell."""
    local.up()
    commands = {"macos": "security delete-certificate -Z {}", "windows": 'certutil -user -delstore Root "{}"'}
    for name in ("x'; touch pwned; '", '$(touch pwned)`"%PATH%', "Straße CA", "", "-D", "\u202eroot"):
        root = Other(name).root
        sha1 = root.fingerprint(hashes.SHA1()).hex().upper()
        publish(local, pem(root))
        for system in commands if name.startswith("$") else ("macos",):
            said = browser(local, system)
            assert commands[system].format(sha1) in said
            assert f"Authorities > the one with the SHA-1 fingerprint {sha1} > " in said
            assert not name or name not in said.replace("-D -n", "")


def test_rotation_follows_the_file_that_is_trusted(local: Workshop) -> None:
    """Below the root alone a new intermediate changes nothing; where it is trusted itself, the old one would be out."""
    local.up("TRUST=validation_root")
    done = local.make("rotate", "WHAT=intermediate")
    assert done.returncode == 0, done.stdout + done.stderr
    local.up("TRUST=validation_intermediate")
    issued = local.make("list").stdout
    done = local.make("rotate", "WHAT=intermediate")
    assert "error: could not show a rotation: the server trusts the intermediate itself" in done.stderr
    assert "\n  try: make up TRUST=validation_fullchain" in done.stderr
    assert local.make("list").stdout == issued
    back_to_the_lab(local)


def test_a_certificate_of_ones_own(local: Workshop, tmp_path: Path) -> None:
    lab, folder, name = local, tmp_path, "lab.example"
    serve_own(lab, folder, name)
    other, knob = Other(), f"LAB_SERVER_CERT_DIR={folder}"
    server, before = lab.server_id(), served(lab)

    other.write(folder, other.leaf(name))
    lab.up(knob)
    assert (lab.server_id(), served(lab) != before) == (server, True)  # taken over, not started again
    assert authenticated(lab)
    assert "its own ACME client renews that" in lab.make("renew").stderr
    assert_own_root_is_named(lab, name)

    renewed = served(lab)
    bad = {
        "expired on": other.leaf(name, ends=timedelta(minutes=-1)),
        "is not the key of the first certificate": Other().leaf(name),
        "no root vouches": other.leaf(name).split(b"-----END")[0] + b"-----END CERTIFICATE-----\n",
    }
    for fact, fullchain in bad.items():
        other.write(folder, fullchain)
        refused = lab.make("up", knob)
        assert re.search(rf"error: could not serve the certificate of another CA: .*{fact}.*\n  try: ", refused.stderr)
        assert re.search(r"make: \*\*\* .*Error 2", refused.stderr)
    (folder / "privkey.pem").unlink()
    refused = lab.make("up", knob)
    assert f"could not use LAB_SERVER_CERT_DIR: there is no {folder}/privkey.pem\n  try: " in refused.stderr
    assert (lab.server_id(), served(lab)) == (server, renewed)
    assert authenticated(lab)
    back_to_the_lab(lab)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (("PUBLIC_CA=letsencrypt",), "unknown PUBLIC_CA: 'letsencrypt' is none of lab acme"),
        (("LAB_SERVER_CERT_DIR=/nowhere",), "could not use LAB_SERVER_CERT_DIR: /nowhere is no folder"),
        (("LAB_SERVER_CERT_DIR=.", "SERVER_CREDENTIAL=server-expired"), "could not serve server-expired: "),
        (("LAB_SERVER_CERT_DIR=.", "PUBLIC_CA=acme"), "could not choose a certificate: "),
        (("PUBLIC_CA=acme",), "make up PUBLIC_CA=acme needs Docker: RUNTIME is local (as asked)"),
    ],
)
def test_bad_knobs(local: Workshop, knobs: tuple[str, ...], message: str) -> None:
    done = local.make("up", *knobs)
    assert f"error: {message}" in done.stderr
    assert "\n  try: " in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)
