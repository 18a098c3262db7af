"""What a probe saw, and how it reads answers and alerts. Numbers and mnemonics are compared, never English text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from catalogue import ALERTS, NGINX_FAULTY, NGINX_NONE, Outcome, alert_name

TIMEOUT_S = 10.0

_PYTHON_REASON = re.compile(r"(?:SSLV3|TLSV1|TLSV13|SSL/TLS)_ALERT_(\w+)")
# OpenSSL packs library and reason into its error code; reasons from 1000 on are alerts. 0A00045C: 0x45C - 1000 = 116.
_PACKED = re.compile(r"error:([0-9A-Fa-f]{8}):")
_FIRST_ALERT_REASON = 1000
_PROBLEM_JSON = "application/problem+json"
_PROBLEM_TYPE = "tag:mtls-lab.test,2026:"
_OK, _BAD_REQUEST, _FORBIDDEN = 200, 400, 403
_NGINX = re.compile(rf"<title>400 ({NGINX_NONE}|{NGINX_FAULTY})</title>.*<hr><center>nginx\b", re.S)


@dataclass(frozen=True)
class Observed:
    """What happened to a client.

    `alert` is the RFC 8446 name of the alert that the server sent, None if none arrived. `verify_code` is the
    verify error (X509_V_ERR) of whoever refused, None where the probe can't see it: a server sends only the
    alert. `problem` is the last part of the type of the problem (RFC 9457) with which the application forbade, or what
    nginx said when it refused.
    `sha256` is the certificate that the server says it saw. `detail` is the tool's own words, in a line;
    `output` all that it said; `exit_status` its exit status, None for a library. `local_port` is the client's end
    of the connection, None where the tool does not tell. `openssl` is what the server says it is built on, `via` what
    is in front of it, of the field Via (RFC 9110 7.6.3). `log` is the server's log line about the refusal.
    """

    outcome: Outcome
    alert: str | None = None
    verify_code: int | None = None
    problem: str | None = None
    sha256: str | None = None
    detail: str = ""
    output: str = ""
    exit_status: int | None = None
    local_port: int | None = None
    openssl: str = ""
    via: str = ""
    log: str = ""


def http_answer(status: int, body: bytes | str, detail: str, media_type: str | None = None) -> Observed:
    """Read an HTTP response.

    Args:
        detail: what the tool says of a status that is not 200.
        media_type: the Content-Type, None where the tool does not show it.
    """
    if status == _OK:
        return answered(body)
    if status == _FORBIDDEN and media_type in (_PROBLEM_JSON, None):
        return forbidden(body, detail)
    if status == _BAD_REQUEST and media_type in ("text/html", None) and (said := _NGINX.search(_text(body))):
        return Observed(Outcome.REFUSED_BY_SERVER, problem=said[1], detail=detail)
    return Observed(Outcome.PROBE_ERROR, detail=f"HTTP status {status}, {media_type or 'no media type shown'}")


def forbidden(body: bytes | str, detail: str) -> Observed:
    """Read an answer with status 403. Only a problem of the lab's application says that this application forbids."""
    text = _text(body)
    try:
        problem = json.loads(text)
        kind = str(problem["type"])
        if problem["status"] == _FORBIDDEN and kind.startswith(_PROBLEM_TYPE):
            return Observed(Outcome.FORBIDDEN, problem=kind.removeprefix(_PROBLEM_TYPE), detail=detail, output=text)
    except (ValueError, KeyError, TypeError):
        pass
    return Observed(Outcome.PROBE_ERROR, detail=f"a 403, but not the lab's: {text[:200]!r}")


def answered(body: bytes | str) -> Observed:
    """Read an answer with status 200: on every path of the lab it says who is calling."""
    text = _text(body)
    try:
        document = json.loads(text)
        identity, tls, openssl = document["identity"], document["tls"], str(document["openssl"])
        if tls is None:
            return Observed(Outcome.SERVED, output=text, openssl=openssl)
        if identity is None:
            return Observed(Outcome.ANONYMOUS, output=text, openssl=openssl)
        return Observed(Outcome.AUTHENTICATED, sha256=identity["sha256"], output=text, openssl=openssl)
    except (ValueError, KeyError, TypeError):
        return Observed(Outcome.PROBE_ERROR, detail=f"not the lab's answer: {body[:200]!r}")


def _text(body: bytes | str) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else body


def refused(alert: str | None, detail: str) -> Observed:
    """Return a refusal by the server; without an alert, its reason was lost on the way."""
    return Observed(Outcome.REFUSED_BY_SERVER, alert, detail=detail)


def alert_of_reason(reason: str | None) -> str | None:
    """Return the alert in Python's `SSLError.reason`: `TLSV1_ALERT_UNKNOWN_CA` is `unknown_ca`."""
    match = _PYTHON_REASON.fullmatch(reason or "")
    name = match[1].lower() if match else ""
    return name if name in ALERTS else None


def alert_of_packed(text: str) -> str | None:
    """Return the alert in OpenSSL's packed error codes, as curl and openssl print them."""
    for code in _PACKED.findall(text):
        number = (int(code, 16) & 0xFFF) - _FIRST_ALERT_REASON
        if 0 <= number <= 255:
            return alert_name(number)
    return None


def openssl_version(text: str) -> tuple[int, ...] | None:
    """Return the version of the OpenSSL that a text names (`OpenSSL 3.0.19`, `OpenSSL/3.5.9`), or None."""
    match = re.search(r"OpenSSL[ /](\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
