"""The PEM files (RFC 7468) that a server reads: whole, loaded, and in objects."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography import x509
from uvicorn.config import create_ssl_context

from server.peer import UNREADABLE

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
    """Return the certificates of a file; none without one, or if `cryptography`, stricter than OpenSSL, can't."""
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes()) if path else []
    except UNREADABLE:
        return []
