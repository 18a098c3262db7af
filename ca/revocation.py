"""Revoke certificates of the validation PKI, and publish the lists that say so.

`ca-private/revocations.json` holds what was revoked and the lists as they were last signed, so that a list is signed
again, with a higher number, only when it would say something else or is running out. The published files follow from
it: killed in between, the next run writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from ca import crl
from ca.certificates import Credential
from ca.crl import REASONS, Revoked
from ca.entry import find
from ca.store import AUTHORITY, KEY, LEDGER, RETIRED, Store, write_changed
from catalogue import Crl, LabError, nearest, word
from catalogue.manifest import Issued
from catalogue.manifest import load as load_manifest

INDEX = "revocations.json"
FORMAT = 1
_OTHER = "untrusted-intermediate"
_CURES = {"revoke": "make revoke CREDENTIAL=client-good", "unrevoke": "make unrevoke CREDENTIAL=client-good"}


@dataclass(frozen=True)
class SignedLists:
    """An issuer's newest list and the one that ran out yesterday, as PEM. `number` is the newest's CRLNumber."""

    number: int
    current: str
    expired: str


@dataclass(frozen=True)
class Index:
    """Everything that was revoked, and each issuer's lists by the issuer's sha256."""

    revoked: tuple[Revoked, ...] = ()
    lists: Mapping[str, SignedLists] = field(default_factory=dict)

    def find(self, entry: Issued) -> Revoked | None:
        """Return the revocation of a certificate. One that was issued again under the same name is another."""
        same = (r for r in self.revoked if (r.issuer_sha256, r.serial) == (entry.issuer_sha256, entry.serial))
        return next(same, None)


def read_index(store: Store) -> Index:
    """Return what was revoked.

    Raises:
        LabError: the record is corrupt. It is not taken for an empty one: that would lift every revocation.
    """
    path = store.private / INDEX
    if not path.exists():
        return Index()
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']}, not {FORMAT}")
        revoked = tuple(Revoked(**entry) for entry in document["revoked"])
        return Index(revoked, {sha: SignedLists(**lists) for sha, lists in document["lists"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"could not read {path}", f"it is corrupt ({error})", "make clean up") from None


def publish(store: Store, entries: Mapping[str, Issued], reasons: Mapping[str, str]) -> None:
    """Sign the lists that are missing, changed or running out, and write them for the server and the clients.

    Args:
        entries: everything that was issued.
        reasons: why a credential is revoked by its recipe, by name.
    """
    now = crl.now_s()
    index = read_index(store)
    for name, reason in reasons.items():
        if name in entries and not index.find(entries[name]):
            added = _revoked(name, entries[name], reason, now, by_recipe=True)
            index = replace(index, revoked=(*index.revoked, added))
    _publish(store, entries, index, now)


def revoke(store: Store, name: str, reason: str = "unspecified") -> Revoked:
    """Revoke a certificate and publish its issuer's list.

    Args:
        name: the newest certificate's of that name, or a serial number: of one that was replaced, too. What could be
            either is a name.

    Raises:
        LabError: there is no such certificate or reason, nobody publishes lists for it, it is revoked already or has
            expired. Nothing was changed.
    """
    if reason not in REASONS:
        cure = f"make revoke CREDENTIAL={word(name, 'client-good')} REASON=keyCompromise"
        raise LabError(f"could not revoke {name}", f"no such reason {reason!r}; {nearest(reason, REASONS)}", cure)
    with store.locked():
        entries = load_manifest(store.private / LEDGER).credentials
        found = _found(entries, name, "revoke")
        entry = entries[found]
        index, now = read_index(store), crl.now_s()
        if known := index.find(entry):
            _publish(store, entries, index, now)  # the run that revoked it may have been killed before it did
            raise LabError(f"could not revoke {name}", f"it was revoked at {known.at} ({known.reason})", "make crl")
        if not entry.issuer_sha256:
            fact = "it is signed by its own key, so no list can revoke it: whoever trusts it has to stop"
            raise LabError(f"could not revoke {name}", fact, "make rotate WHAT=root")
        if entry.issuer_sha256 not in {entries[n].sha256 for n in _signers(store, entries)}:
            fact = f"its issuer ({entry.issuer}) publishes no list here: the lab's server checks clients alone"
            raise LabError(f"could not revoke {name}", fact, "make revoke CREDENTIAL=client-good")
        if datetime.fromisoformat(entry.not_after) < now:
            raise LabError(f"could not revoke {name}", f"it expired at {entry.not_after} anyway", "make list")
        added = _revoked(found, entry, reason, now)
        _publish(store, entries, replace(index, revoked=(*index.revoked, added)), now)
    return added


def unrevoke(store: Store, name: str) -> Revoked:
    """Take a certificate off its issuer's list, and publish that. Returns what it was revoked for.

    A real CA may do so for certificateHold alone (RFC 5280 5.3.1); the lab, which is for playing, always.

    Raises:
        LabError: there is no such certificate, it is not revoked, or its recipe revokes it. Nothing was changed.
    """
    with store.locked():
        entries = load_manifest(store.private / LEDGER).credentials
        index = read_index(store)
        known = index.find(entries[_found(entries, name, "unrevoke")])
        if known is None:
            raise LabError(f"could not unrevoke {name}", "it is not revoked", "make crl")
        if known.by_recipe:
            fact = "the catalogue has it revoked, which is what it is for"
            raise LabError(f"could not unrevoke {name}", fact, "make revoke CREDENTIAL=client-good, and unrevoke that")
        _publish(store, entries, replace(index, revoked=tuple(r for r in index.revoked if r != known)), crl.now_s())
    return known


def earlier(store: Store, name: str) -> list[str]:
    """Return the serial numbers of the certificates of a name that were replaced and are not revoked."""
    index, entries = read_index(store), load_manifest(store.private / LEDGER).credentials
    return [e.serial for n, e in entries.items() if n.startswith(f"{name}@") and not index.find(e)]


def describe(store: Store) -> str:
    """Return every published list in words.

    Raises:
        LabError: nothing was issued yet, or the record is corrupt.
    """
    load_manifest(store.private / LEDGER)
    index = read_index(store)
    names = {entry.serial: entry.name for entry in index.revoked}
    return "\n\n".join(sorted(crl.words(lists.current, names) for lists in index.lists.values()))


def _publish(store: Store, entries: Mapping[str, Issued], index: Index, now: datetime) -> None:
    index = replace(index, revoked=tuple(r for r in index.revoked if r.listed(now)))
    signers = _signers(store, entries)
    lists = {entries[n].sha256: _signed(index, entries[n].sha256, s, now) for n, s in signers.items()}
    write_changed(store.private / INDEX, _dumps(replace(index, lists=lists)), 0o600)
    roots = {n for n in signers if entries[n].issuer_sha256 == ""}
    signed = {n: lists[entries[n].sha256] for n in signers}
    validation = [n for n in signers if n != _OTHER]
    files = {
        Crl.CURRENT: [signed[n].current for n in validation],
        Crl.EXPIRED: [signed[n].expired for n in validation],
        Crl.WITHOUT_ROOT: [signed[n].current for n in validation if n not in roots],
        Crl.OTHER_ISSUER: [signed[n].current for n in signers if n == _OTHER],
    }
    for folder in (store.server, store.client):
        for name, pems in files.items():
            write_changed(folder / f"{name}.pem", "".join(pems).encode())


def _signed(index: Index, sha256: str, issuer: Credential, now: datetime) -> SignedLists:
    """Return an issuer's lists: those there are, if they are still right."""
    wanted = [r for r in index.revoked if r.issuer_sha256 == sha256]
    held = index.lists.get(sha256)
    if held and crl.is_current(held.current, issuer, wanted, held.number, now):
        return held
    number = held.number + 2 if held else 2  # the one that ran out came before
    last, end = crl.expired_times(now)
    expired = crl.sign(issuer, wanted, number - 1, last, end)
    return SignedLists(number, crl.sign(issuer, wanted, number, now, now + crl.LIFETIME), expired)


def _signers(store: Store, entries: Mapping[str, Issued]) -> dict[str, Credential]:
    """Return the authorities that publish lists: those of the validation PKI, and one of another for comparison.

    An authority whose key is elsewhere, as an adopted intermediate's root, publishes its own.
    """
    authorities = (*AUTHORITY, RETIRED)
    names = {n for n, e in entries.items() if n.startswith("validation-") and e.role in authorities}
    while found := _issued_by(names, entries):  # down the chains
        names |= found
    names |= {_OTHER} & entries.keys()
    roles = {n: e.role for n, e in sorted(entries.items()) if n in names}
    return {n: store.signer(role, n) for n, role in roles.items() if (store.folder(role, n) / KEY).exists()}


def _issued_by(names: set[str], entries: Mapping[str, Issued]) -> set[str]:
    """Return the further intermediates that these authorities signed."""
    issuers = {entries[name].sha256 for name in names}
    return {n for n, e in entries.items() if e.role == "faulty" and e.issuer_sha256 in issuers} - names


def _found(entries: Mapping[str, Issued], name: str, verb: str) -> str:
    if not name:
        raise LabError(f"could not {verb} a certificate", "none was named", _CURES[verb])
    found = find(entries, name)
    if found is None:
        raise LabError(f"could not {verb} {name}", f"no such certificate; {nearest(name, entries)}", "make list")
    return found


def _revoked(name: str, entry: Issued, reason: str, now: datetime, *, by_recipe: bool = False) -> Revoked:
    return Revoked(name, entry.issuer_sha256, entry.serial, reason, now.isoformat(), entry.not_after, by_recipe)


def _dumps(index: Index) -> bytes:
    lists = {sha: asdict(signed) for sha, signed in index.lists.items()}
    document = {"format": FORMAT, "revoked": [asdict(r) for r in index.revoked], "lists": lists}
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
