"""Bundle a credential as PKCS#12 (RFC 7292), for browsers, operating systems and Java."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import PBES, serialize_key_and_certificates

from ca.recipe import PASS_PHRASE
from ca.store import FULLCHAIN, KEY, PERSON, Store
from catalogue import LabError, nearest
from catalogue.manifest import Issued

DEFAULT_PASSWORD = PASS_PHRASE


def export(store: Store, entries: dict[str, Issued], name: str, password: str, *, legacy: bool) -> bytes:
    """Return a client's key, certificate and intermediates as PKCS#12 (DER).

    Args:
        password: of the bundle, not empty: importers differ about empty ones.
        legacy: 3DES and SHA-1, for older macOS, Windows and Java; else AES-256 and SHA-256.

    Raises:
        LabError: no such client credential, its key is not here, or there is no password.
    """
    failed, cure = f"could not export {name or '(none was named)'}", "make export-p12 NAME=client-good"
    if not password:
        raise LabError(failed, "the password is empty, which importers don't agree how to read", cure)
    with_key = [n for n, e in entries.items() if "privkey" in e.files]
    if name not in entries:
        raise LabError(failed, f"no such client credential; {nearest(name, with_key)}", cure)
    entry = entries[name]
    if name not in with_key:
        fact = "it is no client's" if entry.role != PERSON else "the CA has no key of it: it signed a request"
        own = f"openssl pkcs12 -export -inkey certs/clients/{name}/privkey.pem -in certs/clients/{name}/fullchain.pem"
        raise LabError(failed, fact, cure if entry.role != PERSON else f"{own} -out bundle.p12")
    folder = store.client / "clients" / name
    try:
        pass_phrase = entry.pass_phrase.encode() or None
        key = load_pem_private_key((folder / KEY).read_bytes(), pass_phrase, unsafe_skip_rsa_key_validation=True)
        leaf, *above = x509.load_pem_x509_certificates((folder / FULLCHAIN).read_bytes())
        algorithm = PBES.PBESv1SHA1And3KeyTripleDESCBC if legacy else PBES.PBESv2SHA256AndAES256CBC
        digest = hashes.SHA1() if legacy else hashes.SHA256()  # noqa: S303  # what older importers know
        builder = PrivateFormat.PKCS12.encryption_builder().key_cert_algorithm(algorithm).hmac_hash(digest)
        encryption = builder.build(password.encode())
        return serialize_key_and_certificates(name.encode(), key, leaf, above, encryption)  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError) as error:
        raise LabError(failed, f"its files can't be bundled ({error})", "make up") from None
