"""A server certificate of another CA: accepted as a client would accept it, refused with the reason, and published."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from other_ca import Other, pem
from running import ROOT
from test_people import request, signed

import catalogue
from ca.elsewhere import FOLDER, ROOTS, check, leave, read, record
from ca.issue import issue
from ca.people import Desk
from ca.store import Store
from catalogue import LabError
from catalogue import manifest as manifests


@pytest.fixture(scope="module")
def other() -> Other:
    return Other()


def bundle(other: Other, fullchain: bytes, key: bytes | None = None, roots: bytes | None = None) -> bytes:
    return fullchain + (other.private() if key is None else key) + ROOTS + (pem(other.root) if roots is None else roots)


@pytest.mark.parametrize(
    ("names", "wanted", "asked_for"),
    [
        (("lab.example", "www.lab.example"), (), "lab.example"),
        (("*.lab.example", "lab.example"), (), "lab.example"),
        (("*.lab.example",), ("DNS:a.lab.example",), "a.lab.example"),
        (("localhost", "lab.example"), (), "lab.example"),
        (("localhost",), (), "localhost"),
        (("lab.example", "www.lab.example"), ("DNS:www.lab.example", "IP:10.0.0.1"), "www.lab.example"),
    ],
)
def test_the_name_to_ask_for(other: Other, names: tuple[str, ...], wanted: tuple[str, ...], asked_for: str) -> None:
    checked = check(bundle(other, other.leaf(*names)), wanted, with_key=True)
    assert checked.name == asked_for
    assert checked.root == pem(other.root)


def test_the_root_that_vouches_is_found_among_many(other: Other) -> None:
    many = pem(Other().root) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + pem(other.root)
    assert check(bundle(other, other.leaf("lab.example"), roots=many)).root == pem(other.root)


def refusals(other: Other) -> dict[str, tuple[bytes, tuple[str, ...], str]]:
    good = other.leaf("lab.example")
    return {
        "nothing": (bundle(other, b""), (), "fullchain.pem holds no certificate"),
        "no certificate in it": (
            bundle(other, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            (),
            "fullchain.pem can't be understood",
        ),
        "no key": (bundle(other, good, b""), (), "privkey.pem holds no private key"),
        "another key": (bundle(other, good, other.private(other.root_key)), (), "privkey.pem is not the key of"),
        "a key with a pass phrase": (bundle(other, good, other.private(None, b"x")), (), "privkey.pem is encrypted"),
        "expired": (bundle(other, other.leaf("a.test", ends=timedelta(minutes=-1))), (), "its certificate expired on"),
        "not yet": (bundle(other, other.leaf("a.test", begins=timedelta(hours=1))), (), "valid only from"),
        "another name": (bundle(other, good), ("DNS:other.example",), "LAB_SERVER_NAMES has other.example, and its"),
        "a wildcard of another level": (
            bundle(other, other.leaf("*.lab.example")),
            ("DNS:a.b.lab.example",),
            "LAB_SERVER_NAMES has a.b.lab.example",
        ),
        "no name to ask for": (bundle(other, other.leaf("*.lab.example")), (), "no name to ask for"),
        "another root": (bundle(other, good, roots=pem(Other().root)), (), "no root vouches for its certificate"),
        "no root": (bundle(other, good, roots=b""), (), "root.pem holds no certificate"),
        "no intermediate": (bundle(other, good[: good.index(b"-----END") + 26]), (), "no root vouches"),
        "no subject alternative name": (bundle(other, pem(other.root)), (), "has no subjectAltName"),
    }


@pytest.mark.parametrize("what", refusals(Other()))
def test_what_a_client_would_refuse_is_refused(other: Other, what: str) -> None:
    text, wanted, fact = refusals(other)[what]
    with pytest.raises(LabError, match="could not serve the certificate of another CA") as raised:
        check(text, wanted, with_key=True)
    assert fact in str(raised.value)
    assert "\n  try: " in str(raised.value)


def test_root_and_name_are_published_and_taken_back(other: Other, tmp_path: Path) -> None:
    store, known = Store(tmp_path), catalogue.load()
    issue(known, store, say=lambda _: None)
    own = (store.client / "public_root.pem").read_bytes()
    record(store, check(bundle(other, other.leaf("lab.example")), with_key=True))
    done = issue(known, store, say=lambda _: None)
    assert not done.issued
    assert (store.client / "public_root.pem").read_bytes() == pem(other.root)
    assert manifests.load(store.client / manifests.NAME).server_name == "lab.example"
    key = store.server / FOLDER / "privkey.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    signed(Desk(store, known, lambda _: None), request(), "bob")
    assert manifests.load(store.client / manifests.NAME).server_name == "lab.example"
    leave(store)
    assert read(store) is None
    assert not key.exists()
    issue(known, store, say=lambda _: None)
    assert (store.client / "public_root.pem").read_bytes() == own
    assert manifests.load(store.client / manifests.NAME).server_name == ""


def test_an_acme_server_gets_its_certificate_only_if_asked_for(tmp_path: Path) -> None:
    store, known = Store(tmp_path), catalogue.load()
    issue(known, store, say=lambda _: None)
    assert not store.acme.exists()
    assert list(issue(known, store, say=lambda _: None, acme=True).issued) == ["pebble"]
    assert {path.name for path in store.acme.iterdir()} == {"pebble", "public_root.pem"}
    assert not issue(known, store, say=lambda _: None).issued
    assert not issue(known, store, say=lambda _: None, acme=True).issued  # it was kept, though nobody asked in between


def test_the_command(other: Other, tmp_path: Path) -> None:
    def ca(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environ = {**os.environ, "LAB_STATE": str(tmp_path), "LAB_SERVER_NAMES": ""}
        command = [sys.executable, "-m", "ca", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, env=environ)

    text = bundle(other, other.leaf("lab.example"))
    done = ca("elsewhere", "--with-key", stdin=text)
    assert b"LAB_ELSEWHERE=lab.example\n" in done.stdout, done.stderr
    assert b"LAB_ELSEWHERE_SERIAL=" in done.stdout
    bad = ca("elsewhere", "--with-key", stdin=text.replace(b"PRIVATE KEY", b"KEY"))
    assert bad.returncode == 2
    assert b"LAB_ELSEWHERE=lab.example\n" in ca("issue").stdout  # what was there stays
    assert b"LAB_ELSEWHERE" not in ca("elsewhere", "--none").stdout
