"""Another CA than the lab's, with certificates as ACME servers issue them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)


class Other:
    """Another CA: a root, an intermediate and a leaf's key."""

    def __init__(self, name: str = "Other Root") -> None:
        self.root_key, self.intermediate_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.root = self._ca(name, self.root_key, name, self.root_key)
        self.intermediate = self._ca("Other CA", self.intermediate_key, name, self.root_key)

    def leaf(self, *names: str, begins: timedelta = timedelta(hours=-1), ends: timedelta = timedelta(days=9)) -> bytes:
        """Return a leaf with an empty subject, as ACME servers issue them, and the intermediate."""
        builder = self._builder("", self.key, "Other CA", self.intermediate_key, NOW + begins, NOW + ends)
        sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(sans, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return pem(builder.sign(self.intermediate_key, hashes.SHA256())) + pem(self.intermediate)

    def write(self, folder: Path, fullchain: bytes) -> None:
        """Write what certbot has in live/<domain>, and the root."""
        files = {"fullchain.pem": fullchain, "privkey.pem": self.private(), "root.pem": pem(self.root)}
        for name, data in files.items():
            (folder / name).write_bytes(data)

    def private(self, key: ec.EllipticCurvePrivateKey | None = None, pass_phrase: bytes = b"") -> bytes:
        encryption = BestAvailableEncryption(pass_phrase) if pass_phrase else NoEncryption()
        return (key or self.key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def _ca(
        self, name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        builder = self._builder(name, key, issuer, by, NOW - timedelta(days=1), NOW + timedelta(days=99))
        usage = {name: name in ("key_cert_sign", "crl_sign") for name in USAGES}
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return builder.add_extension(identifier, critical=False).sign(by, hashes.SHA256())

    def _builder(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        by: ec.EllipticCurvePrivateKey,
        begins: datetime,
        ends: datetime,
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begins).not_valid_after(ends)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
        return builder.add_extension(identifier, critical=False)


USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
