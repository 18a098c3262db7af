"""What strangers write into the log: as much as is good for its reader, and no line of their own."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lifted import lifted
from other_ca import NOW, pem
from running import READY_S, Running, context, serving

from catalogue import Mode

pytestmark = pytest.mark.live

BIG = 40_000  # characters of a name: OpenSSL takes chains of 100 KiB
LINE = 1100  # characters: of two values that are cut, and what stands around them


def stranger(running: Running, folder: Path, common_name: str) -> ssl.SSLContext:
    """The context of a client with a certificate of that name, which it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings(action="ignore"):  # RFC 5280 has 64 characters for a common name
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=9))
        made = builder.sign(key, hashes.SHA256())
    path = folder / "stranger.pem"
    path.write_bytes(pem(made) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    client = context(running)
    client.load_cert_chain(path)
    return client


def is_refused(running: Running, client: ssl.SSLContext) -> None:
    """See that the server refuses a client, and has said so in its log."""
    with (
        pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"),
        socket.create_connection(("localhost", running.port), 10) as tcp,
        client.wrap_socket(tcp, server_hostname="localhost") as connection,
    ):
        connection.recv(1)


def send(running: Running, request: bytes, name: str | None = "client-good") -> bytes:
    """Send what is no request that a client would make, and return the head of the answer."""
    with (
        socket.create_connection(("localhost", running.port), 10) as tcp,
        context(running, name).wrap_socket(tcp, server_hostname="localhost") as connection,
    ):
        connection.sendall(request)
        answer = b""
        with suppress(OSError):
            while b"\r\n\r\n" not in answer and (data := connection.recv(65536)):
                answer += data
        return answer


def assert_bounded(log: str) -> None:
    """Each line is short, of printable ASCII."""
    for line in log.splitlines():
        assert len(line) < LINE, line[:200]
    assert re.fullmatch(r"[ -~\n]*", log), set(re.findall(r"[^ -~\n]", log))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_name_of_a_stranger_is_cut_and_escaped(
    state: Path, tmp_path: Path, loop: str, version: ssl.TLSVersion
) -> None:
    file = tmp_path / "own.log"
    with serving(state, tmp_path / "log", Mode.REQUIRED, UVICORN_LOOP=loop, LAB_LOG_FILE=str(file)) as running:
        for _ in range(10):
            client = stranger(running, tmp_path, "\1" * BIG)
            client.minimum_version = client.maximum_version = version
            is_refused(running, client)
    for log in (file.read_text(), running.log.read_text()):
        refused = re.findall(r'^WARNING handshake_refused peer=\S+ subject="(.*?)" reason=', log, re.M)
        assert set(refused) == {"CN=" + r"\u0001" * 84 + "...[39916 more characters]"}
        assert len(refused) == 10
        assert "INFO serving " in log
        assert "UserWarning" not in log
        assert_bounded(log.replace(re.search("^INFO serving .*", log, re.M)[0], ""))  # type: ignore[index]


NAMES = {
    'x" verify_code=0\nERROR forged': r"CN=x\\\" verify_code=0\nERROR forged",
    "\x7f\x1b[31m\x85\x9b31m\u2028\u202e": r"CN=\u007f\u001b[31m\u0085\u009b31m\u2028\u202e",
    "\U0001f600" * 99: "CN=" + r"\ud83d\ude00" * 42 + "...[57 more characters]",
    '"' * 600: "CN=" + r"\\\"" * 127 + "...[946 more characters]",
    "a" * 509: "CN=" + "a" * 509,
    "a" * 510: "CN=" + "a" * 509 + "...[1 more characters]",
}


def test_no_name_of_a_stranger_makes_a_line(serve: Callable[..., Running], tmp_path: Path) -> None:
    running = serve(Mode.REQUIRED)
    for name in NAMES:
        is_refused(running, stranger(running, tmp_path, name))
    lines = [line for line in running.log.read_text().splitlines() if "forged" in line or "verify_code=18" in line]
    assert len(lines) == len(NAMES)
    for line, shown in zip(lines, NAMES.values(), strict=True):
        assert re.fullmatch(rf'WARNING handshake_refused peer=\S+ subject="?{re.escape(shown)}"? reason=\S+ .*', line)
        assert_bounded(line)


def test_the_handshakes_that_are_served_are_bounded(serve: Callable[..., Running], tmp_path: Path) -> None:
    running = serve(Mode.OPTIONAL, LAB_HANDSHAKE_LOG="1", LAB_OPEN_HANDSHAKES="1")
    for name in ("\1" * BIG, "\1" * 2000):
        is_refused(running, stranger(running, tmp_path, name))
    answer = http.client.HTTPSConnection("localhost", running.port, context=context(running), timeout=10)
    with closing(answer):
        answer.request("GET", "/handshakes?format=json")
        handshakes = json.loads(answer.getresponse().read())["handshakes"]
    long, shorter = (found for found in handshakes if found["verify_code"] == 18)
    assert len(json.dumps(long)) < 8000 > len(json.dumps(shorter))
    assert shorter["subjects"] == ["CN=" + r"\u{1}" * 297 + "..."]
    # Its Certificate message is not kept whole, so nobody knows the name; it has not sent none.
    assert [message["detail"] for message in long["messages"] if message["name"] == "Certificate"] == [
        None,
        "too long to be kept",
    ]
    assert not any("forged" in line for line in running.log.read_text().splitlines())


HOST = b"Host: localhost\r\n"
LONG = b"a" * 12_000  # h11 takes heads of 16 KiB
SOCKET = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
SOCKET += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(("http", "workers"), [("h11", "1"), ("httptools", "2")])
def test_uvicorns_own_lines_are_bounded(serve: Callable[..., Running], http: str, workers: str) -> None:
    """Its access log has the path and the query, the method, and whoever a proxy says that the client is."""
    running = serve(Mode.OPTIONAL, UVICORN_HTTP=http, UVICORN_WORKERS=workers)
    requests = {
        b"GET /" + LONG + b" HTTP/1.1\r\n" + HOST: "GET /" + "a" * 511 + "...[11489 more characters] HTTP/1.1",
        b"GET /?" + b"%" * 600 + b" HTTP/1.1\r\n" + HOST: "GET /?" + "%" * 510 + "...[90 more characters] HTTP/1.1",
        b'GET /?"\\ HTTP/1.1\r\n' + HOST: r"GET /?\"\\ HTTP/1.1",
        b"G" * 600 + b" / HTTP/1.1\r\n" + HOST: "G" * 512 + "...[88 more characters] / HTTP/1.1",
        b"GET /x HTTP/1.1\r\nX-Forwarded-For: a\x85\x9b31m" + LONG + b"\r\n" + HOST: r"a\u0085\u009b31m" + "a" * 496,
        b"GET /" + b"w" * 900 + b" HTTP/1.1\r\n" + HOST + SOCKET: "WebSocket /" + "w" * 511 + "...[389 more",
    }
    for request, shown in requests.items():
        answer = send(running, request + b"\r\n")
        if b"400 Bad Request" in answer:  # httptools knows its methods
            assert http == "httptools"
            assert b"GGG" in request
        else:
            assert shown in running.log.read_text()
    lines = running.log.read_text().splitlines()
    assert_bounded("\n".join(line for line in lines if not line.startswith("INFO serving ")))
    assert '"GET /x HTTP/1.1" 404 Not Found' in "\n".join(lines)  # ordinary lines are what they were


FAILING = """
from fastapi import FastAPI

app = FastAPI(docs_url=None, redoc_url=None)


@app.get("/fail/{text}")
def fail(text: str) -> None:
    raise ValueError(text)
"""


def test_a_traceback_is_bounded(state: Path, tmp_path: Path) -> None:
    """An error text may have come from the network, and Uvicorn logs it, as it is."""
    with lifted(state, tmp_path, FAILING) as running:
        for text in (b"x%0AERROR%20forged", b"%0A" * 5000, b"y" * 5000):
            assert b"500 Internal Server Error" in send(
                running, b"GET /fail/" + text + b" HTTP/1.1\r\n" + HOST + b"\r\n"
            )
        deadline = time.monotonic() + READY_S
        while (log := running.log.read_text()).count("ValueError: ") < 3:
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
    assert log.count("Exception in ASGI application") == 3
    assert "  ERROR forged" in log
    assert "\nERROR forged" not in log
    assert re.search('File ".*tiny.py", line 9, in fail', log)
    assert "ValueError: " + "y" * 500 + "...[4500 more characters]" in log
    assert len(log.splitlines()) < 1000
    assert_bounded("\n".join(line for line in log.splitlines() if not line.startswith("INFO serving ")))


REPEATED = 8
LOGGED = 5


def test_repeated_refusals_of_one_peer_are_counted(state: Path, tmp_path: Path) -> None:
    """Wherever strangers can repeat themselves; the counts are said when the server ends, if not sooner."""
    file = tmp_path / "own.log"
    environ = {"LAB_LOGGED_REFUSALS": str(LOGGED), "LAB_LOG_FILE": str(file), "LAB_TRUSTED_PROXY": "anybody"}
    with (
        serving(state, tmp_path / "log", Mode.OPTIONAL, LAB_REQUEST_HEAD_TIMEOUT_S="3", **environ) as running,
        ExitStack() as stack,
    ):
        refused, nobody = stranger(running, tmp_path, "Mallory"), context(running)
        silent = [socket.create_connection(("localhost", running.port), READY_S) for _ in range(REPEATED)]
        silent = [stack.enter_context(nobody.wrap_socket(tcp, server_hostname="localhost")) for tcp in silent]
        for _ in range(REPEATED):
            is_refused(running, refused)
            assert b" 403 " in send(running, b"GET /private HTTP/1.1\r\n" + HOST + b"\r\n", None)
            assert b" 400 " in send(running, b"GET / HTTP/1.1\r\nClient-Cert: ?\r\n" + HOST + b"\r\n", None)
        for connection in silent:
            with suppress(OSError):
                assert connection.recv(1) == b""
    for log in (file.read_text(), running.log.read_text()):
        logged = {}
        for name in ("handshake_refused", "forbidden", "telling_refused", "request_head_timeout"):
            logged[name] = len(re.findall(rf"^(?:INFO|WARNING) {name} ", log, re.M))
            counts = re.findall(rf"^WARNING repeats_counted event={name} peer=127\.0\.0\.1 count=(\d+) ", log, re.M)
            assert logged[name] + sum(map(int, counts)) == REPEATED
        assert max(logged.values()) <= LOGGED
        assert sum(logged.values()) == 2 * LOGGED  # of all together


def test_what_is_not_repeated_too_often_is_not_counted(serve: Callable[..., Running], tmp_path: Path) -> None:
    running = serve(Mode.REQUIRED)
    before = running.log.read_text().count("handshake_refused")
    for _ in range(REPEATED):
        is_refused(running, stranger(running, tmp_path, "Mallory"))
    log = running.log.read_text()
    assert log.count("handshake_refused") == before + REPEATED
    assert "repeats_counted" not in log
