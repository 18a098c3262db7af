"""What the server is told by its environment: Uvicorn's own `UVICORN_*` variables, and ours, `LAB_*`.

There is no second parser: Uvicorn's command reads its variables itself. Only UVICORN_SSL_CERT_REQS is rewritten
first, because Uvicorn takes nothing but 0, 1, 2.
"""

from __future__ import annotations

import logging
import os
import shlex
import ssl
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from uvicorn.config import LOGGING_CONFIG
from uvicorn.main import main as uvicorn_command

from server import log
from server.environment import SettingsError as SettingsError
from server.environment import asking_for_tls, plain_http, switch
from server.files import certificates, check_whole, load_context
from server.revocation import load_lists

if TYPE_CHECKING:
    from server.proxied import TrustedProxy

APP = "server.app:app"  # unless `python -m server` is given another
CERT_REQS = {"off": "0", "optional": "1", "required": "2"}
_OTHER_NAMES = {"WEB_CONCURRENCY": "UVICORN_WORKERS", "FORWARDED_ALLOW_IPS": "UVICORN_FORWARDED_ALLOW_IPS"}
_POLL_S = 0.1


@dataclass(frozen=True)
class LabSettings:
    """Our own variables.

    server: LAB_SERVER, `explained` or `stock`: how the application is served.
    strict: LAB_VERIFY_STRICT, verify as Python's default context does since 3.13 (X509_STRICT, PARTIAL_CHAIN).
    tickets: LAB_SESSION_TICKETS, let clients resume sessions (and with them skip verification).
    handshake_timeout_s: LAB_HANDSHAKE_TIMEOUT_S, how long a client may take for its handshake.
    head_timeout_s: LAB_REQUEST_HEAD_TIMEOUT_S, how long from the handshake to the end of a request's head.
    max_handshakes: LAB_MAX_HANDSHAKES, how many may be in progress: further clients wait.
    crl: LAB_CRL, a PEM file of certificate revocation lists, or None to check none.
    crl_check: LAB_CRL_CHECK, look up the `leaf` alone, or every certificate of the `chain`.
    handshake_log: LAB_HANDSHAKE_LOG, keep the last 500 handshakes for `GET /handshakes`.
    open_handshakes: LAB_OPEN_HANDSHAKES, show them to clients without a certificate.
    log_file: LAB_LOG_FILE, where to write the log besides stderr.
    logged_refusals: LAB_LOGGED_REFUSALS, how many of one peer are logged an hour; more are counted.
    proxy: LAB_TRUSTED_PROXY and LAB_PROXY_HEADER, who is believed to tell of other clients, or None.
    """

    server: str
    strict: bool
    tickets: bool
    handshake_timeout_s: float
    head_timeout_s: float
    max_handshakes: int
    crl: Path | None
    crl_check: str
    handshake_log: bool
    open_handshakes: bool
    log_file: Path | None
    logged_refusals: int
    proxy: TrustedProxy | None

    def defaults(self, ciphers: str | None = None) -> str:
        """Return what a connection may do, in words, for the log; `ciphers` is what UVICORN_SSL_CIPHERS says."""
        suites = f"ciphers={ciphers}" if ciphers else "AEAD only"
        handshakes = ("open" if self.open_handshakes else "on") if self.handshake_log else "off"
        return (
            f"TLS 1.2 and 1.3, {suites}, verify={'strict' if self.strict else 'plain'}, "
            f"crl={self.crl_check if self.crl else 'off'}, resumption={'tickets' if self.tickets else 'off'}, "
            f"renegotiation=off, compression=off, handshake<={self.handshake_timeout_s:g}s, "
            f"head<={self.head_timeout_s:g}s, handshakes<={self.max_handshakes} (5 times as many with silent clients), "
            f"handshake log={handshakes}"
            + (f", {self.proxy.header} believed from {self.proxy.name}" if self.proxy else "")
        )


def lab_settings(environ: MutableMapping[str, str]) -> LabSettings:
    """Read our own variables.

    Raises:
        SettingsError: one of them has a value that it can't have.
    """
    server = environ.get("LAB_SERVER") or "explained"
    if server not in ("explained", "stock"):
        raise SettingsError("LAB_SERVER", f"{server!r} is neither explained nor stock", "make up SERVER=explained")
    crl = environ.get("LAB_CRL")
    crl_check = environ.get("LAB_CRL_CHECK") or "leaf"
    if crl_check not in ("leaf", "chain"):
        raise SettingsError("LAB_CRL_CHECK", f"{crl_check!r} is neither leaf nor chain", "export LAB_CRL_CHECK=leaf")
    file = environ.get("LAB_LOG_FILE")
    return LabSettings(
        server,
        switch(environ, "LAB_VERIFY_STRICT", "1"),
        switch(environ, "LAB_SESSION_TICKETS", "0"),
        _seconds(environ, "LAB_HANDSHAKE_TIMEOUT_S"),
        _seconds(environ, "LAB_REQUEST_HEAD_TIMEOUT_S"),
        _count(environ, "LAB_MAX_HANDSHAKES", "200"),
        Path(crl) if crl else None,
        crl_check,
        switch(environ, "LAB_HANDSHAKE_LOG", "0"),
        switch(environ, "LAB_OPEN_HANDSHAKES", "0"),
        Path(file) if file else None,
        _count(environ, "LAB_LOGGED_REFUSALS", str(log.LOGGED_REFUSALS)),
        _proxy(environ),
    )


def _proxy(environ: MutableMapping[str, str]) -> TrustedProxy | None:
    name, header = environ.get("LAB_TRUSTED_PROXY"), environ.get("LAB_PROXY_HEADER")
    if not name:
        return None
    # Only now: it takes FastAPI, and most servers do without.
    from server.proxied import RFC_9440, is_header_name, trusted_proxy

    header = header or RFC_9440
    if not is_header_name(header):
        fact = f"{header!r} is no name of letters, digits and dashes of a header that holds one certificate"
        raise SettingsError("LAB_PROXY_HEADER", fact, f"export LAB_PROXY_HEADER={RFC_9440}")
    try:
        return trusted_proxy(name, header)
    except ValueError as error:
        raise SettingsError("LAB_TRUSTED_PROXY", str(error), "export LAB_TRUSTED_PROXY=dns:proxy.example") from None


def _seconds(environ: MutableMapping[str, str], name: str) -> float:
    text = environ.get(name) or "10"
    try:
        value = float(text)
        if not 0 < value <= 3600:
            raise ValueError
    except ValueError:
        raise SettingsError(name, f"{text!r} is no number of seconds from 0 to 3600", f"export {name}=10") from None
    return value


def _count(environ: MutableMapping[str, str], name: str, default: str) -> int:
    text = environ.get(name) or default
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 100_000:
        raise SettingsError(name, f"{text!r} is no number from 1 to 100000", f"export {name}={default}")
    return int(text)


def await_certificate(environ: MutableMapping[str, str]) -> None:
    """Wait until certificate and key are there, for LAB_CERTIFICATE_WAIT_S seconds, by default 0.

    An ACME client that answers challenges where the server runs may have to get the first certificate while the server
    is about to start. Files that are there still may be unfit; that is for others to find.

    Raises:
        SettingsError: they did not come in time.
    """
    files = [path for name in ("UVICORN_SSL_CERTFILE", "UVICORN_SSL_KEYFILE") if (path := environ.get(name))]
    wait_s = _seconds(environ, "LAB_CERTIFICATE_WAIT_S") if environ.get("LAB_CERTIFICATE_WAIT_S", "0") != "0" else 0.0
    missing = [path for path in files if not Path(path).exists()]
    if not wait_s or not missing:
        return
    log.configure()
    log.event(logging.INFO, "awaiting_certificate", files=", ".join(missing), seconds=f"{wait_s:g}")
    deadline = time.monotonic() + wait_s
    while missing := [path for path in files if not Path(path).exists()]:
        if time.monotonic() > deadline:
            fact = f"{', '.join(missing)} did not come within {wait_s:g} s"
            raise SettingsError("LAB_CERTIFICATE_WAIT_S", fact, "look at what your ACME client says")
        time.sleep(_POLL_S)


def prepare(environ: MutableMapping[str, str]) -> None:
    """Rewrite `off|optional|required` to Uvicorn's number, and refuse what Uvicorn would start with and regret.

    What Uvicorn also reads under another name gets the usual one, so that the log has it.

    Raises:
        SettingsError: an unknown mode, a verification mode without a trust file (Uvicorn would start and refuse
            everybody), no certificate (it would serve everybody over plain HTTP) unless LAB_PLAIN_HTTP asks for that,
            no client certificates where a proxy is trusted, or a file that is missing or may not be read.
    """
    for other, name in _OTHER_NAMES.items():
        if environ.get(other) and not environ.get(name):
            environ[name] = environ[other]
    mode = environ.get("UVICORN_SSL_CERT_REQS") or "off"
    number = CERT_REQS.get(mode, mode)
    if number not in CERT_REQS.values():
        fact = f"{mode!r} is none of off, optional, required (or 0, 1, 2)"
        raise SettingsError("UVICORN_SSL_CERT_REQS", fact, "make up MODE=required")
    environ["UVICORN_SSL_CERT_REQS"] = number
    if plain_http(environ):
        return
    if not environ.get("UVICORN_SSL_CERTFILE"):
        fact = "not set, so Uvicorn would serve everybody over plain HTTP"
        or_plain = "" if asking_for_tls(environ) else ", or: export LAB_PLAIN_HTTP=1"
        cure = f"export UVICORN_SSL_CERTFILE=fullchain.pem{or_plain}"
        raise SettingsError("UVICORN_SSL_CERTFILE", fact, cure)
    if number != "0" and not environ.get("UVICORN_SSL_CA_CERTS"):
        fact = f"not set, and mode {mode} needs the file with the CAs of the clients"
        raise SettingsError("UVICORN_SSL_CA_CERTS", fact, "export UVICORN_SSL_CA_CERTS=validation_fullchain.pem")
    if number == "0" and environ.get("LAB_TRUSTED_PROXY"):
        fact = f"the proxy shows no certificate in mode {mode}, so it can't be known"
        raise SettingsError("LAB_TRUSTED_PROXY", fact, "export UVICORN_SSL_CERT_REQS=required")
    for variable in ("UVICORN_SSL_CERTFILE", "UVICORN_SSL_KEYFILE", "UVICORN_SSL_CA_CERTS", "LAB_CRL"):
        path = environ.get(variable)
        if path:
            _readable(variable, path)


def check_tls_files(parameters: dict[str, Any]) -> None:
    """Load certificate, key and trust file once, so that a bad one is an error and not a traceback.

    Raises:
        SettingsError: OpenSSL can't use one of them: not PEM, the key of another certificate, a pass phrase.
    """
    if not parameters["ssl_certfile"]:
        return
    names = ("certfile", "keyfile", "keyfile_password", "version", "cert_reqs", "ca_certs", "ciphers")
    certfile, keyfile, password, *others = (parameters[f"ssl_{name}"] for name in names)
    try:
        load_context(certfile, keyfile, password, *others)
    except (ssl.SSLError, OSError, ValueError) as error:
        files = ", ".join(filter(None, (certfile, keyfile, parameters["ssl_ca_certs"])))
        raise SettingsError(
            "UVICORN_SSL_*", f"OpenSSL can't use {files}: {error}", f"openssl x509 -in {shlex.quote(certfile)} -text"
        ) from None


def check_followed_files(parameters: dict[str, Any], lab: LabSettings) -> None:
    """Look once at what `server.context` looks at whenever a file changes, besides what `check_tls_files` does.

    Raises:
        SettingsError: a file ends too soon, or the revocation lists are none that can be used.
    """
    ca_certs = parameters["ssl_ca_certs"]
    paths = (parameters["ssl_certfile"], parameters["ssl_keyfile"], ca_certs)
    try:
        check_whole(path for path in paths if path and lab.server == "explained")
    except (OSError, ValueError) as error:
        raise SettingsError("UVICORN_SSL_*", str(error), "make up") from None
    if lab.crl:
        try:
            load_lists(lab.crl, certificates(ca_certs), ca_certs)
        except (OSError, ValueError) as error:
            raise SettingsError(
                "LAB_CRL", str(error), f"openssl crl -in {shlex.quote(str(lab.crl))} -noout -text"
            ) from None


def _readable(variable: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        cure = f"chown {os.getuid()} {shlex.quote(path)}" if isinstance(error, PermissionError) else "make up"
        raise SettingsError(variable, f"{path}: {error.strerror}", cure) from None


def uvicorn_parameters(app: str = APP) -> dict[str, Any]:
    """Return the keyword arguments for `uvicorn.run`, as Uvicorn's own command reads them from the environment.

    Raises:
        SettingsError: Uvicorn refuses one of its variables.
    """
    try:
        parameters = dict(uvicorn_command.make_context("uvicorn", [app]).params)
    except click.ClickException as error:
        raise SettingsError("UVICORN_*", error.format_message(), "uvicorn --help") from None
    parameters["log_config"] = parameters["log_config"] or LOGGING_CONFIG
    parameters |= {name: parameters[name] or None for name in ("reload_dirs", "reload_includes", "reload_excludes")}
    for header in parameters.get("headers") or ():
        if ":" not in header:
            raise SettingsError("UVICORN_HEADERS", f"{header!r} has no colon", "export UVICORN_HEADERS=name:value")
    parameters["headers"] = [tuple(header.split(":", 1)) for header in parameters.get("headers") or ()]
    return parameters


def equivalent_command(app: str = APP) -> str:
    """Return the plain `uvicorn` command line that says what the UVICORN_* variables say.

    The pass phrase of a key is shown as `...`.
    """
    context = uvicorn_command.make_context("uvicorn", [app])
    words = ["uvicorn", app]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not click.core.ParameterSource.ENVIRONMENT or not isinstance(parameter, click.Option):
            continue
        value = context.params[parameter.name or ""]
        if value == parameter.get_default(context):
            continue
        if parameter.is_flag:
            words.append(parameter.opts[0] if value else (parameter.secondary_opts or parameter.opts)[0])
            continue
        for item in value if parameter.multiple else (value,):
            words += [parameter.opts[0], "..." if "password" in parameter.opts[0] else str(item)]
    return shlex.join(words)
