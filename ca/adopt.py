"""Import an intermediate CA of the user, for example an enterprise's. It then signs the good client certificates.

The lab checks the intermediate as a verifier does, before it uses it. It is kept in `ca-private/validation-adopted`,
beside the lab's own intermediate. So the user can go back to that one.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import name_constraints, plain_key
from ca.certificates import ORGANIZATION, UNREADABLE, signed_by
from ca.entry import superseded
from ca.imported import Imported, NotPermittedError, fault
from ca.recipe import SELF, Recipe
from ca.requests import CURVES, MIN_RSA_BITS
from ca.rotation import INTERMEDIATE
from ca.store import ADOPTED, CERT, KEY, SUPERSEDED, Store, write_file
from catalogue import LabError, visible
from catalogue.manifest import Issued

_CURE = "make up LAB_VALIDATION_CA_CERT=intermediate.pem LAB_VALIDATION_CA_KEY=intermediate.key"
_HOW = "see docs/validation-ca.md for one that works, and ask your CA for such a certificate"
ABOVE = "above.pem"
_OWN = "," + x509.Name(ORGANIZATION).rfc4514_string()  # how the names of the lab's own authorities end
RECIPE = Recipe(ADOPTED, "intermediate", None, SELF, is_ca=True)


def adopted(store: Store) -> Imported | None:
    """Return the adopted intermediate with the certificates above it, or None.

    Raises:
        LabError: its files are damaged.
    """
    folder = store.private / ADOPTED
    if not (folder / CERT).exists():
        return None
    try:
        pem = (folder / CERT).read_bytes() + (folder / ABOVE).read_bytes() + (folder / KEY).read_bytes()
    except OSError as error:
        raise LabError(f"could not read {error.filename}", error.strerror or str(error), _CURE) from None
    try:
        return check(pem, ())
    except LabError as error:
        cure = "make up LAB_VALIDATION_CA_CERT=none, or with a newer one"
        raise LabError("could not use the adopted intermediate", error.fact, cure) from None


def adopt(store: Store, pem: bytes) -> tuple[Imported, bool]:
    """Check an intermediate and keep it. Returns it and whether it is another than before.

    Args:
        pem: the intermediate, optionally followed by what is above it up to the root, and its key, in one text.

    Raises:
        LabError: it can't be used; says why. Nothing was changed.
    """
    public = [store.folder("root", f"public-{kind}") / CERT for kind in ("root", "intermediate")]
    held = check(pem, tuple(x509.load_pem_x509_certificate(p.read_bytes()) for p in public if p.exists()))
    folder = store.private / ADOPTED
    with store.locked():
        old = folder / CERT
        changed = not old.exists() or old.read_bytes() != held.cert_pem()
        if not changed and (folder / ABOVE).exists() and (folder / ABOVE).read_bytes() == held.above_pem():
            return held, False
        folder.mkdir(mode=0o700, exist_ok=True)
        old.unlink(missing_ok=True)  # written last: its presence means that the rest is whole
        write_file(folder / KEY, held.key_pem(), 0o600)
        write_file(folder / ABOVE, held.above_pem())
        write_file(old, held.cert_pem())
    return held, changed


def leave(store: Store) -> bool:
    """Forget the adopted intermediate and its key. Returns whether there was one."""
    with store.locked():
        folder = store.private / ADOPTED
        there = folder.exists()
        (folder / CERT).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return there


def check(pem: bytes, public: tuple[x509.Certificate, ...]) -> Imported:
    """Return an intermediate, its key and what is above it, if a verifier would accept what it signs.

    Raises:
        LabError: it would not; says why.
    """
    try:
        certificate, *above = x509.load_pem_x509_certificates(pem)
    except UNREADABLE:
        raise _refused("LAB_VALIDATION_CA_CERT holds no certificate in PEM", _CURE) from None
    try:
        key = _key(pem)
        if key.public_key() != certificate.public_key():
            raise _refused("LAB_VALIDATION_CA_KEY is not the key of its first certificate", _CURE)
        if any(_is_of(one, theirs) for one in (certificate, *above) for theirs in public):
            raise _refused("it is of the lab's public PKI, which signs servers: clients need another", _HOW)
        for one in (certificate, *above):
            _check_authority(one)
        if certificate.subject == certificate.issuer:
            fact = "it is a root: a root signs intermediates and is kept offline, and an intermediate can be replaced"
            raise _refused(fact, "make an intermediate below it, as docs/validation-ca.md does")
        _check_usage(certificate)
        _check_chain(certificate, above)
    except UNREADABLE as error:
        raise _refused(f"it can't be understood ({visible(str(error))})", _HOW) from None
    return Imported(certificate, key, tuple(above))


def refuse_rotation(theirs: Imported | None) -> None:
    """Refuse to rotate the lab's own authorities while clients are not issued below them.

    Raises:
        LabError: an intermediate is adopted.
    """
    if theirs:
        fact = f"good clients are issued below the adopted {theirs.name}, which its own CA renews"
        raise LabError("could not rotate the lab's authorities", fact, "make up LAB_VALIDATION_CA_CERT=none")


def leaves_below(theirs: Imported, recipes: Iterable[Recipe], say: Callable[[str], None]) -> dict[str, Recipe]:
    """Return what the imported CA signs, by name and as it permits it: good clients. The lab's own CA signs the rest.

    Says so, and what is not permitted.
    """
    back = "back: make up LAB_VALIDATION_CA_CERT=none"
    say(f"good clients are issued below the adopted {theirs.name}, faulty ones below the lab's own CA; {back}")
    below: dict[str, Recipe] = {}
    left_out, refused = 0, []
    for recipe in recipes:
        if recipe.role == "client" and recipe.issuer == INTERMEDIATE and not fault(recipe):
            emails = tuple(san for san in recipe.sans if san.startswith("EMAIL:"))
            try:
                fitted, without = theirs.fitted(recipe, emails)
            except NotPermittedError as error:
                refused.append(f"{recipe.name} ({error})")
            else:
                left_out += bool(without)
                below[recipe.name] = fitted
    if left_out:
        say(f"good clients without e-mail address: {left_out}; the adopted CA's name constraints do not permit it")
    if refused:
        why = "the adopted CA's name constraints do not permit them"
        say(f"good clients below the lab's own CA: {', '.join(refused)}; {why}")
    return below


def say_misissued(recipes: Iterable[Recipe], ledger: Mapping[str, Issued], say: Callable[[str], None]) -> None:
    """Say which faulty certificates an earlier version had an imported CA sign: its owner should revoke them there.

    Each one that is about to be replaced, by its serial; and on each run how many were replaced and have not expired.
    """
    faulty = {recipe.name for recipe in recipes if fault(recipe)}
    before = ledger.get(ADOPTED)
    for name in sorted(faulty):
        for entry in superseded(name, ledger.get(name)).values():
            if before and entry.issuer_sha256 == before.sha256:
                say(f"revoke at {visible(before.subject)}: serial {entry.serial}, an earlier {name} that it signed")
    replaced: Counter[str] = Counter()
    now = datetime.now(UTC)
    for name, entry in ledger.items():
        valid = entry.role == SUPERSEDED and datetime.fromisoformat(entry.not_after) > now
        if valid and name.partition("@")[0] in faulty and not _is_the_lab_s(entry, before):
            replaced[visible(entry.issuer)] += 1
    for owner, count in replaced.items():
        fact = f"faulty certificates that {owner} signed for an earlier version: {count}"
        say(f"still valid: {fact}; revoke them there; make list names the serials")


def _is_the_lab_s(entry: Issued, imported: Issued | None) -> bool:
    """Tell by the issuer's name whether the lab signed a certificate: the ledger forgets rotated authorities."""
    if imported and entry.issuer_sha256 == imported.sha256:
        return False
    return entry.issuer.endswith(_OWN)


def _check_chain(certificate: x509.Certificate, above: list[x509.Certificate]) -> None:
    lower = certificate
    for below, upper in enumerate(above, 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (InvalidSignature, *UNREADABLE):  # names that differ, or another kind of key
            fact = f"{_name(lower)} is not signed by {_name(upper)}, which follows it"
            raise _refused(fact, "put the intermediate first, and each one's issuer after it") from None
        length = upper.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        if length is not None and length < below:
            fact = f"{_name(upper)} allows {length} intermediates below it (pathLen), and there are {below}"
            raise _refused(fact, _HOW)
        _check_permitted(lower, above[below - 1 :])
        lower = upper


def _check_permitted(certificate: x509.Certificate, above: list[x509.Certificate]) -> None:
    """Refuse a CA whose own names those above it do not permit: verifiers refuse all below it."""
    names = [x509.DirectoryName(certificate.subject)]
    sans = (e.value for e in certificate.extensions if isinstance(e.value, x509.SubjectAlternativeName))
    constraints = name_constraints.of(above)
    if not all(name_constraints.permits(constraints, name) for name in (*names, *(n for san in sans for n in san))):
        fact = f"a CA above it does not permit the name {_name(certificate)} (nameConstraints)"
        raise _refused(fact, _HOW)


def _key(pem: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        key, _ = plain_key.read(pem)
    except plain_key.UnusableKeyError as error:
        cure = "openssl pkey -in intermediate.key -out plain.key, then name plain.key" if error.encrypted else _CURE
        raise _refused(f"LAB_VALIDATION_CA_KEY {error}", cure) from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, CURVES):
        return key
    raise _refused(f"its key is neither RSA of {MIN_RSA_BITS} bits or more nor EC P-256, P-384 or P-521", _HOW)


def _check_authority(certificate: x509.Certificate) -> None:
    """Refuse what is no CA certificate of today (RFC 5280 4.2.1.9, 4.2.1.3)."""
    name, now = _name(certificate), datetime.now(UTC)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise _refused(f"{name} has no basicConstraints: it is no CA certificate", _HOW) from None
    if problem := name_constraints.unusable(certificate):
        raise _refused(f"{name}: {problem}", _HOW)
    if not constraints.ca:
        raise _refused(f"{name} is no CA certificate (basicConstraints CA:FALSE)", _HOW)
    if certificate.not_valid_before_utc > now:
        raise _refused(f"{name} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", "date -u")
    if certificate.not_valid_after_utc < now + timedelta(days=1):
        fact = f"{name} is valid until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: that is less than a day"
        raise _refused(fact, "renew it at your CA")
    if isinstance(certificate.signature_hash_algorithm, (hashes.SHA1, hashes.MD5)) and not _is_self_signed(certificate):
        raise _refused(
            f"{name} is signed with {certificate.signature_hash_algorithm.name.upper()}", "reissue it: SHA-256"
        )


def _check_usage(certificate: x509.Certificate) -> None:
    name, extensions = _name(certificate), certificate.extensions
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or not usage.key_cert_sign:
        raise _refused(f"{name} may not sign certificates (keyUsage has no keyCertSign)", _HOW)
    if not usage.crl_sign:
        raise _refused(
            f"{name} may not sign revocation lists (keyUsage has no cRLSign), and the lab has one of it", _HOW
        )
    try:
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        raise _refused(f"{name} has no subjectKeyIdentifier, which strict verifiers demand", _HOW) from None
    try:
        eku = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    if not eku & {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}:
        raise _refused(f"{name} is limited to other uses than clientAuth (extendedKeyUsage)", _HOW)


def _is_of(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    return certificate.public_key() == authority.public_key() or signed_by(certificate, authority)


def _is_self_signed(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _name(certificate: x509.Certificate) -> str:
    return visible(certificate.subject.rfc4514_string())


def _refused(fact: str, cure: str) -> LabError:
    return LabError("could not adopt the intermediate", fact, cure)
