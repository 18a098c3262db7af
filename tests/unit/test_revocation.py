"""Revocation lists say what was revoked, and OpenSSL, which shares no code with them, reads them so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from judging import content, verify_error

import ca.crl
from ca.issue import issue, ledger
from ca.revocation import describe, revoke, unrevoke
from ca.store import Store, write_changed
from catalogue import Catalogue, Crl, LabError
from catalogue import load as load_catalogue

WANTED = (
    "client-good",
    "client-rsa",
    "client-long-chain",
    "client-expired",
    "client-self-signed",
    "client-untrusted-root",
)
REVOKED = ("client-revoked", "client-revoked-intermediate")


@pytest.fixture(scope="module")
def known() -> Catalogue:
    """A catalogue of few credentials, with those that their recipes revoke."""
    whole = load_catalogue().scenarios
    scenarios = {name: whole[name] for name in WANTED}
    scenarios |= {name: replace(whole["client-good"], id=name, credential=name) for name in REVOKED}
    return replace(load_catalogue(), scenarios=scenarios)


@pytest.fixture
def lab(issued: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(issued, tmp_path / "lab"))


def verify(lab: Path, name: str, crl: Crl = Crl.CURRENT, check: str = "-crl_check") -> int:
    """Return 0, or the verify error of `openssl verify` with a list that is published for the server."""
    return verify_error(lab, lab / "client-tls/clients" / name, check, "-CRLfile", str(lab / f"server-tls/{crl}.pem"))


def lists(lab: Path, crl: Crl = Crl.CURRENT) -> dict[str, x509.CertificateRevocationList]:
    """Return the lists of a file by their issuer's common name."""
    parts = (lab / "server-tls" / f"{crl}.pem").read_bytes().split(b"-----BEGIN")[1:]
    loaded = [x509.load_pem_x509_crl(b"-----BEGIN" + part) for part in parts]
    return {str(crl.issuer.rdns[-1].rfc4514_string()): crl for crl in loaded}


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_good_ones_are_accepted_and_those_of_the_recipes_are_revoked(lab: Path) -> None:
    for check in ("-crl_check", "-crl_check_all"):
        assert [verify(lab, name, check=check) for name in ("client-good", "client-long-chain")] == [0, 0]
        assert verify(lab, "client-revoked", check=check) == 23
    assert verify(lab, "client-revoked-intermediate") == 0  # only its leaf is looked up
    assert verify(lab, "client-revoked-intermediate", check="-crl_check_all") == 23


def test_other_lists_are_what_their_names_say(lab: Path) -> None:
    assert verify(lab, "client-good", Crl.EXPIRED) == 12
    assert verify(lab, "client-good", Crl.OTHER_ISSUER) == 3
    assert verify(lab, "client-good", Crl.WITHOUT_ROOT) == 0
    assert verify(lab, "client-good", Crl.WITHOUT_ROOT, "-crl_check_all") == 3
    assert verify(lab, "client-revoked", Crl.EXPIRED) in (12, 23)
    assert {path.name for path in (lab / "client-tls").glob("*crl*.pem")} == {
        f"{c}.pem" for c in Crl if c is not Crl.NONE
    }


def test_a_list_is_what_rfc_5280_asks_for(lab: Path) -> None:
    crl, now = lists(lab)["CN=mTLS Lab Validation Intermediate"], datetime.now(UTC)
    issuer = x509.load_pem_x509_certificate((lab / "ca-private/validation-intermediate/cert.pem").read_bytes())
    assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == key_id
    assert crl.last_update_utc < now
    assert crl.next_update_utc is not None
    assert timedelta(days=29) < crl.next_update_utc - now <= timedelta(days=30)
    assert [e.extensions.get_extension_for_class(x509.CRLReason).value.reason.value for e in crl] == ["keyCompromise"]
    # An empty list has no revokedCertificates at all (RFC 5280 5.1.2.6), which OpenSSL says in these words.
    text = subprocess.run(
        ["openssl", "crl", "-noout", "-text"],
        input=lists(lab)["CN=mTLS Lab long-chain-lower"].public_bytes(Encoding.PEM),
        capture_output=True,
        check=True,
    ).stdout
    assert b"No Revoked Certificates" in text


def test_revoked_is_refused_and_unrevoked_accepted(lab: Path) -> None:
    before = number(lists(lab)["CN=mTLS Lab Validation Intermediate"])
    root = lists(lab)["CN=mTLS Lab Validation Root"]
    revoke(Store(lab), "client-good", "certificateHold")
    assert [verify(lab, name) for name in ("client-good", "client-rsa")] == [23, 0]
    text = describe(Store(lab))
    assert re.search(r"revoked     client-good .* certificateHold", text)
    between = number(lists(lab)["CN=mTLS Lab Validation Intermediate"])
    unrevoke(Store(lab), "client-good")
    assert verify(lab, "client-good") == 0
    assert before < between < number(lists(lab)["CN=mTLS Lab Validation Intermediate"])
    assert lists(lab)["CN=mTLS Lab Validation Root"] == root  # the others say the same as before


def test_an_unspecified_reason_is_left_out(lab: Path) -> None:
    """RFC 5280 5.3.1: absent instead of unspecified."""
    revoke(Store(lab), "client-good")
    serial = int(ledger(Store(lab))["client-good"].serial, 16)
    entry = lists(lab)["CN=mTLS Lab Validation Intermediate"].get_revoked_certificate_by_serial_number(serial)
    assert entry is not None
    assert len(entry.extensions) == 0


def test_a_revoked_intermediate_takes_its_leaves_with_it_if_the_chain_is_checked(lab: Path) -> None:
    revoke(Store(lab), "validation-intermediate", "cACompromise")
    assert verify(lab, "client-good", check="-crl_check_all") == 23
    assert verify(lab, "client-long-chain", check="-crl_check_all") == 0


def test_a_certificate_that_is_issued_again_is_not_revoked(known: Catalogue, lab: Path, tmp_path: Path) -> None:
    revoke(Store(lab), "client-good", "keyCompromise")
    old = ledger(Store(lab))["client-good"].serial
    (lab / "client-tls" / "clients" / "client-good" / "privkey.pem").unlink()
    assert list(issue(known, Store(lab), say=lambda _: None).issued) == ["client-good"]
    assert verify(lab, "client-good") == 0
    crl = lists(lab)["CN=mTLS Lab Validation Intermediate"]
    assert crl.get_revoked_certificate_by_serial_number(int(old, 16)) is not None
    with pytest.raises(LabError, match="it is not revoked"):
        unrevoke(Store(lab), "client-good")


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("client-god", "no such certificate; did you mean client-good"),
        ("", "none was named"),
        ("client-revoked", "it was revoked at "),
        ("client-expired", "it expired at "),
        ("client-self-signed", "signed by its own key"),
        ("validation-root", "signed by its own key"),
        ("server-good", r"its issuer \(.*Public Intermediate.*\) publishes no list here"),
    ],
)
def test_what_can_not_be_revoked_changes_nothing(lab: Path, name: str, fact: str) -> None:
    before = content(lab)
    with pytest.raises(LabError, match=fact):
        revoke(Store(lab), name, "keyCompromise")
    assert content(lab) == before


@pytest.mark.parametrize(
    ("name", "fact"),
    [("client-god", "did you mean"), ("client-good", "it is not revoked"), ("client-revoked", "what it is for")],
)
def test_what_can_not_be_unrevoked_changes_nothing(lab: Path, name: str, fact: str) -> None:
    before = content(lab)
    with pytest.raises(LabError, match=fact):
        unrevoke(Store(lab), name)
    assert content(lab) == before


@pytest.mark.parametrize(
    ("reason", "near"), [("keycompromise", "keyCompromise"), ("removeFromCRL", "known: unspecified")]
)
def test_a_reason_that_is_none_is_refused(lab: Path, reason: str, near: str) -> None:
    with pytest.raises(LabError, match=f"no such reason '{reason}'; .*{near}"):
        revoke(Store(lab), "client-good", reason)


def test_a_list_that_runs_out_is_signed_again(known: Catalogue, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = content(lab / "server-tls")
    soon, late = datetime.now(UTC) + timedelta(days=9), datetime.now(UTC) + timedelta(days=11)
    monkeypatch.setattr("ca.crl.now_s", lambda: soon.replace(microsecond=0))
    issue(known, Store(lab), say=lambda _: None)
    assert content(lab / "server-tls") == first
    monkeypatch.setattr("ca.crl.now_s", lambda: late.replace(microsecond=0))
    before = {name: number(crl) for name, crl in lists(lab).items()}
    issue(known, Store(lab), say=lambda _: None)
    assert all(number(crl) > before[name] for name, crl in lists(lab).items())
    assert all(crl.next_update_utc == late.replace(microsecond=0) + ca.crl.LIFETIME for crl in lists(lab).values())


def test_published_files_that_are_lost_come_back_the_same(known: Catalogue, lab: Path) -> None:
    before = content(lab)
    for path in (*(lab / "server-tls").glob("*crl*"), *(lab / "client-tls").glob("*crl*")):
        path.unlink()
    issue(known, Store(lab), say=lambda _: None)
    assert content(lab) == before


def test_a_revocation_that_was_interrupted_is_published_by_repeating_it(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_after_the_record(path: Path, data: bytes, mode: int = 0o644) -> None:
        if path.name != "revocations.json":
            raise KeyboardInterrupt
        write_changed(path, data, mode)

    with monkeypatch.context() as patched:
        patched.setattr("ca.revocation.write_changed", killed_after_the_record)
        with pytest.raises(KeyboardInterrupt):
            revoke(Store(lab), "client-good")
    assert verify(lab, "client-good") == 0
    with pytest.raises(LabError, match="it was revoked at "):
        revoke(Store(lab), "client-good")
    assert verify(lab, "client-good") == 23


@pytest.mark.parametrize("record", ["", "{", '{"format": 0}', '{"format": 1, "revoked": [{}], "lists": {}}'])
def test_a_corrupt_record_is_not_taken_for_an_empty_one(known: Catalogue, lab: Path, record: str) -> None:
    (lab / "ca-private" / "revocations.json").write_text(record)
    published = content(lab / "server-tls")
    for run in (lambda: issue(known, Store(lab), say=lambda _: None), lambda: revoke(Store(lab), "client-good")):
        with pytest.raises(LabError, match=r"revocations\.json: it is corrupt"):
            run()
    assert content(lab / "server-tls") == published


def test_one_that_expired_leaves_the_list_a_list_later(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5280 3.3: on one regular list issued after it expired."""
    revoke(Store(lab), "client-good", "keyCompromise")
    until = datetime.fromisoformat(ledger(Store(lab))["client-good"].not_after)
    names = []
    for days in (29, 31):
        monkeypatch.setattr("ca.crl.now_s", lambda days=days: until + timedelta(days=days))
        revoke(Store(lab), {29: "validation-intermediate", 31: "long-chain-lower"}[days])
        document = json.loads((lab / "ca-private" / "revocations.json").read_text())
        names.append("client-good" in {entry["name"] for entry in document["revoked"]})
    assert names == [True, False]
