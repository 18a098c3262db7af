"""Files are followed and clients judged, whatever a file or another client's certificate has in it."""

from __future__ import annotations

import http.client
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cert_factory import UNREADABLE, tlv
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from running import Running, context
from test_following import LOOPS, alert, ask, authority, connect, crl, following, leaf, wait_for

from ca.store import write_file

pytestmark = pytest.mark.live


def client(running: Running, folder: Path, name: str) -> ssl.SSLContext:
    """A client below the clients' CA with a subject alternative name that OpenSSL takes and `cryptography` does not."""
    by, key, now = authority(running.state, "validation-intermediate"), ec.generate_private_key(ec.SECP256R1()), _now()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unreadable")])
    builder = x509.CertificateBuilder(by.certificate.subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(days=1))
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.certificate.public_key())  # type: ignore[arg-type]
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, tlv(0x30, UNREADABLE[name]))
    for extension, critical in (
        (x509.BasicConstraints(False, None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (signer, False),
        (names, False),
    ):
        builder = builder.add_extension(extension, critical)
    signed = builder.sign(by.key, hashes.SHA256())  # type: ignore[arg-type]
    pem = [certificate.public_bytes(Encoding.PEM) for certificate in (signed, by.certificate)]
    file = folder / "unreadable.pem"
    file.write_bytes(b"".join(pem) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = context(running)
    made.load_cert_chain(file)
    return made


def _now() -> datetime:
    return datetime.now(UTC)


def of_unknown_version(pem: bytes) -> bytes:
    """A list that says it is of version 10."""
    der = x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)
    changed = der.replace(b"\x02\x01\x01", b"\x02\x01\x09", 1)
    body = ssl.DER_cert_to_PEM_cert(changed).replace("CERTIFICATE", "X509 CRL")
    return body.encode()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", [*UNREADABLE])
def test_one_client_can_not_keep_another_from_being_revoked(state: Path, tmp_path: Path, loop: str, name: str) -> None:
    with following(state, tmp_path, crl(state), UVICORN_LOOP=loop) as (running, tls):
        odd, good = connect(running, client(running, tmp_path, name)), connect(running, context(running, "client-good"))
        assert ask(odd) == ask(good) == 200
        write_file(tls / "crl.pem", crl(state, leaf(state)))
        wait_for(running, r'connection_ended .*subject="CN=client-good,O=mTLS Lab" verify_code=23')
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(good)
        assert ask(odd) == 200  # its serial number is in no list
        write_file(tls / "crl.pem", crl(state))
        wait_for(running, "tls_reloaded", 2)
        assert alert(running, context(running, "client-good")) is None
        odd.close()
        good.close()


def test_a_list_of_an_unknown_version_is_named_and_the_next_one_is_taken(state: Path, tmp_path: Path) -> None:
    with following(state, tmp_path, crl(state)) as (running, tls):
        write_file(tls / "crl.pem", of_unknown_version(crl(state)))
        wait_for(running, r'ERROR tls_kept why="a file changed" .*crl\.pem: 9 is not a valid CRL version" cure="put ')
        write_file(tls / "crl.pem", crl(state, leaf(state)))
        wait_for(running, 'tls_reloaded why="a file changed"')
        assert alert(running, context(running, "client-good")) == "certificate_revoked"
