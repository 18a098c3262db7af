"""Commands that the lab prints may name what a stranger sent. Pasting one runs that command and nothing else."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from recording import HOSTILE, Lab
from running import ROOT
from workshop import clean_environ

import catalogue
from ca import elsewhere, inspect, requests
from ca.people import Desk
from ca.revocation import revoke
from ca.store import Store
from catalogue import LabError

KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = [
    *HOSTILE,
    "a;touch X",
    "a&&touch X",
    "a|touch X",
    "a>X",
    "(touch X)",
    "a\rtouch X",
    "a\u202eb",
    "~/x",
    "a'b",
    "!!",
]


@pytest.fixture
def sandbox(tmp_path: Path) -> Lab:
    return Lab(tmp_path, "make")


@pytest.fixture
def desk(state: Path) -> Desk:
    return Desk(Store(state), catalogue.load(), lambda _: None)


def paste(sandbox: Lab, text: str) -> None:
    """Run the command that an error suggests, as a person does."""
    _, _, command = text.partition("\n  try: ")
    assert command, text
    assert command.isprintable(), text
    assert not set("$`\\") & set(command), text
    environ = clean_environ() | {"RUNTIME": "local"}
    subprocess.run(["sh", "-c", command], cwd=sandbox.folder, env=environ, capture_output=True, timeout=60)
    sandbox.assert_untouched(text)


def request(cn: str, units: tuple[str, ...] = (), uri: str = "") -> bytes:
    names = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    with warnings.catch_warnings(action="ignore"):
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, cn, _validate=False))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if uri:
        sans = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(sans, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(LabError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_would_sign_a_request(sandbox: Lab, desk: Desk, name: str) -> None:
    for file, cn, units, uri in (
        (f"{name}.csr", "mallory", (), ""),
        ("m.csr", name, (), ""),
        ("m.csr", "mallory", ("ops", name), ""),
        ("m.csr", "mallory", (), f"spiffe://mtls-lab.test/{name}".encode("unicode_escape").decode()),
        ("m.csr", "mallory", (), "spiffe://mtls-lab.test/sa/x"),
    ):
        said = refused(lambda: desk.sign(requests.read(request(cn, units, uri)), "", 90, file=file))  # noqa: B023
        paste(sandbox, said)
        assert not set(inspect.describe(request(cn, units, uri))) & set("\r\x1b\u202e")


def test_a_name_without_such_characters_is_repeated(sandbox: Lab, desk: Desk) -> None:
    wish = requests.read(request("mallory", ("Lab Admins; touch X", "R&D")))
    said = refused(lambda: desk.sign(wish, "mallory", 90, file="from a friend.csr"))
    paste(sandbox, said)
    assert "CSR=from a friend.csr" in said.replace("'", "")
    (sandbox.folder / "from a friend.csr").write_bytes(b"")
    paste(sandbox, said)
    arguments, environ = sandbox.given()
    assert environ["LAB_CSR"] == "from a friend.csr"
    assert {"--ou=Lab Admins; touch X", "--ou=R&D", "--name=mallory"} <= set(arguments)


@pytest.mark.parametrize("character", "$`")
def test_what_a_shell_takes_for_a_command_is_no_name(character: str) -> None:
    for wish in (request(f"a{character}b"), request("bob", (f"a{character}b",))):
        assert "has a dollar sign or a backtick" in refused(lambda: requests.read(wish))  # noqa: B023


@pytest.mark.parametrize("name", NAMES)
def test_what_people_typed_themselves(sandbox: Lab, desk: Desk, name: str) -> None:
    for act in (
        lambda: revoke(desk.store, name, "no reason"),
        lambda: desk.issue(name, (), ("no uri",), 90, "p256"),
        lambda: desk.issue(name, (), (), 90, "no kind"),
        lambda: desk.issue("bob", (name,), (), 90, "no kind"),
    ):
        paste(sandbox, refused(act))


@pytest.mark.parametrize("name", NAMES)
def test_a_server_certificate_of_another_ca(sandbox: Lab, name: str) -> None:
    if not name.isascii():
        return  # no DNS name that `cryptography` would write
    now, day = datetime.now(UTC), timedelta(days=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), 1, now - day, now + day)
    sans = x509.SubjectAlternativeName([x509.DNSName(name)])
    pem = builder.add_extension(sans, critical=False).sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)
    paste(sandbox, refused(lambda: elsewhere.check(pem, ("DNS:lab.example",))))


@pytest.mark.parametrize(("target", "knob"), [("sign", "CSR"), ("inspect", "FILE"), ("enroll", "CLIENT")])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_not_there_and_a_name_that_is_none(sandbox: Lab, target: str, knob: str, name: str) -> None:
    done = sandbox.make(target, f"{knob}={name}")
    assert done.returncode == 2
    said = done.stderr.partition("error: ")[2].rpartition("\nmake: ")[0]
    assert not set(said) & set("\r\x1b\u009b")
    paste(sandbox, said)


def test_a_proxy_in_mode_off(sandbox: Lab) -> None:
    for name in NAMES:
        done = sandbox.make("up", f"LAB_TRUSTED_PROXY=dns:{name}", "MODE=off")
        if "LAB_TRUSTED_PROXY does not go with" in done.stderr:
            paste(sandbox, done.stderr.partition("error: ")[2].rpartition("\nmake: ")[0])


@pytest.mark.parametrize("name", [*NAMES, "a b", "é", "", "-x"])
def test_a_word_of_a_command_is_that_word_or_the_placeholder(sandbox: Lab, name: str) -> None:
    """The scripts' function and the programs' one have the same answer."""
    python = catalogue.word(name, "PLACE")
    script = '. scripts/error.sh; word "$1" PLACE'
    run = subprocess.run(["sh", "-c", script, "sh", name], cwd=sandbox.folder, capture_output=True, text=True)
    shell = run.stdout
    assert (shell == "PLACE") == (python == "PLACE")
    for word in (python, shell):
        back = subprocess.run(["sh", "-c", f"printf %s {word}"], cwd=sandbox.folder, capture_output=True, text=True)
        assert back.stdout in (name, "PLACE")
    sandbox.assert_untouched()


def test_the_scripts_print_no_terminal_s_commands() -> None:
    text = "a\x1b[2J\x07b\u009b31mc\té\xa0ü\u202e\nd"
    script = '. scripts/error.sh; error "$1" "$1" "$1"'
    environ = {"PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", "-c", script, "sh", text], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stderr.count("a?[2J?b?31mc\té\xa0ü?\nd") == 3
