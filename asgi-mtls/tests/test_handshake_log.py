"""The handshake log: what it understands of real handshakes and of garbage, and how little it keeps."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from pki import Pki

from asgi_mtls.handshake_log import recorder as record
from asgi_mtls.handshake_log import routes as live
from asgi_mtls.handshake_log import tls_messages as messages
from asgi_mtls.handshake_log.explanations import explanation
from asgi_mtls.handshake_log.recorder import HandshakeLog, Recording
from asgi_mtls.handshake_log.summary import HandshakeSummary

Captured = list[tuple[str, int, int, int, bytes]]
CALLBACK = getattr(ssl.SSLContext.__mro__[1], "_msg_callback", None)
HOSTILE = '<img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}"\n'
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

pytestmark = pytest.mark.skipif(CALLBACK is None, reason="this Python can't watch a handshake")


def serving(pki: Pki, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that requires client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.fullchain, pki.server.privkey)
    context.load_verify_locations(pki.trust_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= 1 << 33  # no compressed certificates, as asgi_mtls.handshake has it
    context.minimum_version = context.maximum_version = version
    return context


def shake(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    host: str = "localhost",
) -> tuple[HandshakeSummary, ssl.SSLObject, Captured]:
    """Do a handshake in memory and record it as `asgi_mtls.handshake` does."""
    log, captured = HandshakeLog(), []
    recording = Recording(log, "127.0.0.1:4711")

    def watch(_: object, direction: str, version: int, content: int, kind: int, data: bytes) -> None:
        recording.message(direction, version, content, kind, data)
        captured.append((direction, version, content, kind, data))

    CALLBACK.__set__(server_context, watch)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(up, down, server_side=True)
    client = client_context.wrap_bio(down, up, server_hostname=host, session=session)
    error: ssl.SSLError | None = None
    unfinished = [client, server]
    while server in unfinished:
        for end in list(unfinished):
            try:
                end.do_handshake()
                unfinished.remove(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as failure:
                unfinished.remove(end)
                error = failure if end is server else error
    cipher = server.cipher()
    recording.finish(
        "refused" if error else "accepted",
        tls=server.version(),
        cipher=cipher[0] if cipher else None,
        resumed=bool(server.session_reused),
        verify_code=getattr(error, "verify_code", None),
        verify_error=getattr(error, "verify_message", None),
        reason=error.reason if error else None,
    )
    if not error:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
            client.read()  # takes the session tickets
    return log.list()[0], client, captured


def names(attempt: HandshakeSummary) -> list[str]:
    """The messages, without what middleboxes make TLS 1.3 send."""
    shown = [m for m in attempt.messages if not (m.name == "ChangeCipherSpec" and attempt.tls == "1.3")]
    return [f"{'>' if m.sender == 'client' else '<'} {m.name}" for m in shown]


SERVER_FLIGHT = ["< EncryptedExtensions", "< CertificateRequest", "< Certificate", "< CertificateVerify", "< Finished"]
CLIENT_FLIGHT = ["> Certificate", "> CertificateVerify", "> Finished"]


def test_tls_1_3(pki: Pki) -> None:
    attempt, _, _ = shake(serving(pki, TLS_1_3), pki.calling(pki.good))
    tickets = ["< NewSessionTicket"] * 2
    assert names(attempt) == ["> ClientHello", "< ServerHello", *SERVER_FLIGHT, *CLIENT_FLIGHT, *tickets]
    assert (attempt.outcome, attempt.tls, attempt.sni, attempt.resumed) == ("accepted", "1.3", "localhost", False)
    assert attempt.group in ("x25519", "X25519MLKEM768")
    assert attempt.cipher in ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256")
    assert attempt.subjects[0] == "CN=good,O=Example"
    assert attempt.subjects[1].startswith("CN=Client Intermediate")
    assert (attempt.alert, attempt.verify_code, attempt.reason) == (None, None, None)
    assert "holds the key" in attempt.meaning
    assert [m.at_ms for m in attempt.messages] == sorted(m.at_ms for m in attempt.messages)
    assert 0 < attempt.messages[-1].at_ms <= attempt.duration_ms
    assert abs(attempt.time - datetime.now(UTC)) < timedelta(minutes=1)


def test_tls_1_2(pki: Pki) -> None:
    attempt, _, _ = shake(serving(pki, TLS_1_2), pki.calling(pki.good))
    assert names(attempt)[:6] == [
        "> ClientHello",
        "< ServerHello",
        "< Certificate",
        "< ServerKeyExchange",
        "< CertificateRequest",
        "< ServerHelloDone",
    ]
    # OpenSSL reports no ChangeCipherSpec that it receives.
    assert names(attempt)[6:10] == ["> Certificate", "> ClientKeyExchange", "> CertificateVerify", "> Finished"]
    assert names(attempt)[-2:] == ["< ChangeCipherSpec", "< Finished"]
    assert (attempt.tls, attempt.sni) == ("1.2", "localhost")
    assert attempt.group in ("x25519", "secp256r1")
    assert attempt.subjects[0] == "CN=good,O=Example"


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_a_refused_client(pki: Pki, version: ssl.TLSVersion) -> None:
    attempt, _, _ = shake(serving(pki, version), pki.calling(pki.expired))
    assert attempt.outcome == "refused"
    assert attempt.subjects[0] == "CN=expired,O=Example"
    assert (attempt.verify_code, attempt.verify_error) == (10, "certificate has expired")
    assert (attempt.alert, attempt.alert_sender) == ("certificate_expired", "server")
    assert names(attempt)[-1] == "< Alert"
    assert "has expired" in attempt.meaning


@pytest.mark.parametrize(
    ("version", "alert"), [(TLS_1_2, "handshake_failure"), (TLS_1_3, "certificate_required")], ids=["1.2", "1.3"]
)
def test_a_client_without_certificate(pki: Pki, version: ssl.TLSVersion, alert: str) -> None:
    attempt, _, _ = shake(serving(pki, version), pki.calling())
    assert (attempt.alert, attempt.alert_sender, attempt.subjects) == (alert, "server", ())
    sent = [m.detail for m in attempt.messages if m.name == "Certificate" and m.sender == "client"]
    assert sent == ["no certificate"]
    assert attempt.meaning == "The client sent no certificate, and the server requires one."


def test_a_client_that_refuses_the_server(pki: Pki) -> None:
    distrusting = ssl.create_default_context(cafile=pki.trust_file)
    attempt, _, _ = shake(serving(pki, TLS_1_3), distrusting)
    assert (attempt.alert, attempt.alert_sender) == ("unknown_ca", "client")
    assert attempt.meaning.startswith("The client refused the server: it does not trust the CA")


def test_a_hello_retry_request(pki: Pki) -> None:
    server_context = serving(pki, TLS_1_3)
    server_context.set_ecdh_curve("secp384r1")  # one for which the client has sent no key share
    attempt, _, _ = shake(server_context, pki.calling(pki.good))
    expected = ["> ClientHello", "< HelloRetryRequest", "> ClientHello", "< ServerHello", *SERVER_FLIGHT]
    assert names(attempt)[: len(expected)] == expected
    assert attempt.group == "secp384r1"


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_a_resumed_session(pki: Pki, version: ssl.TLSVersion) -> None:
    server_context, client_context = serving(pki, version), pki.calling(pki.good)
    server_context.session_id_context = b"test"  # type: ignore[attr-defined]
    _, first, _ = shake(server_context, client_context)
    attempt, _, _ = shake(server_context, client_context, session=first.session)
    assert attempt.resumed
    assert attempt.subjects == ()
    assert "> Certificate" not in names(attempt)
    assert "resumed" in attempt.meaning


@pytest.fixture(scope="module")
def captured(pki: Pki) -> Captured:
    """The messages of a good handshake in each version, one after the other."""
    found: Captured = []
    for version in (TLS_1_2, TLS_1_3):
        found += shake(serving(pki, version), pki.calling(pki.good))[2]
    return found


def test_what_is_cut_short_or_changed_never_raises(captured: Captured) -> None:
    chance = random.Random(4)
    kept = [m for m in captured if m[2] == messages.HANDSHAKE and m[3] in (1, 2, 11, 12)]
    assert len(kept) >= 8
    seen = set()
    for direction, version, content, kind, data in kept:
        broken = [data[:length] for length in range(0, len(data), 3)] + [b"", chance.randbytes(300)]
        for _ in range(150):
            changed = bytearray(data)
            for _ in range(chance.randint(1, 6)):
                changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0xFF, chance.randrange(256)))
            broken.append(bytes(changed))
        for what in broken:
            log = HandshakeLog()
            recording = Recording(log, None)
            recording.message(direction, chance.choice((version, 0, 0x0303, 0x0304)), content, kind, what)
            recording.finish("refused")
            attempt = log.list()[0]
            live.as_json(attempt)
            seen.add((attempt.sni, attempt.subjects, attempt.group))
    assert len(seen) > 20  # the changes reached what is parsed
    assert {messages.alert_name(n) for n in range(256)} >= {"alert 255", "certificate_required"}
    assert (messages.group_name(0x11EC), messages.group_name(0x0A0A)) == ("X25519MLKEM768", "group 0x0a0a")


def test_a_hostile_name_stays_text(pki: Pki) -> None:
    """What can't be seen is shown as its number; the page sets nothing but text, and its policy runs nothing else."""
    hostile = pki.client(HOSTILE, sans=[x509.DNSName("client.example")])
    attempt, _, _ = shake(serving(pki, TLS_1_3), pki.calling(hostile))
    assert "onerror=alert(1)" in attempt.subjects[0]
    assert r"\u{202e}" in attempt.subjects[0]
    assert attempt.subjects[0].isprintable()
    script = re.search(r"<script>(.*?)</script>", live.PAGE, re.S)
    assert script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b", script[1])
    assert not re.search(r"\son[a-z]+=|\sstyle=|https?://|<link|\bsrc=", live.PAGE)
    assert "unsafe" not in live.HEADERS["Content-Security-Policy"]


def fill(log: HandshakeLog, number: int = 1, size: int = 0) -> None:
    for _ in range(number):
        recording = Recording(log, "127.0.0.1:4711")
        if size:
            for at in range(200):  # zeroes are a chain of very many certificates of no bytes
                kind = (messages.CLIENT_HELLO, messages.CERTIFICATE)[at % 2]
                recording.message("read", 0x0304, messages.HANDSHAKE, kind, bytes(size))
        recording.finish("refused")


def test_it_is_bounded() -> None:
    """500 attempts of the worst kind keep less than 8 MiB, before they are looked at and after."""
    tracemalloc.start()
    try:
        log = HandshakeLog()
        fill(log, 700, size=16_000)
        raw = tracemalloc.get_traced_memory()[0]
        attempts = log.list()
        parsed = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(attempts) == record.MAX_HANDSHAKES
    assert [int(a.id.rpartition("-")[2]) for a in attempts] == list(range(201, 701))
    assert len(attempts[0].messages) == record.MAX_MESSAGES
    assert attempts[0].omitted == 200 - record.MAX_MESSAGES
    assert 4 << 20 < raw < 8 << 20
    assert parsed < 8 << 20
    assert len(attempts[0].subjects) <= messages.MAX_SUBJECTS


def test_only_the_first_end_counts_and_data_is_passed_over() -> None:
    log = HandshakeLog()
    recording = Recording(log, None)
    for content in (23, 256, 257):
        recording.message("read", 0x0304, content, 0, b"x")
    recording.message("read", 0x0304, messages.ALERT, 48, b"\x02\x30")
    recording.finish("refused")
    recording.finish("lost")
    recording.message("write", 0x0304, messages.ALERT, 0, b"\x01\x00")
    (attempt,) = log.list()
    assert attempt.outcome == "refused"
    assert [m.detail for m in attempt.messages] == ["unknown_ca"]


async def take(following: Any, count: int) -> list[HandshakeSummary | None]:
    return [await asyncio.wait_for(anext(following), 5) for _ in range(count)]


def test_followers_get_what_is_known_then_what_comes() -> None:
    async def follow() -> None:
        log = HandshakeLog()
        fill(log, 3)
        known = log.list()
        following = log.follow(log.position(known[0].id))
        assert await take(following, 2) == known[1:]
        waits = asyncio.ensure_future(take(following, 1))
        await asyncio.sleep(0)
        assert not waits.done()
        fill(log)
        assert await waits == log.list()[-1:]
        await following.aclose()

    asyncio.run(follow())


def test_a_slow_follower_misses_what_was_forgotten() -> None:
    async def follow() -> None:
        log = HandshakeLog()
        fill(log, 1)
        following = log.follow()
        await take(following, 1)
        fill(log, record.MAX_HANDSHAKES + 7)
        numbers = [int(a.id.rpartition("-")[2]) for a in await take(following, record.MAX_HANDSHAKES) if a]
        assert numbers == list(range(9, record.MAX_HANDSHAKES + 9))
        await following.aclose()

    asyncio.run(follow())


def test_followers_are_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "HEARTBEAT_S", 0.01)

    async def follow() -> None:
        log = HandshakeLog()
        followers = [log.follow() for _ in range(record.MAX_FOLLOWERS)]
        for following in followers:
            assert await take(following, 1) == [None]  # a heartbeat
        assert log.full
        assert [attempt async for attempt in log.follow()] == []
        await followers[0].aclose()
        assert not log.full
        log.close()
        for following in followers[1:]:
            assert [attempt async for attempt in following] == []
        assert not log._followers

    asyncio.run(follow())


def test_an_id_of_another_worker_or_run_begins_at_the_start() -> None:
    log = HandshakeLog()
    fill(log, 2)
    last = log.list()[1].id
    assert log.position(last) == 2
    for other in (None, "", "2", f"1{last}", last.replace("-", "", 1), f"{last}x", last + "9" * 5000, last[:-1] + "²"):
        assert log.position(other) == 0, other


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"outcome": "timeout"}, "did not finish its handshake in time"),
        ({"outcome": "lost"}, "the client left"),
        ({"outcome": "turned_away"}, "gave way to a newcomer"),
        ({"reason": "HTTP_REQUEST"}, "plain HTTP"),
        ({"reason": "RESUMED_SESSION_REFUSED", "verify_code": 23}, "resumed a session"),
        ({"verify_code": 23, "alert": "certificate_revoked"}, "revoked by its CA"),
        ({"verify_code": 9999}, "could not verify"),
        ({"alert": "alert 255", "by_client": True}, "The client refused the server"),
        ({"reason": "NEVER_HEARD_OF"}, "The handshake failed"),
        ({"outcome": "accepted"}, "anonymous"),
    ],
)
def test_every_end_has_a_sentence(facts: dict[str, Any], sentence: str) -> None:
    nothing = {"verify_code": None, "alert": None, "by_client": False, "reason": None, "resumed": False, "named": False}
    assert sentence in explanation(**{"outcome": "refused", **nothing, **facts})
