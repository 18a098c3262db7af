"""Make certificates from recipes, to RFC 5280's profile, so that strict verifiers accept the good ones."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from ca.recipe import ANY_EKU, CLIENT_AUTH, SERVER_AUTH, Files, Key, Recipe, Signature
from ca.tampered import break_signature, sign_with_sha1

# What `cryptography` raises for a certificate, a request or a list that is none to it, though OpenSSL may take it.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    x509.DuplicateExtension,
)
_EKU = {
    CLIENT_AUTH: ExtendedKeyUsageOID.CLIENT_AUTH,
    SERVER_AUTH: ExtendedKeyUsageOID.SERVER_AUTH,
    ANY_EKU: ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
}
_KEY_USAGES = {  # RFC 5280 4.2.1.3
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}
_SAN_KINDS: dict[str, type[x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier]] = {
    "DNS": x509.DNSName,
    "EMAIL": x509.RFC822Name,
    "URI": x509.UniformResourceIdentifier,
}
# How subjects begin.
ORGANIZATION = tuple(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mTLS Lab")]).rdns)
# Of the arc for examples (RFC 5612 2): no verifier knows it.
_UNKNOWN_EXTENSION = ObjectIdentifier("1.3.6.1.4.1.32473.1")

_MAKE_KEY: dict[Key, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    Key.P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    Key.P384: lambda: ec.generate_private_key(ec.SECP384R1()),
    Key.RSA_1024: lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  # the fault of client-weak-rsa
    Key.RSA_3072: lambda: rsa.generate_private_key(65537, 3072),
    Key.ED25519: ed25519.Ed25519PrivateKey.generate,
    Key.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
}


@dataclass(frozen=True)
class Credential:
    """A certificate, its private key, and the certificates above it (nearest first, the root last)."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes
    above: tuple[x509.Certificate, ...] = ()
    files: Files = Files.GOOD
    pass_phrase: str | None = None

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse a recipe that this CA must not sign. The lab's own CAs sign every recipe, also faulty ones."""

    def check_leaf(self, recipe: Recipe, builder: x509.CertificateBuilder) -> None:
        """Refuse a complete certificate that this CA must not sign. The lab's own CAs sign every certificate."""

    def last_moment(self, wanted: datetime) -> datetime:
        """Return the notAfter of a certificate that this CA signs. The lab's own CAs take the wanted time."""
        return wanted

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The certificates that are sent with the leaf, in this order."""
        if self.files is Files.LEAF_ALONE:
            return ()
        return tuple(c for c in self.above if self.files is Files.WITH_ROOT or c.subject != c.issuer)

    def above_pem(self) -> bytes:
        """Return everything above the certificate as PEM, the root too."""
        return _pem(*self.above)

    def cert_pem(self) -> bytes:
        return _pem(self.certificate)

    def chain_pem(self) -> bytes:
        return _pem(*self.chain)

    def fullchain_pem(self) -> bytes:
        """Return leaf and chain in the order in which they are (or should not be) sent."""
        return (
            self.chain_pem() + self.cert_pem() if self.files is Files.REVERSED else self.cert_pem() + self.chain_pem()
        )

    def key_pem(self) -> bytes:
        """Return the key as PKCS#8 PEM (RFC 5958), encrypted if it has a pass phrase."""
        encryption = BestAvailableEncryption(self.pass_phrase.encode()) if self.pass_phrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def make(recipe: Recipe, issuer: Credential | None, now: datetime | None = None) -> Credential:
    """Make a key and a certificate from a recipe, signed by its issuer or, with None, by itself."""
    key = _MAKE_KEY[recipe.key]()
    signer = issuer.key if issuer else key
    certificate = certify(recipe, key.public_key(), issuer, signer, now)
    if recipe.signature is Signature.SHA_1:
        certificate = sign_with_sha1(certificate, signer)
    elif recipe.signature is Signature.BROKEN:
        certificate = break_signature(certificate)
    above = (issuer.certificate, *issuer.above) if issuer else ()
    kept = _MAKE_KEY[recipe.key]() if recipe.files is Files.WRONG_KEY else key
    return Credential(certificate, kept, above, recipe.files, recipe.pass_phrase)


def certify(
    recipe: Recipe,
    public_key: CertificatePublicKeyTypes,
    issuer: Credential | None,
    signer: CertificateIssuerPrivateKeyTypes,
    now: datetime | None = None,
) -> x509.Certificate:
    """Make a certificate of a public key from a recipe: the private key may be somebody else's."""
    if issuer:
        issuer.check_recipe(recipe)
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    subject = subject_of(recipe)
    end = now + recipe.validity.end
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + recipe.validity.start)
        .not_valid_after(issuer.last_moment(end) if issuer else end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for extension, critical in _extensions(recipe):
        builder = builder.add_extension(extension, critical)
    if issuer and recipe.authority_key_identifier:
        builder = builder.add_extension(authority_key_identifier(issuer.certificate), critical=False)
    if issuer:
        issuer.check_leaf(recipe, builder)
    return builder.sign(signer, hashes.SHA256())


def load(recipe: Recipe, issuer: Credential | None, cert_pem: bytes, key_pem: bytes) -> Credential:
    """Load what `Credential` writes.

    Raises:
        ValueError: not PEM, or the key is not the certificate's (or, if that is its fault, is).
        TypeError: the key has a pass phrase that it should not have, or none.
    """
    pass_phrase = recipe.pass_phrase.encode() if recipe.pass_phrase else None
    key = load_pem_private_key(key_pem, pass_phrase, unsafe_skip_rsa_key_validation=True)
    certificate = x509.load_pem_x509_certificate(cert_pem)
    if (key.public_key() == certificate.public_key()) == (recipe.files is Files.WRONG_KEY):
        raise ValueError("the private key is not the certificate's")
    above = (issuer.certificate, *issuer.above) if issuer else ()
    return Credential(certificate, key, above, recipe.files, recipe.pass_phrase)  # type: ignore[arg-type]


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return what a certificate or a list says of its issuer's key (RFC 5280 4.2.1.1)."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether one certificate is signed with the other's key, and says so."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # InvalidSignature, ValueError (names differ) or TypeError: either way not this issuer's
        return False
    return True


def subject_of(recipe: Recipe) -> x509.Name:
    """Return a recipe's subject."""
    if recipe.common_name is None:
        return x509.Name([])
    own = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in recipe.organizational_units]
    own += [x509.NameAttribute(NameOID.COMMON_NAME, recipe.common_name)]
    return x509.Name([*(recipe.subject_base or ORGANIZATION), *x509.Name(own).rdns])


def general_name(san: str) -> x509.GeneralName:
    """Return a subject alternative name that is written as recipes do, like `DNS:localhost`."""
    kind, _, value = san.partition(":")
    return x509.IPAddress(ipaddress.ip_address(value)) if kind == "IP" else _SAN_KINDS[kind](value)


def san_text(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return a certificate's subject alternative names as recipes write them, those of other kinds left out."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds: dict[type[x509.GeneralName], str] = {x509.IPAddress: "IP"} | {
        kind: word for word, kind in _SAN_KINDS.items()
    }
    return tuple(f"{kinds[type(name)]}:{name.value}" for name in names if type(name) in kinds)


def _extensions(recipe: Recipe) -> list[tuple[x509.ExtensionType, bool]]:
    """Return what a recipe says about extensions, each with its criticality."""
    constraints = x509.BasicConstraints(recipe.is_ca, recipe.path_length if recipe.is_ca else None)
    extensions: list[tuple[x509.ExtensionType, bool]] = [(constraints, recipe.basic_constraints_critical)]
    if recipe.usages:
        usages = {argument: usage in recipe.usages for usage, argument in _KEY_USAGES.items()}
        extensions.append((x509.KeyUsage(**usages), True))
    if recipe.eku:
        extensions.append((x509.ExtendedKeyUsage([_EKU[eku] for eku in recipe.eku]), False))
    if recipe.sans:
        extensions.append((x509.SubjectAlternativeName(map(general_name, recipe.sans)), recipe.common_name is None))
    if recipe.permitted:
        extensions.append((x509.NameConstraints(list(map(general_name, recipe.permitted)), None), True))
    if recipe.unknown_critical:
        extensions.append((x509.UnrecognizedExtension(_UNKNOWN_EXTENSION, b"\x05\x00"), True))  # an ASN.1 NULL
    if recipe.requires_policy:
        extensions.append((x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True))
    return extensions


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
