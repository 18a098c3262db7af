"""A handshake that is over, as people read it: made of what OpenSSL reported, when somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from asgi_mtls.handshake_log import tls_messages as messages
from asgi_mtls.handshake_log.explanations import explanation

READ = "read"


class Raw(NamedTuple):
    """A message as OpenSSL reported it; `at` is in seconds since the start."""

    at: float
    direction: str
    version: int
    content: int
    kind: int
    size: int
    data: bytes


class Ending(NamedTuple):
    """How a handshake ended; `started` in seconds since 1970."""

    outcome: str
    started: float
    duration_s: float
    peer: str | None
    tls: str | None
    cipher: str | None
    resumed: bool
    verify_code: int | None
    verify_error: str | None
    reason: str | None
    omitted: int


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a handshake: `sender` is `client` or `server`, `size` in bytes, `at_ms` since the start."""

    at_ms: float
    sender: str
    name: str
    size: int
    detail: str | None


@dataclass(frozen=True, slots=True)
class HandshakeSummary:
    """A handshake that is over. `outcome`: accepted, refused, lost, timeout or turned_away.

    `tls` is like `1.3`, `group` and `cipher` are IANA's names, `subjects` RFC 4514, leaf first, as offered and not
    necessarily verified. `omitted` counts the messages beyond MAX_MESSAGES.
    """

    id: str
    time: datetime
    worker: int
    peer: str | None
    outcome: str
    duration_ms: float
    sni: str | None
    tls: str | None
    group: str | None
    cipher: str | None
    resumed: bool
    subjects: tuple[str, ...]
    verify_code: int | None
    verify_error: str | None
    alert: str | None
    alert_sender: str | None
    reason: str | None
    meaning: str
    messages: tuple[Message, ...]
    omitted: int


def summary_of(name: str, worker: int, ending: Ending, raw: Sequence[Raw]) -> HandshakeSummary:
    """Return the summary of a handshake by its raw messages."""
    seen = _Seen()
    shown = tuple(seen.message(message) for message in raw)
    return HandshakeSummary(
        id=name,
        time=datetime.fromtimestamp(ending.started, UTC),
        worker=worker,
        peer=ending.peer,
        outcome=ending.outcome,
        duration_ms=round(ending.duration_s * 1000, 2),
        sni=seen.sni,
        tls=seen.tls or (ending.tls.removeprefix("TLSv") if ending.tls else None),
        group=seen.group,
        cipher=ending.cipher,
        resumed=ending.resumed,
        subjects=seen.subjects,
        verify_code=ending.verify_code,
        verify_error=ending.verify_error,
        alert=seen.alert,
        alert_sender=seen.alert_sender,
        reason=ending.reason,
        meaning=explanation(
            ending.outcome,
            verify_code=ending.verify_code,
            alert=seen.alert,
            by_client=seen.alert_sender == "client",
            reason=ending.reason,
            resumed=ending.resumed,
            named=seen.named,
        ),
        messages=shown,
        omitted=ending.omitted,
    )


class _Seen:
    """Gathers what the messages of a handshake say, one after another."""

    sni: str | None = None
    tls: str | None = None
    group: str | None = None
    alert: str | None = None
    alert_sender: str | None = None
    subjects: tuple[str, ...] = ()
    named = False

    def message(self, raw: Raw) -> Message:
        sender = "client" if raw.direction == READ else "server"
        detail = self._detail(raw, sender)
        name = messages.message_name(raw.content, raw.kind, raw.data)
        return Message(round(raw.at * 1000, 2), sender, name, raw.size, detail)

    def _detail(self, raw: Raw, sender: str) -> str | None:
        if raw.content == messages.ALERT:
            self.alert, self.alert_sender = messages.alert_name(raw.kind), sender
            return self.alert
        if raw.content == messages.CHANGE_CIPHER_SPEC:
            return "for middleboxes only" if self.tls == "1.3" else None
        if raw.kind == messages.FINISHED and self.tls == "1.2":
            return "encrypted, like all that the sender sends from now on"
        if not raw.data:
            return None
        if raw.kind == messages.CLIENT_HELLO:
            self.sni = messages.server_name(raw.data)
            return self.sni
        if raw.kind == messages.SERVER_HELLO:
            hello = messages.server_hello(raw.data)
            self.tls, self.group = hello.tls, hello.group or self.group
            return ", ".join(filter(None, (hello.tls and f"TLS {hello.tls}", hello.group))) or None
        if raw.kind == messages.SERVER_KEY_EXCHANGE:
            self.group = messages.key_exchange_group(raw.data)
            return self.group
        self.subjects = messages.subjects(raw.data, raw.version)
        cut_off = raw.size > len(raw.data)
        self.named = bool(self.subjects) or cut_off
        return self.subjects[0] if self.subjects else "too long to be kept" if cut_off else "no certificate"
