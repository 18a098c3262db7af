"""`ca inspect` says in words what is in a file, and nothing that should stay in it."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.x509 import DNSName, SubjectAlternativeName
from running import ROOT
from test_people import openssl, request

import catalogue
from ca import bundle
from ca.inspect import describe
from ca.issue import issue, ledger
from ca.revocation import revoke
from ca.store import Store
from catalogue import LabError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("lab"))
    issue(catalogue.load(), store, say=lambda _: None)
    return store


def client(store: Store, name: str, file: str = "fullchain.pem") -> bytes:
    return (store.client / "clients" / name / file).read_bytes()


def der(pem: bytes, kind: str, folder: Path) -> bytes:
    (folder / "in").write_bytes(pem)
    openssl(kind, "-in", "in", "-outform", "DER", "-out", "out", cwd=folder)
    return (folder / "out").read_bytes()


def test_a_certificate_is_said_like_openssl_says_it(store: Store, tmp_path: Path) -> None:
    pem = client(store, "client-good", "cert.pem")
    (tmp_path / "cert.pem").write_bytes(pem)
    said = describe(pem)
    assert said == describe(der(pem, "x509", tmp_path))
    serial = openssl("x509", "-in", "cert.pem", "-noout", "-serial", cwd=tmp_path)
    assert serial.strip().removeprefix("serial=").lower().lstrip("0") in said
    sha256 = openssl("x509", "-in", "cert.pem", "-noout", "-fingerprint", "-sha256", cwd=tmp_path)
    assert sha256.partition("=")[2].strip().replace(":", "").lower() in said
    for words in ("CN=client-good", "EC P-256", "clientAuth", "EMAIL:client-good@mtls-lab.test", "digital signature"):
        assert words in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("client-good", "certificate 1 is signed by certificate 2"),
        ("client-wrong-chain-order", "WRONG ORDER: certificate 1 signed certificate 2"),
        ("client-expired", "EXPIRED 1 day ago"),
        ("client-not-yet-valid", "not valid for another 364 days"),
        ("client-sha1", "(WEAK)"),
        ("client-weak-rsa", "RSA 1024"),
    ],
)
def test_faults_are_named(store: Store, name: str, words: str) -> None:
    assert words in describe(client(store, name))


def test_a_chain_in_the_wrong_order_is_put_right(store: Store) -> None:
    root, middle, leaf = (
        (store.private / "validation-root/cert.pem").read_bytes(),
        (store.private / "validation-intermediate/cert.pem").read_bytes(),
        client(store, "client-good", "cert.pem"),
    )
    assert "WRONG ORDER: certificate 1 is signed by certificate 3" in describe(leaf + root + middle)
    assert "BROKEN CHAIN" in describe(leaf + leaf)


def test_a_request_is_said_with_what_the_ca_would_ignore(tmp_path: Path) -> None:
    pem = request("bob", SubjectAlternativeName([DNSName("*.example")]), units=("ops",))
    said = describe(pem)
    for words in ("holds", "takes CN=bob, OU=ops", "the name *.example"):
        assert words in said
    csr = der(pem, "req", tmp_path)
    assert describe(csr) == said
    assert "DOES NOT HOLD" in describe(csr[:-1] + bytes([csr[-1] ^ 1]))
    assert "refuses it" in describe(request("bo\x1bb"))
    assert "\x1b" not in describe(request("bo\x1bb"))


def test_a_list_is_said_with_its_entries(store: Store) -> None:
    serial = revoke(store, "client-good", "keyCompromise").serial
    said = describe((store.server / "validation_crl.pem").read_bytes())
    assert re.search(rf"{serial} +at .* keyCompromise", said)
    assert re.search(r"number +\d", said)
    assert "days left" in said


def test_keys_are_named_and_never_shown(store: Store, tmp_path: Path) -> None:
    pem = client(store, "client-good", "privkey.pem")
    assert describe(pem) == describe(der(pem, "pkey", tmp_path))
    assert describe(pem) == "private key: EC P-256, not encrypted (the key itself is not shown)"
    (tmp_path / "in").write_bytes(pem)
    openssl("pkey", "-in", "in", "-aes256", "-passout", "pass:x", "-out", "locked", cwd=tmp_path)
    assert describe((tmp_path / "locked").read_bytes()) == "private key, encrypted with a pass phrase"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_bundle_is_opened_with_its_password(store: Store, legacy: bool) -> None:
    data = bundle.export(store, ledger(store), "client-good", "secret", legacy=legacy)
    said = describe(data, "secret")
    assert said.startswith("PKCS#12 bundle 'client-good' with its private key (EC P-256, not shown)")
    assert "certificate 1 is signed by certificate 2" in said
    with pytest.raises(LabError, match="its password is another"):
        describe(data, "wrong")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"garbage",
        b"\x30\x82\xff\xff",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN X509 CRL-----\n\x00\xff\n-----END X509 CRL-----\n",
    ],
)
def test_garbage_is_an_error_with_a_cure(data: bytes) -> None:
    with pytest.raises(LabError, match="could not inspect the file") as caught:
        describe(data)
    assert caught.value.cure.startswith("make inspect")


def test_a_certificate_without_common_extensions(tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "ed25519", "-out", "key", cwd=tmp_path)
    openssl("req", "-x509", "-key", "key", "-subj", "/CN=x", "-out", "cert", cwd=tmp_path)
    said = describe((tmp_path / "cert").read_bytes())
    assert "Ed25519" in said
    assert "(itself)" in said


def test_what_only_others_can_read_is_answered(store: Store, tmp_path: Path) -> None:
    """A version that X.509 does not have: `cryptography` raises what is no ValueError."""
    good = der(client(store, "client-good", "cert.pem"), "x509", tmp_path)
    version = good.index(b"\xa0\x03\x02\x01\x02") + 4
    odd = good[:version] + b"\x06" + good[version + 1 :]
    for data in (odd, ssl.DER_cert_to_PEM_cert(odd).encode()):
        with pytest.raises(LabError, match="could not inspect the file"):
            describe(data)


def test_the_command_reads_stdin_and_files(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_bytes(client(store, "client-good"))
    command = [sys.executable, "-m", "ca", "inspect"]
    named = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True)
    piped = subprocess.run([*command, "-"], cwd=ROOT, capture_output=True, input=path.read_bytes())
    assert named.returncode == 0
    assert named.stdout == piped.stdout
    absent = subprocess.run([*command, "absent"], cwd=ROOT, capture_output=True)
    assert absent.returncode == 2
    assert b"could not read absent" in absent.stderr
