"""What the explained server does on the wire, and does not keep."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from lifted import lifted
from records import ALERT, APPLICATION_DATA, HANDSHAKE, RecordClient
from running import ROOT, Running, context, serving

from asgi_mtls.handshake import LINGER_S
from ca.certificates import make
from ca.credentials import AUTHORITIES, client_leaf
from ca.recipe import BACKDATED, Validity
from ca.store import Store
from catalogue import Mode, Server
from client.observe import alert_of_reason

pytestmark = pytest.mark.live

LOOPS = ("asyncio", "uvloop")
ALERTS = 200


def get(running: Running, name: str | None, path: str = "/whoami", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPSConnection("localhost", running.port, context=context(running, name), timeout=10)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]
    return response


@pytest.mark.parametrize("loop", LOOPS)
def test_every_refused_client_gets_its_alert(serve: Callable[..., Running], loop: str) -> None:
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    client = context(running, "client-expired")

    async def refused() -> str | None:
        try:
            reader, _ = await asyncio.open_connection("localhost", running.port, ssl=client)
            await reader.read()
        except ssl.SSLError as error:
            return alert_of_reason(error.reason)
        return None

    async def many() -> list[str | None]:
        return [alert for _ in range(ALERTS // 20) for alert in await asyncio.gather(*(refused() for _ in range(20)))]

    assert asyncio.run(many()) == ["certificate_expired"] * ALERTS


def answering(tcp: socket.socket, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A client that has heard the server, and what it reads from and writes to: there its own flight waits."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    tcp.sendall(outgoing.read())
    while not outgoing.pending:
        incoming.write(tcp.recv(65536))
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
    return tls, incoming, outgoing


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", [None, "client-expired"])
def test_a_refused_client_that_waits_has_the_end_right_after_the_alert(
    serve: Callable[..., Running], loop: str, version: ssl.TLSVersion, name: str | None
) -> None:
    """RFC 8446 6.2: the server closes. The quickest of some, since a busy machine only adds time."""
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop, LAB_HANDSHAKE_TIMEOUT_S="60")
    client = context(running, name)
    client.minimum_version = client.maximum_version = version
    waits = []
    for _ in range(5):
        with socket.create_connection(("localhost", running.port), 10) as tcp:
            _, _, outgoing = answering(tcp, client)
            tcp.sendall(outgoing.read())
            came, data = time.monotonic(), b""
            while more := tcp.recv(65536):
                came, data = time.monotonic(), data + more
            waits.append(time.monotonic() - came)
            assert data  # the alert
    assert min(waits) < 0.1, waits


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_refused_client_that_reads_late_gets_its_alert(
    serve: Callable[..., Running], loop: str, version: ssl.TLSVersion
) -> None:
    """After the server has closed: the alert waits in the client's kernel."""
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    client = context(running, "client-expired")
    client.minimum_version = client.maximum_version = version
    with socket.create_connection(("localhost", running.port), 10) as tcp:
        tls, incoming, outgoing = answering(tcp, client)
        tcp.sendall(outgoing.read())
        time.sleep(1.5 * LINGER_S)
        incoming.write(tcp.recv(65536))
        with pytest.raises(ssl.SSLError) as refused:
            tls.read(1) if version is ssl.TLSVersion.TLSv1_3 else tls.do_handshake()
    assert alert_of_reason(refused.value.reason) == "certificate_expired"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_refused_client_that_stays_is_hung_up_on(serve: Callable[..., Running], loop: str) -> None:
    """It never closes: the server ends the connection soon, long before the handshake's time limit."""
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop, LAB_HANDSHAKE_TIMEOUT_S="60")
    with socket.create_connection(("localhost", running.port), 10) as tcp:
        _, _, outgoing = answering(tcp, context(running))
        tcp.sendall(outgoing.read())  # the empty Certificate and Finished, and nothing after
        start = time.monotonic()
        while tcp.recv(65536):
            pass
        with suppress(OSError):  # its end of the connection is still open for what the client sends
            while time.monotonic() - start < 4 * LINGER_S:
                tcp.sendall(b"x")
                time.sleep(0.05)
        assert LINGER_S / 2 < time.monotonic() - start < 2 * LINGER_S


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_still_sends_when_it_is_refused_gets_its_alert(
    serve: Callable[..., Running], loop: str, version: ssl.TLSVersion
) -> None:
    """It is refused for its certificate; the rest comes in pieces, as a network may cut it. Sending must not fail:
    wget, for one, would not read then.
    """
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    client = context(running, "client-expired")
    client.minimum_version = client.maximum_version = version
    with socket.create_connection(("localhost", running.port), 10) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls, incoming, outgoing = answering(tcp, client)
        if version is ssl.TLSVersion.TLSv1_3:  # to which its handshake is over
            tls.write(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
        flight = outgoing.read()
        sent = 0
        while flight:
            end = 5 + int.from_bytes(flight[3:5])
            tcp.sendall(flight[:end])
            flight = flight[end:]
            sent += 1
            time.sleep(0.05)
        assert sent >= 4  # Certificate, CertificateVerify, Finished, and the request or what TLS 1.2 has besides
        incoming.write(tcp.recv(65536))
        with pytest.raises(ssl.SSLError) as refused:
            tls.read(1) if version is ssl.TLSVersion.TLSv1_3 else tls.do_handshake()
    assert alert_of_reason(refused.value.reason) == "certificate_expired"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_refused_client_is_not_heard_for_ever(serve: Callable[..., Running], loop: str) -> None:
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    start, sent = time.monotonic(), 0
    with socket.create_connection(("localhost", running.port), 10) as tcp, suppress(OSError):
        while time.monotonic() - start < LINGER_S:
            sent += tcp.send(b"GET / HTTP/1.1\r\n" * 1024)
    assert time.monotonic() - start < LINGER_S, sent


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_corrupt_record_after_the_handshake_has_its_alert(
    serve: Callable[..., Running], tmp_path: Path, loop: str, version: ssl.TLSVersion
) -> None:
    """RFC 8446 5.2, RFC 5246 7.2.2. With stock the connection ends without one."""
    reasons = {}
    for server in Server:
        client = record_client(serve(Mode.REQUIRED, server, UVICORN_LOOP=loop), tmp_path, version)
        with client.tcp:
            record = bytearray(client.application_data(b"GET /healthz HTTP/1.1\r\n"))
            record[-1] ^= 1
            client.tcp.sendall(record)
            reasons[server] = client.answer()
    assert reasons == {Server.EXPLAINED: "SSLV3_ALERT_BAD_RECORD_MAC", Server.STOCK: None}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("in_request", [False, True])
@pytest.mark.parametrize(
    ("content_type", "content", "alert"),
    [
        (HANDSHAKE, b"\x18\0\0\1\2", "illegal_parameter"),  # KeyUpdate: request_update is 0 or 1, RFC 8446 4.6.3
        (HANDSHAKE, b"\x18\0\0\0", "decode_error"),  # and is there
        (HANDSHAKE, b"\x18\0\0\1\0" * 2, "unexpected_message"),  # and the last of its record, 5.1
        (HANDSHAKE, b"", "unexpected_message"),  # 5.4: no record without content
        (ALERT, b"", "unexpected_message"),
        (99, b"?", "unexpected_message"),  # 5.1: an unknown content type
    ],
)
def test_a_wrong_message_after_the_handshake_has_its_alert(
    serve: Callable[..., Running],
    tmp_path: Path,
    loop: str,
    in_request: bool,
    content_type: int,
    content: bytes,
    alert: str,
) -> None:
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    client = record_client(running, tmp_path, ssl.TLSVersion.TLSv1_3)
    with client.tcp:
        if in_request:  # the server waits for the rest of the head, and keeps what it has
            client.tcp.sendall(client.encrypted(APPLICATION_DATA, b"GET /healthz HTTP/1.1\r\n"))
        client.tcp.sendall(client.encrypted(content_type, content))
        start = time.monotonic()
        reason = client.answer()
        assert time.monotonic() - start < LINGER_S
        assert reason
        assert alert_of_reason(reason) == alert
        peer = ":".join(map(str, client.tcp.getsockname()[:2]))
    assert re.search(rf"WARNING tls_error peer={peer} reason=\w+", running.log.read_text())
    assert get(running, "client-good").status == 200


@pytest.mark.parametrize("loop", LOOPS)
def test_a_wrong_message_while_a_response_is_sent_has_its_alert(state: Path, tmp_path: Path, loop: str) -> None:
    """The alert is behind what was sent, and FIN behind the alert."""
    with lifted(state, tmp_path, LARGE, UVICORN_LOOP=loop) as running:
        client = record_client(running, tmp_path, ssl.TLSVersion.TLSv1_3)
        with client.tcp:
            request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.tcp.sendall(client.encrypted(APPLICATION_DATA, request))
            client.tcp.recv(1, socket.MSG_PEEK)  # the response has begun, and fills the buffers
            client.tcp.sendall(client.encrypted(HANDSHAKE, b"\x18\0\0\1\2"))
            time.sleep(0.3)  # FIN must wait for longer than usual
            assert alert_of_reason(client.answer()) == "illegal_parameter"


LARGE = """
from fastapi import FastAPI, Response

app = FastAPI(docs_url=None, redoc_url=None)


@app.get("/")
def large() -> Response:
    return Response(b"x" * 8_000_000)
"""


def test_good_records_made_by_hand_are_answered(serve: Callable[..., Running], tmp_path: Path) -> None:
    client = record_client(serve(Mode.REQUIRED), tmp_path, ssl.TLSVersion.TLSv1_3)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with client.tcp:
        client.tcp.sendall(client.encrypted(APPLICATION_DATA, request))
        assert client.answer() is None
    assert client.received.startswith(b"HTTP/1.1 204")


def record_client(running: Running, folder: Path, version: ssl.TLSVersion) -> RecordClient:
    client = context(running, "client-good")
    client.minimum_version = client.maximum_version = version
    return RecordClient(socket.create_connection(("localhost", running.port), 10), client, folder / "keys")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_silent_client_does_not_stay(serve: Callable[..., Running], loop: str) -> None:
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop, LAB_HANDSHAKE_TIMEOUT_S="0.5")
    with socket.create_connection(("localhost", running.port), 10) as tcp:
        start = time.monotonic()
        tcp.settimeout(5)
        assert tcp.recv(1) == b""
        assert 0.3 < time.monotonic() - start < 4


@pytest.mark.parametrize("loop", LOOPS)
def test_the_log_says_who_was_refused_and_why(serve: Callable[..., Running], loop: str) -> None:
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    for name in ("client-expired", None):
        with pytest.raises((ssl.SSLError, OSError)):
            get(running, name)
    log = running.log.read_text()
    assert re.search(
        r'WARNING handshake_refused peer=127\.0\.0\.1:\d+ subject="CN=client-expired,O=mTLS Lab" '
        r'reason=CERTIFICATE_VERIFY_FAILED verify_code=10 verify_message="certificate has expired" tls=1\.3',
        log,
    )
    assert re.search(
        r"WARNING handshake_refused peer=127\.0\.0\.1:\d+ reason=PEER_DID_NOT_RETURN_A_CERTIFICATE tls=1\.3", log
    )
    assert "PRIVATE KEY" not in log
    assert "BEGIN" not in log


def test_plain_http_on_the_tls_port_is_logged(serve: Callable[..., Running]) -> None:
    running = serve(Mode.REQUIRED)
    connection = http.client.HTTPConnection("localhost", running.port, timeout=10)
    connection.request("GET", "/")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()
    assert "handshake_refused" in running.log.read_text()
    assert "reason=HTTP_REQUEST" in running.log.read_text()


@pytest.mark.parametrize(("loop", "protocol"), [(a, b) for a in LOOPS for b in ("h11", "httptools")])
def test_two_clients_at_once_keep_their_identities(serve: Callable[..., Running], loop: str, protocol: str) -> None:
    running = serve(Mode.OPTIONAL, UVICORN_LOOP=loop, UVICORN_HTTP=protocol)
    good = http.client.HTTPSConnection("localhost", running.port, context=context(running, "client-good"))
    nobody = http.client.HTTPSConnection("localhost", running.port, context=context(running))
    for _ in range(3):  # keep-alive, interleaved
        for connection, subject in ((good, "CN=client-good,O=mTLS Lab"), (nobody, None)):
            connection.request("GET", "/whoami")
            identity = json.loads(connection.getresponse().read())["identity"]
            assert (identity and identity["subject"]) == subject
    good.close()
    nobody.close()


def test_whoami(serve: Callable[..., Running]) -> None:
    running = serve(Mode.REQUIRED)
    who = json.loads(get(running, "client-good").body)  # type: ignore[attr-defined]
    manifest = json.loads((running.state / "client-tls/manifest.json").read_text())["credentials"]["client-good"]
    assert {key: who["identity"][key] for key in ("subject", "issuer", "serial", "sha256")} == {
        key: manifest[key] for key in ("subject", "issuer", "serial", "sha256")
    }
    assert who["identity"]["sans"] == ["EMAIL:client-good@mtls-lab.test"]
    assert who["identity"]["verified"] is True
    assert who["tls"]["version"] == "1.3"
    assert who["tls"]["cipher"].startswith("TLS_")


def test_the_page_and_the_greeting(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL)
    greeting = json.loads(get(running, None, "/").body)  # type: ignore[attr-defined]
    assert greeting["message"] == "Hello, stranger!"
    assert greeting["identity"] is None
    page = get(running, "client-good", "/", Accept="text/html")
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"<h1>Hello, client-good!</h1>" in page.body  # type: ignore[attr-defined]


def test_stock_knows_nobody(serve: Callable[..., Running]) -> None:
    who = json.loads(get(serve(Mode.REQUIRED, Server.STOCK), "client-good").body)  # type: ignore[attr-defined]
    assert who == {"identity": None, "tls": None, "openssl": ssl.OPENSSL_VERSION}


class Visitor:
    """A client that comes back with the session it got."""

    def __init__(self, running: Running, tls: ssl.TLSVersion, credential: Path | None = None) -> None:
        self.port = running.port
        self.context = context(running, None if credential else "client-good")
        self.context.minimum_version = self.context.maximum_version = tls
        if credential:
            self.context.load_cert_chain(credential)
        self.session: ssl.SSLSession | None = None

    def visit(self) -> bytes:
        """Return the server's answer, empty if it closed instead; `reused` tells whether the session was resumed."""
        with (
            socket.create_connection(("localhost", self.port), 10) as tcp,
            self.context.wrap_socket(tcp, server_hostname="localhost", session=self.session) as tls,
        ):
            self.reused = tls.session_reused
            tls.sendall(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            with suppress(OSError):
                while data := tls.recv(65536):
                    answer += data
            self.session = tls.session
        return answer


def test_session_tickets_are_off_unless_asked_for(serve: Callable[..., Running]) -> None:
    for tickets in ("0", "1"):
        visitor = Visitor(serve(Mode.REQUIRED, LAB_SESSION_TICKETS=tickets), ssl.TLSVersion.TLSv1_3)
        visitor.visit()
        assert b"client-good" in visitor.visit()
        assert visitor.reused == (tickets == "1")  # the trap can be shown


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_expired_client_does_not_come_back_by_resumption(
    serve: Callable[..., Running], state: Path, tmp_path: Path, tls: ssl.TLSVersion
) -> None:
    """With stock it does: OpenSSL does not verify a resumed session again."""
    store = Store(state)
    root = store.read(AUTHORITIES[2], None)
    issuer = store.read(AUTHORITIES[3], root)
    validity_s = 3
    brief = client_leaf("client-brief", validity=Validity(BACKDATED, timedelta(seconds=validity_s)))
    made, expires = make(brief, issuer), time.monotonic() + validity_s
    credential = tmp_path / "client-brief.pem"
    credential.write_bytes(made.cert_pem() + made.chain_pem() + made.key_pem())
    stock = Visitor(serve(Mode.REQUIRED, Server.STOCK), tls, credential)
    explained = Visitor(serve(Mode.REQUIRED, LAB_SESSION_TICKETS="1"), tls, credential)
    assert b"200 OK" in stock.visit()
    assert b"client-brief" in explained.visit()
    time.sleep(max(0.0, expires + 1.1 - time.monotonic()))  # until the certificate has expired, no sooner
    assert b"200 OK" in stock.visit()
    assert stock.reused
    start = time.monotonic()
    try:
        answer = explained.visit()
    except OSError:
        answer = b""
    assert answer == b""
    assert time.monotonic() - start < LINGER_S  # without an alert there is nothing to wait for
    assert 'subject="CN=client-brief,O=mTLS Lab"' in serve(Mode.REQUIRED, LAB_SESSION_TICKETS="1").log.read_text()


def test_it_stops_at_once_though_clients_stay(state: Path, tmp_path: Path) -> None:
    with (
        serving(state, tmp_path / "log", Mode.REQUIRED) as running,
        socket.create_connection(("localhost", running.port)),
    ):
        start = time.monotonic()
        running.process.terminate()
        running.process.join(10)
        assert running.process.exitcode in (0, -15)
        assert time.monotonic() - start < 3
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log


def test_the_folder_can_be_lifted(serve: Callable[..., Running], tmp_path: Path) -> None:
    """`server/` needs the installed library, and nothing of the rest of the repository."""
    (tmp_path / "server").symlink_to(ROOT / "server")
    done = subprocess.run(
        [sys.executable, "-c", "import server.app, server.__main__"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
