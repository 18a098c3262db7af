"""Issue certificates for people: for a request of their own key, or with a key made here.

They are recorded in the ledger as role `person`, which issuing the catalogue leaves alone. The key of a signed request
is never seen; a key made here lies with the clients' files and is copied to the host by `make certs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509

from ca import names
from ca.adopt import adopted
from ca.certificates import Credential, certify, make
from ca.credentials import client_leaf
from ca.entry import client_files, entry_of, sha256, superseded
from ca.imported import Imported, NotPermittedError, fault
from ca.recipe import BACKDATED, DAY, Key, Recipe, Validity
from ca.requests import CURE, DOMAIN, Wish, allowed_uri, check_text
from ca.store import CERT, FULLCHAIN, LEDGER, PERSON, Store, write_changed, write_file
from catalogue import Catalogue, LabError, nearest, visible, word
from catalogue.manifest import NAME, Issued, Manifest
from catalogue.manifest import load as load_manifest

DAYS = 90
KEY_TYPES = {"p256": Key.P256, "p384": Key.P384, "rsa3072": Key.RSA_3072, "ed25519": Key.ED25519}
KEY_TYPE = "p256"
_SIGNER = "validation-intermediate"


@dataclass(frozen=True)
class Desk:
    """Where people's certificates are issued: the store, what names are the catalogue's, and where to say what."""

    store: Store
    catalogue: Catalogue
    say: Callable[[str], None]

    def sign(
        self,
        wish: Wish,
        name: str,
        days: int | None,
        *,
        units: tuple[str, ...] = (),
        uris: tuple[str, ...] = (),
        again: bool = False,
        file: str = "bob.csr",
    ) -> bytes:
        """Issue a certificate for a checked request and record it.

        Args:
            name: whom whoever signs knows it to be from. It must be its common name.
            units, uris: what it may ask for besides NAME@DOMAIN and spiffe://DOMAIN/people/NAME.
            file: where the request is, for the command that would allow it.
            days: how long it is valid; None for 90 days, or as long as its issuer if that is less.
            again: whether it may take the place of an earlier one of that name.

        Returns: leaf and intermediates as PEM, the leaf first.

        Raises:
            LabError: the name or the days are refused, or nothing was issued yet.
        """
        used = signing(file, name or wish.common_name, units, uris, again=again)
        recipe = self._recipe(name or wish.common_name, wish.common_name, wish.organizational_units, (), days, used)
        granted = (f"EMAIL:{name}@{DOMAIN}", f"URI:spiffe://{DOMAIN}/people/{name}", *(f"URI:{uri}" for uri in uris))
        rest = f" DAYS={days}" if days is not None else ""
        self._check_granted(wish, name, units, granted, rest, file, again=again)
        others = [f"the name {san}: it is not {name}'s" for san in wish.sans if san not in granted]
        for line in (*wish.ignored, *others):
            self.say(f"ignored {line}")
        recipe = replace(recipe, sans=tuple(san for san in wish.sans if san in granted))
        with self.store.locked():
            allowed = tuple(f"URI:{uri}" for uri in uris)
            optional = tuple(san for san in recipe.sans if san not in allowed)
            exactly = days is not None
            issuer, entries, recipe = self._open(recipe, optional, CURE, used, again=again, exactly=exactly)
            certificate = certify(recipe, wish.public_key, issuer, issuer.key)
            signed = Credential(certificate, issuer.key, (issuer.certificate, *issuer.above))
            self._record(recipe, signed, entries, {})
        return signed.fullchain_pem()

    def issue(
        self,
        name: str,
        units: tuple[str, ...],
        uris: tuple[str, ...],
        days: int | None,
        key_type: str,
        *,
        email: bool = True,
        again: bool = False,
    ) -> bytes:
        """Make a key and a certificate, put both with the clients' files, and return the certificate like `sign`.

        Raises:
            LabError: the name, a unit, a URI, the days or the kind of key is refused, or nothing was issued yet.
        """
        for unit in units:
            check_text(unit)
        shown = word(name, "bob")
        for uri in uris:
            if not allowed_uri(uri):
                cure = f"make issue-client NAME={shown} URI=spiffe://{DOMAIN}/people/{shown}"
                raise _refused(name, f"{uri!r} is no SPIFFE id of {DOMAIN}", cure)
        if key_type not in KEY_TYPES:
            fact = f"no such kind of key {key_type!r}; {nearest(key_type, KEY_TYPES)}"
            raise _refused(name, fact, f"make issue-client NAME={shown} KEY_TYPE=p256")
        sans = (*((f"EMAIL:{name}@{DOMAIN}",) if email else ()), *(f"URI:{uri}" for uri in uris))
        used = issuing(name, units, uris, key_type, again=again)
        recipe = replace(self._recipe(name, name, units, sans, days, used), key=KEY_TYPES[key_type])
        with self.store.locked():
            cure = f"make issue-client NAME={name}"
            optional = sans[:1] if email else ()
            exactly = days is not None
            issuer, entries, recipe = self._open(recipe, optional, cure, used, again=again, exactly=exactly)
            made = make(recipe, issuer)
            self.store.write(self.store.folder("client", name), made)
            self._record(recipe, made, entries, client_files(name))
        return made.fullchain_pem()

    def _check_granted(
        self,
        wish: Wish,
        name: str,
        units: tuple[str, ...],
        granted: tuple[str, ...],
        rest: str,
        file: str,
        *,
        again: bool,
    ) -> None:
        """Refuse names that grant something and that whoever signs did not say."""
        cn = wish.common_name
        if cn != name and (problem := names.problem(cn)):
            raise _refused(name or cn, f"its common name is {visible(cn)!r}: {problem}", CURE)
        ids = [san.removeprefix("URI:") for san in wish.sans if san.startswith("URI:")]
        asked = [f"CN={cn}"] if cn != name else []
        asked += [f"OU={unit}" for unit in wish.organizational_units if unit not in units]
        own = f"spiffe://{DOMAIN}/people/{cn}"
        asked += [f"URI={uri}" for uri in ids if f"URI:{uri}" not in granted and uri != own]
        if not asked:
            return
        others = tuple(uri for uri in ids if uri != own)
        allowing = signing(file, cn, wish.organizational_units, others, again=again)
        fact = f"it asks for {', '.join(asked)}, which whoever signs has to allow, knowing who sent it"
        raise _refused(name or cn, fact, f"{allowing}{rest}")

    def _recipe(
        self, name: str, cn: str, units: tuple[str, ...], sans: tuple[str, ...], days: int | None, used: str
    ) -> Recipe:
        if name in (*self.catalogue.credentials, *self.catalogue.server_credentials):
            raise _refused(name, "a credential of the catalogue has this name", f"make show NAME={name}")
        if problem := names.problem(name):
            raise _refused(name, problem, "make issue-client NAME=bob, or: make sign CSR=bob.csr NAME=bob")
        if days is not None and not 1 <= days <= 3650:
            raise _refused(name, f"{days} days are not from 1 to 3650", f"{used} DAYS={DAYS}")
        validity = Validity(BACKDATED, (DAYS if days is None else days) * DAY)
        return client_leaf(name, role=PERSON, common_name=cn, organizational_units=units, sans=sans, validity=validity)

    def _open(
        self, recipe: Recipe, optional: tuple[str, ...], cure: str, used: str, *, again: bool, exactly: bool
    ) -> tuple[Credential, dict[str, Issued], Recipe]:
        """Return the issuer, the ledger without the entry that is replaced, and the recipe as the issuer permits it.

        Args:
            optional: the alternative names that are left out if an imported CA does not permit them.
            cure: how to ask for less.
            used: the command that was used, without DAYS.
            exactly: whether it has to be valid as long as the recipe says; else it may end with its issuer.
        """
        name = recipe.name
        entries = load_manifest(self.store.private / LEDGER).credentials
        held = entries.pop(name, None)
        if held and held.role != PERSON:
            raise _refused(name, f"it is the name of one of the lab's own ({held.role})", f"make show NAME={name}")
        if held and not again:
            fact = f"there is one already, valid until {held.not_after[:10]}; with REPLACE=1 this takes its place"
            raise _refused(name, fact, f"make show NAME={name}")
        issuer = signer(self.store)
        left = issuer.certificate.not_valid_after_utc - datetime.now(UTC)
        if left <= timedelta():
            issued_by = visible(issuer.certificate.subject.rfc4514_string())
            raise _refused(name, f"its issuer {issued_by} has expired", "make up")
        if recipe.validity.end > left and not exactly:
            recipe = replace(recipe, validity=Validity(BACKDATED, left))
        elif recipe.validity.end > left:
            longest = f"{used} DAYS={left.days}" if left.days else used
            raise _refused(name, f"its issuer expires before, in {left.days} days", longest)
        if isinstance(issuer, Imported):
            recipe = self._fitted(recipe, issuer, optional, cure)
        if held:
            self.say(
                f"replaced: the certificate {held.serial} stays valid until {held.not_after[:10]}, unless revoked:"
            )
            self.say(f"  make revoke CREDENTIAL={held.serial}")
            entries |= superseded(name, held)
        return issuer, entries, recipe

    def _fitted(self, recipe: Recipe, issuer: Imported, optional: tuple[str, ...], cure: str) -> Recipe:
        """Return the recipe without the names that an imported CA does not permit; say which, or refuse it."""
        if problem := fault(recipe):
            raise _refused(recipe.name, f"{problem}, and an imported CA signs only good clients", cure)
        try:
            fitted, left_out = issuer.fitted(recipe, optional)
        except NotPermittedError as error:
            fact = f"{issuer.name} does not permit {error} (nameConstraints)"
            back = "make up LAB_VALIDATION_CA_CERT=none"
            raise _refused(recipe.name, fact, cure if set(recipe.sans) - set(optional) else back) from None
        for san in left_out:
            self.say(f"ignored the name {san}: {issuer.name} does not permit it (nameConstraints)")
        return fitted

    def _record(self, recipe: Recipe, held: Credential, entries: dict[str, Issued], files: dict[str, str]) -> None:
        """Write the certificate, then the ledger, and last the manifest that clients read."""
        name = recipe.name
        folder = self.store.folder(PERSON, name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(folder / FULLCHAIN, held.fullchain_pem())
        write_file(folder / CERT, held.cert_pem())
        entry = entry_of(recipe, held.certificate, sha256(held.above[0]), files)
        old = load_manifest(self.store.private / LEDGER)
        write_changed(self.store.private / LEDGER, Manifest(old.catalogue_sha256, entries | {name: entry}).dumps())
        path = self.store.client / NAME
        if path.exists():
            shown = load_manifest(path)
            others = {n: e for n, e in shown.credentials.items() if n != name}
            published = others | ({name: entry} if files else {})
            write_changed(path, replace(shown, credentials=published).dumps())
        subject = visible(entry.subject)
        self.say(f"issued {name}: {subject}, {', '.join(entry.sans) or 'no names'}, until {entry.not_after[:10]}")


def signing(file: str, name: str, units: Iterable[str], uris: Iterable[str], *, again: bool) -> str:
    """Return the command that signs a request, without DAYS, for people to paste."""
    knobs = {"CSR": file, "NAME": name, "OU": ",".join(units), "URI": ",".join(uris), "REPLACE": "1" if again else ""}
    return _command("sign", knobs)


def issuing(name: str, units: Iterable[str], uris: Iterable[str], key_type: str, *, again: bool) -> str:
    """Return the command that makes a key and a certificate, without DAYS, for people to paste."""
    knobs = {"NAME": name, "OU": ",".join(units), "URI": ",".join(uris)}
    knobs |= {"KEY_TYPE": "" if key_type == KEY_TYPE else key_type, "REPLACE": "1" if again else ""}
    return _command("issue-client", knobs)


def _command(target: str, knobs: dict[str, str]) -> str:
    words = (word(f"{knob}={value}", f"{knob}=...") for knob, value in knobs.items() if value)
    return " ".join(("make", target, *words))


def signer(store: Store) -> Credential:
    """Return who signs for people: the adopted intermediate if there is one, else the lab's own.

    Raises:
        LabError: there is none yet, or its files are damaged.
    """
    if theirs := adopted(store):
        return theirs
    try:
        root = x509.load_pem_x509_certificate((store.folder("root", "validation-root") / CERT).read_bytes())
    except (OSError, ValueError) as error:
        raise LabError("could not sign", f"the CA's files are missing or damaged ({error})", "make up") from None
    return replace(store.signer("intermediate", _SIGNER), above=(root,))


def _refused(name: str, fact: str, cure: str) -> LabError:
    return LabError(f"could not issue {name!r}", fact, cure)
