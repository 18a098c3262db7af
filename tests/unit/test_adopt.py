"""One's own intermediate: accepted as enterprises make them, refused with the reason, and the page that says how."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier
from running import ROOT, serving
from test_people import openssl

import catalogue
from ca.adopt import ADOPTED, adopt, leave
from ca.certificates import make
from ca.credentials import intermediate as recipe_of
from ca.issue import Issuance, issue, ledger
from ca.rotation import What
from ca.store import Store
from catalogue import LabError, Trust

CA = "basicConstraints=critical,CA:true,pathlen:0"
USAGE = "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"
SKI = "subjectKeyIdentifier=hash"
# What Active Directory Certificate Services adds: CA version, template name, where its lists and its issuer are.
ADCS = """
1.3.6.1.4.1.311.21.1=ASN1:INTEGER:0
1.3.6.1.4.1.311.20.2=ASN1:BMP:SubCA
crlDistributionPoints=URI:ldap:///CN=Corp%20Root%20CA,URI:http://pki.corp.test/root.crl
authorityInfoAccess=caIssuers;URI:http://pki.corp.test/root.crt
"""


@pytest.fixture(scope="module")
def corp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root's certificate and key, and an intermediate's request and key, all RSA."""
    folder = tmp_path_factory.mktemp("corp")
    subject, extensions = "/DC=test/DC=corp/CN=Corp Root CA", ("-addext", USAGE)
    new = ("req", "-newkey", "rsa:2048", "-noenc")
    openssl(*new, "-x509", "-keyout", "root.key", "-out", "root.pem", "-subj", subject, *extensions, cwd=folder)
    openssl(*new, "-keyout", "sub.key", "-out", "sub.csr", "-subj", "/DC=test/DC=corp/CN=Corp Issuing CA 1", cwd=folder)
    return folder


def intermediate(corp: Path, *extensions: str, days: int = 1800, digest: str = "-sha256") -> bytes:
    (corp / "ext").write_text("\n".join(extensions))
    signer = ("-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "77", "-days", str(days), digest)
    openssl("x509", "-req", "-in", "sub.csr", *signer, "-extfile", "ext", "-out", "sub.pem", cwd=corp)
    return (corp / "sub.pem").read_bytes()


def key(corp: Path, name: str = "sub") -> bytes:
    return (corp / f"{name}.key").read_bytes()


def root(corp: Path) -> bytes:
    return (corp / "root.pem").read_bytes()


def run(store: Store, *names: str) -> Issuance:
    known = catalogue.load()
    few = replace(known, scenarios={name: known.scenarios[name] for name in names}) if names else known
    return issue(few, store, say=lambda _: None)


@pytest.mark.parametrize("path_length", ["", ",pathlen:0"])
def test_a_subordinate_ca_of_active_directory_serves_the_good_client(
    corp: Path, tmp_path: Path, path_length: str
) -> None:
    store = Store(tmp_path)
    run(store)
    own = ledger(store)["client-good"].issuer_sha256
    pem = intermediate(corp, f"basicConstraints=critical,CA:true{path_length}", USAGE, SKI, ADCS)
    held, changed = adopt(store, pem + root(corp) + key(corp))
    assert changed
    assert not adopt(store, pem + root(corp) + key(corp))[1]
    template = held.certificate.extensions.get_extension_for_oid(ObjectIdentifier("1.3.6.1.4.1.311.20.2"))
    assert template.value.public_bytes().endswith("SubCA".encode("utf-16-be"))
    done = run(store)
    assert ledger(store)["client-good"].issuer == "CN=Corp Issuing CA 1,DC=corp,DC=test"
    assert ADOPTED in ledger(store)
    subjects = [c.subject.rfc4514_string() for c in x509.load_pem_x509_certificates(done.trusted[Trust.FULLCHAIN])]
    assert [s.split(",")[0] for s in subjects] == [
        "CN=Corp Issuing CA 1",
        "CN=mTLS Lab Validation Intermediate",
        "CN=Corp Root CA",
        "CN=mTLS Lab Validation Root",
    ]
    with serving(tmp_path, tmp_path / "log", "required") as server:
        client = store.client / "clients/client-good"
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(store.client / "public_root.pem")]
        command += ["--cert", str(client / "fullchain.pem"), "--key", str(client / "privkey.pem")]
        done_curl = subprocess.run([*command, f"https://localhost:{server.port}/"], capture_output=True, text=True)
    assert "CN=Corp Issuing CA 1" in done_curl.stdout, done_curl.stderr
    assert leave(store)
    assert not leave(store)
    assert "client-good" in run(store).issued
    assert ledger(store)["client-good"].issuer_sha256 == own


GOOD = (CA, USAGE, SKI)
REFUSED = {
    "no CA": ((USAGE, SKI, "basicConstraints=CA:false"), "is no CA certificate"),
    "no basicConstraints": ((USAGE, SKI), "no basicConstraints"),
    "no keyCertSign": ((CA, SKI, "keyUsage=cRLSign"), "no keyCertSign"),
    "no cRLSign": ((CA, SKI, "keyUsage=keyCertSign"), "no cRLSign"),
    "no key id": ((CA, USAGE, "subjectKeyIdentifier=none"), "subjectKeyIdentifier"),
    "some IDs only": ((*GOOD, "nameConstraints=permitted;RID:1.2.3"), "a kind of name (RegisteredID)"),
    "for servers": ((*GOOD, "extendedKeyUsage=serverAuth"), "other uses than clientAuth"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_an_intermediate_that_verifiers_refuse_is_refused(corp: Path, tmp_path: Path, fault: str) -> None:
    extensions, fact = REFUSED[fault]
    refused(tmp_path, intermediate(corp, *extensions) + key(corp), fact)
    adopt(Store(tmp_path), intermediate(corp, *GOOD) + key(corp))


def test_what_fits_badly_is_refused(corp: Path, tmp_path: Path) -> None:
    good = intermediate(corp, *GOOD)
    refused(tmp_path, good + key(corp, "root"), "not the key")
    refused(tmp_path, good, "no private key")
    refused(tmp_path, key(corp), "no certificate")
    refused(tmp_path, root(corp) + key(corp, "root"), "it is a root")
    refused(tmp_path, good + good + key(corp), "is not signed by")
    refused(tmp_path, intermediate(corp, *GOOD, days=0) + key(corp), "less than a day")
    refused(tmp_path, intermediate(corp, *GOOD, digest="-sha1") + key(corp), "SHA1")
    openssl("rsa", "-in", "sub.key", "-aes256", "-passout", "pass:x", "-out", "locked.key", cwd=corp)
    refused(tmp_path, good + key(corp, "locked"), "encrypted")


def test_a_path_that_the_root_forbids_is_refused(corp: Path, tmp_path: Path) -> None:
    chain = intermediate(corp, "basicConstraints=critical,CA:true,pathlen:1", USAGE, SKI)
    lower = ("-CA", "sub.pem", "-CAkey", "sub.key", "-set_serial", "79", "-days", "9", "-extfile", "ext")
    new = ("req", "-new", "-newkey", "rsa:2048", "-noenc", "-keyout", "low.key", "-subj", "/CN=Low")
    openssl(*new, "-out", "low.csr", cwd=corp)
    (corp / "ext").write_text("\n".join(GOOD))
    openssl("x509", "-req", "-in", "low.csr", *lower, "-out", "low.pem", cwd=corp)
    held, _ = adopt(Store(tmp_path / "two"), (corp / "low.pem").read_bytes() + chain + root(corp) + key(corp, "low"))
    assert len(held.above) == 2
    tight = intermediate(corp, *GOOD)
    openssl("x509", "-req", "-in", "low.csr", *lower, "-out", "low.pem", cwd=corp)
    refused(tmp_path, (corp / "low.pem").read_bytes() + tight + root(corp) + key(corp, "low"), "allows 0 intermediates")


def test_an_adopted_one_stays_in_use_and_is_not_rotated(corp: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    adopt(store, intermediate(corp, *GOOD) + root(corp) + key(corp))
    said: list[str] = []
    known = catalogue.load()
    few = replace(known, scenarios={"client-good": known.scenarios["client-good"]})
    issue(few, store, say=said.append)
    assert "clients are issued below the adopted CN=Corp Issuing CA 1" in "\n".join(said)
    assert not issue(few, store, say=said.append).issued
    with pytest.raises(LabError, match="could not rotate the lab's authorities"):
        issue(few, store, say=said.append, rotate=(What.INTERMEDIATE, None))
    (store.private / ADOPTED / "privkey.pem").write_text("damaged")
    with pytest.raises(LabError, match="could not use the adopted intermediate"):
        issue(few, store, say=said.append)


def test_the_public_pki_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(store, "client-good")
    folder = store.private / "public-intermediate"
    refused(tmp_path, (folder / "cert.pem").read_bytes() + (folder / "privkey.pem").read_bytes(), "public PKI")


def test_an_intermediate_below_the_public_pki_is_refused(tmp_path: Path) -> None:
    """One that the lab's public root signed, beside those that it has."""
    store = Store(tmp_path)
    run(store, "client-good")
    below = make(recipe_of("public-other", "public-root"), store.signer("root", "public-root"))
    refused(tmp_path, below.cert_pem() + below.key_pem(), "public PKI")


def refused(state: Path, pem: bytes, fact: str) -> None:
    with pytest.raises(LabError, match="could not adopt the intermediate") as caught:
        adopt(Store(state), pem)
    assert fact in caught.value.fact
    assert not (state / "ca-private" / ADOPTED).exists()


def test_the_page_about_a_validation_ca_works(tmp_path: Path) -> None:
    page = (ROOT / "docs/validation-ca.md").read_text()
    assert len(page.splitlines()) < 120
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    done = subprocess.run(["sh", "-e", "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bob.pem: OK" in done.stdout
    store = Store(tmp_path / "lab")
    adopt(store, (tmp_path / "validation.pem").read_bytes() + (tmp_path / "intermediate.key").read_bytes())
    run(store, "client-good")
    trust = store.server / "validation_fullchain.pem"
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", str(trust), "bob.pem", cwd=tmp_path)
    shutil.copy(store.client / "clients/client-good/cert.pem", tmp_path / "good.pem")
    by_hand = (
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "intermediate.pem",
    )
    openssl(*by_hand, "good.pem", cwd=tmp_path)
    said = openssl("x509", "-in", "intermediate.pem", "-noout", "-text", cwd=tmp_path)
    for safe in ("pathlen:0", "Name Constraints: critical", "TLS Web Client Authentication"):
        assert safe in said, "the page shows the kind of CA that it says to import"
    sign = ("x509", "-req", "-CA", "intermediate.pem", "-CAkey", "intermediate.key", "-set_serial", "1", "-days", "9")
    for subject, file in (
        ("/O=Corp/CN=ann", "ann"),
        ("/O=Other/CN=eve", "eve"),
        ("/O=Corp/CN=ann.corp.example", "dns"),
    ):
        openssl("req", "-new", "-key", "bob.key", "-subj", subject, "-out", "csr", cwd=tmp_path)
        openssl(*sign, "-in", "csr", "-extfile", "ca.cnf", "-extensions", "client", "-out", file, cwd=tmp_path)
    openssl(*by_hand, "ann", cwd=tmp_path)
    for file in ("eve", "dns"):
        with pytest.raises(AssertionError, match="permitted subtree violation"):
            openssl(*by_hand, file, cwd=tmp_path)
