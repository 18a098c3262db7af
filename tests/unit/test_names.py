"""Names: the lab's own are refused, now and later, and a name is never taken for a serial number, nor the reverse."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_people import request

import ca.rotation
import catalogue
from ca import requests
from ca.credentials import AUTHORITIES, CLIENTS, SERVERS, healthcheck, pebble, proxy, recipes
from ca.inspect import describe
from ca.issue import issue, ledger
from ca.people import Desk
from ca.revocation import read_index, revoke, unrevoke
from ca.rotation import Rotation, Step, What
from ca.store import LEDGER, PERSON, SUPERSEDED, Store, write_file
from catalogue import Catalogue, LabError
from catalogue.manifest import Manifest
from catalogue.manifest import load as load_manifest


@pytest.fixture(scope="module")
def known() -> Catalogue:
    whole = catalogue.load()
    return replace(whole, scenarios={"client-good": whole.scenarios["client-good"]})


@pytest.fixture
def store(issued: Path, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(issued, tmp_path / "lab")))


@pytest.fixture
def desk(known: Catalogue, store: Store) -> Desk:
    return Desk(store, known, lambda _: None)


def names_of_rotation() -> set[str]:
    """Every name that rotation makes in two rounds of all that it can do, by its own functions."""
    state, found = Rotation(), set()
    for what, step in 2 * [(What.INTERMEDIATE, None), *((What.ROOT, step) for step in Step)]:
        state = ca.rotation.begin(state, what, step, {})
        found |= {recipe.name for recipe in state.authorities()} | {retired.name for retired in state.retired}
        found |= {name for move in state.moves for name in move}
        found |= {name for recipe in state.authorities() for name in state.trusted_too(recipe.name)}
    return found


MADE = {recipe.name for name in (*CLIENTS, *SERVERS) for recipe in recipes(name)}
OURS = {recipe.name for recipe in (*AUTHORITIES, healthcheck(), proxy(), pebble())} | MADE | names_of_rotation()
LATER = (
    *("client-new", "server-new", "validation-root-99", "validation-intermediate-next", "validation-imported"),
    *("public-root-2", "untrusted-root-next", "new-root", "new-intermediate"),
)


def test_rotation_makes_many_names() -> None:
    assert {"validation-root-next", "validation-root-2", "validation-intermediate-4"} <= OURS


@pytest.mark.parametrize("name", sorted({*OURS, *LATER, "validation-adopted"}))
def test_a_name_of_the_lab_s_own_is_refused(desk: Desk, name: str) -> None:
    """Wherever a name comes in, with the reason and a cure; and nothing is changed."""
    before = (desk.store.private / LEDGER).read_bytes()
    data = request(name)
    for ask in (
        lambda: desk.issue(name, (), (), 90, "p256"),
        lambda: desk.issue(name, (), (), 90, "p256", again=True),
        lambda: desk.sign(requests.read(data), name, 90),
        lambda: desk.sign(requests.read(data), "", 90),
        lambda: desk.sign(requests.read(data), "bob", 90),
    ):
        with pytest.raises(LabError, match=f"could not issue '({name}|bob)'") as caught:
            ask()
        assert caught.value.cure
    assert (desk.store.private / LEDGER).read_bytes() == before
    assert "refuses it: " in describe(data), "make inspect says what make sign does"


@pytest.mark.parametrize("name", ["ada", "decade", "facade-2", "bob", "root", "validation", "clients-2", "my-rooted"])
def test_a_name_that_only_looks_so_is_taken(desk: Desk, name: str) -> None:
    desk.issue(name, (), (), 90, "p256")
    assert f"takes CN={name}" in describe(request(name))


@pytest.mark.parametrize("name", ["deadbeefdeadbeef", "a" * 40, "c0ffee1234567890abcdef"])
def test_a_name_that_could_be_a_serial_number_is_refused(desk: Desk, name: str) -> None:
    for ask in (
        lambda: desk.issue(name, (), (), 90, "p256"),
        lambda: desk.sign(requests.read(request(name)), name, 90),
    ):
        with pytest.raises(LabError, match="could be the serial number of a certificate"):
            ask()
    assert "could be the serial number" in describe(request(name))


def lend(store: Store, name: str, to: str = "ann") -> str:
    """Give a person's certificate a name that an earlier version did not refuse. Returns its serial number."""
    path = store.private / LEDGER
    manifest = load_manifest(path)
    entries = dict(manifest.credentials)
    entries[name] = entries.pop(to)
    write_file(path, Manifest(manifest.catalogue_sha256, entries).dumps())
    (store.private / "people" / to).rename(store.private / "people" / name)
    return entries[name].serial


def test_a_name_is_looked_up_before_a_serial_number(desk: Desk) -> None:
    """Of an earlier version's ledger: whose name is another's serial number is revoked, and the other is not."""
    desk.issue("ann", (), (), 90, "p256")
    serial = ledger(desk.store)["client-good"].serial
    lent = lend(desk.store, serial)
    assert revoke(desk.store, serial).serial == lent
    assert unrevoke(desk.store, serial).serial == lent
    assert revoke(desk.store, "client-good").serial == serial


@pytest.mark.parametrize("spelled", ["{}", "0{}", "00{}", "0x{}", "0X{}"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_a_serial_number_is_taken_as_tools_write_it(desk: Desk, spelled: str, case: type[str]) -> None:
    desk.issue("ann", (), (), 90, "p256")
    serial = ledger(desk.store)["ann"].serial
    assert revoke(desk.store, spelled.format(case(serial))).name == "ann"
    padded = serial.zfill(40).upper()
    pairs = ":".join(padded[i : i + 2] for i in range(0, 40, 2))
    assert unrevoke(desk.store, pairs).name == "ann"


@pytest.mark.parametrize("text", ["0", ":", "0x", "00:00", "ffff"])
def test_what_is_neither_a_name_nor_a_serial_number_is_answered(desk: Desk, text: str) -> None:
    with pytest.raises(LabError, match="no such certificate"):
        revoke(desk.store, text)


def cycle(known: Catalogue, store: Store) -> None:
    """Rotate all that can be rotated, and issue after each step."""
    for what, step in [(What.INTERMEDIATE, None), *((What.ROOT, step) for step in Step), (What.INTERMEDIATE, None)]:
        issue(known, store, say=lambda _: None, rotate=(what, step))
        assert not issue(known, store, say=lambda _: None).issued


STATIC = {recipe.name for recipe in AUTHORITIES}


@pytest.mark.parametrize("name", sorted(names_of_rotation() - STATIC | {"validation-adopted", "long-chain-upper"}))
def test_a_person_who_has_a_name_of_the_lab_s_does_not_stop_it(desk: Desk, name: str) -> None:
    """An earlier version issued it: it stays valid and can be revoked by its serial number, which is said."""
    store, said, whole = desk.store, [], catalogue.load()
    desk.issue("ann", (), (), 90, "p256")
    serial = lend(store, name)
    wanted = ("client-good", "client-long-chain") if name == "long-chain-upper" else ("client-good",)
    few = replace(whole, scenarios={scenario: whole.scenarios[scenario] for scenario in wanted})
    issue(few, store, say=said.append)
    at = next(number for number, line in enumerate(said) if line.startswith(f"{name}: "))
    assert said[at + 1].endswith(f"make revoke CREDENTIAL={serial}")
    assert ledger(store)[f"{name}@{serial}"].role == SUPERSEDED
    assert revoke(store, serial, "keyCompromise").serial == serial
    cycle(few, store)
    assert PERSON not in {entry.role for entry in ledger(store).values()}
    assert serial in {entry.serial for entry in read_index(store).revoked}


@pytest.mark.parametrize("name", ["validation-root-next", "validation-root-1", "validation-intermediate-1"])
def test_a_rotation_itself_makes_room(known: Catalogue, desk: Desk, name: str) -> None:
    """Without a `make up` before it."""
    desk.issue("ann", (), (), 90, "p256")
    lend(desk.store, name)
    cycle(known, desk.store)


def test_a_rotation_that_such_a_name_had_stopped_goes_on(known: Catalogue, desk: Desk) -> None:
    """As an earlier version left it: the old intermediate's folder is renamed, and its entry in the ledger is not."""
    store = desk.store
    desk.issue("ann", (), (), 90, "p256")
    lend(store, "validation-intermediate-1")
    old = ledger(store)["validation-intermediate"].sha256
    state = ca.rotation.begin(Rotation(), What.INTERMEDIATE, None, ledger(store))
    (store.private / "retired").mkdir()
    (store.private / "validation-intermediate").rename(store.private / "retired/validation-intermediate-1")
    ca.rotation.save(store, replace(state, moves=()))
    done = issue(known, store, say=lambda _: None)
    assert {"validation-intermediate", "client-good"} <= set(done.issued)
    assert ledger(store)["validation-intermediate-1"].sha256 == old
    assert ledger(store)["validation-intermediate-1"].role == "retired"
    cycle(known, store)


def test_a_person_s_name_that_nothing_of_the_lab_needs_stays(known: Catalogue, desk: Desk) -> None:
    """One that is only kept free for later: it is shown, revoked and exported as before."""
    desk.issue("ann", (), (), 90, "p256")
    lend(desk.store, "client-ann")
    issue(known, desk.store, say=lambda _: None)
    assert ledger(desk.store)["client-ann"].role == PERSON
    with pytest.raises(LabError, match="could not issue 'client-ann'"):
        desk.issue("client-ann", (), (), 90, "p256", again=True)
    assert revoke(desk.store, "client-ann").name == "client-ann"
