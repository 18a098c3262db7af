"""The log's history, which no stranger pushes out, and what of them is counted instead of repeated."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from asgi_mtls import event_log as log
from asgi_mtls.settings import Settings

SIZE = 20_000


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(log, "_FILE_BYTES", SIZE)
    yield tmp_path / "server.log"
    for handler in log.LOGGER.handlers:
        handler.close()
    log.forget()


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(log.time, "monotonic", clock.monotonic)
    return clock


def refuse(count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        log.event(logging.WARNING, "handshake_refused", peer=f"192.0.2.1:{number}", subject="x" * 100)


def test_strangers_do_not_push_out_what_the_server_says_of_itself(file: Path) -> None:
    log.configure(Settings(plain_http=True, log_file=file))
    log.event(logging.INFO, "serving", server="explained")
    refuse(50)
    log.event(logging.WARNING, "connection_ended", peer="192.0.2.1:1")
    for _ in range(20):
        refuse(100, 100)
        log.event(logging.INFO, "tls_reloaded", why="a file changed")
    lines = file.read_text().splitlines()
    assert lines[:2] == ["INFO serving server=explained", "WARNING connection_ended peer=192.0.2.1:1"]
    assert lines.count('INFO tls_reloaded why="a file changed"') == 20
    assert not any("peer=192.0.2.1:7 " in line for line in lines)  # so they were rotated away
    assert "peer=192.0.2.1:199 " in lines[-2]
    before = file.with_name("server.log.1").read_text()
    assert before.startswith("INFO serving")
    assert file.stat().st_size <= SIZE >= len(before)
    assert {path.name for path in file.parent.iterdir()} == {"server.log", "server.log.1"}


def test_what_the_server_says_of_itself_is_bounded_too(file: Path) -> None:
    log.configure(Settings(plain_http=True, log_file=file))
    for number in range(2000):
        log.event(logging.INFO, "tls_reloaded", number=number)
        refuse(1, number)
    text = file.read_text()
    assert len(text) <= SIZE
    assert text.startswith("INFO tls_reloaded number=1")  # the newest that took half of the file, and not the first
    assert "INFO tls_reloaded number=1999\n" in text


def test_workers_share_the_file(file: Path) -> None:
    """Each has it open: who comes to its end second must not rotate again, or a whole file would be lost."""
    workers = []
    for _ in range(3):
        log.configure(Settings(plain_http=True, log_file=file))
        workers.append(list(log.LOGGER.handlers))
    said = itertools.count()
    for _ in range(4):
        while not file.with_name("server.log.1").exists() or file.stat().st_size < SIZE // 2:
            for log.LOGGER.handlers in workers:
                refuse(1, next(said))
        text = file.with_name("server.log.1").read_text() + file.read_text()
        known = [int(number) for number in re.findall(r"peer=192\.0\.2\.1:(\d+) ", text)]
        assert known == list(range(known[0], known[-1] + 1))
        assert known[-1] == next(said) - 1
        said = itertools.count(known[-1] + 1)
        file.with_name("server.log.1").unlink()
    for log.LOGGER.handlers in workers:
        for handler in log.LOGGER.handlers:
            handler.close()


def test_a_worker_follows_the_file_at_once(file: Path) -> None:
    """What it says of itself in the old one would be gone with that."""
    log.configure(Settings(plain_http=True, log_file=file))
    late = list(log.LOGGER.handlers)
    log.configure(Settings(plain_http=True, log_file=file))
    while not file.with_name("server.log.1").exists():
        refuse(1)
    early, log.LOGGER.handlers = log.LOGGER.handlers, late
    log.event(logging.INFO, "tls_reloaded")
    for handler in [*early, *late]:
        handler.close()
    assert "INFO tls_reloaded\n" in file.read_text()


def test_every_event_is_known_to_be_the_servers_or_a_strangers() -> None:
    """One that strangers cause belongs to BY_STRANGERS; one that is new, to either of the two."""
    ours = {"serving", "awaiting_certificate", "trusted_proxy_anybody", "connection_ended", "tls_kept", "tls_loaded"}
    ours |= {"tls_reloaded", "trust_unreadable", "certificate_expired", "certificate_expires_soon", "crl_expired"}
    ours |= {"crl_not_yet_valid", "crl_expires_soon", "crl_of_another_issuer", "following_failed", "files_not_followed"}
    sources = "".join(path.read_text() for path in Path(log.__file__).parent.rglob("*.py"))
    found = set(re.findall(r'(?:(?:event|_say_paused)\(\s*logging\.[A-Z]+,\s*|_log_loaded\()"(\w+)"', sources))
    assert found == ours | log.BY_STRANGERS
    assert not ours & log.BY_STRANGERS


def counted(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_repeated_refusals_of_a_peer_are_counted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    repeats = log.Repeats(100)
    assert [repeats.admits("handshake_refused", "192.0.2.1") for _ in range(250)] == [True] * 100 + [False] * 150
    assert repeats.admits("handshake_refused", "192.0.2.2")  # another peer
    assert repeats.admits("forbidden", "192.0.2.1")  # another event
    assert counted(caplog) == []
    clock.now += 60
    repeats.flush()
    assert counted(caplog) == ["repeats_counted event=handshake_refused peer=192.0.2.1 count=150 seconds=60"]
    repeats.flush()
    assert counted(caplog) == []  # said once
    clock.now += 3600 / 2
    assert sum(repeats.admits("handshake_refused", "192.0.2.1") for _ in range(250)) == 51  # as many an hour


def test_the_count_is_said_with_the_next_refusal_where_no_loop_runs(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    repeats = log.Repeats(1)
    assert [repeats.admits("forbidden", "x") for _ in range(3)] == [True, False, False]
    clock.now += 61
    assert not repeats.admits("forbidden", "x")
    assert counted(caplog) == ["repeats_counted event=forbidden peer=x count=2 seconds=61"]


def test_the_count_is_said_in_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(log, "SUMMARY_S", 0.1)

    async def refused() -> None:
        repeats = log.Repeats(1)
        for _ in range(3):
            repeats.admits("forbidden", "x")
        while not caplog.records:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(refused(), 30))
    assert re.fullmatch(r"repeats_counted event=forbidden peer=x count=2 seconds=\d+", counted(caplog)[0])


def test_no_number_of_peers_makes_more_lines(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Twice the lines of one of all together, and a bounded number of counts."""
    repeats = log.Repeats(100)
    lines, hours = 0, 3
    for _ in range(hours * 60):
        lines += sum(repeats.admits("handshake_refused", f"2001:db8::{number:x}") for number in range(300))
        clock.now += 60
        repeats.flush()
        said = counted(caplog)
        assert len(said) <= log.MAX_PEERS + 1
        assert any("peer=others" in line for line in said)
    assert 200 * hours < lines <= 200 * (hours + 1)


def test_a_peer_that_has_gone_makes_room(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    repeats = log.Repeats(100)
    for number in range(10 * log.MAX_PEERS):
        assert repeats.admits("handshake_refused", f"192.0.2.{number}")
        clock.now += 60
    for _ in range(200):
        repeats.admits("handshake_refused", "198.51.100.1")
    repeats.flush()
    assert counted(caplog) == ["repeats_counted event=handshake_refused peer=198.51.100.1 count=100 seconds=0"]


@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn.access", "asyncio"])
def test_what_others_log_is_cut_and_escaped_too(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """A path or a header of a request comes from the network."""
    logger = logging.getLogger(name)
    log.configure(Settings(plain_http=True))
    try:
        with caplog.at_level(logging.INFO, name):
            logger.info("%s asked for %s", 1, "/\r\nINFO forged\x1b" + "x" * 2000)
    finally:
        log.forget()
    [record] = [record for record in caplog.records if record.name == name]
    assert record.getMessage().startswith(r"1 asked for /\r\nINFO forged\u001bxxx")
    assert len(record.getMessage()) < log.MAX_TEXT + 100
