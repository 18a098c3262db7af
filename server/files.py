"""The PEM files (RFC 7468) that a server reads: whole, loaded, and in objects."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from uvicorn.config import create_ssl_context

from server.peer import UNREADABLE

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ANY_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")  # what OpenSSL takes
_END = re.compile(rb"-----END [A-Z0-9 ]+-----")


def check_whole(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse files that end too soon: cut in the line in which a block begins, OpenSSL takes those before.

    Raises:
        OSError: one can't be read.
        ValueError: one has no PEM block, or fewer ends than beginnings; it is named.
    """
    for path in paths:
        data = Path(path).read_bytes()
        begun, ended = data.count(b"-----BEGIN "), len(_END.findall(data))
        if begun != ended or not begun:
            fact = f"{begun} PEM blocks begin and {ended} end" if begun else "no PEM block in it"
            raise ValueError(f"{path}: {fact}")


def load_context(certfile: str, keyfile: str | None, password: str | None, *others: Any) -> ssl.SSLContext:
    """Return Uvicorn's own context of these files; `others` are what its `create_ssl_context` takes besides.

    Raises:
        OSError: OpenSSL can't use one of them (ssl.SSLError is one).
        ValueError: Uvicorn can't.
    """
    # Some pass phrase is always given, or OpenSSL would ask for one on the terminal.
    return create_ssl_context(certfile, keyfile, password or "none given", *others)


def certificates(path: str | os.PathLike[str] | None) -> list[x509.Certificate]:
    """Return the certificates of a file that `cryptography`, stricter than OpenSSL, can read; none without a file."""
    found = _CERTIFICATE.findall(Path(path).read_bytes()) if path else []
    return [certificate for block in found if (certificate := _read(block))]


def has_others(path: str | os.PathLike[str] | None, read: Sequence[x509.Certificate]) -> bool:
    """Tell whether OpenSSL may take more certificates from a file than were read."""
    return bool(path) and len(_ANY_CERTIFICATE.findall(Path(str(path)).read_bytes())) > len(read)


def _read(block: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(block)
    except UNREADABLE:
        return None
