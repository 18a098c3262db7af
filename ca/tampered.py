"""Certificates that no proper library will make: signed with SHA-1, or with a signature that is not right.

DER is written by hand here, and nowhere else, because `cryptography` rightly refuses both.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

_SEQUENCE, _BIT_STRING = 0x30, 0x03
# AlgorithmIdentifier (RFC 5280 4.1.1.2): ecdsa-with-SHA256 (RFC 5758 3.2), ecdsa-with-SHA1 (RFC 3279 2.2.3).
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def sign_with_sha1(certificate: x509.Certificate, key: object) -> x509.Certificate:
    """Return the same certificate, signed with ecdsa-with-SHA1 by an EC key.

    Raises:
        TypeError: the key is not an EC key.
    """
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("only an EC key signs with SHA-1 here")
    body = _content(certificate.tbs_certificate_bytes).replace(_ECDSA_SHA256, _ECDSA_SHA1, 1)
    to_be_signed = _der(_SEQUENCE, body)
    signature = key.sign(to_be_signed, ec.ECDSA(hashes.SHA1()))  # noqa: S303
    der = _der(_SEQUENCE, to_be_signed + _ECDSA_SHA1 + _der(_BIT_STRING, b"\0" + signature))
    return x509.load_der_x509_certificate(der)


def break_signature(certificate: x509.Certificate) -> x509.Certificate:
    """Return the same certificate with the last bit of its signature flipped: well formed, and wrong."""
    der = bytearray(certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_certificate(bytes(der))


def _der(tag: int, content: bytes) -> bytes:
    """Return tag, length and content (X.690 8.1.3)."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def _content(der: bytes) -> bytes:
    """Return what is behind the tag and the length."""
    return der[2:] if der[1] < 0x80 else der[2 + (der[1] & 0x7F) :]
