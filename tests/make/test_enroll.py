"""`make enroll` and its like, in both runtimes: what a person gets, keeps and can take back."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from workshop import Workshop


@pytest.fixture(scope="module")
def lab(workshop: Workshop) -> Workshop:
    workshop.up()
    return workshop


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def request(lab: Workshop, name: str) -> Path:
    """Make a key and a request that wishes to be a CA for every name."""
    folder = lab.folder / "requests"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csr"
    new = ("openssl", "req", "-new", "-newkey", "rsa:2048", "-noenc", "-keyout", str(path.with_suffix(".key")))
    wish = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:*.example", "-addext", "basicConstraints=CA:true")
    assert lab.run(*new, *wish, "-out", str(path)).returncode == 0
    return path


def test_enroll_walks_from_a_key_to_the_first_request(lab: Workshop) -> None:
    done = lab.make("enroll", "CLIENT=bob")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"common_name":"bob"' in done.stdout
    folder = lab.folder / "certs/clients/bob"
    assert mode(folder / "privkey.pem") == 0o600
    state = lab.folder / ".lab"
    key = (folder / "privkey.pem").read_bytes()
    assert not [p for p in state.rglob("*") if p.is_file() and key in p.read_bytes()], "the key never leaves the host"
    last = [line[2:] for line in done.stdout.splitlines() if line.startswith("$ curl")][-1]
    again = lab.run("sh", "-c", f"{last}")
    assert '"common_name":"bob"' in again.stdout, "what was printed can be typed"
    for arguments in (("up",), ("certs",)):
        assert lab.make(*arguments).returncode == 0
        assert (folder / "privkey.pem").read_bytes() == key
    listed = lab.make("list").stdout
    assert [line for line in listed.splitlines() if line.startswith("bob ") and " person " in line]
    twice = lab.make("enroll", "CLIENT=bob")
    assert "exists already" in twice.stderr
    assert "try:" in twice.stderr


@pytest.mark.parametrize(
    "name", ["", "..", "Bob", "a b", "-x", "$(touch pwned)", "client-good", "validation-root-next", "deadbeefdeadbeef"]
)
def test_names_that_are_refused_leave_nothing(lab: Workshop, name: str) -> None:
    before = sorted(os.listdir(lab.folder / "certs/clients"))
    done = lab.make("enroll", f"CLIENT={name}")
    assert done.returncode != 0
    assert "error: could not enroll" in done.stderr
    assert sorted(os.listdir(lab.folder / "certs/clients")) == before
    assert not (lab.folder / "pwned").exists()


def test_a_request_is_signed_and_its_wishes_are_ignored(lab: Workshop) -> None:
    path = request(lab, "carol")
    done = lab.make("-s", "sign", f"CSR={path}", "NAME=carol")
    assert done.stdout.count("BEGIN CERTIFICATE") == 2, done.stderr
    assert "ignored basicConstraints" in done.stderr
    signed = path.with_suffix(".pem")
    signed.write_text(done.stdout)
    said = lab.make("inspect", f"FILE={signed}").stdout
    assert "CN=carol" in said
    assert "certificate 1 is signed by certificate 2" in said
    assert "*.example" not in said
    again = lab.make("-s", "sign", f"CSR={path}", "NAME=carol", "REPLACE=0")
    assert "there is one already" in again.stderr
    absent = lab.make("sign", "CSR=absent")
    assert "absent cannot be read" in absent.stderr
    assert lab.make("revoke", "CREDENTIAL=carol").returncode == 0


def test_a_client_made_here_is_on_the_host_and_can_be_bundled(lab: Workshop) -> None:
    refused = lab.make("issue-client", "NAME=alice", "OU=ops $(touch pwned)")
    assert "the name 'ops $(touch pwned)' has a dollar sign or a backtick" in refused.stderr
    done = lab.make("issue-client", "NAME=alice", "OU=ops'\"; touch pwned; ',dev", "DAYS=5", "KEY_TYPE=p384")
    assert done.returncode == 0, done.stderr
    assert "OU=ops'\\\"\\; touch pwned\\; '" in done.stderr
    assert not (lab.folder / "pwned").exists()
    folder = lab.folder / "certs/clients/alice"
    assert mode(folder / "privkey.pem") == 0o600
    for arguments, file, options in (((), "bundle.p12", ()), (("LEGACY=1",), "bundle-legacy.p12", ("-legacy",))):
        done = lab.make("export-p12", "NAME=alice", *arguments)
        assert done.returncode == 0, done.stderr
        assert "password: mtls-lab" in done.stderr
        assert mode(folder / file) == 0o600
        command = ["openssl", "pkcs12", "-in", str(folder / file), "-nokeys", "-passin", "pass:mtls-lab", *options]
        said = subprocess.run(command, capture_output=True, text=True)
        assert said.stdout.count("BEGIN CERTIFICATE") == 2, said.stderr
    wrong = lab.make("export-p12", "NAME=client-god")
    assert "did you mean client-good?" in wrong.stderr
    assert lab.make("up").returncode == 0
    assert (folder / "bundle.p12").exists()


def test_ones_own_intermediate_is_adopted_and_left_again(lab: Workshop, tmp_path: Path) -> None:
    page = (lab.folder / "docs/validation-ca.md").read_text()
    blocks = "\n".join(part.partition("```")[0] for part in page.split("```sh\n")[1:])
    assert subprocess.run(["sh", "-ec", blocks], cwd=tmp_path, capture_output=True).returncode == 0
    own = tmp_path / "own with space"
    own.mkdir()
    shutil.copy(tmp_path / "validation.pem", own / "ca.pem")
    shutil.copy(tmp_path / "intermediate.key", own / "ca.key")
    half = lab.make("up", f"LAB_VALIDATION_CA_CERT={own}/ca.pem")
    assert "only one of LAB_VALIDATION_CA_CERT and LAB_VALIDATION_CA_KEY" in half.stderr
    said = lab.up(f"LAB_VALIDATION_CA_CERT={own}/ca.pem", f"LAB_VALIDATION_CA_KEY={own}/ca.key")
    assert "adopted CN=Corp Client Intermediate,O=Corp" in said
    for name, issuer in (("client-rsa", "Corp Client"), ("client-ca-certificate", "mTLS Lab Validation")):
        assert f"CN={issuer} Intermediate" in lab.make("inspect", f"FILE=certs/clients/{name}/cert.pem").stdout
    client = ("--cert", "certs/clients/client-good/fullchain.pem", "--key", "certs/clients/client-good/privkey.pem")
    command = ("curl", "-sS", "--noproxy", "*", "--cacert", "certs/public_root.pem", *client)
    answer = lab.run(*command, f"https://localhost:{lab.port}/")
    assert "CN=Corp Client Intermediate" in answer.stdout, answer.stderr
    theirs = ("--cert", str(tmp_path / "bob-fullchain.pem"), "--key", str(tmp_path / "bob.key"))
    answer = lab.run(*command[:6], *theirs, f"https://localhost:{lab.port}/")
    assert '"common_name":"bob"' in answer.stdout, answer.stderr
    lab.up("LAB_VALIDATION_CA_CERT=none")
    answer = lab.run(*command, f"https://localhost:{lab.port}/")
    assert "CN=mTLS Lab Validation Intermediate" in answer.stdout, answer.stderr
