"""curl. Its exit status says where it failed; the alert is in the handshake that `-v` shows."""

from __future__ import annotations

import re
import shlex

from catalogue import Outcome, Tls, alert_name
from client.lab import PATH, Attempt
from client.observe import TIMEOUT_S, Observed, alert_of_packed, answered, refused
from client.probes.command import output, run
from client.server_log import ServerLog

# `(IN), TLS alert, certificate expired (557)`: the number is level << 8 | alert, and level 2 is fatal.
_ALERT_IN = re.compile(r"\(IN\), TLS alert, .*\((\d+)\)")
_SERVER_SPOKE = "(IN), TLS handshake, Server hello"
_FATAL = 2

_UNREACHABLE = {6, 7}
_TIMEOUT = 28
_BROKEN_OFF = {35, 52, 55, 56}
_LOCAL_CERTIFICATE = 58
_SERVER_CERTIFICATE = 60


class Curl:
    """`curl --cert fullchain.pem --key privkey.pem --cacert public_root.pem`."""

    name = "curl"

    def version(self) -> str | None:
        text = output("curl", "-q", "--version")
        return " ".join(text.split()[:4]) if text else None

    def lacks(self, tls: Tls) -> str | None:
        return None if self.version() else "curl is not installed"

    def command(self, attempt: Attempt) -> str:
        return shlex.join(self._argv(attempt))

    def run(self, attempt: Attempt, log: ServerLog) -> Observed:
        done = run(self._argv(attempt))
        alerts = [int(number) for number in _ALERT_IN.findall(done.stderr)]
        fatal = [number & 0xFF for number in alerts if number >> 8 == _FATAL]
        alert = alert_name(fatal[0]) if fatal else alert_of_packed(done.stderr)
        detail = next((line for line in done.stderr.splitlines() if line.startswith("curl: (")), "")
        if done.status == 0:
            return answered(done.stdout)
        if alert:  # before the status: curl reports the alert certificate_expired in TLS 1.2 as its own error 60
            return refused(alert, detail)
        if done.status == _LOCAL_CERTIFICATE:
            return Observed(Outcome.NOT_PRESENTED, detail=detail)
        if done.status == _SERVER_CERTIFICATE:
            return Observed(Outcome.REFUSED_BY_CLIENT, detail=detail)
        if done.status in _BROKEN_OFF and _SERVER_SPOKE in done.stderr:
            return refused(None, detail)
        if done.status in _UNREACHABLE | _BROKEN_OFF:
            return Observed(Outcome.UNREACHABLE, detail=detail)
        if done.status in (None, _TIMEOUT):
            return Observed(Outcome.TIMEOUT, detail=detail)
        return Observed(Outcome.PROBE_ERROR, detail=detail or f"curl exited with {done.status}")

    def _argv(self, attempt: Attempt) -> list[str]:
        view = attempt.view
        credential = ["--cert", attempt.cert, "--key", attempt.key or ""] if attempt.cert else []
        return [
            *("curl", "-q", "-sSv", "--noproxy", "*", "--max-time", f"{TIMEOUT_S:.0f}"),
            *(f"--tlsv{attempt.tls}", "--tls-max", attempt.tls),
            *("--cacert", view.public_root),
            *credential,
            view.url + PATH,
        ]
