"""What the server's context makes of its files, and of what nobody expects, without a connection."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding
from lists import authority, crl, leaf

from server import context
from server.context import LiveContext
from server.revocation import Judge
from server.settings import lab_settings


@pytest.fixture
def live(state: Path) -> Callable[..., LiveContext]:
    """Make a context of the issued files, with these variables."""
    tls = state / "server-tls"

    def make(trust: Path = tls / "validation_fullchain.pem", **environ: str) -> LiveContext:
        config = uvicorn.Config(
            "server.app:app",
            ssl_certfile=str(tls / "server-good/fullchain.pem"),
            ssl_keyfile=str(tls / "server-good/privkey.pem"),
            ssl_ca_certs=str(trust),
            ssl_cert_reqs=2,
        )
        return LiveContext(config, lab_settings(environ))

    return make


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("lab"), "propagate", True)
    caplog.set_level(logging.INFO, "lab")
    return lambda: [record.getMessage() for record in caplog.records]


def test_following_goes_on_whatever_happens(
    live: Callable[..., LiveContext], said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, looks = live(), []
    monkeypatch.setattr(context, "POLL_S", 0)

    def look() -> None:
        looks.append(len(looks))
        if len(looks) < 5:
            raise LookupError(f"nobody thought of this {len(looks) // 2}")

    async def follow() -> None:
        following = asyncio.create_task(loaded.follow())
        while len(looks) < 8 and not following.done():
            await asyncio.sleep(0)
        following.cancel()

    monkeypatch.setattr(loaded, "look", look)
    asyncio.run(follow())
    assert len(looks) >= 8
    failures = [line for line in said() if line.startswith("following_failed ")]
    assert len(failures) == 3  # each once, not at every look
    assert "nobody thought of this" in failures[0]
    assert " cure=" in failures[0]


def test_any_failure_to_load_keeps_what_is_loaded(
    live: Callable[..., LiveContext], said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = live()
    before = loaded.loaded

    def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(context, "load_context", fail)
    assert loaded.reload("a test") is False
    assert loaded.loaded is before
    assert any(line.startswith("tls_kept ") and "nobody thought of this" in line for line in said())


def test_who_can_not_be_judged_is_good_no_longer() -> None:
    problem = Judge().problem([b"\x30\x03abc"])
    assert problem
    assert (problem.verify_code, "can't be judged" in problem.verify_message) == (1, True)


def test_a_certificate_among_the_lists_is_no_trust_anchor(live: Callable[..., LiveContext], state: Path) -> None:
    lists = (state / "server-tls/validation_crl.pem").read_bytes()
    root = (state / "ca-private/untrusted-root/cert.pem").read_bytes()
    file = state / "lists-and-more.pem"
    file.write_bytes(lists)
    before = live(LAB_CRL=str(file)).loaded.context.get_ca_certs()
    file.write_bytes(lists + root)
    with pytest.raises(ValueError, match=r"something besides revocation lists in it.* sed -n"):
        live(LAB_CRL=str(file))
    file.write_bytes(lists)
    assert live(LAB_CRL=str(file)).loaded.context.get_ca_certs() == before


def half_way(loaded: LiveContext, state: Path, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A client and the server, which has sent what it has: the client's certificate is still to come."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = loaded.wrap_bio(to_server, to_client, server_side=True)
    folder = state / "client-tls/clients" / name
    trusting = ssl.create_default_context(cafile=state / "client-tls/public_root.pem")
    trusting.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    client = trusting.wrap_bio(to_client, to_server, server_hostname="localhost")
    for end in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            end.do_handshake()
    return client, server


def test_without_a_loop_of_ours_a_refusal_is_raised_at_the_next_step(
    live: Callable[..., LiveContext], state: Path
) -> None:
    """Where nobody would hang up on who stays, the connection must not be kept open for what is still sent."""
    client, server = half_way(live(), state, "client-expired")
    client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):  # for the alert to go out
        server.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        server.do_handshake()


def test_a_handshake_under_way_is_judged_by_the_lists_that_came_meanwhile(
    live: Callable[..., LiveContext], said: Callable[[], list[str]], state: Path, tmp_path: Path
) -> None:
    def finish(*, revoke: bool) -> None:
        file = tmp_path / "crl.pem"
        file.write_bytes(crl(state))
        loaded = live(LAB_CRL=str(file))
        client, server = half_way(loaded, state, "client-good")
        file.write_bytes(crl(state, *[leaf(state)] * revoke))
        assert loaded.reload("a test")
        client.do_handshake()
        server.do_handshake()

    finish(revoke=False)
    with pytest.raises(ssl.SSLWantReadError):
        finish(revoke=True)
    refused = [line for line in said() if line.startswith("handshake_refused ")]
    assert len(refused) == 1
    assert "reason=REFUSED_BY_NEW_FILES verify_code=23" in refused[0]


def test_a_file_that_is_cured_with_the_same_size_and_time_is_tried_again(
    live: Callable[..., LiveContext], said: Callable[[], list[str]], state: Path, tmp_path: Path
) -> None:
    """As after `chmod`, which changes neither; the tests may run as root, who reads everything."""
    file = tmp_path / "crl.pem"
    good = crl(state)
    file.write_bytes(good)
    loaded = live(LAB_CRL=str(file))
    file.write_bytes(bytes(len(good)))
    before = file.stat()
    for _ in range(3):
        loaded.look()
    assert [line.split()[0] for line in said()][-1] == "tls_kept"
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system is coarse
        file.write_bytes(good)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        loaded.look()
    assert "tls_reloaded" in [line.split()[0] for line in said()]


def test_what_failed_is_tried_again_after_a_minute(
    live: Callable[..., LiveContext], monkeypatch: pytest.MonkeyPatch, state: Path, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(crl(state))
    loaded = live(LAB_CRL=str(file))
    before, load = loaded.loaded, context.load_context

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(context, "load_context", fail)
    file.write_bytes(crl(state, leaf(state)))
    for _ in range(3):
        loaded.look()
    monkeypatch.setattr(context, "load_context", load)
    loaded.look()
    assert loaded.loaded is before
    monkeypatch.setattr(context, "_JUDGE_S", -1.0)
    for _ in range(2):
        loaded.look()
    assert loaded.loaded is not before


def test_nobody_is_hung_up_on_for_an_anchor_that_only_openssl_can_read(
    live: Callable[..., LiveContext], said: Callable[[], list[str]], state: Path, tmp_path: Path
) -> None:
    trust = tmp_path / "trust.pem"
    roots = (state / "server-tls/validation_fullchain.pem").read_text()
    der = authority(state, "validation-root").certificate.public_bytes(Encoding.DER)
    of_version_10 = ssl.DER_cert_to_PEM_cert(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1))
    chain = [
        c.public_bytes(Encoding.DER) for c in (leaf(state), authority(state, "validation-intermediate").certificate)
    ]

    def problem(text: str) -> object:
        trust.write_text(text)
        loaded = live(trust=trust)
        return loaded.loaded.judge.problem(chain)

    assert problem(roots) is None
    assert not [line for line in said() if line.startswith("trust_unreadable ")]
    other = (state / "ca-private/untrusted-root/cert.pem").read_text()
    assert "removed" in str(problem(other))
    assert problem(of_version_10 + other) is None
    assert len([line for line in said() if line.startswith("trust_unreadable ")]) == 1
    assert said()[-2].endswith(" trust_anchors=2")  # as many as OpenSSL has


def test_a_list_that_is_not_valid_yet_replaces_no_good_one_and_is_told(
    live: Callable[..., LiveContext], said: Callable[[], list[str]], state: Path, tmp_path: Path
) -> None:
    file = tmp_path / "crl.pem"
    file.write_bytes(crl(state))
    loaded = live(LAB_CRL=str(file))
    file.write_bytes(crl(state, days=9, since=1))
    assert loaded.reload("a test") is False
    assert "or not valid yet" in said()[-1]
    live(LAB_CRL=str(file))
    assert [line.split()[0] for line in said()][-1] == "crl_not_yet_valid"
