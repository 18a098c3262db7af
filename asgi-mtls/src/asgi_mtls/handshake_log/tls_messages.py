"""TLS handshake messages in words: their names, and the few fields that a handshake log shows.

What is parsed came from a stranger and may be cut short: every function returns what it could read, and none raises.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from asgi_mtls.peer_certificate import subject_in_words

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE = 20, 21, 22  # content types, RFC 8446 5.1
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, FINISHED = 1, 2, 11, 12, 20
TLS_1_3 = 0x0304
MAX_NAME = 300  # characters of a name that are shown
MAX_SUBJECTS = 10  # certificates of a chain whose names are
_HEADER_BYTES = 4  # of a handshake message: its type, and a length of 3 bytes
_SERVER_NAME, _SUPPORTED_VERSIONS, _KEY_SHARE = 0, 43, 51  # extensions
_NAMED_CURVE = 3  # RFC 8422 5.4
VERSIONS = {0x0300: "SSL 3.0", 0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", TLS_1_3: "1.3"}
# What makes a ServerHello a HelloRetryRequest, RFC 8446 4.1.3.
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

_MESSAGES = {
    0: "HelloRequest",
    CLIENT_HELLO: "ClientHello",
    SERVER_HELLO: "ServerHello",
    4: "NewSessionTicket",
    5: "EndOfEarlyData",
    8: "EncryptedExtensions",
    CERTIFICATE: "Certificate",
    SERVER_KEY_EXCHANGE: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    FINISHED: "Finished",
    22: "CertificateStatus",
    24: "KeyUpdate",
    25: "CompressedCertificate",
}
ALERTS = {  # RFC 8446 6, and those of RFC 5246 7.2 that it has no more
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}
_GROUPS = {  # IANA's TLS Supported Groups
    21: "secp224r1",
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    26: "brainpoolP256r1",
    27: "brainpoolP384r1",
    28: "brainpoolP512r1",
    29: "x25519",
    30: "x448",
    31: "brainpoolP256r1tls13",
    32: "brainpoolP384r1tls13",
    33: "brainpoolP512r1tls13",
    256: "ffdhe2048",
    257: "ffdhe3072",
    258: "ffdhe4096",
    259: "ffdhe6144",
    260: "ffdhe8192",
    512: "MLKEM512",
    513: "MLKEM768",
    514: "MLKEM1024",
    0x11EB: "SecP256r1MLKEM768",
    0x11EC: "X25519MLKEM768",
    0x11ED: "SecP384r1MLKEM1024",
}


@dataclass(frozen=True)
class Hello:
    """What a ServerHello chose: `tls` like `1.3`, and the key exchange's group (TLS 1.3 alone)."""

    tls: str | None
    group: str | None
    retry: bool


def message_name(content: int, kind: int, data: bytes) -> str:
    """Return a message's name; `data` may be empty, and then a HelloRetryRequest is called ServerHello."""
    if content == CHANGE_CIPHER_SPEC:
        return "ChangeCipherSpec"
    if content == ALERT:
        return "Alert"
    if kind == SERVER_HELLO and server_hello(data).retry:
        return "HelloRetryRequest"
    return _MESSAGES.get(kind, f"message {kind}")


def alert_name(number: int) -> str:
    """Return an alert as RFC 8446 section 6 spells it."""
    return ALERTS.get(number, f"alert {number}")


def group_name(number: int) -> str:
    """Return a named group as IANA spells it."""
    return _GROUPS.get(number, f"group {number:#06x}")


def server_name(client_hello: bytes) -> str | None:
    """Return the host name that a ClientHello asks for (RFC 6066 section 3)."""
    try:
        fields = _Fields(client_hello, _HEADER_BYTES + 2 + 32)
        for size in (1, 2, 1):  # session id, cipher suites, compression methods
            fields.vector(size)
        for kind, value in _extensions(fields):
            if kind == _SERVER_NAME:
                names = _Fields(value, 2 + 1)  # the list's length, name_type host_name
                return shown(names.vector(2).decode("ascii", "backslashreplace")) or None
    except ValueError:
        pass
    return None


def server_hello(message: bytes) -> Hello:
    """Return what a ServerHello chose."""
    tls = group = None
    retry = False
    try:
        fields = _Fields(message, _HEADER_BYTES)
        tls = VERSIONS.get(fields.number(2))
        retry = fields.take(32) == _RETRY
        fields.vector(1)  # session id
        fields.take(2 + 1)  # cipher suite, compression method
        for kind, value in _extensions(fields):
            if kind == _SUPPORTED_VERSIONS:
                tls = VERSIONS.get(_Fields(value).number(2))
            elif kind == _KEY_SHARE:
                group = group_name(_Fields(value).number(2))
    except ValueError:
        pass
    return Hello(tls, group, retry)


def key_exchange_group(server_key_exchange: bytes) -> str | None:
    """Return the named curve of an ECDHE key exchange in TLS 1.2 (RFC 8422 5.4), None for another."""
    try:
        fields = _Fields(server_key_exchange, _HEADER_BYTES)
        named = fields.number(1) == _NAMED_CURVE
        return group_name(fields.number(2)) if named else None
    except ValueError:
        return None


def subjects(certificate: bytes, version: int) -> tuple[str, ...]:
    """Return the RFC 4514 subjects of a Certificate message, leaf first; without those that were cut off.

    See RFC 8446 4.4.2 and RFC 5246 7.4.2. Empty if the client has sent none.
    """
    return tuple(shown(subject_in_words(der)) for der in islice(certificates(certificate, version), MAX_SUBJECTS))


def certificates(message: bytes, version: int) -> Iterator[bytes]:
    """Yield the certificates (DER) of a Certificate message, leaf first; without those that were cut off."""
    try:
        fields = _Fields(message, _HEADER_BYTES)
        if version == TLS_1_3:
            fields.vector(1)  # certificate_request_context
        fields.take(3)  # the list's length
        while not fields.at_end():
            yield fields.vector(3)
            if version == TLS_1_3:
                fields.vector(2)  # the certificate's extensions
    except ValueError:
        pass


def shown(text: str) -> str:
    """Return a name of bounded length, with what can't be seen (controls, changes of direction) as its number."""
    cut = text if len(text) <= MAX_NAME else text[:MAX_NAME] + "..."
    return "".join(f"\\u{{{ord(c):x}}}" if unicodedata.category(c).startswith("C") else c for c in cut)


def _extensions(fields: _Fields) -> Iterator[tuple[int, bytes]]:
    if fields.at_end():  # TLS 1.2 may have none
        return
    fields.take(2)  # their length: what is here may be cut short
    while not fields.at_end():
        yield fields.number(2), fields.vector(2)


class _Fields:
    """Reads the fields of a message one after another.

    Raises:
        ValueError: the message ends before its field does.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self._at = data, at

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise ValueError("cut short")
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def vector(self, count: int) -> bytes:
        """Take a value that begins with its length, of `count` bytes."""
        return self.take(self.number(count))

    def at_end(self) -> bool:
        return self._at >= len(self._data)
