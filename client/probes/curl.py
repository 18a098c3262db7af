"""curl. Its exit status says where it failed; the alert is in the handshake that `-v` shows."""

from __future__ import annotations

import re
import shlex

from catalogue import Outcome, Tool, alert_name
from client.lab import Attempt
from client.observe import TIMEOUT_S, Observed, alert_of_packed, http_answer, openssl_version, refused
from client.probes.command import Ran, output, run

# `(IN), TLS alert, certificate expired (557)`: the number is level << 8 | alert, and level 2 is fatal.
_ALERT_IN = re.compile(r"\(IN\), TLS alert, .*\((\d+)\)")
# With status 35, a failed handshake: that the server closed, and not that curl did not like something.
_CLOSED = re.compile(r"SSL_ERROR_SYSCALL|SSL_ERROR_ZERO_RETURN|error:0A000126|reset by peer|Broken pipe")
_STATUS = re.compile(r"^< (HTTP/1\.1 (\d{3}).*?)\s*$", re.M)
_MEDIA_TYPE = re.compile(r"^< content-type: (\S+?)\s*$", re.M | re.I)
_SERVER_SPOKE = "(IN), TLS handshake, Server hello"
_FATAL = 2

_UNREACHABLE = {6, 7}
_TIMEOUT = 28
_HANDSHAKE_FAILED = 35
_BROKEN_OFF = {_HANDSHAKE_FAILED, 52, 55, 56}
_LOCAL_CERTIFICATE = 58
_SERVER_CERTIFICATE = 60


class Curl:
    """`curl --cert fullchain.pem --key privkey.pem --cacert public_root.pem`."""

    name = Tool.CURL

    def version(self) -> str | None:
        words = (output("curl", "-q", "--version") or "").split()
        libraries = [word for word in words[:12] if "SSL/" in word or "TLS/" in word]
        return ", ".join([" ".join(words[:2]), *libraries]) if words else None

    def openssl(self) -> tuple[int, ...] | None:
        return openssl_version(self.version() or "")

    def lacks(self, attempt: Attempt) -> str | None:
        return None

    def command(self, attempt: Attempt) -> str:
        return shlex.join(self._argv(attempt))

    def run(self, attempt: Attempt) -> Observed:
        done = run(self._argv(attempt))
        return done.told(self._read(done))

    def _read(self, done: Ran) -> Observed:
        alerts = [int(number) for number in _ALERT_IN.findall(done.stderr)]
        fatal = [number & 0xFF for number in alerts if number >> 8 == _FATAL]
        alert = alert_name(fatal[0]) if fatal else alert_of_packed(done.stderr)
        detail = next((line for line in done.stderr.splitlines() if line.startswith("curl: (")), "")
        if done.status == 0:
            return _answer(done)
        if alert:  # before the status: curl reports the alert certificate_expired in TLS 1.2 as its own error 60
            return refused(alert, detail)
        if done.status == _LOCAL_CERTIFICATE:
            return Observed(Outcome.NOT_PRESENTED, detail=detail)
        if done.status == _SERVER_CERTIFICATE:
            return Observed(Outcome.REFUSED_BY_CLIENT, detail=detail)
        if done.status in _BROKEN_OFF and _SERVER_SPOKE in done.stderr:
            closed = done.status != _HANDSHAKE_FAILED or _CLOSED.search(done.stderr)
            return refused(None, detail) if closed else Observed(Outcome.PROBE_ERROR, detail=detail)
        if done.status in _UNREACHABLE | _BROKEN_OFF:
            return Observed(Outcome.UNREACHABLE, detail=detail)
        if done.status in (None, _TIMEOUT):
            return Observed(Outcome.TIMEOUT, detail=detail)
        return Observed(Outcome.PROBE_ERROR, detail=detail or f"curl exited with {done.status}")

    def _argv(self, attempt: Attempt) -> list[str]:
        view = attempt.view
        credential = ["--cert", attempt.cert, "--key", attempt.key or ""] if attempt.cert else []
        if attempt.pass_phrase:
            credential += ["--pass", attempt.pass_phrase]
        return [
            *("curl", "-q", "-sSv", "--noproxy", "*", "--max-time", f"{TIMEOUT_S:.0f}"),
            *(f"--tlsv{attempt.tls}", "--tls-max", attempt.tls),
            *(("--connect-to", f"::{view.address}:") if view.address else ()),
            *("--cacert", view.public_root),
            *credential,
            attempt.url,
        ]


def _answer(done: Ran) -> Observed:
    status, media_type = _STATUS.search(done.stderr), _MEDIA_TYPE.search(done.stderr)
    if not status:
        return Observed(Outcome.PROBE_ERROR, detail="an answer without a status line")
    return http_answer(int(status[2]), done.stdout, status[1], media_type[1] if media_type else None)
