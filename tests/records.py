"""A TLS client that can send records that no library sends: wrong ones, encrypted with the connection's own keys."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
_SUITES: dict[str, tuple[HashAlgorithm, int, type[AESGCM | ChaCha20Poly1305]]] = {
    "TLS_AES_128_GCM_SHA256": (SHA256(), 16, AESGCM),
    "TLS_AES_256_GCM_SHA384": (SHA384(), 32, AESGCM),
    "TLS_CHACHA20_POLY1305_SHA256": (SHA256(), 32, ChaCha20Poly1305),
}


class RecordClient:
    """A connection whose handshake is done, and whose records are sent by hand."""

    def __init__(self, tcp: socket.socket, context: ssl.SSLContext, keys: Path) -> None:
        """Do the handshake.

        Args:
            keys: where OpenSSL may write the connection's secrets.
        """
        context.keylog_filename = str(keys)
        self.tcp = tcp
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._number = 0
        self.received = b""
        done = False
        while not done:
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                done = True
            tcp.sendall(self._outgoing.read())
            if not done:
                self._incoming.write(tcp.recv(65536))
        self._secret = _client_secret(keys) if self.tls.version() == "TLSv1.3" else b""

    def application_data(self, data: bytes) -> bytes:
        """Return a good record of OpenSSL's; in TLS 1.3 no record of `encrypted` may follow it."""
        self.tls.write(data)
        return self._outgoing.read()

    def encrypted(self, content_type: int, content: bytes) -> bytes:
        """Return the next TLS 1.3 record of a content type (RFC 8446 5.2)."""
        cipher = self.tls.cipher()
        assert cipher
        algorithm, key_bytes, aead = _SUITES[cipher[0]]
        key, iv = (_expand(algorithm, self._secret, label, size) for label, size in ((b"key", key_bytes), (b"iv", 12)))
        nonce = (int.from_bytes(iv) ^ self._number).to_bytes(12)
        self._number += 1
        inner = content + bytes([content_type])
        head = bytes([APPLICATION_DATA]) + b"\x03\x03" + (len(inner) + 16).to_bytes(2)
        return head + aead(key).encrypt(nonce, inner, head)

    def answer(self) -> str | None:
        """Read until the server ends the connection or TLS; return the reason of the alert that it sent, if any."""
        reason = None
        with suppress(ConnectionError):
            while data := self.tcp.recv(65536):
                self._incoming.write(data)
                try:
                    while more := self.tls.read(65536):
                        self.received += more
                    break  # close_notify
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLZeroReturnError:
                    break
                except ssl.SSLError as error:
                    reason = error.reason
        return reason


def _client_secret(keys: Path) -> bytes:
    lines = [line.split() for line in keys.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0")]
    return bytes.fromhex(lines[-1][2])


def _expand(algorithm: HashAlgorithm, secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 7.1)."""
    label = b"tls13 " + label
    info = size.to_bytes(2) + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(algorithm, size, info).derive(secret)
