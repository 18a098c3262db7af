"""An enterprise CA as it is imported: a root and an intermediate of it, made with openssl and not by the lab's CA."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

import catalogue
from ca.adopt import adopt
from ca.issue import issue
from ca.store import Store

PROFILE = "basicConstraints=critical,CA:true{}\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
KEYS = {"ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa": ("rsa:2048",)}


@dataclass(frozen=True)
class Case:
    """Name constraints of an intermediate and the root above it, and names that they forbid.

    `base` is how the subjects below begin, as RFC 4514 writes it; `email` tells whether the lab's addresses are
    permitted; `subject` and `names` are of the leaf that is not.
    """

    constraints: str
    subject: tuple[tuple[x509.ObjectIdentifier, str], ...] = ((NameOID.COMMON_NAME, "bob"),)
    names: tuple[x509.GeneralName, ...] = ()
    base: str = "O=mTLS Lab"
    email: bool = True
    above: str = ""


_OURS = x509.RFC822Name("client-good@mtls-lab.test")
_ORGANIZATION, _CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME
_BASE = "dirName:base\n[base]\n1.DC=example\n2.DC=corp\nOU=Lab"
CONSTRAINED = {
    "email, of the lab": Case(
        "critical,permitted;email:mtls-lab.test", names=(x509.RFC822Name("client-good@corp.example"),)
    ),
    "email, of another": Case("critical,permitted;email:corp.example", names=(_OURS,), email=False),
    "email, excluded": Case("critical,excluded;email:mtls-lab.test", names=(_OURS,), email=False),
    "email, above": Case("", names=(_OURS,), email=False, above="critical,permitted;email:corp.example"),
    "not critical": Case("permitted;email:corp.example", names=(_OURS,), email=False),
    "DNS": Case("critical,permitted;DNS:corp.example", names=(x509.DNSName("bob.other.example"),)),
    # OpenSSL takes a common name of two labels or more for a DNS name, if there is no other.
    "DNS, in the common name": Case("critical,permitted;DNS:corp.example", ((_CN, "bob.other.example"),)),
    "DNS, excluded": Case("critical,excluded;DNS:other.example", ((_CN, "bob.other.example"),)),
    "URI": Case(
        "critical,permitted;URI:.corp.example", names=(x509.UniformResourceIdentifier("spiffe://mtls-lab.test/bob"),)
    ),
    "IP": Case("critical,permitted;IP:10.0.0.0/255.0.0.0", names=(x509.IPAddress(IPv4Address("192.0.2.1")),)),
    "directory": Case(
        f"critical,permitted;{_BASE}", ((_ORGANIZATION, "mTLS Lab"), (_CN, "bob")), base="OU=Lab,DC=corp,DC=example"
    ),
    "directory, excluded": Case(
        "critical,excluded;dirName:base\n[base]\nO=Corp", ((_ORGANIZATION, "Corp"), (_CN, "bob"))
    ),
}


@dataclass(frozen=True)
class Corporate:
    """A root and an intermediate, each with its key, and both as the PEM that the lab is given."""

    root: x509.Certificate
    root_key: Any = field(repr=False)
    certificate: x509.Certificate
    key: Any = field(repr=False)
    pem: bytes = field(repr=False)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Tell whether the intermediate's key signed this, whatever names are in it."""
        public, algorithm = self.key.public_key(), certificate.signature_hash_algorithm
        message = (certificate.signature, certificate.tbs_certificate_bytes)
        try:
            if isinstance(public, rsa.RSAPublicKey):
                public.verify(*message, padding.PKCS1v15(), algorithm)  # type: ignore[arg-type]
            else:
                public.verify(*message, ec.ECDSA(algorithm))  # type: ignore[arg-type]
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True

    def leaf(
        self, subject: Sequence[tuple[x509.ObjectIdentifier, str]], *sans: x509.GeneralName, key: Any = None
    ) -> x509.Certificate:
        """Return a leaf that is good but for its names, signed without asking whether the CA permits them."""
        now, public = datetime.now(UTC), (key or ec.generate_private_key(ec.SECP256R1())).public_key()
        builder = x509.CertificateBuilder(
            self.certificate.subject,
            x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]),
            public,
            x509.random_serial_number(),
            now - timedelta(minutes=1),
            now + timedelta(days=9),
        )
        usage = dict.fromkeys(USAGES, False) | {"digital_signature": True}
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(False, None), True),
            (x509.KeyUsage(**usage), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        ]
        if sans:
            extensions.append((x509.SubjectAlternativeName(sans), not subject))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())


def corporate(
    folder: Path, constraints: str = "", *, above: str = "", path_length: str = "", key: str = "ec", days: int = 300
) -> Corporate:
    """Make an enterprise's root and intermediate.

    Args:
        constraints: the intermediate's nameConstraints, as openssl.cnf has them, with the sections that they name.
        above: the root's.
        path_length: `,pathlen:0` for a CA that may sign leaves alone.
        key: the intermediate's kind of key, `ec` or `rsa`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    certificates, keys = {}, {}
    issuer: tuple[str, ...] = ("-signkey", "root.key")
    for name, said, length in (("root", above, ""), ("sub", constraints, path_length)):
        subject = f"/DC=example/DC=corp/CN=Corp {name}"
        new = ("-newkey", *KEYS["ec" if name == "root" else key], "-noenc", "-keyout", f"{name}.key")
        _openssl("req", "-new", *new, "-subj", subject, "-out", "csr", cwd=folder)
        aki = "authorityKeyIdentifier=keyid\n" if name == "sub" else ""
        (folder / "ext").write_text(PROFILE.format(length) + aki + (f"nameConstraints={said}\n" if said else ""))
        made = ("-sha256", "-days", str(days), "-extfile", "ext", "-out", f"{name}.pem")
        _openssl("x509", "-req", "-in", "csr", *issuer, *made, cwd=folder)
        issuer = ("-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "0x1234567890abcdef")
        certificates[name] = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        keys[name] = load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    pem = b"".join((folder / name).read_bytes() for name in ("sub.pem", "root.pem", "sub.key"))
    return Corporate(certificates["root"], keys["root"], certificates["sub"], keys["sub"], pem)


def imported(state: Path, corp: Corporate, *scenarios: str) -> tuple[Store, list[str]]:
    """Import a CA, and issue the credentials of all scenarios or some. Returns the store and what was said."""
    store, known, said = Store(state), catalogue.load(), []
    few = {name: known.scenarios[name] for name in scenarios} if scenarios else known.scenarios
    adopt(store, corp.pem)
    issue(replace(known, scenarios=few), store, say=said.append)
    return store, said


def faults(certificate: x509.Certificate, issuer: x509.Certificate) -> list[str]:
    """Return what is wrong with a client's certificate: what an enterprise would not want to have signed."""
    found, extensions, now = [], certificate.extensions, datetime.now(UTC)
    get = extensions.get_extension_for_class
    known = {
        *(ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE),
        *(ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER),
    }
    found += [f"no {oid.dotted_string}" for oid in known - {e.oid for e in extensions}]
    others = {e.oid for e in extensions} - known - {ExtensionOID.SUBJECT_ALTERNATIVE_NAME}
    found += [f"extension {oid.dotted_string}" for oid in others]
    if found:
        return found
    if get(x509.BasicConstraints).value != x509.BasicConstraints(False, None):
        found.append("it is a CA")
    usage = get(x509.KeyUsage).value
    if [u for u in USAGES[:7] if getattr(usage, u)] != ["digital_signature"]:
        found.append("key usage")
    if list(get(x509.ExtendedKeyUsage).value) != [ExtendedKeyUsageOID.CLIENT_AUTH]:
        found.append("extended key usage")
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    if get(x509.AuthorityKeyIdentifier).value.key_identifier != identifier:
        found.append("authority key identifier")
    public = certificate.public_key()
    strong = (
        (isinstance(public, rsa.RSAPublicKey) and public.key_size >= 2048)
        or (isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in ("secp256r1", "secp384r1"))
        or isinstance(public, ed25519.Ed25519PublicKey)
    )
    if not strong:
        found.append("key")
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256):
        found.append("signature")
    if not now - timedelta(minutes=10) < certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        found.append("validity")
    if certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        found.append("outlives its issuer")
    names = [a for a in certificate.subject if a.oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if len([a for a in names if a.oid == NameOID.COMMON_NAME]) != 1:
        found.append("not one common name")
    for attribute in names:
        text = str(attribute.value)
        if not text.isascii() or not text.isprintable() or set(text) & set(',=+"\\<>;#/'):
            found.append(f"name {text!r}")
    return found


USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def _openssl(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
