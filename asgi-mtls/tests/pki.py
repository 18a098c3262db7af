"""A PKI for tests: a public CA, the clients' CA and an unrelated one, and their leaves.

Each CA is a root and an intermediate. The profiles are those that strict verification accepts (RFC 5280 4.2).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANIZATION = "Example"
_BACKDATED = timedelta(minutes=1)
_CA_DAYS = (0, 365)


def name_of(common_name: str, units: Sequence[str] = ()) -> x509.Name:
    """Return a subject: organization, organizational units, common name."""
    pairs = [(NameOID.ORGANIZATION_NAME, ORGANIZATION)]
    pairs += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in (*pairs, (NameOID.COMMON_NAME, common_name))])


@dataclass(frozen=True)
class Credential:
    """A certificate, its private key, and the intermediates above it, nearest first."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def cert_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def fullchain_pem(self) -> bytes:
        """The chain that is sent, leaf first, without the root."""
        return self.cert_pem + b"".join(above.public_bytes(Encoding.PEM) for above in self.intermediates)

    @property
    def key_pem(self) -> bytes:
        """The key as PKCS#8 PEM, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path) -> CredentialFiles:
        """Write fullchain.pem and privkey.pem to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        files = CredentialFiles(self, folder / "fullchain.pem", folder / "privkey.pem")
        files.fullchain.write_bytes(self.fullchain_pem)
        files.privkey.touch(0o600)
        files.privkey.write_bytes(self.key_pem)
        return files


@dataclass(frozen=True)
class CredentialFiles:
    """A credential and the PEM files that hold it: the chain, leaf first, and the key."""

    credential: Credential
    fullchain: Path
    privkey: Path

    @property
    def certificate(self) -> x509.Certificate:
        return self.credential.certificate


@dataclass(frozen=True)
class Authority(Credential):
    """A root or an intermediate, which signs."""

    @classmethod
    def root(cls, common_name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name_of(common_name), name_of(common_name), key, _CA_DAYS)
        return cls(_ca(builder, None).sign(key, hashes.SHA256()), key)

    def intermediate(self, common_name: str) -> Authority:
        """Sign an intermediate that may sign leaves only."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name_of(common_name), self.certificate.subject, key, _CA_DAYS)
        builder = builder.add_extension(key_identifier(self.key), critical=False)
        certificate = _ca(builder, 0).sign(self.key, hashes.SHA256())
        return Authority(certificate, key, (certificate, *self.intermediates))

    def client(
        self,
        common_name: str,
        *,
        units: Sequence[str] = (),
        sans: Sequence[x509.GeneralName] = (),
        days: tuple[float, float] = (0, 90),
    ) -> Credential:
        """Sign a client's leaf, valid for these days from now."""
        names = sans or [x509.RFC822Name(f"{common_name}@example.com")]
        return self._leaf(name_of(common_name, units), names, ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def server(self, *names: str, address: str | None = "127.0.0.1", days: tuple[float, float] = (0, 90)) -> Credential:
        """Sign a server's leaf for DNS names and an IP address."""
        sans: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        if address:
            sans.append(x509.IPAddress(ipaddress.ip_address(address)))
        return self._leaf(name_of(names[0]), sans, ExtendedKeyUsageOID.SERVER_AUTH, days)

    def crl(
        self,
        *revoked: x509.Certificate,
        days: float = 1,
        since: float = -2,
        name: x509.Name | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        key_id: bool = True,
        critical: Sequence[x509.ExtensionType] = (),
    ) -> bytes:
        """Sign a revocation list (PEM). Times are in days from now: one whose `days` are negative has expired.

        Args:
            revoked: certificates, whoever has signed them.
            days: the time of the next update.
            since: the time of this update.
            name, key: another name or key than this authority's.
            key_id: whether the list names the key.
            critical: further extensions.
        """
        by = name or self.certificate.subject, key or self.key
        return crl(*by, *revoked, days=days, since=since, key_id=key_id, critical=critical)

    def _leaf(
        self,
        subject: x509.Name,
        sans: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        days: tuple[float, float],
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self.certificate.subject, key, days)
            .add_extension(key_identifier(self.key), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        )
        return Credential(builder.sign(self.key, hashes.SHA256()), key, self.intermediates)


@dataclass(frozen=True)
class Pki:
    """Authorities, and files in a folder as a server and its clients have them."""

    folder: Path
    public_root: Authority
    client_root: Authority
    client_intermediate: Authority
    other_root: Authority
    other_intermediate: Authority
    server: CredentialFiles

    @property
    def public_root_file(self) -> Path:
        """What clients trust."""
        return self.folder / "public_root.pem"

    @property
    def trust_file(self) -> Path:
        """What the server verifies clients with: the intermediate and the root of their CA."""
        return self.folder / "clients.pem"

    @cached_property
    def good(self) -> CredentialFiles:
        return self.client("good")

    @cached_property
    def expired(self) -> CredentialFiles:
        return self.client("expired", days=(-2, -1))

    @cached_property
    def untrusted(self) -> CredentialFiles:
        """A client of a CA that the server does not trust."""
        return self.written(self.other_intermediate.client("untrusted"))

    def client(self, common_name: str, **keywords: Any) -> CredentialFiles:
        """Issue a new credential; keywords are those of `Authority.client`."""
        return self.written(self.client_intermediate.client(common_name, **keywords))

    def written(self, credential: Credential) -> CredentialFiles:
        """Write a credential to a folder of its own."""
        return credential.write(self.folder / "clients" / f"{credential.certificate.serial_number:x}")

    def tls(self, **settings: Any) -> dict[str, Any]:
        """Return the settings of a server that requires client certificates, and further ones."""
        files = {"ssl_certfile": self.server.fullchain, "ssl_keyfile": self.server.privkey}
        return {**files, "ssl_ca_certs": self.trust_file, "ssl_cert_reqs": "required", **settings}

    def calling(self, client: CredentialFiles | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts the public root, with a credential or without."""
        context = ssl.create_default_context(cafile=self.public_root_file)
        if client:
            context.load_cert_chain(client.fullchain, client.privkey)
        return context


def make_pki(folder: Path) -> Pki:
    """Make all authorities, the server's credential and the files in a folder."""
    public, clients, other = (Authority.root(f"{kind} Root") for kind in ("Public", "Client", "Other"))
    issuing = clients.intermediate("Client Intermediate")
    server = public.intermediate("Public Intermediate").server("localhost").write(folder / "server")
    pki = Pki(folder, public, clients, issuing, other, other.intermediate("Other Intermediate"), server)
    pki.public_root_file.write_bytes(public.cert_pem)
    pki.trust_file.write_bytes(issuing.cert_pem + clients.cert_pem)
    return pki


def crl(
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    *revoked: x509.Certificate,
    days: float = 1,
    since: float = -2,
    key_id: bool = True,
    critical: Sequence[x509.ExtensionType] = (),
) -> bytes:
    """Sign a revocation list (PEM) in an issuer's name; the rest is as for `Authority.crl`."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer)
        .last_update(now + timedelta(days=since))
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    if key_id:
        builder = builder.add_extension(key_identifier(signer), critical=False)
    for extension in critical:
        builder = builder.add_extension(extension, critical=True)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


def key_identifier(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    """Return what a certificate or a list says of its issuer's key (RFC 5280 4.2.1.1)."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[float, float]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]) - _BACKDATED)
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _ca(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)


def _key_usage(**usages: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    others = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**(dict.fromkeys((*names, *others), False) | usages))
