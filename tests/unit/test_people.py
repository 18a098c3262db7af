"""Certificates for people: what a request may say, what is kept of it, and what is refused."""

from __future__ import annotations

import stat
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from running import ROOT

import catalogue
from asgi_mtls import identity
from ca import bundle, requests
from ca.certificates import make
from ca.credentials import authority
from ca.issue import issue, ledger
from ca.people import Desk, signer
from ca.recipe import Validity
from ca.revocation import earlier, revoke
from ca.rotation import What
from ca.store import Store
from catalogue import Catalogue, LabError, shown
from catalogue.manifest import load as load_manifest

KEY = ec.generate_private_key(ec.SECP256R1())


def openssl(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def known() -> Catalogue:
    whole = catalogue.load()
    return replace(whole, scenarios={"client-good": whole.scenarios["client-good"]})


@pytest.fixture
def desk(known: Catalogue, tmp_path: Path) -> Desk:
    store = Store(tmp_path / "lab")
    issue(known, store, say=lambda _: None)
    return Desk(store, known, lambda _: None)


def request(cn: str = "bob", *extensions: x509.ExtensionType, units: tuple[str, ...] = (), key: object = KEY) -> bytes:
    names = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    with warnings.catch_warnings(action="ignore"):  # of a length that is not allowed
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, cn, _validate=False))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    digest = None if isinstance(key, ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM)  # type: ignore[call-overload, no-any-return]


def signed(desk: Desk, data: bytes, name: str = "bob", days: int = 90) -> x509.Certificate:
    return x509.load_pem_x509_certificates(desk.sign(requests.read(data), name, days))[0]


def test_a_signed_request_is_a_client_of_the_profile(desk: Desk, tmp_path: Path) -> None:
    pem = desk.sign(requests.read(request(units=("ops",))), "bob", 30, units=("ops",))
    (tmp_path / "bob.pem").write_bytes(pem)
    trust = str(desk.store.server / "validation_fullchain.pem")
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", trust, str(tmp_path / "bob.pem"))
    leaf, intermediate = x509.load_pem_x509_certificates(pem)
    leaf.verify_directly_issued_by(intermediate)
    assert leaf.public_key() == KEY.public_key()
    assert leaf.subject.rfc4514_string() == "CN=bob,OU=ops,O=mTLS Lab"
    assert not list(desk.store.client.rglob("bob*")), "its key is not here, so nothing is copied to the host"


def test_what_a_request_wishes_beyond_its_names_is_ignored_and_said(known: Catalogue, desk: Desk) -> None:
    said: list[str] = []
    desk = Desk(desk.store, known, said.append)
    names = [
        x509.RFC822Name("bob@mtls-lab.test"),
        x509.RFC822Name("boss@corp.example"),
        x509.UniformResourceIdentifier("spiffe://mtls-lab.test/people/bob"),
        x509.UniformResourceIdentifier("spiffe://mtls-lab.test/people/../admin"),
        x509.UniformResourceIdentifier("spiffe://mtls-lab.test.evil.example/bob"),
        x509.DNSName("*.mtls-lab.test"),
    ]
    extensions = (
        x509.SubjectAlternativeName(names),
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    leaf = signed(desk, request("bob", *extensions))
    get = leaf.extensions.get_extension_for_class
    assert not get(x509.BasicConstraints).value.ca
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert list(get(x509.SubjectAlternativeName).value) == [names[0], names[2]]
    text = "\n".join(said)
    for word in ("boss@", "../admin", "evil.example", "*.mtls-lab.test", "basicConstraints", "extendedKeyUsage"):
        assert f"ignored the name {word}" in text or word in text


def test_a_request_that_another_key_signed_is_refused(desk: Desk) -> None:
    der = x509.load_pem_x509_csr(request()).public_bytes(Encoding.DER)
    assert requests.read(der).common_name == "bob"
    with pytest.raises(LabError, match="not made with its own key"):
        requests.read(der[:-1] + bytes([der[-1] ^ 1]))


@pytest.mark.parametrize(
    ("generate", "fact"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "1024 bits"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (lambda: dsa.generate_private_key(2048), "neither RSA nor EC"),
        (ed448.Ed448PrivateKey.generate, "neither RSA nor EC"),
    ],
    ids=["RSA 1024", "secp256k1", "DSA", "Ed448"],
)
def test_weak_and_uncommon_keys_are_refused(generate: object, fact: str) -> None:
    with pytest.raises(LabError, match=fact):
        requests.read(request(key=generate()))  # type: ignore[operator]


PRIME = 2**255 - 19  # of Ed25519's field
ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")


@pytest.mark.parametrize("y", [0, 1, ORDER_8, PRIME - ORDER_8, PRIME - 1, PRIME, PRIME + 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_ed25519_keys_for_which_anybody_signs_are_refused(y: int, sign: int) -> None:
    """The points of small order, in every encoding (RFC 8032 5.1.2), those that are not canonical, too."""
    weak = (y | sign << 255).to_bytes(32, "little")
    with pytest.raises(LabError, match="its Ed25519 key has a small order"):
        requests.check_key(ed25519.Ed25519PublicKey.from_public_bytes(weak))
    requests.check_key(ed25519.Ed25519PrivateKey.generate().public_key())


def test_a_request_that_nobody_s_key_signed_is_refused() -> None:
    """For the neutral element as the key, itself and zero are a signature of everything."""
    key, neutral = ed25519.Ed25519PrivateKey.generate(), (1).to_bytes(32, "little")
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string("CN=bob")).sign(key, None)
    der = csr.public_bytes(Encoding.DER).replace(csr.signature, neutral + bytes(32))
    forged = der.replace(key.public_key().public_bytes_raw(), neutral)
    assert x509.load_der_x509_csr(forged).is_signature_valid
    with pytest.raises(LabError, match="its Ed25519 key has a small order"):
        requests.read(forged)


@pytest.mark.parametrize("exponent", [3, 5, 17, 257, 65535])
def test_rsa_keys_with_a_small_exponent_are_refused(exponent: int) -> None:
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    with pytest.raises(LabError, match=f"its RSA key has the public exponent {exponent}, and 65537 is the least"):
        requests.check_key(rsa.RSAPublicNumbers(exponent, modulus).public_key())
    requests.check_key(rsa.RSAPublicNumbers(65537, modulus).public_key())


@pytest.mark.parametrize("factor", [2, 3, 5, 257, 751])
def test_rsa_keys_with_a_small_factor_are_refused(factor: int) -> None:
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n * factor
    with pytest.raises(LabError, match="its RSA key has a modulus with a prime factor below 752"):
        requests.check_key(rsa.RSAPublicNumbers(65537, modulus).public_key())


@pytest.mark.parametrize(
    "cn", ["bob\0.evil", "bob\nINFO forged", "bob\x1b[2J", "bo\u202eb", "bo\u3164b", "bo\u00a0b", "", "x" * 65]
)
def test_names_that_deceive_are_refused(cn: str) -> None:
    with pytest.raises(LabError, match="the name") as caught:
        requests.read(request(cn))
    assert not set("\0\x1b\u202e") & set(str(caught.value))


def test_what_the_server_would_refuse_is_not_issued() -> None:
    """Each image has the table of what nobody can see: they are the same."""
    assert shown._HIDDEN == identity._UNSAFE
    assert shown._IGNORABLE.pattern == identity._IGNORABLE.pattern


@pytest.mark.parametrize("data", [b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA", b"x" * 70000])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(LabError, match="could not sign the request"):
        requests.read(data)


def test_a_request_of_an_unknown_version_is_refused() -> None:
    """OpenSSL takes it; `cryptography` raises what is no ValueError."""
    der = x509.load_pem_x509_csr(request()).public_bytes(Encoding.DER)
    version = der.index(b"\x02\x01\x00")
    with pytest.raises(LabError, match="could not sign the request"):
        requests.read(der[: version + 2] + b"\x06" + der[version + 3 :])


@pytest.mark.parametrize(
    "name", ["..", "a/b", "Bob", "-x", "client-good", "healthcheck", "proxy", "validation-root", "a" * 65]
)
def test_names_of_files_and_of_the_lab_are_refused(desk: Desk, name: str) -> None:
    with pytest.raises(LabError, match="could not issue"):
        signed(desk, request(), name)
    with pytest.raises(LabError, match="could not issue"):
        desk.issue(name, (), (), 90, "p256")


@pytest.mark.parametrize(
    ("cn", "name", "units", "uri", "cure"),
    [
        ("mallory", "", (), "", "CSR=m.csr NAME=mallory"),
        ("dora", "eve", (), "", "CSR=m.csr NAME=dora"),
        ("bob", "bob", ("Lab Admins",), "", "CSR=m.csr NAME=bob 'OU=Lab Admins'"),
        ("bob", "bob", (), "spiffe://mtls-lab.test/sa/x", "CSR=m.csr NAME=bob URI=spiffe://mtls-lab.test/sa/x"),
    ],
)
def test_what_grants_something_is_taken_only_from_who_signs(
    desk: Desk, cn: str, name: str, units: tuple[str, ...], uri: str, cure: str
) -> None:
    names = [x509.UniformResourceIdentifier(uri)] if uri else [x509.RFC822Name("client-good@mtls-lab.test")]
    wish = requests.read(request(cn, x509.SubjectAlternativeName(names), units=units))
    with pytest.raises(LabError) as caught:
        desk.sign(wish, name, 90, file="m.csr")
    assert caught.value.cure == f"make sign {cure} DAYS=90"
    assert cn not in ledger(desk.store)
    allowed = desk.sign(wish, cn, 90, units=units, uris=(uri,) if uri else ())
    assert b"BEGIN CERTIFICATE" in allowed
    assert ledger(desk.store)[cn].sans == ((f"URI:{uri}",) if uri else ())


@pytest.mark.parametrize("days", [0, 3651, 800])  # the intermediate has 730
def test_impossible_lifetimes_are_refused(desk: Desk, days: int) -> None:
    with pytest.raises(LabError, match="days"):
        signed(desk, request(), days=days)


@pytest.mark.parametrize(("days", "longest"), [(0, 90), (3651, 90), (800, 729)])
def test_the_cure_of_a_lifetime_is_the_command_that_was_used(desk: Desk, days: int, longest: int) -> None:
    uri = "spiffe://mtls-lab.test/sa/x"
    wish = requests.read(request("bob", units=("ops",)))
    with pytest.raises(LabError, match="days") as caught:
        desk.sign(wish, "bob", days, units=("ops", "dev"), uris=(uri,), again=True, file="m.csr")
    assert caught.value.cure == f"make sign CSR=m.csr NAME=bob OU=ops,dev URI={uri} REPLACE=1 DAYS={longest}"
    with pytest.raises(LabError, match="days") as caught:
        desk.issue("bob", ("Lab Ops",), (uri,), days, "ed25519")
    assert caught.value.cure == f"make issue-client NAME=bob 'OU=Lab Ops' URI={uri} KEY_TYPE=ed25519 DAYS={longest}"


def test_a_number_of_days_that_is_none_is_answered_with_the_command_that_was_used() -> None:
    for used, cure in (
        (("sign", "-", "--shown-as=m.csr"), "make sign CSR=m.csr NAME=bob DAYS=90"),
        (("issue-client", "bob", "--ou=ops"), "make issue-client NAME=bob OU=ops DAYS=90"),
    ):
        command = (sys.executable, "-m", "ca", *used, "--days=x")
        done = subprocess.run(command, cwd=ROOT, input=request().decode(), capture_output=True, text=True)
        assert "'x' is no number of days" in done.stderr
        assert f"try: {cure}\n" in done.stderr


@pytest.mark.parametrize("left", [timedelta(), timedelta(seconds=-30), timedelta(days=-5)])
def test_below_an_intermediate_that_has_expired_nothing_is_issued(
    desk: Desk, left: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = signer(desk.store)
    ended = authority("validation-intermediate", "mTLS Lab Validation Intermediate", "validation-root")
    ended = replace(ended, validity=Validity(timedelta(days=-10), left))
    old = make(ended, desk.store.signer("root", "validation-root"))
    monkeypatch.setattr("ca.people.signer", lambda _: replace(held, certificate=old.certificate, key=old.key))
    wish = requests.read(request())
    for ask in (
        lambda: desk.issue("bob", (), (), None, "p256"),
        lambda: desk.issue("bob", (), (), 9, "p256"),
        lambda: desk.sign(wish, "bob", None),
    ):
        with pytest.raises(LabError, match=r"could not issue 'bob': its issuer .* has expired") as caught:
            ask()
        assert caught.value.cure == "make up"
    assert "bob" not in ledger(desk.store)


def test_make_up_cures_an_intermediate_that_has_expired(known: Catalogue, desk: Desk) -> None:
    ended = authority("validation-intermediate", "mTLS Lab Validation Intermediate", "validation-root")
    ended = replace(ended, validity=Validity(timedelta(days=-10), timedelta(days=-1)))
    old = make(ended, desk.store.signer("root", "validation-root"))
    desk.store.write(desk.store.folder("intermediate", "validation-intermediate"), old)
    with pytest.raises(LabError, match=r"its issuer .* has expired"):
        desk.issue("bob", (), (), None, "p256")
    issue(known, desk.store, say=lambda _: None)
    desk.issue("bob", (), (), None, "p256")


def test_a_second_one_of_a_name_must_be_asked_for(desk: Desk) -> None:
    first = signed(desk, request())
    with pytest.raises(LabError, match="there is one already") as caught:
        signed(desk, request())
    assert caught.value.cure == "make show NAME=bob", "it can be pasted"
    desk.sign(requests.read(request()), "bob", 90, again=True)
    assert ledger(desk.store)["bob"].serial != f"{first.serial_number:x}"


@pytest.mark.parametrize("how", ["replaced", "rotated"])
def test_a_certificate_that_was_replaced_can_be_revoked_by_its_serial(known: Catalogue, desk: Desk, how: str) -> None:
    name = {"replaced": "bob", "rotated": "client-good"}[how]
    if how == "replaced":
        signed(desk, request())
    old = ledger(desk.store)[name].serial
    if how == "replaced":
        desk.sign(requests.read(request()), "bob", 90, again=True)
    else:
        issue(known, desk.store, say=lambda _: None, rotate=(What.INTERMEDIATE, None))
    issue(known, desk.store, say=lambda _: None)  # it is not forgotten
    assert ledger(desk.store)[name].serial != old
    assert earlier(desk.store, name) == [old]
    revoke(desk.store, f"0{old.upper()}", "keyCompromise")
    assert earlier(desk.store, name) == []
    pem = (desk.store.server / "validation_crl.pem").read_bytes().split(b"-----BEGIN")[1:]
    listed = [x509.load_pem_x509_crl(b"-----BEGIN" + part) for part in pem]
    assert any(crl.get_revoked_certificate_by_serial_number(int(old, 16)) for crl in listed)
    newest = int(ledger(desk.store)[name].serial, 16)
    assert not any(crl.get_revoked_certificate_by_serial_number(newest) for crl in listed)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072", "ed25519"])
def test_a_client_made_here_is_published_with_its_key(desk: Desk, kind: str) -> None:
    desk.issue("alice", ("ops", "dev"), ("spiffe://mtls-lab.test/people/alice",), 5, kind)
    files = desk.store.client / "clients/alice"
    assert stat.S_IMODE((files / "privkey.pem").stat().st_mode) == 0o600
    assert openssl("pkey", "-in", str(files / "privkey.pem"), "-pubout") == openssl(
        "x509", "-in", str(files / "cert.pem"), "-noout", "-pubkey"
    )
    published = load_manifest(desk.store.client / "manifest.json").credentials["alice"]
    assert published.sans == ("EMAIL:alice@mtls-lab.test", "URI:spiffe://mtls-lab.test/people/alice")
    with pytest.raises(LabError, match="no SPIFFE id"):
        desk.issue("carol", (), ("spiffe://other.example/x",), 5, kind)


def test_people_outlive_issuing_and_rotation_and_can_be_revoked(known: Catalogue, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "bob.pem").write_bytes(desk.sign(requests.read(request()), "bob", 90))
    desk.issue("alice", (), (), 90, "p256")
    before = ledger(desk.store)
    for rotated in (None, (What.INTERMEDIATE, None)):
        issue(known, desk.store, say=lambda _: None, rotate=rotated)
        assert {n: ledger(desk.store)[n] for n in ("alice", "bob")} == {n: before[n] for n in ("alice", "bob")}
        assert "alice" in load_manifest(desk.store.client / "manifest.json").credentials
    trust = str(desk.store.server / "validation_root.pem")
    pem = str(tmp_path / "bob.pem")
    openssl("verify", "-purpose", "sslclient", "-CAfile", trust, "-untrusted", pem, pem)
    revoke(desk.store, "bob")
    crl = str(desk.store.server / "validation_crl.pem")
    refused = subprocess.run(
        ["openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile", trust, "-untrusted", pem, pem],
        capture_output=True,
        text=True,
    )
    assert "certificate revoked" in refused.stderr


@pytest.mark.parametrize(("legacy", "cipher"), [(False, "AES-256-CBC"), (True, "pbeWithSHA1And3-KeyTripleDES-CBC")])
def test_bundles_are_read_by_openssl(desk: Desk, tmp_path: Path, legacy: bool, cipher: str) -> None:
    path = tmp_path / "alice.p12"
    desk.issue("alice", (), (), 90, "p256")
    path.write_bytes(bundle.export(desk.store, ledger(desk.store), "alice", "secret", legacy=legacy))
    options = ("-legacy",) if legacy else ()
    said = openssl("pkcs12", "-in", str(path), "-info", "-nokeys", "-passin", "pass:secret", *options)
    assert said.count(cipher) == 2
    assert said.count("BEGIN CERTIFICATE") == 2
    assert "friendlyName: alice" in said
    with pytest.raises(AssertionError, match=r"(?i)mac verify"):
        openssl("pkcs12", "-in", str(path), "-noout", "-passin", "pass:wrong", *options)


def test_what_can_not_be_bundled_says_why(desk: Desk) -> None:
    signed(desk, request())
    for name, password, fact in (
        ("client-god", "x", "did you mean client-good?"),
        ("bob", "x", "no key of it"),
        ("validation-root", "x", "no client's"),
        ("client-good", "", "password is empty"),
    ):
        with pytest.raises(LabError, match="could not export") as caught:
            bundle.export(desk.store, ledger(desk.store), name, password, legacy=False)
        assert fact in caught.value.fact
