"""The tools built on GnuTLS: wget, and its own gnutls-cli.

wget says little: it is silent about an alert that comes after the handshake. GNUTLS_DEBUG_LEVEL=5 has the library
itself say on standard error whether the server spoke, and which alert came.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from catalogue import Outcome, Tool, alert_name
from client.lab import Attempt
from client.observe import TIMEOUT_S, Observed, answered, http_answer, refused
from client.probes.command import Ran, output, raw_response, run

_ALERT = re.compile(r"Alert\[2\|(\d+)\] - .* - was received|Received alert \[(\d+)\]")
_SERVER_SPOKE = re.compile(r"SERVER HELLO \(2\) was received|^- Certificate type: X.509", re.M)
_DEBUG = re.compile(r"gnutls\[\d+\]:|\|<\d+>\|")
_NOT_LOADED = re.compile(
    r"Local certificate does not allow|Insufficient credentials|certificate file|key file|error loading"
    r"|No certificate was found",
    re.I,
)
_REFUSED_BY_CLIENT = re.compile(
    r"certificate of .*(?:is not trusted|has expired|not yet activated|known issuer)|not match hostname"
    r"|Key usage violation in certificate|PKI verification of server certificate failed"
)
_UNREACHABLE = re.compile(r"Connection refused|annot connect|unable to resolve|Network is unreachable|failed: ", re.I)
_CLOSED = re.compile(
    r"non-properly terminated|terminated the connection|Error in the pu(?:ll|sh) function|reset by peer", re.I
)
_WGET_NETWORK = 4  # its exit status for a connection that failed; it may say no more
_WGET_REFUSED = re.compile(r"ERROR (400|403): .*")
_WGET_HTTP_ERROR = 8
_CHATTER = re.compile(r"^(WARNING:|Processed|Resolving|Connecting|- |\||\s*$)|Giving up")


def _priority(attempt: Attempt) -> str:
    return f"NORMAL:-VERS-ALL:+VERS-TLS{attempt.tls}"


def _failed(done: Ran) -> Observed:
    """Judge a run that brought no answer by what GnuTLS and the tool said."""
    said = [line for line in done.stderr.splitlines() if not _DEBUG.match(line)]
    alert = _ALERT.search(done.stderr)
    words = [line for line in said if not _CHATTER.search(line)]
    telling = (line for line in said if "eceived alert" in line or "NOT trusted" in line)
    detail = next(telling, words[0] if words else "")
    if done.status is None or "timed out" in done.stderr:
        return Observed(Outcome.TIMEOUT, detail=detail)
    if re.search(r"^HTTP/1\.", done.stderr, re.M):
        return Observed(Outcome.PROBE_ERROR, detail="an answer, but not with status 200")
    if _NOT_LOADED.search(done.stderr):  # before the next: one text, in debugging words "Local" or "Peer's"
        return Observed(Outcome.NOT_PRESENTED, detail=detail)
    if _REFUSED_BY_CLIENT.search("\n".join(said)):
        return Observed(Outcome.REFUSED_BY_CLIENT, detail=detail)
    if alert:
        return refused(alert_name(int(alert[1] or alert[2])), detail)
    closed = _CLOSED.search(done.stderr) or done.status == _WGET_NETWORK
    if closed and _SERVER_SPOKE.search(done.stderr):
        return refused(None, detail)
    unreachable = closed or _UNREACHABLE.search(done.stderr)
    return Observed(Outcome.UNREACHABLE if unreachable else Outcome.PROBE_ERROR, detail=detail)


def _told(done: Ran, observed: Observed) -> Observed:
    """Return what the tool said, without GnuTLS's thousand lines of debugging."""
    words = "".join(line for line in done.stderr.splitlines(keepends=True) if not _DEBUG.match(line))
    return replace(done, stderr=words).told(observed)


class Wget:
    """`wget --certificate=fullchain.pem --private-key=privkey.pem --ca-certificate=public_root.pem`."""

    name = Tool.WGET

    def version(self) -> str | None:
        text = output("wget", "--version")
        return " ".join(text.split()[:3]) if text else None

    def openssl(self) -> tuple[int, ...] | None:
        return None

    def lacks(self, attempt: Attempt) -> str | None:
        if "+ssl/gnutls" not in (output("wget", "--version") or ""):
            return "this wget is not built on GnuTLS, whose priorities pin its TLS version"
        if attempt.pass_phrase:
            return "it has no option for a key's pass phrase"
        if attempt.view.address:
            return f"it has no option to find {attempt.view.host} at {attempt.view.address}"
        return None

    def command(self, attempt: Attempt) -> str:
        view = attempt.view
        note = f"  # /etc/hosts needs: {view.address} {view.host}" if view.address else ""
        return shlex.join(self._argv(attempt)) + note

    def run(self, attempt: Attempt) -> Observed:
        done = run(self._argv(attempt), GNUTLS_DEBUG_LEVEL="5")
        return _told(done, self._read(done))

    def _read(self, done: Ran) -> Observed:
        said = _WGET_REFUSED.search(done.stderr)
        if done.status == _WGET_HTTP_ERROR and said:
            return http_answer(int(said[1]), done.stdout, said[0])
        return answered(done.stdout) if done.status == 0 else _failed(done)

    def _argv(self, attempt: Attempt) -> list[str]:
        credential = [f"--certificate={attempt.cert}", f"--private-key={attempt.key}"] if attempt.cert else []
        return [
            *("wget", "--no-config", "--no-proxy", "--no-hsts", "--no-verbose", "--output-document=-", "--tries=1"),
            *("--content-on-error", f"--timeout={TIMEOUT_S:.0f}", f"--ciphers={_priority(attempt)}"),
            f"--ca-certificate={attempt.view.public_root}",
            *credential,
            attempt.url,
        ]


class GnuTls:
    """`gnutls-cli --x509certfile fullchain.pem --x509keyfile privkey.pem`, with the request on its standard input.

    It loads key and certificate apart: a wrong key shows only when the server checks the signature.
    """

    name = Tool.GNUTLS

    def version(self) -> str | None:
        text = output("gnutls-cli", "--version")
        return " ".join(text.split()[:2]) if text else None

    def openssl(self) -> tuple[int, ...] | None:
        return None

    def lacks(self, attempt: Attempt) -> str | None:
        return None

    def command(self, attempt: Attempt) -> str:
        request = attempt.http_request.replace("\r\n", "\\r\\n")
        pins = "".join(f"{name}={shlex.quote(value)} " for name, value in self._pin(attempt).items())
        return f"(printf {shlex.quote(request)}; sleep 1) | {pins}{shlex.join(self._argv(attempt))}"

    def run(self, attempt: Attempt) -> Observed:
        argv = [*self._argv(attempt)[:-1], "--debug=1", attempt.view.connect_to]
        done = run(argv, attempt.http_request.encode(), **self._pin(attempt))
        response = raw_response(done.stdout)
        said = replace(done, stderr=done.stderr + done.stdout.decode(errors="replace"), stdout=b"")
        return _told(said, response or _failed(said))

    def _pin(self, attempt: Attempt) -> dict[str, str]:
        """Return the variable with the key's pass phrase, for which there is no option."""
        return {"GNUTLS_PIN": attempt.pass_phrase} if attempt.pass_phrase else {}

    def _argv(self, attempt: Attempt) -> list[str]:
        view = attempt.view
        credential = ["--x509certfile", attempt.cert, "--x509keyfile", attempt.key or ""] if attempt.cert else []
        return [
            *("gnutls-cli", "--priority", _priority(attempt), "--x509cafile", view.public_root),
            *credential,
            *(("--sni-hostname", view.host, "--verify-hostname", view.host) if view.address else ()),
            *("--port", str(view.port), view.connect_to),
        ]
