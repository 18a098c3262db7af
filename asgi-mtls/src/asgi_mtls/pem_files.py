"""The PEM files (RFC 7468) of a server, read as OpenSSL reads them, and loaded.

OpenSSL takes a block only where `-----BEGIN` starts a line: a block that is commented out, indented or quoted is text.
OpenSSL reads some damaged files in part, without an error; those are refused here.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from asgi_mtls.peer_certificate import UNREADABLE
from asgi_mtls.settings import Settings

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy and AEAD only; those of TLS 1.3 all are
REVOCATION_LIST = "X509 CRL"
_CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")  # what OpenSSL takes for one
# OpenSSL reads a line in pieces of 254 bytes, and each piece is a line to it. The mark is UTF-8's byte order mark.
_BEGIN = re.compile(rb"^(?:[^\n]{254})*(?P<mark>\xef\xbb\xbf)?-----BEGIN (?P<rest>[^\n]*)", re.MULTILINE)
_END = re.compile(rb"\n-----END (?P<rest>[^\n]*)")
_EMPTY_LINE = re.compile(rb"\n[ \t\r]*\n")
_IGNORED_AT_END = bytes(range(33))  # of a line: space and control characters


class Block(NamedTuple):
    """A PEM block: its label (`CERTIFICATE`), and its content, which is DER unless its headers say otherwise."""

    label: str
    content: bytes


def blocks(path: str | os.PathLike[str]) -> list[Block]:
    """Return the PEM blocks that OpenSSL finds in a file, in their order.

    Raises:
        OSError: the file can't be read.
        ValueError: OpenSSL would refuse it or read it in part: a block is damaged, or has no end.
    """
    data = Path(path).read_bytes()
    found, position = [], 0

    def damaged(at: int, fact: str) -> ValueError:
        line = data.count(b"\n", 0, at) + 1
        return ValueError(f"{path}: line {line}: {fact}")

    while begin := _BEGIN.search(data, position):
        label = begin["rest"].rstrip(_IGNORED_AT_END)
        if not label.endswith(b"-----"):
            raise damaged(begin.start("rest"), "a PEM block begins here, and the line does not end with -----")
        if begin["mark"] and begin.start() != position:
            raise damaged(begin.start("mark"), "a byte order mark hides the PEM block that begins here")
        end = _END.search(data, begin.end())
        if not end or end["rest"].rstrip(_IGNORED_AT_END) != label:
            raise damaged(begin.start("rest"), "the PEM block that begins here has no END line")
        try:
            content = _content(data[begin.end() : end.start() + 1])
        except ValueError as error:
            raise damaged(begin.start("rest"), f"the PEM block that begins here is damaged: {error}") from None
        found.append(Block(label[:-5].decode("latin-1"), content))
        position = end.end() + 1
    rest = data[position:].rpartition(b"\n")[2]
    if rest and b"-----BEGIN ".startswith(rest):
        raise damaged(len(data), "the file was cut where a PEM block begins")
    if found and b"\0" in data:
        raise damaged(data.index(b"\0"), "a NUL byte, at which OpenSSL stops reading")
    return found


def _content(body: bytes) -> bytes:
    """Return what is between the lines of BEGIN and END, without the headers that an empty line ends (RFC 1421)."""
    headers = _EMPTY_LINE.search(body)
    if headers:
        body = body[headers.end() - 1 :]
    if _EMPTY_LINE.search(body):
        raise ValueError("an empty line")
    content = base64.b64decode(body.translate(None, b" \t\r\n"), validate=True)
    if not content:
        raise ValueError("nothing in it")
    return content


def check_whole(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse files that OpenSSL would read in part, or not at all.

    Raises:
        OSError: one can't be read.
        ValueError: one has no PEM block, or is damaged; it is named.
    """
    for path in paths:
        if not blocks(path):
            raise ValueError(f"{path}: no PEM block in it: no line starts with -----BEGIN")


def load_context(settings: Settings) -> ssl.SSLContext:
    """Return a server's context of the files that settings name.

    Raises:
        OSError: OpenSSL can't use one of them (ssl.SSLError is one).
        ValueError: one is damaged; it is named.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ssl_version == ssl.PROTOCOL_TLSv1_2:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Some pass phrase is always given, or OpenSSL would ask for one on the terminal.
        password = settings.ssl_keyfile_password or "none given"
        context.load_cert_chain(settings.ssl_certfile or "", settings.ssl_keyfile, password)
        context.verify_mode = settings.verify_mode
        if settings.ssl_ca_certs:
            context.load_verify_locations(settings.ssl_ca_certs)
        context.set_ciphers(settings.ssl_ciphers or CIPHERS)
    except ssl.SSLError:
        check_whole(path for path in (settings.ssl_certfile, settings.ssl_keyfile, settings.ssl_ca_certs) if path)
        for path in (settings.ssl_certfile, settings.ssl_ca_certs):
            if path:
                trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), path)
        raise
    return context


def trust(context: ssl.SSLContext, path: str | os.PathLike[str]) -> None:
    """Have a context trust the certificates of a file, and use its revocation lists.

    Raises:
        OSError: the file can't be read.
        ValueError: OpenSSL can't use what is in it; it is named.
    """
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path}: OpenSSL can't read what is in it: {error}") from None


def certificates(path: str | os.PathLike[str] | None) -> list[x509.Certificate]:
    """Return the certificates of a file that `cryptography`, stricter than OpenSSL, can read, each once.

    Raises:
        OSError: the file can't be read.
        ValueError: it is damaged.
    """
    read = [_read(block) for block in blocks(path) if block.label in _CERTIFICATE] if path else []
    return list(dict.fromkeys(filter(None, read)))


def leaf_of(path: str | os.PathLike[str]) -> x509.Certificate | None:
    """Return the first certificate of a file, or None if it has no certificate or `cryptography` can't read it."""
    return next((_read(block) for block in blocks(path) if block.label in _CERTIFICATE), None)


def _read(block: Block) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(_element(block.content))
    except UNREADABLE:
        return None


def _element(der: bytes) -> bytes:
    """Return the DER element at the start, without what is behind it: OpenSSL keeps there what a CA is trusted for."""
    length = der[1] if len(der) > 1 else 0
    if length < 0x80:  # X.690 8.1.3
        return der[: 2 + length]
    more = length & 0x7F
    return der[: 2 + more + int.from_bytes(der[2 : 2 + more])]
