"""`openssl s_client`, with the request on its standard input.

`-quiet` keeps it reading when its input has ended, or it could exit before an alert arrives; `-cert` sends the first
certificate of its file, `-cert_chain` the intermediates.
"""

from __future__ import annotations

import ipaddress
import re
import shlex

from catalogue import Outcome, Tool, alert_name
from client.lab import Attempt
from client.observe import Observed, alert_of_packed, openssl_version, refused
from client.probes.command import Ran, output, raw_response, run

_ALERT_NUMBER = re.compile(r"SSL alert number (\d+)")
_VERIFY_ERROR = re.compile(r"verify error:num=(\d+)")
_NOT_LOADED = re.compile(
    r"unable to load|could not (?:open|read|find|load)|error setting (?:certificate|private key)", re.I
)
_UNREACHABLE = re.compile(r"connect:errno=|BIO_(?:lookup|connect)|Connection refused|getaddrinfo", re.I)
_SERVER_SPOKE = "verify return:1"


class OpenSsl:
    """`openssl s_client -connect ... -cert ... -key ...`."""

    name = Tool.OPENSSL

    def version(self) -> str | None:
        text = output("openssl", "version")
        return " ".join(text.split()[:2]) if text else None

    def openssl(self) -> tuple[int, ...] | None:
        return openssl_version(self.version() or "")

    def lacks(self, attempt: Attempt) -> str | None:
        options = output("openssl", "s_client", "-help") or ""
        for option in ("-cert_chain", "-verify_hostname", f"-tls{attempt.tls.replace('.', '_')}"):
            if option not in options:
                return f"{self.version()} is too old: its s_client has no {option}"
        return None

    def command(self, attempt: Attempt) -> str:
        request = attempt.http_request.replace("\r\n", "\\r\\n")
        return f"printf {shlex.quote(request)} | {shlex.join(self._argv(attempt))}"

    def run(self, attempt: Attempt) -> Observed:
        done = run(self._argv(attempt), attempt.http_request.encode())
        return done.told(self._read(done))

    def _read(self, done: Ran) -> Observed:
        if response := raw_response(done.stdout):
            return response
        number = _ALERT_NUMBER.search(done.stderr)
        alert = alert_name(int(number[1])) if number else alert_of_packed(done.stderr)
        verify_error = _VERIFY_ERROR.search(done.stderr)
        detail = _first_error(done.stderr)
        if done.status is None:
            return Observed(Outcome.TIMEOUT, detail=detail)
        if done.stdout:
            return Observed(Outcome.PROBE_ERROR, detail=done.stdout.decode(errors="replace").splitlines()[0])
        if verify_error:
            return Observed(Outcome.REFUSED_BY_CLIENT, verify_code=int(verify_error[1]), detail=detail)
        if alert:
            return refused(alert, detail)
        if _SERVER_SPOKE in done.stderr:
            return refused(None, detail)
        if _UNREACHABLE.search(done.stderr):
            return Observed(Outcome.UNREACHABLE, detail=detail)
        if _NOT_LOADED.search(done.stderr):
            return Observed(Outcome.NOT_PRESENTED, detail=detail)
        return Observed(Outcome.PROBE_ERROR, detail=detail or f"openssl exited with {done.status}")

    def _argv(self, attempt: Attempt) -> list[str]:
        view = attempt.view
        credential = ["-cert", attempt.cert, "-key", attempt.key or ""] if attempt.cert else []
        if attempt.pass_phrase:
            credential += ["-pass", f"pass:{attempt.pass_phrase}"]
        chain = ["-cert_chain", attempt.chain] if attempt.chain else []
        return [
            *("openssl", "s_client", "-quiet", f"-tls{attempt.tls.replace('.', '_')}"),
            *("-connect", f"{view.connect_to}:{view.port}", "-CAfile", view.public_root),
            *("-verify_return_error", *_expected_name(view.host)),
            *credential,
            *chain,
        ]


def _expected_name(host: str) -> tuple[str, ...]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return ("-servername", host, "-verify_hostname", host)
    return ("-verify_ip", host)


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line.lower() or "errno" in line]
    return lines[0] if lines else ""
