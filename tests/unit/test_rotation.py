"""Rotation: old and new are trusted together for as long as it takes, and what was killed in between goes on."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from judging import content, verify_error

import ca.rotation
import catalogue
from ca.issue import Issuance, issue, ledger, serving
from ca.revocation import revoke
from ca.rotation import Step, What
from ca.store import Store
from catalogue import Catalogue, LabError, Trust

WANTED = ("client-good", "client-long-chain", "client-pathlen-exceeded")


@pytest.fixture(scope="module")
def known() -> Catalogue:
    """A catalogue of few credentials: what is rotated are the authorities."""
    whole = catalogue.load()
    return replace(whole, scenarios={name: whole.scenarios[name] for name in WANTED})


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
    lists = ("-CRLfile", str(lab / "server-tls/validation_crl.pem"), "-crl_check_all")
    return verify_error(lab, client, *(options or lists))


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


def test_a_killed_rotation_goes_on_and_nobody_is_locked_out(
    known: Catalogue, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its renames in turn, a root's move is completed by the next issue, and only once."""

    class Killed(BaseException):
        pass

    old = held(lab, tmp_path)
    rotate(known, lab, What.ROOT, Step.INTRODUCE)
    introduced = x509.load_pem_x509_certificate((lab / "ca-private/validation-root-next/cert.pem").read_bytes())
    real, folders = os.replace, Path.rename
    left = 0

    def counted(*names: str | Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    def replace_file(source: str | Path, target: str | Path) -> None:
        counted(source, target)
        real(source, target)

    def rename_folder(self: Path, target: Path) -> Path:
        counted(self, target)
        return folders(self, target)

    killed = 0
    while True:
        trial = Path(shutil.copytree(lab, tmp_path / "trial"))
        left = killed
        with monkeypatch.context() as patched:
            patched.setattr("ca.store.os.replace", replace_file)
            patched.setattr(Path, "rename", rename_folder)
            try:
                rotate(known, trial, What.ROOT, Step.MOVE)
                break
            except Killed:
                killed += 1
        assert verify(trial, old, "-partial_chain") == 0
        if ca.rotation.read(Store(trial)).unfinished:
            issue(known, Store(trial), say=lambda _: None)
        else:
            rotate(known, trial, What.ROOT, Step.MOVE)
        done = ca.rotation.read(Store(trial))
        assert (done.root, done.intermediate, done.step, done.unfinished, done.moves) == (2, 2, Step.MOVE, "", ())
        root = x509.load_pem_x509_certificate((trial / "ca-private/validation-root/cert.pem").read_bytes())
        assert root == introduced
        clients = (old, trial / "client-tls/clients/client-good")
        assert [verify(trial, client) for client in clients] == [0, 0]
        assert not issue(known, Store(trial), say=lambda _: None).issued
        shutil.rmtree(trial)
    assert killed > 20


@pytest.mark.parametrize("step", [Step.MOVE, Step.RETIRE])
def test_a_step_out_of_turn_changes_nothing(known: Catalogue, lab: Path, step: Step) -> None:
    before = content(lab)
    with pytest.raises(LabError, match=f"could not {step} the root: it is the turn of the step introduce"):
        rotate(known, lab, What.ROOT, step)
    assert content(lab) == before


def test_a_step_that_is_done_is_not_done_again(known: Catalogue, lab: Path) -> None:
    for step in Step:
        rotate(known, lab, What.ROOT, step)
        before = content(lab)
        assert not rotate(known, lab, What.ROOT, step).issued
        assert content(lab) == before


def test_no_intermediate_is_rotated_while_a_root_is(known: Catalogue, lab: Path) -> None:
    rotate(known, lab, What.ROOT)
    with pytest.raises(LabError, match="a root is being rotated, and its next step is move"):
        rotate(known, lab, What.INTERMEDIATE)


def test_it_can_be_done_again(known: Catalogue, lab: Path, tmp_path: Path) -> None:
    for _ in range(2):
        rotate(known, lab, What.INTERMEDIATE)
        for step in Step:
            rotate(known, lab, What.ROOT, step)
    now = ca.rotation.read(Store(lab))
    assert (now.root, now.intermediate, now.retired) == (3, 5, ())
    assert verify(lab, held(lab, tmp_path)) == 0


def test_an_old_intermediate_is_forgotten_when_its_last_leaf_has_expired(known: Catalogue, lab: Path) -> None:
    last = max(e.not_after for e in ledger(Store(lab)).values() if e.role in ("client", "healthcheck"))
    rotate(known, lab, What.INTERMEDIATE)
    state = ca.rotation.read(Store(lab))
    assert [(retired.name, retired.until) for retired in state.retired] == [("validation-intermediate-1", last)]
    ca.rotation.save(Store(lab), replace(state, retired=(replace(state.retired[0], until="2020-01-01"),)))
    issue(known, Store(lab), say=lambda _: None)
    assert ca.rotation.read(Store(lab)).retired == ()
    assert "validation-intermediate-1" not in ledger(Store(lab))


def test_a_server_is_started_anew_for_other_trust(known: Catalogue, lab: Path) -> None:
    def generation(done: Issuance) -> str:
        return serving(done, known, "server-good", Trust.ROOT)["LAB_GENERATION"]

    before = generation(issue(known, Store(lab), say=lambda _: None))
    assert generation(rotate(known, lab, What.ROOT)) != before


@pytest.mark.parametrize("record", ["", "{}", '{"format": 2}', '{"format": 1, "step": "jump"}'])
def test_a_corrupt_record_changes_nothing(known: Catalogue, lab: Path, record: str) -> None:
    (lab / "ca-private" / "rotation.json").write_text(record)
    before = content(lab)
    with pytest.raises(LabError, match=r"rotation\.json: it is corrupt"):
        issue(known, Store(lab), say=lambda _: None)
    assert content(lab) == before


@pytest.mark.parametrize(
    ("what", "step", "fact"),
    [
        ("rot", "", "did you mean root"),
        ("", "", "nothing was named"),
        ("root", "mov", "did you mean move"),
        ("server", "move", "only a root's rotation has steps"),
    ],
)
def test_what_can_not_be_rotated_is_refused(what: str, step: str, fact: str) -> None:
    with pytest.raises(LabError, match=fact):
        ca.rotation.parse(what, step)
