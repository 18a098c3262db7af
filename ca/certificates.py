"""Make certificates from recipes, to RFC 5280's profile, so that strict verifiers accept the good ones."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.recipe import CLIENT_AUTH, SERVER_AUTH, Recipe

_EKU = {CLIENT_AUTH: ExtendedKeyUsageOID.CLIENT_AUTH, SERVER_AUTH: ExtendedKeyUsageOID.SERVER_AUTH}


@dataclass(frozen=True)
class Credential:
    """A certificate, its private key, and the intermediates above it (nearest first, without the root)."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def chain_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    def key_pem(self) -> bytes:
        """Return the key as unencrypted PKCS#8 PEM (RFC 5958)."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make(recipe: Recipe, issuer: Credential | None, now: datetime | None = None) -> Credential:
    """Make a key (EC P-256) and a certificate from a recipe, signed by its issuer or, with None, by itself."""
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(recipe.common_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + recipe.validity.start)
        .not_valid_after(now + recipe.validity.end)
        .add_extension(x509.BasicConstraints(recipe.is_ca, recipe.path_length), critical=True)
        .add_extension(_key_usage(recipe.is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        builder = builder.add_extension(authority, critical=False)
    if recipe.eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage([_EKU[eku] for eku in recipe.eku]), critical=False)
    if recipe.sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(_general_name, recipe.sans)), critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    above = (issuer.certificate, *issuer.chain) if issuer else ()
    return Credential(certificate, key, tuple(c for c in above if c.subject != c.issuer))


def load(cert_pem: bytes, chain_pem: bytes, key_pem: bytes) -> Credential:
    """Load what `Credential` writes.

    Raises:
        ValueError: not PEM, not an EC key, or the key is not the certificate's.
    """
    key = load_pem_private_key(key_pem, None)
    certificate = x509.load_pem_x509_certificate(cert_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError("the private key is not the certificate's")
    return Credential(certificate, key, tuple(x509.load_pem_x509_certificates(chain_pem)) if chain_pem else ())


def san_text(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return a certificate's subject alternative names as recipes write them."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds: dict[type[x509.GeneralName], str] = {x509.DNSName: "DNS", x509.IPAddress: "IP", x509.RFC822Name: "EMAIL"}
    return tuple(f"{kinds[type(name)]}:{name.value}" for name in names)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mTLS Lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general_name(san: str) -> x509.GeneralName:
    kind, _, value = san.partition(":")
    if kind == "IP":
        return x509.IPAddress(ipaddress.ip_address(value))
    return x509.DNSName(value) if kind == "DNS" else x509.RFC822Name(value)


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
