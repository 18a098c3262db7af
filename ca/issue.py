"""Issue what is missing, and nothing that is still good.

The ledger (the CA's own manifest, with its roots and intermediates) is saved after each certificate; the manifest that
clients read appears when all are there. Killed in between, the next run goes on from the ledger.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ca import elsewhere, names, rotation
from ca.adopt import RECIPE, adopted, leaves_below, refuse_rotation, say_misissued
from ca.certificates import Credential, make, signed_by
from ca.credentials import CLIENTS, SERVERS, healthcheck, pebble, proxy
from ca.credentials import recipes as recipes_of
from ca.elsewhere import Elsewhere
from ca.entry import ELSEWHERE, client_files, entry_of, sha256, superseded
from ca.recipe import SELF, Recipe
from ca.revocation import publish
from ca.rotation import Rotation, Step, What
from ca.store import ADOPTED, AUTHORITY, CARRIED, CERT, LEDGER, PERSON, RETIRED, Store, digest, write_changed
from catalogue import GOOD_SERVER, Catalogue, LabError, ManifestError, Trust, nearest
from catalogue.manifest import NAME, Issued, Manifest
from catalogue.manifest import load as load_manifest

PUBLIC_ROOT = "public_root.pem"
TRUST_FILES: dict[Trust, tuple[str, ...]] = {
    Trust.FULLCHAIN: ("validation-intermediate", "validation-root"),
    Trust.ROOT: ("validation-root",),
    Trust.INTERMEDIATE: ("validation-intermediate",),
    Trust.MIXED: ("validation-intermediate", "validation-root", "public-root"),
}
_DNS_NAME = re.compile(r"(?=.{1,253}$)(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Issuance:
    """What an issue did: names and why each was issued; how many were kept; what a server may serve and trust now.

    `client_digest` is of all that a client reads.
    """

    issued: dict[str, str]
    kept: int
    served: Mapping[str, Credential]
    trusted: Mapping[Trust, bytes]
    client_digest: str


def issue(
    catalogue: Catalogue,
    store: Store,
    server_names: str = "",
    say: Callable[[str], None] = print,
    rotate: tuple[What, Step | None] | None = None,
    *,
    acme: bool = False,
) -> Issuance:
    """Complete the set of certificates in a store.

    Args:
        server_names: further names of the server, separated by commas: DNS names or IP addresses.
        say: called with a line for each certificate that is issued.
        rotate: what is to be issued anew, and for a root which step of that, or None for the next.
        acme: an ACME server needs a certificate, too, and its clients the root.

    Raises:
        LabError: a name is no name, the catalogue needs a credential that nobody makes, a folder can't be
            written, it is another step's turn.
    """
    leaves = _leaves(catalogue, parse_names(server_names)) + ([pebble()] if acme else [])
    with store.locked():
        ledger = _ledger(store, say)
        names.release(ledger, (leaf.name for leaf in leaves), say)
        theirs = adopted(store)
        other = elsewhere.read(store)
        if rotate and rotate[0] is not What.SERVER:
            refuse_rotation(theirs)
        turned = _rotated(catalogue, store, ledger, rotate)
        recipes = sorted((*turned.authorities(), *leaves), key=lambda r: r.role not in (*AUTHORITY, "faulty"))
        reasons = {recipe.name: recipe.revoked for recipe in recipes if recipe.revoked}
        issued: dict[str, str] = {}
        credentials: dict[str, Credential] = {}
        entries = {name: entry for name, entry in ledger.items() if entry.role in CARRIED}
        say_misissued(recipes, ledger, say)
        below = leaves_below(theirs, recipes, say) if theirs else {}
        if theirs:
            credentials[ADOPTED] = theirs
            upper = sha256(theirs.above[0]) if theirs.above else ELSEWHERE
            entries[ADOPTED] = entry_of(RECIPE, theirs.certificate, upper)
        for recipe in recipes:
            if issued and recipe.name == "healthcheck":  # the first leaf: what it needs is published before it
                _publish(store, credentials, turned, other)
                publish(store, ledger | entries, reasons)
            folder = store.folder(recipe.role, recipe.name)
            issuer = None if recipe.issuer == SELF else credentials[recipe.issuer]
            if recipe.name in below:
                recipe, issuer = below[recipe.name], theirs
            held = store.read(recipe, issuer)
            if held is None and recipe.role in AUTHORITY and (recipe.name in ledger or (folder / CERT).exists()):
                fact = "its files are missing or damaged, and everything it signed depends on it"
                raise LabError(f"could not keep {recipe.name}", fact, "make clean up")
            why = _why_issue(recipe, held, issuer, ledger.get(recipe.name))
            if rotate and rotate[0] is What.SERVER and recipe.name == GOOD_SERVER:
                why = why or "it is rotated"
            if held and not why and not store.holds(folder, held):
                why = "its chain was damaged"
            if why or held is None:
                (store.client / NAME).unlink(missing_ok=True)
                if before := ledger.pop(recipe.name, None):  # killed while it is replaced, it counts as never issued
                    entries |= superseded(recipe.name, before)
                    _save(store, Manifest(catalogue.sha256, ledger | entries))
                (folder / CERT).unlink(missing_ok=True)  # it is written last: its presence means a whole credential
                held = make(recipe, issuer)
                store.write(folder, held)
                issued[recipe.name] = why
                say(f"issued {recipe.name}: {why}")
            credentials[recipe.name] = held
            entries[recipe.name] = _entry(recipe, held, issuer)
            if issued.get(recipe.name):
                _save(store, Manifest(catalogue.sha256, ledger | entries))
        trusted = _publish(store, credentials, turned, other)
        publish(store, entries, reasons)
        if acme:
            write_changed(store.acme / PUBLIC_ROOT, credentials["public-root"].cert_pem())
        _save(store, Manifest(catalogue.sha256, entries))
        published = {
            n: e for n, e in entries.items() if e.role in ("client", "server") or (e.role == PERSON and e.files)
        }
        write_changed(store.client / NAME, Manifest(catalogue.sha256, published, other.name if other else "").dumps())
        rotation.save(store, replace(turned, unfinished=""))
        return Issuance(issued, len(recipes) - len(issued), credentials, trusted, digest(store.client))


def parse_names(text: str) -> tuple[str, ...]:
    """Turn `a.example, 10.0.0.1` into subject alternative names."""
    sans = []
    for name in filter(None, (part.strip().lower() for part in text.split(","))):
        try:
            sans.append(f"IP:{ipaddress.ip_address(name)}")
        except ValueError:
            if not _DNS_NAME.fullmatch(name):
                fact = f"{name!r} is neither a DNS name nor an IP address"
                raise LabError(
                    "could not read LAB_SERVER_NAMES", fact, "make up LAB_SERVER_NAMES=lab.example,10.0.0.1"
                ) from None
            sans.append(f"DNS:{name}")
    return tuple(sans)


def ledger(store: Store) -> dict[str, Issued]:
    """Return everything that was issued, roots and intermediates included.

    Raises:
        ManifestError: nothing was, or the record of it is corrupt.
    """
    return load_manifest(store.private / LEDGER).credentials


def serving(done: Issuance, catalogue: Catalogue, name: str, trust: str) -> dict[str, str]:
    """Return the environment that a server of a credential and a trust file needs, besides their paths.

    LAB_GENERATION is a digest of all that it, or a proxy in front of it, reads: when that changes, they must be started
    anew.

    Raises:
        LabError: there is no such server credential or trust file.
    """
    if name not in catalogue.server_credentials:
        fact = f"no such server credential; {nearest(name, catalogue.server_credentials)}"
        raise LabError(f"could not serve {name or '(none was named)'}", fact, "make up SERVER_CREDENTIAL=server-good")
    if trust not in tuple(Trust):
        fact = f"no such trust file; {nearest(trust, tuple(Trust))}"
        raise LabError(f"could not trust {trust or '(none was named)'}", fact, f"make up TRUST={Trust.FULLCHAIN}")
    read = [done.served[leaf].cert_pem() for leaf in (name, "healthcheck", "proxy")]
    digest = hashlib.sha256(b"".join((*read, done.trusted[Trust(trust)]))).hexdigest()[:12]
    pass_phrase = done.served[name].pass_phrase
    return {"LAB_GENERATION": digest} | ({"UVICORN_SSL_KEYFILE_PASSWORD": pass_phrase} if pass_phrase else {})


def _rotated(
    catalogue: Catalogue, store: Store, ledger: dict[str, Issued], rotate: tuple[What, Step | None] | None
) -> Rotation:
    """Begin a rotation of an authority, complete the renaming of one, and return how far it is."""
    if rotate and rotate[0] is not What.SERVER:
        what, step = rotate
        rotation.save(store, rotation.begin(rotation.read(store), what, step, ledger))
    before = dict(ledger)
    turned = rotation.settle(store, ledger)
    if ledger != before:
        _save(store, Manifest(catalogue.sha256, ledger))
    rotation.save(store, turned)
    return turned


def _leaves(catalogue: Catalogue, sans: tuple[str, ...]) -> list[Recipe]:
    """Return what the lab needs besides the authorities, the health check's leaf first."""
    made = CLIENTS | SERVERS
    recipes = [healthcheck(), proxy()]
    for name in (*catalogue.server_credentials, *catalogue.credentials):
        if name not in made:
            fact = f"nothing makes the credential {name}; {nearest(name, made)}"
            raise LabError("could not issue the catalogue", fact, "edit ca/clients.py or ca/servers.py")
        recipes += recipes_of(name, sans)
    return recipes


def _why_issue(recipe: Recipe, held: Credential | None, issuer: Credential | None, entry: Issued | None) -> str:
    """Return why a credential has to be issued, or nothing if it may be kept.

    Roots and intermediates, which people import, are kept while they are valid.
    """
    if held is None:
        return "its files were missing or damaged" if entry else "new"
    until = held.certificate.not_valid_after_utc
    if recipe.role in AUTHORITY:
        if issuer and not signed_by(held.certificate, issuer.certificate):
            return f"its issuer {recipe.issuer} was issued again"
        return "it has expired" if until < datetime.now(UTC) else ""
    if entry is None or entry.sha256 != sha256(held.certificate):
        return "an earlier issue was interrupted"
    if issuer and entry.issuer_sha256 != sha256(issuer.certificate):
        return f"its issuer {recipe.issuer} was issued again"
    if entry.recipe != recipe.digest():
        return "what it should say has changed"
    if not recipe.validity.still_holds(held.certificate.not_valid_before_utc, until, datetime.now(UTC)):
        return "its time is running out"
    return ""


def _publish(
    store: Store, credentials: dict[str, Credential], turned: Rotation, other: Elsewhere | None
) -> dict[Trust, bytes]:
    """Write the trust files beside the credentials, and return what the server's hold."""
    theirs = credentials.get(ADOPTED)
    beside = {rotation.INTERMEDIATE: theirs.cert_pem(), rotation.ROOT: theirs.above_pem()} if theirs else {}

    def pem(name: str) -> bytes:
        if name not in credentials:
            return (store.folder(RETIRED, name) / CERT).read_bytes()
        return beside.get(name, b"") + credentials[name].cert_pem()

    trusted = {
        trust: b"".join(pem(name) for anchor in anchors for name in (anchor, *turned.trusted_too(anchor)))
        for trust, anchors in TRUST_FILES.items()
    }
    write_changed(store.server / PUBLIC_ROOT, pem("public-root"))
    write_changed(store.client / PUBLIC_ROOT, other.root.encode() if other else pem("public-root"))
    for folder in (store.server, store.client):
        for trust, data in trusted.items():
            write_changed(folder / f"{trust}.pem", data)
    return trusted


def _entry(recipe: Recipe, credential: Credential, issuer: Credential | None) -> Issued:
    files = client_files(recipe.name) if recipe.role == "client" else {}
    return entry_of(recipe, credential.certificate, sha256(issuer.certificate) if issuer else "", files)


def _ledger(store: Store, say: Callable[[str], None]) -> dict[str, Issued]:
    """Return what was issued. A corrupt ledger is as good as none: whole roots and intermediates are kept."""
    path = store.private / LEDGER
    try:
        return load_manifest(path).credentials if path.exists() else {}
    except ManifestError as error:
        say(f"{path.name} can't be used ({error.fact}): roots and intermediates are kept, the rest is issued again")
        return {}


def _save(store: Store, manifest: Manifest) -> None:
    write_changed(store.private / LEDGER, manifest.dumps())
