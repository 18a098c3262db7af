"""A handshake is watched, and what comes after it is not: that would cost each request."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any

import pytest
from pki import Pki

import asgi_mtls.handshake
from asgi_mtls.handshake import HandshakeTerms, explained
from asgi_mtls.pem_files import certificates
from asgi_mtls.revocation import RevocationChecker


def finished(client: ssl.SSLObject, service: ssl.SSLObject) -> None:
    """Do the whole handshake over memory."""
    for _ in range(3):
        for side in (client, service):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_the_handshake_is_watched(pki: Pki, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion) -> None:
    watched: list[int] = []
    watch = asgi_mtls.handshake._watch

    def noting(*arguments: Any) -> None:
        watched.append(arguments[3])
        watch(*arguments)

    monkeypatch.setattr(asgi_mtls.handshake, "_watch", noting)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pki.server.fullchain, pki.server.privkey)
    serving.load_verify_locations(pki.trust_file)
    serving.verify_mode = ssl.CERT_REQUIRED
    explained(serving, RevocationChecker(certificates(pki.trust_file), None, chain=False), HandshakeTerms())
    calling = pki.calling(pki.good)
    calling.minimum_version = calling.maximum_version = version
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    service = serving.wrap_bio(up, down, server_side=True)
    client = calling.wrap_bio(down, up, server_hostname="localhost")
    finished(client, service)
    handshake = len(watched)
    assert handshake > 5  # or this test would pass without a callback
    assert service.offered == service.getpeercert(binary_form=True)  # type: ignore[attr-defined]
    client.write(b"request")
    assert service.read() == b"request"
    service.write(b"response")
    assert client.read() == b"response"
    assert len(watched) == handshake
    # What is known of the client outlives the change of context.
    assert (service.getpeercert() or {})["subject"]
    assert service.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
