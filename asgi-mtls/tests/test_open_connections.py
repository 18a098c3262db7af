"""What becomes of a connection whose client was good when it connected."""

from __future__ import annotations

import http.client
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pki import Pki
from server_process import ASGI_MTLS, as_options, running


def test_an_open_connection_of_a_revoked_client_is_closed_and_no_other(pki: Pki, tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(pki.client_intermediate.crl())
    revoked, other = pki.client("revoked"), pki.client("other")
    leaf = x509.load_pem_x509_certificate(revoked.fullchain.read_bytes())
    # Idle connections stay: it is not Uvicorn's time limit that closes one.
    command = [*ASGI_MTLS, "myapp:app", "--timeout-keep-alive=300", *as_options(pki, crl=crl)]
    with running(command, tmp_path) as server:
        port = server.ports[0]
        calls = [
            http.client.HTTPSConnection("localhost", port, context=pki.calling(client), timeout=30)
            for client in (revoked, other)
        ]
        with closing(calls[0]), closing(calls[1]):
            for call in calls:
                call.request("GET", "/")
                assert call.getresponse().read()
            new = tmp_path / "new.pem"
            new.write_bytes(pki.client_intermediate.crl(leaf))
            new.replace(crl)
            server.wait_for("connection_ended")
            assert "subject=CN=revoked,O=Example verify_code=23" in server.text
            assert calls[0].sock.recv(1) == b""
            calls[1].request("GET", "/")
            assert b"CN=other" in calls[1].getresponse().read()
        assert server.alert(pki.calling(revoked)) == "SSLV3_ALERT_CERTIFICATE_REVOKED"


@pytest.mark.parametrize("switch", ["--no-session-tickets", "--session-tickets"])
def test_a_session_can_be_resumed_only_if_asked_for(pki: Pki, tmp_path: Path, switch: str) -> None:
    context = pki.calling(pki.good)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        running([*ASGI_MTLS, "myapp:app", switch, *as_options(pki)], tmp_path) as server,
        closing(http.client.HTTPSConnection("localhost", server.ports[0], context=context, timeout=30)) as call,
    ):
        call.request("GET", "/")
        assert call.getresponse().read()
        connection: Any = call.sock
        assert connection.session.has_ticket is (switch == "--session-tickets")
