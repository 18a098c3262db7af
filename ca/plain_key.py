"""Read a private key that somebody brings along: PEM, and not encrypted, for nobody is there to be asked."""

from __future__ import annotations

import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----.*?-----END [A-Z ]+-----", re.DOTALL)


class UnusableKeyError(Exception):
    """What is wrong with the key, as the rest of a sentence that begins with the name of its file."""

    def __init__(self, fact: str, *, encrypted: bool = False) -> None:
        super().__init__(fact)
        self.encrypted = encrypted


def read(text: bytes) -> tuple[PrivateKeyTypes, bytes]:
    """Return the first private key (RFC 7468 10 and 13, or a traditional one) in a text, and its PEM block.

    Raises:
        UnusableKeyError: there is none, it is encrypted, or it can't be understood.
    """
    block = _KEY.search(text)
    if block is None:
        raise UnusableKeyError("holds no private key in PEM")
    if b"ENCRYPTED" in block[0]:
        raise UnusableKeyError("is encrypted, and nobody is there to type its pass phrase", encrypted=True)
    try:
        return load_pem_private_key(block[0], None), block[0] + b"\n"
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableKeyError("is damaged, or of a kind that is not known") from None
