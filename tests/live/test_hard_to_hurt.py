"""What a plain Uvicorn leaves open and the explained server closes: each test shows both. Loopback, bounded."""

from __future__ import annotations

import asyncio
import http.client
import math
import re
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Event

import pytest
from lists import authority
from running import THOROUGH, Running, context, serving
from test_following import alert

from ca.certificates import make
from ca.credentials import client_leaf, intermediate
from ca.store import Store
from catalogue import Mode, Server

pytestmark = pytest.mark.live

LOOPS = ("asyncio", "uvloop")
BOTH = pytest.mark.parametrize("loop", LOOPS)
REFUSED, IDLE, AT_ONCE = (5000, 5000, 500) if THOROUGH else (2000, 2000, 500)
RUSH, RUSHES = 1000, 5
FLAT_BYTES = 20 << 20
LIMIT_S = 0.5
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def good(running: Running, timeout_s: float = 5) -> float:
    """Do what a good client does, on a connection of its own; return the seconds it took."""
    start = time.perf_counter()
    connection = http.client.HTTPSConnection(
        "localhost", running.port, context=context(running, "client-good"), timeout=timeout_s
    )
    try:
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 204
    finally:
        connection.close()
    return time.perf_counter() - start


def beside(quiet: Running, busy: Callable[[], float], times: int) -> tuple[float, float]:
    """Return the usual time of a good client and the one beside bad ones, in seconds: the medians of as many each.

    They take turns, at two servers, so that whatever else the machine does hits both.
    """
    pairs = [(good(quiet), busy()) for _ in range(times)]
    usual, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return usual, other


def tcp(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), 5)


def is_ended(connection: socket.socket, within_s: float) -> bool:
    """Whether the server ends a connection in time."""
    connection.settimeout(within_s)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def resident_bytes(running: Running) -> int:
    pages = Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


@BOTH
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_has_a_time_limit(serve: Callable[..., Running], loop: str, sent: bytes) -> None:
    """Nothing is sent, or the head of a ClientHello. Stock waits for a minute."""
    ended = {}
    for server in Server:
        running = serve(Mode.REQUIRED, server, UVICORN_LOOP=loop, LAB_HANDSHAKE_TIMEOUT_S=str(LIMIT_S))
        with tcp(running) as connection:
            connection.sendall(sent)
            ended[server] = is_ended(connection, LIMIT_S * (6 if server is Server.EXPLAINED else 3))
    assert ended == {Server.EXPLAINED: True, Server.STOCK: False}


@BOTH
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_a_request_head_has_a_time_limit(serve: Callable[..., Running], loop: str, sent: bytes) -> None:
    ended = {}
    for server in Server:
        running = serve(Mode.REQUIRED, server, UVICORN_LOOP=loop, LAB_REQUEST_HEAD_TIMEOUT_S=str(LIMIT_S))
        with context(running, "client-good").wrap_socket(tcp(running), server_hostname="localhost") as connection:
            connection.sendall(sent) if sent else connection.do_handshake()
            ended[server] = is_ended(connection, LIMIT_S * (6 if server is Server.EXPLAINED else 3))
    assert ended == {Server.EXPLAINED: True, Server.STOCK: False}


@LINUX
@BOTH
def test_a_silent_client_gives_its_descriptor_back(serve: Callable[..., Running], loop: str) -> None:
    """One that reads nothing after its handshake, and so never answers a close_notify."""
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop, LAB_REQUEST_HEAD_TIMEOUT_S="2")
    with context(running, "client-good").wrap_socket(tcp(running), server_hostname="localhost") as connection:
        ends = f":{running.port:04X}", f":{connection.getsockname()[1]:04X}"

        def is_held() -> bool:
            """Whether a process holds the server's end: a socket that is in no descriptor has no inode."""
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return any(row[1].endswith(ends[0]) and row[2].endswith(ends[1]) and row[9] != "0" for row in rows)

        assert is_held()
        deadline = time.monotonic() + 20
        while is_held():
            assert time.monotonic() < deadline, running.log.read_text()
            time.sleep(0.05)
    assert "request_head_timeout" in running.log.read_text()


@pytest.mark.alone
def test_so_does_the_second_one_but_not_a_connection_in_use(serve: Callable[..., Running]) -> None:
    """Whatever loop and parser: the four take turns."""
    limit = {"LAB_REQUEST_HEAD_TIMEOUT_S": "0.5"}
    servers = {
        (loop, parser): serve(Mode.REQUIRED, UVICORN_LOOP=loop, UVICORN_HTTP=parser, **limit)
        for loop in LOOPS
        for parser in ("h11", "httptools")
    }
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        connections = {
            kind: stack.enter_context(
                context(running, "client-good").wrap_socket(tcp(running), server_hostname="localhost")
            )
            for kind, running in servers.items()
        }
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:  # four times the limit, in use
            for connection in connections.values():
                connection.sendall(request)
                assert connection.recv(65536).startswith(b"HTTP/1.1 204")
            time.sleep(0.05)
        for connection in connections.values():
            connection.sendall(request[:20])
        ended = {kind: is_ended(connection, 3) for kind, connection in connections.items()}
    assert ended == dict.fromkeys(servers, True)
    assert all("request_head_timeout" in running.log.read_text() for running in servers.values())


@pytest.mark.alone
@LINUX
@BOTH
def test_silent_connections_lock_nobody_out(state: Path, tmp_path: Path, loop: str) -> None:
    """400 of them, and a limit of 256 descriptors."""
    served = {}
    for server in Server:
        log = tmp_path / f"{server}.log"
        with ExitStack() as stack:
            quiet = stack.enter_context(
                serving(state, tmp_path / "quiet.log", Mode.REQUIRED, server, UVICORN_LOOP=loop)
            )
            running = stack.enter_context(serving(state, log, Mode.REQUIRED, server, 256, UVICORN_LOOP=loop))
            good(running)
            for _ in range(400):
                stack.enter_context(tcp(running))
            try:
                usual, busy = beside(quiet, partial(good, running, 3), 9)
                served[server] = busy < 2 * usual + 0.01
            except (OSError, http.client.HTTPException):
                served[server] = False
            if server is Server.EXPLAINED:
                time.sleep(1.5)  # the flood of the log, if there is one
                said = log.read_text()
                assert said.count("\n") < 60, said[-2000:]
                assert "handshakes_turned_away" in said
    assert served == {Server.EXPLAINED: True, Server.STOCK: False}


@LINUX
@BOTH
def test_a_client_with_a_connection_keeps_it_when_descriptors_run_short(state: Path, tmp_path: Path, loop: str) -> None:
    with ExitStack() as stack:
        environ = {"UVICORN_LOOP": loop, "UVICORN_TIMEOUT_KEEP_ALIVE": "60"}
        running = stack.enter_context(
            serving(state, tmp_path / "server.log", Mode.OPTIONAL, descriptors=128, **environ)
        )
        first = stack.enter_context(
            context(running, "client-good").wrap_socket(tcp(running), server_hostname="localhost")
        )
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        first.sendall(request)
        assert first.recv(65536).startswith(b"HTTP/1.1 204")
        anonymous = context(running)
        turned_away = 0
        for _ in range(150):  # established, every one of them: nobody is there to give way
            connection = tcp(running)
            stack.callback(connection.close)
            with suppress(OSError):
                secured = stack.enter_context(anonymous.wrap_socket(connection, server_hostname="localhost"))
                secured.sendall(request)
                if secured.recv(65536):
                    continue
            turned_away += 1
        assert turned_away > 20
        first.sendall(request)
        assert first.recv(65536).startswith(b"HTTP/1.1 204")
        assert "accept_failed" not in running.log.read_text()


async def rush(running: Running, count: int, tls: ssl.SSLContext | None) -> int:
    """Make connections, so many at once, each until the server ends it or all are there; return how many failed."""
    failed = 0
    for _ in range(count // AT_ONCE):
        made = await asyncio.gather(
            *(
                asyncio.open_connection(
                    "127.0.0.1", running.port, ssl=tls, server_hostname="localhost" if tls else None
                )
                for _ in range(AT_ONCE)
            ),
            return_exceptions=True,
        )
        for result in made:
            if isinstance(result, BaseException):
                failed += 1
            else:
                result[1].transport.abort()
    return failed


async def good_rush(running: Running, count: int) -> tuple[float, Counter[str]]:
    """Have so many good clients at once ask once each; return the seconds until the last ended, and the failures."""
    tls = context(running, "client-good")

    async def ask() -> str:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", running.port, ssl=tls, server_hostname="localhost", ssl_handshake_timeout=120
        )
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).decode()
        finally:
            writer.transport.abort()

    start = time.perf_counter()
    answers = await asyncio.gather(*(ask() for _ in range(count)), return_exceptions=True)
    lasted_s = time.perf_counter() - start
    return lasted_s, Counter(str(a) or repr(a) for a in answers if not str(a).startswith("HTTP/1.1 204"))


@pytest.mark.alone
@BOTH
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_rush_of_good_clients_loses_none_and_lasts_no_longer_than_with_stock(
    state: Path, tmp_path: Path, loop: str, workers: str
) -> None:
    """The quickest of some rounds, in which the two take turns: what else the machine does only adds time."""
    environ = {"UVICORN_LOOP": loop, "UVICORN_WORKERS": workers, "UVICORN_ACCESS_LOG": "0"}
    quickest = dict.fromkeys(Server, math.inf)
    for _ in range(RUSHES):
        for server in Server:
            with serving(state, tmp_path / f"{server}.log", Mode.REQUIRED, server, **environ) as running:
                lasted_s, lost = asyncio.run(good_rush(running, RUSH))
                assert not lost, running.log.read_text()[-2000:]
                quickest[server] = min(quickest[server], lasted_s)
        ratio = quickest[Server.EXPLAINED] / quickest[Server.STOCK]
        print(f"{loop}, {workers} workers: {quickest}, ratio {ratio:.2f}")
        if ratio <= 1.5:
            return
    raise AssertionError(f"{ratio:.2f} times as long as stock")


@pytest.mark.alone
@LINUX
@BOTH
@pytest.mark.parametrize(("descriptors", "limit"), [(None, "20"), (128, "200")], ids=["few places", "few descriptors"])
def test_good_clients_wait_where_there_is_no_room(
    state: Path, tmp_path: Path, loop: str, descriptors: int | None, limit: str
) -> None:
    environ = {"UVICORN_LOOP": loop, "LAB_MAX_HANDSHAKES": limit}
    with serving(state, tmp_path / "server.log", Mode.REQUIRED, descriptors=descriptors, **environ) as running:
        _, lost = asyncio.run(good_rush(running, 150))
        assert not lost
        said = running.log.read_text()
    assert "turned_away" not in said
    if descriptors:
        assert f'accept_paused fact="{descriptors * 3 // 4} descriptors are in use"' in said


@pytest.mark.alone
@BOTH
@pytest.mark.parametrize("silent", ["says nothing", "says half a hello", "says hello"])
def test_a_good_client_is_served_beside_silent_and_refused_ones(
    state: Path, tmp_path: Path, loop: str, silent: str
) -> None:
    """400 silent connections, twice as many as there are places, and one after another that is refused and stays."""
    with ExitStack() as stack:
        running = stack.enter_context(
            serving(state, tmp_path / "server.log", Mode.REQUIRED, UVICORN_LOOP=loop, UVICORN_ACCESS_LOG="0")
        )
        good(running)
        sent = {"says nothing": b"", "says half a hello": b"\x16\x03\x01\x02\x00\x01", "says hello": client_hello()}
        for _ in range(400):
            stack.enter_context(tcp(running)).sendall(sent[silent])
        times = []
        stop = Event()
        refusing = stack.enter_context(ThreadPoolExecutor())
        stack.callback(stop.set)
        refused = refusing.submit(refuse_until, running, stop)
        for _ in range(20):
            times.append(good(running))
            time.sleep(0.02)
        stop.set()
        assert refused.result() > 20
    assert statistics.median(times) < 1, times
    assert sorted(times)[-2] < 1, times  # the first may wait for silent ones that have just come


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def refuse_until(running: Running, stop: Event) -> int:
    """Be one client after another that is refused and does not close; return how many."""
    expired = context(running, "client-expired")
    with ExitStack() as stack:
        count = 0
        while not stop.is_set():
            connection = stack.enter_context(tcp(running))
            with suppress(OSError):
                stack.enter_context(expired.wrap_socket(connection, server_hostname="localhost"))
            count += 1
    return count


@LINUX
@pytest.mark.timeout(240)
@BOTH
def test_memory_stays_flat(state: Path, tmp_path: Path, loop: str) -> None:
    """Thousands of refused handshakes and of idle connections; what they cost while they last is bounded, too."""
    grown: dict[Server, int] = {}
    patience_s = 15.0
    for server in Server if loop == "asyncio" else (Server.EXPLAINED,):  # it is asyncio's read buffer that stays
        with serving(state, tmp_path / f"{server}.log", Mode.REQUIRED, server, UVICORN_LOOP=loop) as running:
            expired = context(running, "client-expired")
            for _ in range(20):
                good(running)
            asyncio.run(rush(running, AT_ONCE, expired))  # what the code itself needs is there now
            time.sleep(2)
            start = resident_bytes(running)
            peak = 0
            asyncio.run(rush(running, REFUSED, expired))
            peak = max(peak, resident_bytes(running))
            asyncio.run(rush(running, IDLE, None))
            peak = max(peak, resident_bytes(running))
            before = time.monotonic()
            while (now := resident_bytes(running)) - start > FLAT_BYTES and time.monotonic() - before < patience_s:
                time.sleep(0.2)
            patience_s = max(6.0, 2 * (time.monotonic() - before))  # stock gets twice what the other took, or 6 s
            grown[server] = now - start
            print(
                f"{loop} {server}: start {start >> 20} MiB, peak +{(peak - start) >> 20}, after +{grown[server] >> 20}"
            )
            if server is Server.EXPLAINED:
                assert peak - start < 64 << 20
            good(running)
    assert grown[Server.EXPLAINED] < FLAT_BYTES
    if Server.STOCK in grown:
        assert grown[Server.STOCK] > FLAT_BYTES


@pytest.mark.parametrize(
    ("ciphers", "stock"), [("ECDHE-ECDSA-AES128-SHA256", True), ("ECDHE-ECDSA-AES128-GCM-SHA256", True)]
)
def test_only_authenticated_encryption(serve: Callable[..., Running], ciphers: str, stock: bool) -> None:
    accepted = {}
    for server in Server:
        running = serve(Mode.REQUIRED, server)
        client = context(running, "client-good")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(ciphers)
        try:
            with client.wrap_socket(tcp(running), server_hostname="localhost"):
                accepted[server] = True
        except (ssl.SSLError, OSError):
            accepted[server] = False
    assert accepted == {Server.EXPLAINED: "GCM" in ciphers, Server.STOCK: stock}


def test_the_defaults_are_in_the_start_up_line(serve: Callable[..., Running]) -> None:
    log = serve(Mode.REQUIRED).log.read_text()
    words = ("TLS 1.2 and 1.3", "AEAD only", "verify=strict", "crl=off", "resumption=off", "renegotiation=off")
    line = re.search('INFO serving server=explained defaults="(.*?)"', log)
    assert line
    assert all(word in line[1] for word in words)
    assert "handshake<=10s, head<=10s, handshakes<=200" in line[1]


def test_a_client_can_not_renegotiate_or_compress(serve: Callable[..., Running]) -> None:
    running = serve(Mode.REQUIRED)
    client = context(running, "client-good")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with client.wrap_socket(tcp(running), server_hostname="localhost") as connection:
        assert connection.compression() is None
    folder = running.state / "client-tls/clients/client-good"
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{running.port}",
        "-tls1_2",
        "-cert",
        folder / "fullchain.pem",
    ]
    with subprocess.Popen(
        [*command, "-key", folder / "privkey.pem"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        for line in process.stdout:
            if "Verify return code" in line:
                break
        process.stdin.write("R\n")  # s_client's word for it
        process.stdin.flush()
        output = ""
        with suppress(BrokenPipeError):
            process.stdin.close()
        output = process.stdout.read()
    assert re.search("no renegotiation|no_renegotiation", output), output


def plaintext(running: Running) -> None:
    with tcp(running) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        is_ended(connection, 0.05)


def garbage(running: Running) -> None:
    with tcp(running) as connection:
        connection.sendall(bytes(range(256)) * 16)
        is_ended(connection, 0.05)


def half_open(running: Running) -> socket.socket:
    connection = tcp(running)
    connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # the head of a ClientHello, and no more
    return connection


def long_chain(running: Running, folder: Path) -> ssl.SSLContext:
    """A client with a hundred certificates, of which each but the leaf is a root of its own."""
    if not (folder / "fullchain.pem").exists():
        issuer = authority(running.state, "validation-intermediate")
        leaf = make(client_leaf("client-hundred"), issuer)
        Store(folder).write(folder, leaf)
        others = b"".join(make(intermediate(f"filler-{n}", "self"), None).cert_pem() for n in range(99))
        (folder / "fullchain.pem").write_bytes(leaf.cert_pem() + others)
    client = context(running)
    client.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    return client


def ignores_its_alert(running: Running) -> socket.socket:
    """A refused client that reads nothing and stays."""
    connection = tcp(running)
    client = context(running)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    return client.wrap_socket(connection, server_hostname="localhost")


@pytest.mark.alone
@BOTH
def test_a_good_client_hardly_notices_bad_ones(serve: Callable[..., Running], tmp_path: Path, loop: str) -> None:
    """Each kind of bad client before each request: within twice the usual time."""
    running = serve(Mode.REQUIRED, UVICORN_LOOP=loop)
    hundred = long_chain(running, tmp_path)

    def chain(_: Running) -> None:
        assert alert(running, hundred) is None  # its leaf is good: the rest is ballast

    quiet = serve(Mode.REQUIRED, UVICORN_LOOP=loop, TWIN="quiet")
    for server in (running, quiet):
        good(server)
    with ExitStack() as stack:
        for bad in (plaintext, garbage, half_open, chain, ignores_its_alert):

            def after_a_bad_one(bad: Callable[[Running], socket.socket | None] = bad) -> float:
                if stays := bad(running):
                    stack.enter_context(stays)
                return good(running)

            usual, busy = beside(quiet, after_a_bad_one, 15)
            assert busy < 2 * usual + 0.01, bad.__name__


@pytest.mark.alone
@BOTH
def test_a_byte_now_and_then_holds_no_place(state: Path, tmp_path: Path, loop: str) -> None:
    """As many clients as there are places send their hello byte by byte, and come again when they are dropped."""
    with serving(state, tmp_path / "server.log", Mode.REQUIRED, UVICORN_LOOP=loop, UVICORN_ACCESS_LOG="0") as running:
        good(running)
        stop = Event()
        with ThreadPoolExecutor() as threads:
            dripping = threads.submit(drip_until, running, stop, 200)
            try:
                time.sleep(1)  # until they hold their places
                times = [good(running, 15) for _ in range(10)]
            finally:
                stop.set()
            assert dripping.result() >= 200
    assert statistics.median(times) < 1, times


def drip_until(running: Running, stop: Event, clients: int) -> int:
    """Be so many clients of which each sends a byte every 0.1 s; return how many connections they made."""
    hello, made = client_hello(), 0
    held: list[tuple[socket.socket, int]] = []
    while not stop.is_set():
        while len(held) < clients:
            held.append((tcp(running), 0))
            made += 1
        going = []
        for connection, sent in held:
            try:
                connection.send(hello[sent : sent + 1])
                going.append((connection, min(sent + 1, len(hello) - 2)))
            except OSError:
                connection.close()
        held = going
        time.sleep(0.1)
    for connection, _ in held:
        connection.close()
    return made
