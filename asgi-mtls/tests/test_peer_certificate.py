"""A peer's certificate as OpenSSL has it, in words."""

from __future__ import annotations

import ssl

import pytest
from cert_factory import certificate, connection

from asgi_mtls import client_identity
from asgi_mtls.peer_certificate import subject, subject_in_words

UTF8_STRING = b"\x0c\x05alice"


def with_type(tag: int) -> bytes:
    """Return a certificate (DER) whose names are of another ASN.1 type than text."""
    der = ssl.PEM_cert_to_DER_cert(certificate(("CN", "alice")))
    assert der.count(UTF8_STRING) == 2  # subject and issuer
    return der.replace(UTF8_STRING, bytes([tag]) + UTF8_STRING[1:])


def test_the_subject_is_in_words() -> None:
    assert subject(with_type(0x0C)) == subject_in_words(with_type(0x0C)) == "CN=alice"


@pytest.mark.parametrize("tag", [0x01, 0x05, 0x15, 0x30, 0x80])
def test_a_name_of_an_unknown_type_is_unreadable(tag: int) -> None:
    der = with_type(tag)
    assert subject(der) is None
    assert subject_in_words(der) == "(unreadable)"
    assert client_identity(connection(ssl.DER_cert_to_PEM_cert(der))) is None
