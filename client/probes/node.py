"""Node's https module. Its `--trace-tls` shows whether the server spoke, which the error does not always tell."""

from __future__ import annotations

import json
import re
import shlex

from catalogue import VERIFY_ERRORS, Outcome, Tool, alert_name
from client.lab import Attempt
from client.observe import TIMEOUT_S, Observed, http_answer, openssl_version, refused
from client.probes.command import Ran, output, run

_PROGRAM = """\
require("https").get({url}, {{ca: fs.readFileSync({root}), {credential}{name}\
minVersion: "TLSv{tls}", maxVersion: "TLSv{tls}", timeout: {timeout_ms}}}, \
r => (console.error("HTTP", r.statusCode, r.headers["content-type"]), r.pipe(process.stdout)))"""

_STATUS = re.compile(r"^HTTP (\d{3}) (\S+)$", re.M)
_ALERT = re.compile(r"SSL alert number (\d+)")
_CODE = re.compile(r"^  code: '(\w+)'", re.M)
_ERROR = re.compile(r"^\w*Error\b.*", re.M)
_SERVER_SPOKE = "    ServerHello, Length="
_TRACE = re.compile(r"^(Sent|Received) Record$.*?(?=^\S*(?:Error|node:|Sent|Received|HTTP )|\Z)", re.M | re.S)
_LOADING = ("createSecureContext", "configSecureContext", "fs.readFileSync", "ERR_OSSL_")
_CONNECTION = ("ECONNRESET", "EPIPE", "EPROTO")
_UNREACHABLE = ("ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH")
# What tls calls a verify error of the server's certificate: X509_V_ERR without its prefix, or its own.
_CODES = {name: code for code, name in VERIFY_ERRORS.items()} | {"ERR_TLS_CERT_ALTNAME_INVALID": 62}
_VERIFYING = re.compile(r"CERT|ISSUER|LEAF_SIGNATURE|PURPOSE|INVALID_CA|PATH_LENGTH|ALTNAME")


class Node:
    """`https.get(url, {ca, cert, key})`."""

    name = Tool.NODE

    def version(self) -> str | None:
        text = output("node", "-p", "`${process.version}, OpenSSL ${process.versions.openssl}`")
        return f"Node {text.strip()}" if text else None

    def openssl(self) -> tuple[int, ...] | None:
        return openssl_version(self.version() or "")

    def lacks(self, attempt: Attempt) -> str | None:
        return None

    def command(self, attempt: Attempt) -> str:
        return shlex.join(["node", "-e", self._program(attempt)])

    def run(self, attempt: Attempt) -> Observed:
        done = run(["node", "--trace-tls", "-e", self._program(attempt)])
        return Ran(done.status, done.stdout, _TRACE.sub("", done.stderr)).told(self._read(done))

    def _program(self, attempt: Attempt) -> str:
        view = attempt.view
        names = {"cert": attempt.cert, "key": attempt.key} if attempt.cert else {}
        credential = "".join(f"{name}: fs.readFileSync({json.dumps(path)}), " for name, path in names.items())
        if attempt.pass_phrase:
            credential += f"passphrase: {json.dumps(attempt.pass_phrase)}, "
        return _PROGRAM.format(
            url=json.dumps(attempt.address_url),
            name=f"servername: {json.dumps(view.host)}, headers: {json.dumps(attempt.host_header)}, "
            if view.address
            else "",
            root=json.dumps(view.public_root),
            credential=credential,
            tls=attempt.tls,
            timeout_ms=int(TIMEOUT_S * 1000),
        )

    def _read(self, done: Ran) -> Observed:
        said = _TRACE.sub("", done.stderr)
        error = _ERROR.search(said)
        detail = error[0] if error else f"node exited with {done.status}"
        alert = _ALERT.search(said)
        codes = _CODE.findall(said)
        code = codes[0] if codes else ""
        status = _STATUS.search(said)
        if done.status == 0 and status:
            return http_answer(int(status[1]), done.stdout, status[0], status[2])
        if done.status is None:
            return Observed(Outcome.TIMEOUT, detail=detail)
        if alert:
            return refused(alert_name(int(alert[1])), detail)
        if any(word in said for word in _LOADING):
            return Observed(Outcome.NOT_PRESENTED, detail=detail)
        if code in _UNREACHABLE:
            return Observed(Outcome.UNREACHABLE, detail=detail)
        if code in _CONNECTION:
            heard = _SERVER_SPOKE in done.stderr
            return refused(None, detail) if heard else Observed(Outcome.UNREACHABLE, detail=detail)
        if _VERIFYING.search(code):
            return Observed(Outcome.REFUSED_BY_CLIENT, verify_code=_CODES.get(code), detail=detail)
        return Observed(Outcome.PROBE_ERROR, detail=detail)
