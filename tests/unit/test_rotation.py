"""Rotation: old and new are trusted together for as long as it takes, and what was killed in between goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import catalogue
from ca.issue import Issuance, issue, ledger
from ca.revocation import revoke
from ca.rotation import Step, What
from ca.store import Store
from catalogue import Catalogue

WANTED = ("client-good", "client-long-chain", "client-pathlen-exceeded")


@pytest.fixture(scope="module")
def known() -> Catalogue:
    """A catalogue of few credentials: what is rotated are the authorities."""
    whole = catalogue.load()
    return replace(whole, scenarios={name: whole.scenarios[name] for name in WANTED})


@pytest.fixture(scope="module")
def issued(known: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("issued")
    issue(known, Store(folder), say=lambda _: None)
    return folder


@pytest.fixture
def lab(issued: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(issued, tmp_path / "lab"))


def rotate(known: Catalogue, lab: Path, what: What, step: Step | None = None) -> Issuance:
    return issue(known, Store(lab), say=lambda _: None, rotate=(what, step))


def held(lab: Path, folder: Path, name: str = "client-good") -> Path:
    """What a client holds now, kept."""
    return Path(
        shutil.copytree(lab / "client-tls" / "clients" / name, folder / "held" / str(len(list(folder.glob("held/*")))))
    )


def verify(lab: Path, client: Path, *options: str) -> int:
    """Return 0, or the verify error of OpenSSL with the lab's trust file and lists."""
    server = lab / "server-tls"
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", *options]
    command += ["-CRLfile", str(server / "validation_crl.pem"), "-crl_check_all"] if not options else []
    files = ["-CAfile", str(server / "validation_fullchain.pem"), "-untrusted", str(client / "chain.pem")]
    done = subprocess.run([*command, *files, str(client / "cert.pem")], capture_output=True, text=True)
    code = re.search(r"error (\d+) at", done.stdout + done.stderr)
    assert (done.returncode == 0) == (code is None), done.stderr
    return int(code[1]) if code else 0


def test_rotating_the_server_changes_its_key_and_nothing_else(known: Catalogue, lab: Path) -> None:
    before = {path: path.read_bytes() for path in lab.rglob("privkey.pem")}
    done = rotate(known, lab, What.SERVER)
    assert done.issued == {"server-good": "it is rotated"}
    changed = [path.parent.name for path, data in before.items() if path.read_bytes() != data]
    assert changed == ["server-good"]


def test_after_the_intermediate_old_and_new_clients_are_accepted(known: Catalogue, lab: Path, tmp_path: Path) -> None:
    old = held(lab, tmp_path)
    done = rotate(known, lab, What.INTERMEDIATE)
    new = held(lab, tmp_path)
    assert {"validation-intermediate", "healthcheck", "client-good", "pathlen-intermediate"} <= set(done.issued)
    assert "validation-root" not in done.issued
    assert "client-long-chain" not in done.issued
    assert [verify(lab, client) for client in (old, new)] == [0, 0]
    assert "Validation Intermediate 2" in ledger(Store(lab))["client-good"].issuer
    assert not issue(known, Store(lab), say=lambda _: None).issued


def test_what_the_old_intermediate_revoked_stays_revoked(known: Catalogue, lab: Path, tmp_path: Path) -> None:
    old = held(lab, tmp_path)
    revoke(Store(lab), "client-good", "keyCompromise")
    rotate(known, lab, What.INTERMEDIATE)
    assert verify(lab, old) == 23
    assert verify(lab, held(lab, tmp_path)) == 0
    revoke(Store(lab), "validation-intermediate-1", "superseded")
    assert verify(lab, held(lab, tmp_path)) == 0


def test_a_root_is_rolled_over_with_an_overlap(known: Catalogue, lab: Path, tmp_path: Path) -> None:
    old = held(lab, tmp_path)
    assert set(rotate(known, lab, What.ROOT).issued) == {"validation-root-next"}
    assert verify(lab, old) == 0
    assert not issue(known, Store(lab), say=lambda _: None).issued
    done = rotate(known, lab, What.ROOT)
    new = held(lab, tmp_path)
    assert "validation-root" not in done.issued  # it was introduced
    assert "client-good" in done.issued
    assert [verify(lab, client) for client in (old, new)] == [0, 0]
    assert not issue(known, Store(lab), say=lambda _: None).issued
    assert [verify(lab, client) for client in (old, new)] == [0, 0]
    assert rotate(known, lab, What.ROOT).issued == {}
    assert [verify(lab, client) for client in (old, new)] == [20, 0]
    assert not issue(known, Store(lab), say=lambda _: None).issued
    text = "".join(path.read_text() for path in (lab / "server-tls").glob("validation_*.pem"))
    for retired in (lab / "ca-private" / "retired").iterdir():
        assert (retired / "cert.pem").read_text() not in text
