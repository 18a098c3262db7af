"""What an imported CA signs: good leaves, whatever the catalogue is for; and what the lab's own CA signs instead."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from corporate import CONSTRAINED, Corporate, corporate, faults, imported
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from judging import verify_error
from test_people import request

import catalogue
from ca import name_constraints, requests
from ca.adopt import adopt, adopted, leave
from ca.certificates import Credential, certify, make
from ca.credentials import CLIENTS, client_leaf, intermediate, proxy, recipes, root
from ca.entry import entry_of, sha256
from ca.imported import Imported
from ca.issue import issue, ledger
from ca.people import Desk
from ca.recipe import ANY_EKU, EXPIRED, NOT_YET_VALID, Files, Key, Recipe, Signature, Validity
from ca.revocation import revoke
from ca.rotation import Step, What
from ca.store import ADOPTED, SUPERSEDED, Store, write_file
from catalogue import LabError, Trust
from catalogue.manifest import Issued, Manifest
from catalogue.manifest import load as load_manifest

GOOD = {
    *("client-good", "client-rsa", "client-p384", "client-ed25519", "client-spiffe", "client-encrypted-key"),
    *("client-admin", "client-operator", "client-admin-substring"),
}
# A CA that is fit for a lab: for clients of one organization, and names that nobody else has.
SAFE = (
    "critical,permitted;dirName:base,permitted;email:mtls-lab.test,permitted;URI:mtls-lab.test,permitted;DNS:corp.example"
    "\n[base]\nDC=example\n1.DC=corp\nOU=Lab"
)


@pytest.fixture(scope="module", params=["plain, EC", "constrained, RSA"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Corporate]:
    """Everything issued, with an imported CA that may sign further CAs."""
    folder, constrained = tmp_path_factory.mktemp("imported"), "constrained" in request.param
    corp = corporate(folder / "corp", SAFE if constrained else "", key="rsa" if constrained else "ec")
    return imported(folder / "lab", corp)[0], corp


@pytest.fixture(scope="module")
def corp(tmp_path_factory: pytest.TempPathFactory) -> Corporate:
    return corporate(tmp_path_factory.mktemp("corp"))


@pytest.fixture(scope="module")
def issuer(corp: Corporate) -> Imported:
    """An imported CA, as it signs."""
    return Imported(corp.certificate, corp.key, (corp.root,))


@pytest.fixture(scope="module")
def issued(corp: Corporate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with an imported CA and the good client."""
    folder = tmp_path_factory.mktemp("issued")
    imported(folder, corp, "client-good")
    return folder


@pytest.fixture
def store(issued: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(issued, tmp_path / "lab")))


def certificates(state: Path) -> dict[str, x509.Certificate]:
    """Every certificate of every file of a state, by file and number."""
    found = {}
    for path in (p for p in state.rglob("*.pem") if b"BEGIN CERTIFICATE" in p.read_bytes()):
        for number, certificate in enumerate(x509.load_pem_x509_certificates(path.read_bytes())):
            found[f"{path.relative_to(state)} {number}"] = certificate
    return found


def leaf_of(store: Store, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((store.client / "clients" / name / "cert.pem").read_bytes())


def test_whatever_an_imported_ca_signed_is_a_good_leaf(lab: tuple[Store, Corporate]) -> None:
    """By its key, not by names; and nothing else says that it is of that CA."""
    store, corp = lab
    found = certificates(store.private.parent)
    signed = {name: c for name, c in found.items() if corp.signed(c) and c != corp.certificate}
    assert "client-tls/clients/client-good/cert.pem 0" in signed
    assert {name: said for name, c in signed.items() if (said := faults(c, corp.certificate))} == {}
    assert {n for n, c in found.items() if c.issuer == corp.certificate.subject} == set(signed)
    assert {path.split("/")[2] for path in signed} == GOOD


def test_no_key_of_a_ca_below_an_imported_one_is_handed_out(lab: tuple[Store, Corporate], tmp_path: Path) -> None:
    """A leaf that is signed with any key that clients have is refused by whoever trusts the enterprise's root."""
    store, corp = lab
    (tmp_path / "root").write_bytes(corp.root.public_bytes(Encoding.PEM))
    clients = sorted((store.client / "clients").iterdir())
    (tmp_path / "chains").write_bytes(b"".join((folder / "fullchain.pem").read_bytes() for folder in clients))
    subject = x509.Name.from_rfc4514_string("CN=boss,OU=Lab,DC=corp,DC=example")
    for folder in clients:
        pass_phrase = b"mtls-lab" if folder.name == "client-encrypted-key" else None
        key, above = (
            load_pem_private_key((folder / "privkey.pem").read_bytes(), pass_phrase),
            leaf_of(store, folder.name),
        )
        if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            now = datetime.now(UTC)
            builder = x509.CertificateBuilder(above.subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
            forged = builder.sign(key, hashes.SHA256())
            (tmp_path / f"by-{folder.name}").write_bytes(forged.public_bytes(Encoding.PEM))
    shutil.copy(store.client / "clients/client-good/cert.pem", tmp_path / "good")
    tried = sorted(path.name for path in tmp_path.glob("by-*"))
    command = ["openssl", "verify", "-CAfile", "root", "-untrusted", "chains", "good", *tried]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert re.findall("^(.*): OK$", done.stdout, re.M) == ["good"]
    assert len(tried) > 40


FAULTS: dict[str, object] = {
    "sans": ("DNS:localhost",),
    "eku": (ANY_EKU,),
    "is_ca": True,
    "path_length": 0,
    "key_usage": ("keyCertSign",),
    "key": Key.RSA_1024,
    "signature": Signature.SHA_1,
    "files": Files.WRONG_KEY,
    "permitted": ("DNS:a.example",),
    "unknown_critical": True,
    "requires_policy": True,
    "basic_constraints_critical": False,
    "authority_key_identifier": False,
    "organizational_units": ("Lab Admins\0x",),
    "subject_base": tuple(x509.Name.from_rfc4514_string("O=Somebody Else").rdns),
    "revoked": "keyCompromise",
    "common_name": "client,OU=Lab Admins",
    "validity": EXPIRED,
}
OTHERS: list[tuple[str, object]] = [
    *(("common_name", name) for name in (None, " x", "x ", "a  b", "a\nb", "b\u0456b", "bo\u200bb", 'x"')),
    *(
        ("organizational_units", (unit,))
        for unit in ("Lab \u0410dmins", "a=b", "a+b", "a;b", "a/b", "\uff21", "\u2126")
    ),
    *(("sans", (san,)) for san in ("IP:10.0.0.1", "EMAIL:a@corp.example", "URI:spiffe://corp.example/a")),
    *(("eku", eku) for eku in ((), ("clientAuth", "serverAuth"), ("codeSigning",))),
    *(("key_usage", usage) for usage in ((), ("digitalSignature", "keyEncipherment"), ("cRLSign",))),
    *(("key", key) for key in (Key.ML_DSA_65,)),
    *(("files", files) for files in Files if files is not Files.GOOD),
    ("signature", Signature.BROKEN),
    ("validity", NOT_YET_VALID),
    ("validity", Validity(timedelta(days=-400), timedelta(days=90))),
]


def test_every_field_of_a_recipe_has_a_fault() -> None:
    """A field that is added has to be added to FAULTS: whether an imported CA signs what it says must be known."""
    free = {"name", "role", "issuer", "pass_phrase"}
    assert {field.name for field in fields(Recipe)} == {*FAULTS, *free}


@pytest.mark.parametrize(("field", "value"), [*FAULTS.items(), *OTHERS])
def test_a_fault_is_never_signed_by_an_imported_ca(issuer: Imported, field: str, value: object) -> None:
    """Not even if a future scenario, or a mistake, has it asked to: it is the last line of defence."""
    make(client_leaf("client-x"), issuer)
    with pytest.raises(LabError, match=r"could not sign client-x below CN=Corp sub.* this is a bug of the lab"):
        make(replace(client_leaf("client-x"), **{field: value}), issuer)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CLIENTS)
def test_no_credential_of_the_catalogue_makes_an_imported_ca_sign_a_fault(issuer: Imported, name: str) -> None:
    """Whatever of it the CA is asked to sign, in the lab's own place or another's: it refuses, or it is a good leaf."""
    for recipe in recipes(name):
        signed = None
        with contextlib.suppress(LabError):
            signed = make(recipe, issuer).certificate
        good = name in GOOD or (recipe.issuer != "validation-intermediate" and recipe.role == "client")
        assert (signed is not None) == good
        assert signed is None or not faults(signed, issuer.certificate)


@pytest.mark.parametrize("recipe", [proxy(), intermediate("x"), root("x", "X")], ids=lambda recipe: recipe.name)
def test_neither_a_ca_nor_a_server_is_signed_by_an_imported_ca(issuer: Imported, recipe: Recipe) -> None:
    with pytest.raises(LabError, match="this is a bug of the lab"):
        make(recipe, issuer)


def test_what_is_made_is_looked_at_and_not_the_recipe_alone(issuer: Imported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weak key that somebody else made; and a mistake in how a recipe becomes a certificate."""
    weak, good = (
        rsa.generate_private_key(65537, 1024).public_key(),
        ec.generate_private_key(ec.SECP256R1()).public_key(),
    )
    neutral = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    cubic = rsa.generate_private_key(3, 2048).public_key()  # what is refused
    for key, fact in ((weak, "1024 bits"), (neutral, "small order"), (cubic, "public exponent 3")):
        with pytest.raises(LabError, match=rf"{fact}.* this is a bug of the lab"):
            certify(client_leaf("bob"), key, issuer, issuer.key)
    certify(client_leaf("bob"), good, issuer, issuer.key)
    mistakes = {
        "_extensions": lambda _: [(x509.BasicConstraints(True, None), True)],
        "subject_of": lambda _: x509.Name.from_rfc4514_string("CN=boss,OU=b\u0456ss,O=mTLS Lab"),
    }
    for function, mistaken in mistakes.items():
        with monkeypatch.context() as patched:
            patched.setattr(f"ca.certificates.{function}", mistaken)
            with pytest.raises(LabError, match="this is a bug of the lab"):
                certify(client_leaf("bob"), good, issuer, issuer.key)


def test_whoever_reads_it_from_the_store_has_the_same_ca(store: Store) -> None:
    for held in (adopted(store), store.signer("intermediate", ADOPTED)):
        with pytest.raises(LabError, match="this is a bug of the lab"):
            make(recipes("client-ca-certificate")[0], held)


def test_both_cas_are_trusted_and_publish_their_lists(lab: tuple[Store, Corporate], tmp_path: Path) -> None:
    store, corp = lab
    trust = {t: (store.server / f"{t}.pem").read_bytes() for t in Trust}
    theirs = corp.certificate.public_bytes(Encoding.PEM)
    for name, also in (("validation-intermediate", theirs), ("validation-root", corp.root.public_bytes(Encoding.PEM))):
        mine = (store.private / name / "cert.pem").read_bytes()
        files = {t for t, data in trust.items() if mine in data}
        assert files == {t for t, data in trust.items() if also in data} != set()
    state = store.private.parent
    expired = ("-crl_check", "-CRLfile", str(store.server / "validation_crl_expired.pem"))
    assert verify_error(state, store.client / "clients/client-good", *expired) == 12, "what crl-expired shows"
    crl = ("-crl_check", "-CRLfile", str(store.server / "validation_crl.pem"))
    for name in ("client-rsa", "client-empty-subject"):  # below each of the two
        client = store.client / "clients" / name
        assert verify_error(state, client, *crl) == 0
        revoke(store, name)
        assert verify_error(state, client, *crl) == 23
        assert verify_error(state, client) == 0


def misissue(store: Store, corp: Corporate, name: str) -> str:
    """Have an imported CA sign what it should not, as an earlier version did. Returns the serial number."""
    (recipe,) = recipes(name)
    old = make(recipe, Credential(corp.certificate, corp.key, (corp.root,)))
    store.write(store.folder("client", name), old)
    manifest = load_manifest(store.private / "ledger.json")
    entry = entry_of(recipe, old.certificate, sha256(corp.certificate))
    credentials = manifest.credentials | {name: entry}
    write_file(store.private / "ledger.json", Manifest(manifest.catalogue_sha256, credentials).dumps())
    return entry.serial


def test_an_earlier_version_s_certificates_are_replaced_and_can_be_revoked(store: Store, corp: Corporate) -> None:
    """What an imported CA signed and should not have: the lab's own CA signs it, and the serials are said and kept."""
    known = catalogue.load()
    few = {name: known.scenarios[name] for name in ("client-good", "client-ca-certificate", "client-weak-rsa")}
    serials = {name: misissue(store, corp, name) for name in few.keys() - {"client-good"}}
    said: list[str] = []
    done = issue(replace(known, scenarios=few), store, say=said.append)
    assert set(done.issued) == serials.keys()
    for name in done.issued:
        serial = serials[name]
        assert not corp.signed(leaf_of(store, name))
        assert any("revoke at CN=Corp sub" in line and serial in line and name in line for line in said)
        assert f"{name}@{serial}" in ledger(store)
        assert revoke(store, serial).issuer_sha256 == sha256(corp.certificate)
    issue(replace(known, scenarios=few), store, say=said.append)
    assert len([line for line in said if line.startswith("revoke at")]) == 2, "once"


@pytest.mark.parametrize("then", ["none", "another"])
def test_they_are_said_although_another_ca_is_imported_meanwhile(
    store: Store, corp: Corporate, tmp_path: Path, then: str
) -> None:
    known = catalogue.load()
    few = replace(known, scenarios={name: known.scenarios[name] for name in ("client-good", "client-sha1")})
    serial = misissue(store, corp, "client-sha1")
    if then == "none":
        leave(store)
    else:
        adopt(store, corporate(tmp_path / "another").pem)
    said: list[str] = []
    issue(few, store, say=said.append)
    assert [line for line in said if line.startswith("revoke at")] == [
        f"revoke at CN=Corp sub,DC=corp,DC=example: serial {serial}, an earlier client-sha1 that it signed"
    ]


def test_they_are_said_until_they_expire_where_an_earlier_version_replaced_them(store: Store, corp: Corporate) -> None:
    """It imported a CA, had it sign faults, went back, and forgot the CA: the ledger has them as NAME@SERIAL alone."""
    known = catalogue.load()
    names = ("client-good", "client-sha1", "client-weak-rsa")
    few = replace(known, scenarios={name: known.scenarios[name] for name in names})
    for name in names:
        misissue(store, corp, name)
    leave(store)
    replaced = {f"{n}@{e.serial}": replace(e, role=SUPERSEDED) for n, e in ledger(store).items() if n in names}
    rest = {name: entry for name, entry in ledger(store).items() if name not in (*names, ADOPTED)}

    def said(replaced: dict[str, Issued]) -> list[str]:
        write_file(store.private / "ledger.json", Manifest("", rest | replaced).dumps())
        lines: list[list[str]] = [[], []]
        for run in lines:
            issue(few, store, say=run.append)
        found = [[line for line in run if "revoke" in line] for run in lines]
        assert found[0] == found[1], "on each run"
        return found[0]

    assert said(replaced) == [
        "still valid: faulty certificates that CN=Corp sub,DC=corp,DC=example signed for an earlier version: 2; "
        "revoke them there; make list names the serials"
    ]
    assert said({name: entry for name, entry in replaced.items() if name.startswith("client-good@")}) == []
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert said({name: replace(entry, not_after=past) for name, entry in replaced.items()}) == []


def test_faulty_certificates_below_the_lab_s_own_earlier_cas_are_not_said(tmp_path: Path) -> None:
    """Those that it rotated: the ledger forgets a root's intermediates before the certificates below them expire."""
    store, known = Store(tmp_path), catalogue.load()
    few = replace(known, scenarios={name: known.scenarios[name] for name in ("client-good", "client-server-eku")})
    said: list[str] = []
    for rotate in (None, *[(What.ROOT, step) for step in Step], None):
        issue(few, store, say=said.append, rotate=rotate)
    earlier = [entry for name, entry in ledger(store).items() if name.startswith("client-server-eku@")]
    assert earlier
    assert not {entry.issuer_sha256 for entry in earlier} & {entry.sha256 for entry in ledger(store).values()}
    assert not [line for line in said if "revoke" in line]


def test_a_ca_with_odd_names_of_its_own_is_recorded(tmp_path: Path) -> None:
    corp = corporate(
        tmp_path / "corp", "critical,permitted;email:corp.example\nsubjectAltName=RID:1.2.3,DNS:ca.example"
    )
    store, _ = imported(tmp_path / "lab", corp, "client-good")
    assert ledger(store)[ADOPTED].sans == ("DNS:ca.example",)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa3072", "ed25519"])
def test_people_s_certificates_are_good_leaves(store: Store, corp: Corporate, kind: str) -> None:
    desk = Desk(store, catalogue.load(), lambda _: None)
    uri = "spiffe://mtls-lab.test/people/ann"
    pem = desk.issue("ann", ("ops", "Büro & Co. (R&D)"), (uri,), 30, kind)
    leaf = x509.load_pem_x509_certificate(pem)
    assert corp.signed(leaf)
    assert [said for said in faults(leaf, corp.certificate) if "Büro" not in said] == []
    signed = x509.load_pem_x509_certificate(desk.sign(requests.read(request("bob")), "bob", None))
    assert corp.signed(signed)
    assert not faults(signed, corp.certificate)


@pytest.mark.parametrize("unit", ["Lab \u0410dmins", "x,OU=Lab Admins", "a+b", "Lab  Admins"])
def test_an_attack_in_a_unit_is_refused_below_an_imported_ca(store: Store, unit: str) -> None:
    desk = Desk(store, catalogue.load(), lambda _: None)
    wish = requests.read(request("bob", units=(unit,)))
    for ask in (lambda: desk.issue("bob", (unit,), (), 9, "p256"), lambda: desk.sign(wish, "bob", 9, units=(unit,))):
        with pytest.raises(LabError, match=r"could not issue 'bob': the name .* has other characters"):
            ask()
    assert "bob" not in ledger(store)


def test_nobody_outlives_an_imported_ca(tmp_path: Path) -> None:
    """A CA for a lab is short-lived; without DAYS a certificate ends with it."""
    corp = corporate(tmp_path / "corp", days=7)
    store, _ = imported(tmp_path / "lab", corp, "client-good")
    assert leaf_of(store, "client-good").not_valid_after_utc == corp.certificate.not_valid_after_utc
    known = catalogue.load()
    few = replace(known, scenarios={"client-good": known.scenarios["client-good"]})
    assert not issue(few, store, say=lambda _: None).issued, "what is as long as it can be is kept"
    desk = Desk(store, known, lambda _: None)
    desk.issue("ann", (), (), None, "p256")
    assert leaf_of(store, "ann").not_valid_after_utc <= corp.certificate.not_valid_after_utc
    with pytest.raises(LabError, match="its issuer expires before"):
        desk.issue("bob", (), (), 8, "p256")


@pytest.mark.parametrize("kind", CONSTRAINED)
def test_leaves_satisfy_the_name_constraints_of_an_imported_ca(tmp_path: Path, kind: str) -> None:
    """OpenSSL, which shares no code with the lab, accepts what is issued, and refuses the twin that is forced."""
    case = CONSTRAINED[kind]
    corp = corporate(tmp_path / "corp", case.constraints, above=case.above)
    store, said = imported(tmp_path / "lab", corp, "client-good")
    client, good = store.client / "clients/client-good", leaf_of(store, "client-good")
    assert corp.signed(good)
    assert not faults(good, corp.certificate)
    assert good.subject.rfc4514_string() == f"CN=client-good,{case.base}"
    assert ledger(store)["client-good"].sans == (("EMAIL:client-good@mtls-lab.test",) if case.email else ())
    assert any("without e-mail address" in line for line in said) != case.email
    assert verify_error(store.private.parent, client) == 0
    assert verify_error(store.private.parent, client, "-partial_chain") == 0
    (client / "cert.pem").write_bytes(corp.leaf(case.subject, *case.names).public_bytes(Encoding.PEM))
    assert verify_error(store.private.parent, client) in (47, 48), "permitted, or excluded, subtree violation"
    issuer = adopted(store)
    assert issuer
    assert name_constraints.forbidden(issuer.constraints, corp.leaf(case.subject).subject, case.names)


def test_a_client_that_cannot_be_named_is_signed_by_the_lab_s_own_ca(tmp_path: Path) -> None:
    """Its SPIFFE ID is what client-spiffe is for: it is not left out, and it is said who signs instead."""
    corp = corporate(tmp_path / "corp", "critical,permitted;URI:corp.example")
    store, said = imported(tmp_path / "lab", corp, "client-good", "client-spiffe")
    assert corp.signed(leaf_of(store, "client-good"))
    assert not corp.signed(leaf_of(store, "client-spiffe"))
    assert ledger(store)["client-spiffe"].sans == ("URI:spiffe://mtls-lab.test/ns/default/sa/client-spiffe",)
    assert verify_error(store.private.parent, store.client / "clients/client-spiffe") == 0
    (line,) = [line for line in said if "do not permit" in line]
    assert "client-spiffe (the URI spiffe://mtls-lab.test/ns/default/sa/client-spiffe)" in line


def test_no_client_that_a_ca_permits_at_all_leaves_a_lab_that_works(tmp_path: Path) -> None:
    """A subject that may only begin with a common name would have two of them: who would that be?"""
    corp = corporate(tmp_path / "corp", "critical,permitted;dirName:base\n[base]\nCN=one")
    store, said = imported(tmp_path / "lab", corp, "client-good")
    assert not corp.signed(leaf_of(store, "client-good"))
    assert any("client-good (any subject that the lab can make)" in line for line in said)
    with pytest.raises(LabError, match="does not permit any subject") as caught:
        Desk(store, catalogue.load(), lambda _: None).issue("bob", (), (), 9, "p256")
    assert caught.value.cure == "make up LAB_VALIDATION_CA_CERT=none"


def test_a_name_that_is_not_permitted_is_ignored_or_refused(tmp_path: Path) -> None:
    corp = corporate(tmp_path / "corp", "critical,permitted;email:corp.example,permitted;URI:corp.example")
    store, _ = imported(tmp_path / "lab", corp, "client-good")
    said: list[str] = []
    desk = Desk(store, catalogue.load(), said.append)
    uri = "spiffe://mtls-lab.test/people/bob"
    names = [x509.RFC822Name("bob@mtls-lab.test"), x509.UniformResourceIdentifier(uri)]
    wish = requests.read(request("bob", x509.SubjectAlternativeName(names)))
    with pytest.raises(LabError, match=f"does not permit the URI {uri} \\(nameConstraints\\)"):
        desk.sign(wish, "bob", 9, uris=(uri,))
    with pytest.raises(LabError, match=f"does not permit the URI {uri} \\(nameConstraints\\)") as caught:
        desk.issue("bob", (), (uri,), 9, "p256")
    assert caught.value.cure == "make issue-client NAME=bob"
    assert "bob" not in ledger(store)
    leaf = x509.load_pem_x509_certificate(desk.sign(wish, "bob", 9))
    assert not faults(leaf, corp.certificate)
    assert ledger(store)["bob"].sans == ()
    assert len([line for line in said if re.match("ignored the name .*: CN=Corp sub.* does not permit it", line)]) == 2
    desk.issue("ann", (), (), 9, "p256")
    assert corp.signed(leaf_of(store, "ann"))
    assert ledger(store)["ann"].sans == ()


def test_a_subject_that_an_imported_ca_demands_is_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    corp = corporate(tmp_path / "corp", "critical,permitted;dirName:base\n[base]\nO=Co\x1b[31mrp")
    store, _ = imported(tmp_path / "lab", corp, "client-good")
    said: list[str] = []
    Desk(store, catalogue.load(), said.append).issue("ann", (), (), 9, "p256")
    assert corp.signed(leaf_of(store, "ann"))
    (line,) = [line for line in said if line.startswith("issued ann: ")]
    assert "31mrp" in line
    assert "\x1b" not in line


UNUSABLE = {
    "otherName": ("permitted;otherName:1.3.6.1.4.1.311.20.2.3;UTF8:corp.example", "OtherName"),
    "registeredID": ("permitted;RID:1.2.3", "RegisteredID"),
    "an empty e-mail address": ("DER:3006a00430028100", "an empty e-mail address"),
    "a minimum": ("DER:300fa00d300b8206612e74657374800101", "like a minimum"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("where", ["itself", "above"])
def test_constraints_that_can_not_be_heeded_are_refused(tmp_path: Path, kind: str, where: str) -> None:
    said, fact = UNUSABLE[kind]
    corp = corporate(tmp_path / "corp", said if where == "itself" else "", above=said if where == "above" else "")
    with pytest.raises(LabError, match="could not adopt the intermediate") as caught:
        adopt(Store(tmp_path / "lab"), corp.pem)
    assert fact in caught.value.fact
    assert not (tmp_path / "lab/ca-private" / ADOPTED).exists()


def test_a_ca_that_the_one_above_does_not_permit_is_refused(tmp_path: Path) -> None:
    corp = corporate(tmp_path / "corp", above="permitted;dirName:base\n[base]\nO=Other")
    with pytest.raises(LabError, match="does not permit the name CN=Corp sub"):
        adopt(Store(tmp_path / "lab"), corp.pem)
