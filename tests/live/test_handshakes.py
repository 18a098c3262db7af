"""`GET /handshakes` of a real server: what it shows, to whom, and that it does not keep the server from stopping."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from running import Running, context, serving

from asgi_mtls.handshake_log.recorder import MAX_FOLLOWERS, MAX_HANDSHAKES
from catalogue import Mode, Server

pytestmark = pytest.mark.live

LOOPS = ("asyncio", "uvloop")
OPEN = {"LAB_HANDSHAKE_LOG": "1", "LAB_OPEN_HANDSHAKES": "1"}


@contextmanager
def asked(running: Running, path: str, name: str | None = None, **headers: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPSConnection("localhost", running.port, context=context(running, name), timeout=10)
    with closing(connection):
        connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        yield connection.getresponse()


def answer(running: Running, path: str, name: str | None = None, **headers: str) -> tuple[int, Any]:
    with asked(running, path, name, **headers) as response:
        body = response.read()
        return response.status, json.loads(body) if "json" in response.headers["Content-Type"] else body


def call(running: Running, name: str) -> int:
    """Have a handshake with a credential, refused or not; return the port it came from."""
    with closing(context(running, name).wrap_socket(socket.socket(), server_hostname="localhost")) as tls:
        tls.settimeout(10)
        tls.connect(("localhost", running.port))
        port = int(tls.getsockname()[1])
        with suppress(ssl.SSLError):
            tls.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            tls.recv(1000)
    return port


def attempts(running: Running) -> list[dict[str, Any]]:
    status, body = answer(running, "/handshakes?format=json")
    assert status == 200
    return list(body["handshakes"])


def attempt_from(running: Running, port: int) -> dict[str, Any]:
    """The attempt that came from a port, which is logged when its alert has gone out."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = [a for a in attempts(running) if a["peer"].endswith(f":{port}")]
        if found:
            return found[-1]
    raise AssertionError(f"no attempt from port {port}")


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """Read server-sent events until the stream ends."""
    event: dict[str, str] = {}
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line and not line.startswith(":"):
            key, _, value = line.partition(": ")
            event[key] = value
        elif not line and event:
            yield event
            event = {}


@pytest.mark.parametrize("loop", LOOPS)
def test_the_accepted_and_the_refused_are_listed(serve: Callable[..., Running], loop: str) -> None:
    running = serve(Mode.OPTIONAL, UVICORN_LOOP=loop, **OPEN)
    good = attempt_from(running, call(running, "client-good"))
    expired = attempt_from(running, call(running, "client-expired"))
    assert (good["outcome"], expired["outcome"]) == ("accepted", "refused")
    assert good["subjects"][0] == "CN=client-good,O=mTLS Lab"
    assert expired["subjects"][0] == "CN=client-expired,O=mTLS Lab"
    assert (expired["verify_code"], expired["alert"], expired["alert_sender"]) == (10, "certificate_expired", "server")
    for attempt in (good, expired):
        assert (attempt["sni"], attempt["tls"], attempt["resumed"]) == ("localhost", "1.3", False)
        assert attempt["group"] in ("x25519", "X25519MLKEM768")
        assert attempt["cipher"].startswith("TLS_")
        assert 0 < attempt["duration_ms"] < 10_000
        assert attempt["worker"] == running.process.pid
        names = [m["name"] for m in attempt["messages"]]
        assert names[:2] == ["ClientHello", "ServerHello"]
        assert names.count("Certificate") == 2
        assert "CertificateRequest" in names
    assert expired["messages"][-1]["name"] == "Alert"


@pytest.mark.parametrize("loop", LOOPS)
def test_those_that_never_were_handshakes_are_listed(serve: Callable[..., Running], loop: str) -> None:
    running = serve(Mode.OPTIONAL, UVICORN_LOOP=loop, LAB_HANDSHAKE_TIMEOUT_S="0.5", **OPEN)
    ends = {}
    for name, data in (("plain", b"GET / HTTP/1.0\r\n\r\n"), ("silent", b""), ("left", None)):
        with socket.create_connection(("localhost", running.port), 10) as tcp:
            port = tcp.getsockname()[1]
            if data is not None:
                tcp.sendall(data)
                with suppress(ConnectionError):
                    while tcp.recv(1000):
                        pass
        ends[name] = attempt_from(running, port)
    assert {name: a["outcome"] for name, a in ends.items()} == {"plain": "refused", "silent": "timeout", "left": "lost"}
    assert ends["plain"]["reason"] == "HTTP_REQUEST"
    assert "https://" in ends["plain"]["meaning"]
    assert not any(a["messages"] for a in ends.values())


def test_the_page_runs_its_own_script_and_nothing_else(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL, **OPEN)
    with asked(running, "/handshakes", Accept="text/html,*/*") as response:
        page = response.read().decode()
        policy = response.headers["Content-Security-Policy"]
    assert response.headers["Content-Type"].startswith("text/html")
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'self'" in policy
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert len(page.splitlines()) < 300


def test_events_come_as_they_happen_and_go_on_after_the_last(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL, **OPEN)
    call(running, "client-good")
    with asked(running, "/handshakes/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        stream = events(response)
        first = next(stream)
        assert (first["event"], json.loads(first["data"])["worker"]) == ("worker", running.process.pid)
        port = call(running, "client-self-signed")  # after the stream has begun
        for event in stream:
            attempt = json.loads(event["data"])
            if attempt["peer"].endswith(f":{port}"):
                break
    assert (event["event"], attempt["outcome"], attempt["alert"]) == ("handshake", "refused", "unknown_ca")
    assert event["id"] == attempt["id"]
    later = call(running, "client-good")
    with asked(running, "/handshakes/events", Last_Event_ID=event["id"]) as response:
        stream = events(response)
        next(stream)
        for event in stream:
            assert int(event["id"].rpartition("-")[2]) > int(attempt["id"].rpartition("-")[2])
            if json.loads(event["data"])["peer"].endswith(f":{later}"):
                break


def test_it_is_off_unless_asked_for(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL, LAB_OPEN_HANDSHAKES="1", LAB_HANDSHAKE_LOG="0")
    for path in ("/handshakes", "/handshakes/events"):
        status, problem = answer(running, path, "client-good")
        assert (status, problem["status"], problem["instance"]) == (404, 404, path)
        assert "Switch it on with the setting handshake_log" in problem["detail"]


def test_stock_has_none(serve: Callable[..., Running]) -> None:
    status, problem = answer(serve(Mode.OPTIONAL, Server.STOCK, **OPEN), "/handshakes")
    assert status == 404
    assert "Switch it on with the setting handshake_log" in problem["detail"]


def test_strangers_see_it_in_lab_mode_only(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL, LAB_HANDSHAKE_LOG="1", LAB_OPEN_HANDSHAKES="")
    for path in ("/handshakes", "/handshakes/events"):
        with asked(running, path, Accept="text/html") as response:
            assert response.status == 403
            assert response.headers["Content-Type"] == "application/problem+json"
            assert "certificate" in json.loads(response.read())["detail"]
        with asked(running, path, "client-good") as response:
            assert response.status == 200


def test_watchers_are_bounded(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL, UVICORN_LOOP="asyncio", **OPEN)
    watchers = []
    try:
        for _ in range(MAX_FOLLOWERS):
            connection = http.client.HTTPSConnection("localhost", running.port, context=context(running), timeout=10)
            watchers.append(connection)
            connection.request("GET", "/handshakes/events")
            stream = events(connection.getresponse())
            next(stream)
            next(stream)  # of its own handshake: it follows now
        status, problem = answer(running, "/handshakes/events")
        assert status == 503
        assert str(MAX_FOLLOWERS) in problem["detail"]
        watchers.pop().close()
        deadline = time.monotonic() + 10
        while status == 503 and time.monotonic() < deadline:
            with asked(running, "/handshakes/events") as response:
                status = response.status
        assert status == 200
    finally:
        for connection in watchers:
            connection.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_watcher_does_not_keep_the_server_from_stopping(state: Path, tmp_path: Path, loop: str) -> None:
    log = tmp_path / "server.log"
    with serving(state, log, Mode.OPTIONAL, UVICORN_LOOP=loop, **OPEN) as running:
        with asked(running, "/handshakes/events") as response:
            stream = events(response)
            next(stream)
            running.process.terminate()
            for _ in stream:  # which ends whole, not with a broken connection
                pass
        running.process.join(5)
        assert running.process.exitcode in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()
    assert "ERROR" not in log.read_text()


def test_it_keeps_the_last(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL, UVICORN_LOOP="uvloop", **OPEN)
    for _ in range(MAX_HANDSHAKES + 5):
        with socket.create_connection(("localhost", running.port), 10):
            pass
    port = call(running, "client-good")
    attempt_from(running, port)
    assert len(attempts(running)) == MAX_HANDSHAKES
