"""Certificate, key, trust file and revocation lists are followed while the server serves."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lists import authority, crl, leaf
from running import ROOT, THOROUGH, Running, context, server_environ, serving, unused_port

from ca.certificates import make
from ca.credentials import client_leaf, server_leaf
from ca.recipe import BACKDATED, Validity
from ca.store import Store, write_file
from catalogue import Mode, Server
from client.observe import alert_of_reason

pytestmark = pytest.mark.live

LOOPS = ("asyncio", "uvloop")
DEADLINE_S = 30.0
REQUESTS = 1000
ROTATIONS = 20 if THOROUGH else 8


def connect(running: Running, client: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", running.port, context=client, timeout=10)


def ask(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/whoami")
    response = connection.getresponse()
    response.read()
    return response.status


def alert(running: Running, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> str | None:
    """The alert that refuses a client, None if it is answered."""
    try:
        tcp = socket.create_connection(("localhost", running.port), 10)
        with client.wrap_socket(tcp, server_hostname="localhost", session=session) as connection:
            connection.sendall(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert connection.recv(1)
    except ssl.SSLError as error:
        return alert_of_reason(error.reason)
    return None


def wait_for(running: Running, pattern: str, count: int = 1) -> list[str]:
    """The log's lines of a kind, when there are as many."""
    deadline = time.monotonic() + DEADLINE_S
    while len(found := re.findall(pattern, running.log.read_text())) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} {pattern!r} in\n{running.log.read_text()}"
        time.sleep(0.02)
    return found


@contextmanager
def following(state: Path, folder: Path, lists: bytes | None = None, **environ: str) -> Iterator[tuple[Running, Path]]:
    """A server on a copy of its files, which may be changed; yields it and the copy."""
    tls = folder / "server-tls"
    shutil.copytree(state / "server-tls", tls)
    files = {
        "UVICORN_SSL_CERTFILE": str(tls / "server-good/fullchain.pem"),
        "UVICORN_SSL_KEYFILE": str(tls / "server-good/privkey.pem"),
        "UVICORN_SSL_CA_CERTS": str(tls / "validation_fullchain.pem"),
    }
    if lists is not None:
        write_file(tls / "crl.pem", lists)
        files["LAB_CRL"] = str(tls / "crl.pem")
    mode = environ.pop("mode", Mode.REQUIRED)
    with serving(state, folder / "server.log", mode, **(files | environ)) as running:
        yield running, tls


@pytest.mark.parametrize("loop", LOOPS)
def test_a_revoked_client_is_ended_and_stays_out_until_it_is_unrevoked(state: Path, tmp_path: Path, loop: str) -> None:
    with following(state, tmp_path, crl(state), UVICORN_LOOP=loop) as (running, tls):
        revoked, other = (connect(running, context(running, name)) for name in ("client-good", "client-rsa"))
        assert ask(revoked) == ask(other) == 200
        write_file(tls / "crl.pem", crl(state, leaf(state)))
        wait_for(running, r'WARNING connection_ended .*subject="CN=client-good,O=mTLS Lab" verify_code=23')
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(revoked)
        assert ask(other) == 200  # the same connection as before
        assert alert(running, context(running, "client-good")) == "certificate_revoked"
        assert alert(running, context(running, "client-rsa")) is None
        write_file(tls / "crl.pem", crl(state))
        wait_for(running, "tls_reloaded", 2)
        assert alert(running, context(running, "client-good")) is None
        for connection in (revoked, other):
            connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("tickets", ["0", "1"])
def test_a_resumed_session_does_not_outlive_a_revocation(
    state: Path, tmp_path: Path, version: ssl.TLSVersion, tickets: str
) -> None:
    """Session tickets where they are on; session IDs of TLS 1.2 in any case, which OpenSSL always offers."""
    with following(state, tmp_path, crl(state), LAB_SESSION_TICKETS=tickets) as (running, tls):
        client = context(running, "client-good")
        client.minimum_version = client.maximum_version = version
        session = None
        for resumed in (False, True):
            with client.wrap_socket(
                socket.create_connection(("localhost", running.port), 10), server_hostname="localhost", session=session
            ) as connection:
                connection.sendall(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert connection.recv(65536)
                session = connection.session
                can = tickets == "1" or version is ssl.TLSVersion.TLSv1_2
                assert connection.session_reused == (resumed and can)
                with suppress(OSError):
                    connection.unwrap()
        write_file(tls / "crl.pem", crl(state, leaf(state)))
        wait_for(running, "tls_reloaded")
        assert alert(running, client, session) == "certificate_revoked"


@pytest.mark.parametrize("stale_first", [True, False])
def test_a_stale_list_hides_no_revocation(state: Path, tmp_path: Path, stale_first: bool) -> None:
    """Of each CA the newest current list counts, for a new handshake and for a connection that is open."""
    stale = crl(state, leaf(state, "client-rsa"), since=-9, days=-1)

    def beside(current: bytes) -> bytes:
        return stale + current if stale_first else current + stale

    with following(state, tmp_path, beside(crl(state, days=9))) as (running, tls):
        revoked, other = (connect(running, context(running, name)) for name in ("client-good", "client-rsa"))
        assert ask(revoked) == ask(other) == 200
        wait_for(running, r"tls_loaded .* crls=2 ")
        older, newer = crl(state, leaf(state), since=-3, days=9), crl(state, since=-1, days=9)
        write_file(tls / "crl.pem", beside(older + newer))  # unrevoked
        wait_for(running, r"tls_reloaded .* crls=3 ")
        assert alert(running, context(running, "client-good")) is None
        assert ask(revoked) == ask(other) == 200
        assert not re.findall("crl_expired|is refused|connection_ended", running.log.read_text())
        write_file(tls / "crl.pem", beside(crl(state, leaf(state), days=9)))
        wait_for(running, r'connection_ended .*subject="CN=client-good,O=mTLS Lab" verify_code=23')
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(revoked)
        assert alert(running, context(running, "client-good")) == "certificate_revoked"
        assert alert(running, context(running, "client-rsa")) is None
        assert ask(other) == 200
        assert "tls_kept" not in running.log.read_text()
        for connection in (revoked, other):
            connection.close()


def test_a_stale_list_of_one_ca_leaves_the_other_ca_served(state: Path, tmp_path: Path) -> None:
    """And what the other CA revokes does not wait for it."""
    untrusted = authority(state, "untrusted-intermediate")
    stranger = make(client_leaf("client-new", issuer="untrusted-intermediate"), untrusted)
    Store(tmp_path).write(tmp_path / "client-new", stranger)
    others = crl(state, issuer="untrusted-intermediate", days=9)
    with following(state, tmp_path, crl(state, days=9) + others) as (running, tls):
        client = context(running)
        client.load_cert_chain(tmp_path / "client-new/fullchain.pem", tmp_path / "client-new/privkey.pem")
        trust = (tls / "validation_fullchain.pem").read_bytes()
        write_file(tls / "validation_fullchain.pem", trust + untrusted.cert_pem())
        wait_for(running, "tls_reloaded")
        good, new = connect(running, context(running, "client-good")), connect(running, client)
        assert ask(good) == ask(new) == 200
        stale = crl(state, issuer="untrusted-intermediate", since=-9, days=-1)
        write_file(tls / "crl.pem", stale + crl(state, leaf(state, "client-rsa"), days=9))
        [said] = wait_for(
            running, r'ERROR crl_expired .*issuer="([^"]*)" .*"every client certificate of this CA is refused'
        )
        assert said == untrusted.certificate.subject.rfc4514_string()
        wait_for(running, r'connection_ended .*subject="CN=client-new,O=mTLS Lab" verify_code=12')
        assert alert(running, client) == "certificate_expired"
        assert alert(running, context(running, "client-rsa")) == "certificate_revoked"
        assert alert(running, context(running, "client-good")) is None
        assert ask(good) == 200
        for connection in (good, new):
            connection.close()


def test_stock_never_looks_at_the_list(state: Path, tmp_path: Path, serve: Callable[..., Running]) -> None:
    (tmp_path / "crl.pem").write_bytes(crl(state, leaf(state)))
    running = serve(Mode.REQUIRED, Server.STOCK, LAB_CRL=str(tmp_path / "crl.pem"))
    assert alert(running, context(running, "client-good")) is None


def test_an_expired_list_refuses_everybody_and_the_log_says_so(state: Path, tmp_path: Path) -> None:
    with following(state, tmp_path, crl(state, days=-1)) as (running, _):
        assert alert(running, context(running, "client-good")) == "certificate_expired"
        wait_for(running, r'ERROR crl_expired file=\S+crl.pem issuer="CN=mTLS Lab Validation Intermediate.*is refused')
        wait_for(running, r"handshake_refused .*verify_code=12")


def test_a_list_of_another_issuer_refuses_everybody_and_the_log_says_so(state: Path, tmp_path: Path) -> None:
    with following(state, tmp_path, crl(state, issuer="untrusted-intermediate")) as (running, _):
        assert alert(running, context(running, "client-good")) == "unknown_ca"
        wait_for(running, r"ERROR crl_of_another_issuer file=\S+crl.pem")
        wait_for(running, r"handshake_refused .*verify_code=3 ")


@pytest.mark.parametrize(
    ("variable", "damage", "said"),
    [
        ("LAB_CRL", lambda pem: x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER), "no revocation list"),
        ("LAB_CRL", lambda pem: _with_another_signature(pem), "is not signed by it\n  try: openssl crl -in"),
        (
            "UVICORN_SSL_CA_CERTS",
            lambda pem: _cut_where_a_block_begins(pem),
            "a PEM block begins here, and the line does not end with -----\n  try: grep -n",
        ),
    ],
)
def test_a_bad_file_is_an_error_at_start(
    state: Path, tmp_path: Path, variable: str, damage: Callable[[bytes], bytes], said: str
) -> None:
    good = crl(state) if variable == "LAB_CRL" else (state / "server-tls/validation_fullchain.pem").read_bytes()
    (tmp_path / "bad.pem").write_bytes(damage(good))
    environ = server_environ(state, Mode.REQUIRED, unused_port()) | {variable: str(tmp_path / "bad.pem")}
    command = [sys.executable, "-m", "server"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: could not start the server: {variable}: {tmp_path / 'bad.pem'}: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def _cut_where_a_block_begins(pem: bytes) -> bytes:
    """Cut the line in which the last block begins: OpenSSL takes the blocks before it, and says nothing."""
    return pem[: pem.rindex(b"-----BEGIN ") + 15]


def _with_another_signature(pem: bytes) -> bytes:
    der = bytearray(x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_crl(bytes(der)).public_bytes(Encoding.PEM)


def test_the_chain_needs_the_list_of_the_root_too(state: Path, tmp_path: Path) -> None:
    both = crl(state) + crl(state, issuer="validation-root")
    with following(state, tmp_path, both, LAB_CRL_CHECK="chain") as (running, tls):
        assert alert(running, context(running, "client-good")) is None
        write_file(tls / "crl.pem", crl(state))
        wait_for(running, "tls_reloaded")
        assert alert(running, context(running, "client-good")) == "unknown_ca"
        intermediate = authority(state, "validation-intermediate").certificate
        write_file(tls / "crl.pem", crl(state) + crl(state, intermediate, issuer="validation-root"))
        wait_for(running, "tls_reloaded", 2)
        assert alert(running, context(running, "client-good")) == "certificate_revoked"


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("server-good/fullchain.pem", lambda data: data[: len(data) // 3]),
        ("server-good/privkey.pem", lambda _: b""),
        ("validation_fullchain.pem", lambda data: data[:-40]),
        ("validation_fullchain.pem", lambda data: _cut_where_a_block_begins(data)),
        ("crl.pem", lambda data: data[: len(data) // 2]),
        ("crl.pem", lambda _: b"no list"),
    ],
)
def test_a_bad_file_keeps_the_old_one_and_is_named(
    state: Path, tmp_path: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    with following(state, tmp_path, crl(state, leaf(state, "client-rsa"))) as (running, tls):
        good = (tls / file).read_bytes()
        (tls / file).write_bytes(damage(good))
        name = re.escape(Path(file).name)
        wait_for(running, rf'ERROR tls_kept why="a file changed" files=.* fact=".*{name}')
        assert alert(running, context(running, "client-good")) is None
        assert alert(running, context(running, "client-rsa")) == "certificate_revoked"
        assert len(re.findall("tls_kept", running.log.read_text())) == 1  # once, not at every look
        (tls / file).write_bytes(good)
        wait_for(running, 'tls_reloaded why="a file changed"')  # by itself, or following is dead
        assert alert(running, context(running, "client-good")) is None


def test_several_workers_reload_at_a_signal_and_keep_their_connections(state: Path, tmp_path: Path) -> None:
    """Uvicorn itself starts new workers at SIGHUP, and lost a request of some thousands."""
    with following(state, tmp_path, UVICORN_WORKERS="2") as (running, _):
        wait_for(running, "Application startup complete", 2)  # the signal would end a worker that is still starting
        kept = [connect(running, context(running, "client-good")) for _ in range(8)]
        for signals in (1, 2, 3):
            assert running.process.pid
            os.kill(running.process.pid, signal.SIGHUP)
            deadline = time.monotonic() + DEADLINE_S
            while running.log.read_text().count("tls_reloaded why=SIGHUP") < 2 * signals:
                assert time.monotonic() < deadline
                assert [ask(connection) for connection in kept] == [200] * len(kept)
        assert running.log.read_text().count("Started server process") == 2
        for connection in kept:
            connection.close()


def test_a_stale_list_does_not_replace_a_good_one(state: Path, tmp_path: Path) -> None:
    with following(state, tmp_path, crl(state)) as (running, tls):
        write_file(tls / "crl.pem", crl(state, days=-1))
        wait_for(running, "tls_kept .*expired")
        assert alert(running, context(running, "client-good")) is None


def test_expiry_is_in_the_log_at_start_after_a_change_and_as_a_warning(state: Path, tmp_path: Path) -> None:
    with following(state, tmp_path) as (running, tls):
        wait_for(running, r"tls_loaded certificate=\S.* serial=\w+ expires=\d{4}-")
        assert "expires_soon" not in running.log.read_text()
        soon = make(
            server_leaf("server-good", (), validity=Validity(BACKDATED, timedelta(days=3))),
            authority(state, "public-intermediate"),
        )
        Store(tmp_path).write(tls / "server-good", soon)
        wait_for(running, rf"tls_reloaded .*serial={soon.certificate.serial_number:x} expires=")
        wait_for(running, "WARNING certificate_expires_soon")


def test_a_removed_trust_anchor_ends_connections_and_sessions(state: Path, tmp_path: Path) -> None:
    with following(state, tmp_path) as (running, tls):
        connection = connect(running, context(running, "client-good"))
        assert ask(connection) == 200
        untrusted = b"".join(authority(state, f"untrusted-{n}").cert_pem() for n in ("intermediate", "root"))
        write_file(tls / "validation_fullchain.pem", untrusted)
        wait_for(running, "tls_reloaded")
        assert alert(running, context(running, "client-good")) == "unknown_ca"
        if hasattr(ssl.SSLObject, "get_verified_chain"):  # before 3.13 Python knows the leaf alone
            wait_for(running, "connection_ended .*verify_code=20")
            with pytest.raises((http.client.HTTPException, OSError)):
                ask(connection)
        connection.close()


@pytest.mark.parametrize(
    "comment_out",
    [
        lambda pem: pem.replace(b"-----BEGIN", b"#-----BEGIN"),
        lambda pem: b"".join(b"# " + line + b"\n" for line in pem.splitlines()),
        lambda pem: b"".join(b"    " + line + b"\n" for line in pem.splitlines()),
        lambda _: b"",
    ],
    ids=["# before BEGIN", "# before each line", "indented", "deleted"],
)
def test_a_trust_anchor_that_is_commented_out_is_removed(
    state: Path, tmp_path: Path, comment_out: Callable[[bytes], bytes]
) -> None:
    """OpenSSL takes a block only where BEGIN starts a line. Those before and behind it stay, and so does a client."""
    clients, other, stays = (authority(state, f"{n}-intermediate") for n in ("validation", "public", "untrusted"))
    stranger = make(client_leaf("client-new", issuer="untrusted-intermediate"), stays)
    Store(tmp_path).write(tmp_path / "client-new", stranger)
    with following(state, tmp_path) as (running, tls):
        client = context(running)
        client.load_cert_chain(tmp_path / "client-new/fullchain.pem", tmp_path / "client-new/privkey.pem")
        before, after = other.cert_pem(), stays.cert_pem()
        write_file(tls / "validation_fullchain.pem", before + clients.cert_pem() + after)
        wait_for(running, "tls_reloaded .*trust_anchors=3")
        removed, kept = connect(running, context(running, "client-good")), connect(running, client)
        assert ask(removed) == ask(kept) == 200
        write_file(tls / "validation_fullchain.pem", before + comment_out(clients.cert_pem()) + after)
        wait_for(running, "tls_reloaded .*trust_anchors=2")
        assert alert(running, context(running, "client-good")) == "unknown_ca"
        assert ask(kept) == 200
        if hasattr(ssl.SSLObject, "get_verified_chain"):  # before 3.13 Python knows the leaf alone
            wait_for(running, 'connection_ended .*subject="CN=client-good,O=mTLS Lab" verify_code=20')
            with pytest.raises((http.client.HTTPException, OSError)):
                ask(removed)
        for connection in (removed, kept):
            connection.close()


@pytest.mark.parametrize(("loop", "workers"), [("asyncio", "1"), ("uvloop", "1"), ("uvloop", "2")])
def test_no_request_fails_while_certificates_are_rotated(state: Path, tmp_path: Path, loop: str, workers: str) -> None:
    """Certificate and key each time; every other time the trust file too. Each client keeps its connection, or not."""
    environ = {"UVICORN_LOOP": loop, "UVICORN_WORKERS": workers}
    done, failures, rotated = [0] * 4, [], threading.Event()
    with following(state, tmp_path, crl(state), **environ) as (running, tls):

        def client(number: int) -> None:
            tls_context = context(running, "client-good" if number % 2 else "client-rsa")
            connection = connect(running, tls_context)
            while not rotated.is_set() or sum(done) < REQUESTS:
                try:
                    assert ask(connection) == 200
                except Exception as error:
                    failures.append(repr(error))
                    return
                done[number] += 1
                if done[number] % (1 + 10 * number) == 0:
                    connection.close()
                time.sleep(0.002)  # an open loop of the four would starve the server of its core
            connection.close()

        clients = [threading.Thread(target=client, args=(number,)) for number in range(len(done))]
        for thread in clients:
            thread.start()
        issuer = authority(state, "public-intermediate")
        trust = (tls / "validation_fullchain.pem").read_bytes()
        for rotation in range(ROTATIONS):
            new = make(server_leaf("server-good", ()), issuer)
            Store(tmp_path).write(tls / "server-good", new)
            if rotation % 2:
                extra = authority(state, "untrusted-root").cert_pem() if rotation % 4 == 1 else b""
                write_file(tls / "validation_fullchain.pem", trust + extra)
                write_file(tls / "crl.pem", crl(state, leaf(state, "client-p384")))
            wait_for(running, rf"tls_reloaded .*serial={new.certificate.serial_number:x}", int(workers))
        rotated.set()
        for thread in clients:
            thread.join(60)
        assert not failures
        assert sum(done) >= REQUESTS
        assert not re.findall("handshake_refused|connection_ended|tls_kept", running.log.read_text())


def test_a_client_of_a_new_authority_is_let_in_beside_the_old(state: Path, tmp_path: Path) -> None:
    """The overlap of a root's rollover: both are trusted."""
    with following(state, tmp_path) as (running, tls):
        stranger = make(
            client_leaf("client-new", issuer="untrusted-intermediate"), authority(state, "untrusted-intermediate")
        )
        Store(tmp_path).write(tmp_path / "client-new", stranger)
        client = context(running)
        client.load_cert_chain(tmp_path / "client-new/fullchain.pem", tmp_path / "client-new/privkey.pem")
        assert alert(running, client) == "unknown_ca"
        trust = (tls / "validation_fullchain.pem").read_bytes()
        write_file(tls / "validation_fullchain.pem", trust + authority(state, "untrusted-root").cert_pem())
        wait_for(running, "tls_reloaded")
        assert alert(running, client) is None
        assert alert(running, context(running, "client-good")) is None
