"""Rotate the validation PKI's authorities: which there are, which are trusted, and what becomes of the old ones.

`ca-private/rotation.json` says how far it is. A rotation writes it first, with the folders that are to be renamed;
`settle` renames them and forgets them, as often as it is killed in between; issuing then makes what is missing. A root
is rolled over in three steps, because who verifies and who is verified can't change in the same instant:

    introduce   a new root is made, and trusted beside the old one
    move        a new intermediate below the new root signs everything from now on; the old ones are still trusted
    retire      the old root and its intermediates are no longer trusted
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509

from ca.credentials import AUTHORITIES, authority, root
from ca.entry import sha256
from ca.recipe import Recipe
from ca.store import AUTHORITY, CERT, RETIRED, Store, write_changed
from catalogue import LabError, nearest
from catalogue.manifest import Issued

STATE = "rotation.json"
FORMAT = 1
ROOT, INTERMEDIATE, NEXT_ROOT = "validation-root", "validation-intermediate", "validation-root-next"


class What(StrEnum):
    """What can be rotated."""

    SERVER = "server"
    INTERMEDIATE = "intermediate"
    ROOT = "root"


class Step(StrEnum):
    """The steps of a root's rotation, in their order. The last one done; RETIRE is also how it is before the first."""

    INTRODUCE = "introduce"
    MOVE = "move"
    RETIRE = "retire"

    @property
    def next(self) -> Step:
        steps = list(Step)
        return steps[(steps.index(self) + 1) % len(steps)]


@dataclass(frozen=True)
class Retired:
    """An authority that signs no certificates any more. `until`: its last leaf's notAfter, ISO 8601 in UTC."""

    name: str
    until: str


@dataclass(frozen=True)
class Rotation:
    """How far rotation is.

    `root` and `intermediate` count them from 1; `step` is the root's last step; `retired` authorities still publish
    their lists; `moves` are names of folders, from and to, that are to be renamed; `unfinished` is what was begun and
    not yet issued, or empty.
    """

    root: int = 1
    intermediate: int = 1
    step: Step = Step.RETIRE
    retired: tuple[Retired, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    unfinished: str = ""

    def authorities(self) -> tuple[Recipe, ...]:
        """Return the recipes of the authorities that there should be, an issuer before what it signs."""
        changed = {
            ROOT: root(ROOT, _numbered("mTLS Lab Validation Root", self.root)),
            INTERMEDIATE: authority(
                INTERMEDIATE, _numbered("mTLS Lab Validation Intermediate", self.intermediate), ROOT
            ),
        }
        recipes = tuple(changed.get(recipe.name, recipe) for recipe in AUTHORITIES)
        if self.step is not Step.INTRODUCE:
            return recipes
        return (*recipes, root(NEXT_ROOT, _numbered("mTLS Lab Validation Root", self.root + 1)))

    def trusted_too(self, name: str) -> tuple[str, ...]:
        """Return what is trusted beside an authority, wherever it is trusted, while a root is rolled over."""
        if name == ROOT and self.step is Step.INTRODUCE:
            return (NEXT_ROOT,)
        if self.step is Step.MOVE and name in (ROOT, INTERMEDIATE):
            return tuple(r.name for r in self.retired if r.name.startswith(f"{name}-"))
        return ()


def read(store: Store) -> Rotation:
    """Return how far rotation is.

    Raises:
        LabError: the record is corrupt.
    """
    path = store.private / STATE
    if not path.exists():
        return Rotation()
    try:
        document = json.loads(path.read_bytes())
        if document.pop("format") != FORMAT:
            raise ValueError("its format is another")
        retired = tuple(Retired(**entry) for entry in document.pop("retired"))
        moves = tuple((str(source), str(target)) for source, target in document.pop("moves"))
        return Rotation(**(document | {"step": Step(document["step"]), "retired": retired, "moves": moves}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"could not read {path}", f"it is corrupt ({error})", "make clean up") from None


def settle(store: Store, ledger: dict[str, Issued]) -> Rotation:
    """Complete a rotation that was begun: rename its folders, and the ledger's entries with them.

    Forgets retired intermediates whose last leaf has expired.
    """
    rotation = read(store)
    for source, target in rotation.moves:
        old, new = _folder(store, source), _folder(store, target)
        new.parent.mkdir(mode=0o700, exist_ok=True)
        if old.exists() and not new.exists():
            old.rename(new)
        if source in ledger and target not in ledger:
            entry = ledger.pop(source)
            ledger[target] = replace(entry, role=RETIRED if _is_retired(target) else entry.role)
    for retired in rotation.retired:
        _rename_left_behind(store, retired.name, ledger)
    now = datetime.now(UTC).isoformat()
    kept = tuple(r for r in rotation.retired if rotation.step is Step.MOVE or r.until > now)
    for name in [n for n, e in ledger.items() if e.role == RETIRED and n not in {r.name for r in kept}]:
        del ledger[name]
    return replace(rotation, retired=kept, moves=())


def _rename_left_behind(store: Store, name: str, ledger: dict[str, Issued]) -> None:
    """Rename the entry of an authority whose folder was renamed. An earlier version had given the name to a person."""
    path = _folder(store, name) / CERT
    if name in ledger or not path.exists():
        return
    with suppress(ValueError):  # a damaged file matches no entry
        certificate = sha256(x509.load_pem_x509_certificate(path.read_bytes()))
        for left in [n for n, entry in ledger.items() if entry.sha256 == certificate]:
            ledger[name] = replace(ledger.pop(left), role=RETIRED)


def save(store: Store, rotation: Rotation) -> None:
    """Write how far rotation is, unless it never began."""
    path = store.private / STATE
    if rotation != Rotation() or path.exists():
        document = {"format": FORMAT, **asdict(rotation)}
        write_changed(path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode(), 0o600)


def begin(rotation: Rotation, what: What, step: Step | None, ledger: Mapping[str, Issued]) -> Rotation:
    """Return what a rotation of an authority is to be written as, before anything is renamed or made.

    A step that is done already is none to take: what it left unfinished is completed.

    Raises:
        LabError: it is another step's turn.
    """
    if what is What.INTERMEDIATE:
        return _next_intermediate(rotation, ledger)
    step = step or rotation.step.next
    if step is rotation.step and (step is not Step.RETIRE or rotation.root > 1):
        return rotation
    if step is not rotation.step.next:
        cure = f"make rotate WHAT=root STEP={rotation.step.next}"
        raise LabError(f"could not {step} the root", f"it is the turn of the step {rotation.step.next}", cure)
    if step is Step.MOVE:
        return _moved(rotation, ledger)
    return replace(rotation, step=step, unfinished=What.ROOT, retired=() if step is Step.RETIRE else rotation.retired)


def _next_intermediate(rotation: Rotation, ledger: Mapping[str, Issued]) -> Rotation:
    if rotation.step is not Step.RETIRE:
        fact = f"a root is being rotated, and its next step is {rotation.step.next}"
        raise LabError("could not rotate the intermediate", fact, "make rotate WHAT=root")
    old = f"{INTERMEDIATE}-{rotation.intermediate}"
    return replace(
        rotation,
        intermediate=rotation.intermediate + 1,
        retired=(*rotation.retired, Retired(old, _until(ledger, INTERMEDIATE))),
        moves=((INTERMEDIATE, old),),
        unfinished=What.INTERMEDIATE,
    )


def _moved(rotation: Rotation, ledger: Mapping[str, Issued]) -> Rotation:
    old_root, old = f"{ROOT}-{rotation.root}", f"{INTERMEDIATE}-{rotation.intermediate}"
    until = _until(ledger, INTERMEDIATE)
    return Rotation(
        root=rotation.root + 1,
        intermediate=rotation.intermediate + 1,
        step=Step.MOVE,
        retired=(*rotation.retired, Retired(old, until), Retired(old_root, until)),
        moves=((ROOT, old_root), (NEXT_ROOT, ROOT), (INTERMEDIATE, old)),
        unfinished=What.ROOT,
    )


def parse(what: str, step: str | None) -> tuple[What, Step | None]:
    """Return what a person asked to rotate.

    Raises:
        LabError: that can't be rotated, or has no such step.
    """
    if what not in tuple(What):
        fact = f"it can't be rotated; {nearest(what, tuple(What))}" if what else "nothing was named"
        raise LabError(f"could not rotate {what}".rstrip(), fact, "make rotate WHAT=server")
    if step and step not in tuple(Step):
        fact = f"no such step {step!r}; {nearest(step, tuple(Step))}"
        raise LabError(f"could not rotate the {what}", fact, "make rotate WHAT=root")
    if step and what != What.ROOT:
        raise LabError(f"could not rotate the {what}", "only a root's rotation has steps", f"make rotate WHAT={what}")
    return What(what), Step(step) if step else None


def _numbered(common_name: str, number: int) -> str:
    return common_name if number == 1 else f"{common_name} {number}"


def _is_retired(name: str) -> bool:
    return name not in (ROOT, INTERMEDIATE, NEXT_ROOT)


def _folder(store: Store, name: str) -> Path:
    return store.folder(RETIRED if _is_retired(name) else "root", name)


def _until(ledger: Mapping[str, Issued], name: str) -> str:
    """Return when the last leaf expires that an authority signed: the ledger has the newest of each name."""
    sha256 = ledger[name].sha256 if name in ledger else ""
    leaves = [e for e in ledger.values() if e.issuer_sha256 == sha256 and e.role not in (*AUTHORITY, "faulty")]
    return max((leaf.not_after for leaf in leaves), default="")
