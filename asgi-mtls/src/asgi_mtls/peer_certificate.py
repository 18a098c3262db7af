"""The client's certificate as OpenSSL has it: its chain, and its subject in words."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

# What `cryptography` raises for a certificate or a list that is none to it, though OpenSSL took it.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    x509.DuplicateExtension,
    KeyError,  # cryptography 42: a name of a type that X.500 has not, which a ValueError says since
)

_CACHED_BYTES = 8 * 1024  # of a certificate: a stranger's may have 100 KiB


def client_chain(connection: ssl.SSLObject) -> Sequence[bytes]:
    """Return a client's verified chain (DER, leaf first), or the leaf alone: before Python 3.13, or resumed."""
    leaf = connection.getpeercert(binary_form=True)
    if not leaf:
        return ()
    return (hasattr(connection, "get_verified_chain") and connection.get_verified_chain()) or (leaf,)


@lru_cache(256)
def subject(certificate: bytes) -> str | None:
    """Return the RFC 4514 subject of a certificate (DER), which may be empty, or None if it can't be read."""
    try:
        return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except UNREADABLE:
        return None


def subject_in_words(certificate: bytes) -> str:
    """Return the subject, or a word where there is none to show."""
    text = subject(certificate) if len(certificate) <= _CACHED_BYTES else subject.__wrapped__(certificate)
    return "(unreadable)" if text is None else text or "(empty)"
