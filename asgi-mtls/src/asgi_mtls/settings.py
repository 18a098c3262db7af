"""The settings of a server: one frozen object.

`Settings` is made by keyword, or from environment variables and a command line (`asgi_mtls.command_line`). An error
names a setting as the user has spelled it.
"""

from __future__ import annotations

import copyreg
import ssl
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from asgi_mtls.client_cert_header import TrustedProxy

CERT_REQS = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_NUMBERS = {str(int(mode)): name for name, mode in CERT_REQS.items()}
_SWITCH = {"0": False, "1": True}
_MAX_S, _MAX_COUNT = 3600, 100_000
_VERSIONS = (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLSv1_2)
# Uvicorn's options that errors name, spelled as the user has.
_OF_UVICORN = {"env_file", "headers", "http", "log_config", "loop", "uds", "workers"}


class Spelling(NamedTuple):
    """How a user names settings: `name` makes the name of one, `assign` what gives it a value ("" for none)."""

    name: Callable[[str], str]
    assign: Callable[[str, str], str]


def _keyword(name: str, text: str) -> str:
    """Return what gives a setting a value in Python; "" stands for its default."""
    setting = next((setting for setting in fields(Settings) if setting.name == name), None)
    if setting is None:
        return f"{name}={text or None!r}"
    value = _parse(setting, text) if text else setting.default
    return f"{name}={value!r}"


KEYWORDS = Spelling(lambda setting: setting, _keyword)


class SettingsError(ValueError):
    """A setting can't be used. Its text names the setting and the cure."""

    def __init__(
        self, setting: str, fact: str, *cures: str | tuple[str, str], also: str = "", spelling: Spelling = KEYWORDS
    ) -> None:
        """Say so.

        Args:
            setting: a field of `Settings`, an option of Uvicorn's, or another name that the user knows.
            fact: what is wrong with it; `{}` stands for `also`, another field.
            cures: commands, or settings with a value that works, "" for none.
            spelling: how the user names settings.
        """
        self.setting, self.fact, self.cures, self.also = setting, fact, cures, also
        known = {setting.name for setting in fields(Settings)} | _OF_UVICORN

        def name(setting: str) -> str:
            return spelling.name(setting) if setting in known else setting

        tries = [cure if isinstance(cure, str) else spelling.assign(name(cure[0]), cure[1]) for cure in cures]
        fact = fact.replace("{}", name(also)) if also else fact
        self.shortly = f"{name(setting)}: {fact}\n  try: {', or: '.join(tries)}"
        super().__init__(f"error: could not start the server: {self.shortly}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Have a copy in another process say the same; the spelling can't be sent."""
        return copyreg.__newobj__, (type(self), str(self)), vars(self)  # type: ignore[attr-defined]

    def spelled(self, spelling: Spelling) -> SettingsError:
        """Return the same error for a user who names settings in another way."""
        return SettingsError(self.setting, self.fact, *self.cures, also=self.also, spelling=spelling)


def _setting(default: Any, text: str, choices: tuple[str, ...] = (), kind: str = "NAME", **keywords: Any) -> Any:
    """Return a field. `kind` is what a text is, for the help of the command line."""
    return field(default=default, metadata={"help": text, "choices": choices, "kind": kind}, **keywords)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server does about TLS, client certificates, limits and its log; the rest are Uvicorn's own options.

    Times are in seconds. All files are PEM, and are followed while it serves; those of TLS have Uvicorn's names.

    Raises:
        SettingsError: a setting has a value that it can't have, or two contradict each other.
    """

    ssl_certfile: Path | None = _setting(None, "the server's certificate chain, leaf first")
    ssl_keyfile: Path | None = _setting(None, "the key, if it is not in the file with the certificate")
    ssl_keyfile_password: str | None = _setting(None, "the pass phrase of the key", kind="TEXT", repr=False)
    ssl_ca_certs: Path | None = _setting(None, "trust file: the CAs that client certificates are verified with")
    ssl_cert_reqs: Literal["off", "optional", "required"] | None = _setting(
        None, "whether clients are asked for a certificate, and need one; 0, 1, 2 are the same", tuple(CERT_REQS)
    )
    ssl_ciphers: str | None = _setting(None, "cipher suites of TLS 1.2, as OpenSSL names them", kind="LIST")
    ssl_version: int = _setting(int(ssl.PROTOCOL_TLS_SERVER), "17 for TLS 1.2 and 1.3, 5 for TLS 1.2 alone")
    plain_http: bool = _setting(False, "serve plain HTTP; without it, no certificate is an error")
    verify_strict: bool = _setting(True, "verify as Python's default context does since 3.13")
    session_tickets: bool = _setting(False, "let clients resume sessions")
    crl: Path | None = _setting(None, "a file of complete revocation lists, and of nothing else")
    crl_check: Literal["leaf", "chain"] = _setting(
        "leaf", "look up the leaf, or every certificate of the chain", ("leaf", "chain")
    )
    handshake_timeout_s: float = _setting(10.0, "how long a client may take for its handshake")
    request_head_timeout_s: float = _setting(10.0, "how long from the handshake to the end of a request's head")
    max_handshakes: int = _setting(200, "handshakes in progress; with silent clients up to five times as many")
    trusted_proxy: str | None = _setting(
        None, "the proxy whose header is trusted, by a name in its certificate: dns:proxy.example or uri:..."
    )
    proxy_header: str = _setting("Client-Cert", "the header in which it sends the client's certificate")
    certificate_wait_s: float = _setting(0.0, "how long to wait at start for certificate and key to be there")
    handshake_log: bool = _setting(False, "keep the last 500 handshakes for /handshakes")
    open_handshakes: bool = _setting(False, "show them to clients without a certificate, too")
    log_file: Path | None = _setting(None, "where to write events besides: 2 MB at most")
    logged_refusals: int = _setting(1000, "refusals of one address that are logged an hour; more are counted")
    logger: str = _setting("asgi_mtls", "the name of the logger of events")
    problem_type: str | None = _setting(None, "what the type of a problem (RFC 9457) begins with", kind="URI")

    def __post_init__(self) -> None:
        mode = self.ssl_cert_reqs
        if isinstance(mode, int | str) and not isinstance(mode, bool):  # ssl.CERT_REQUIRED; "2" is what a variable has
            text = mode if isinstance(mode, str) else str(int(mode))
            object.__setattr__(self, "ssl_cert_reqs", _NUMBERS.get(text, mode))
        for setting in fields(self):
            if setting.type == "Path | None":
                object.__setattr__(self, setting.name, _path(setting.name, getattr(self, setting.name)))
            self._check(setting)
        self._check_plain_http()
        self._check_tls()
        self._check_proxy()

    def _check(self, setting: Field[Any]) -> None:
        name, default, choices = setting.name, setting.default, setting.metadata["choices"]
        value = getattr(self, name)
        if setting.type == "bool" and not isinstance(value, bool):
            words = "0 nor 1" if isinstance(value, str) else "False nor True"
            raise SettingsError(name, f"{value!r} is neither {words}", (name, f"{default:d}"))
        is_text = isinstance(value, str) and (value or default is None)
        if setting.type in ("str", "str | None") and not is_text and (value, default) != (None, None):
            shown = repr(value) if setting.repr else f"a value of type {type(value).__name__}"
            raise SettingsError(name, f"{shown} is no text", (name, str(default or "")))
        if name == "ssl_cert_reqs" and value not in (None, *choices):
            fact = f"{value!r} is none of off, optional, required (or 0, 1, 2)"
            raise SettingsError(name, fact, (name, "required"))
        if choices and value not in (default, *choices):
            raise SettingsError(name, f"{value!r} is neither {' nor '.join(choices)}", (name, str(default)))
        if setting.type == "float" and value != default and not (_is_number(value) and 0 < value <= _MAX_S):
            shown = f"{value:g}" if _is_number(value) else value
            fact = f"{shown!r} is no number of seconds from 0 to {_MAX_S}{_though_it_reads(setting, value)}"
            raise SettingsError(name, fact, (name, f"{default or 10:g}"))
        if (
            setting.type == "int"
            and name != "ssl_version"
            and not (_is_number(value) and isinstance(value, int) and 0 < value <= _MAX_COUNT)
        ):
            fact = f"{str(value)!r} is no number from 1 to {_MAX_COUNT}{_though_it_reads(setting, value)}"
            raise SettingsError(name, fact, (name, str(default)))

    def _check_plain_http(self) -> None:
        asking = next((name for name in _OF_TLS if getattr(self, name) not in (None, "off", DEFAULTS[name])), None)
        if self.plain_http and asking:
            fact = "it asks for plain HTTP, and {} for TLS"
            raise SettingsError("plain_http", fact, ("plain_http", ""), (asking, ""), also=asking)
        if not self.plain_http and not self.ssl_certfile:
            fact = "not set, so Uvicorn would serve everybody over plain HTTP"
            or_plain = [] if asking else [("plain_http", "1")]
            raise SettingsError("ssl_certfile", fact, ("ssl_certfile", "fullchain.pem"), *or_plain)

    def _check_tls(self) -> None:
        if self.ssl_cert_reqs is None and self.ssl_ca_certs:
            fact = "not set, so no client would be asked for a certificate, though {} is set"
            raise SettingsError("ssl_cert_reqs", fact, ("ssl_cert_reqs", "required"), also="ssl_ca_certs")
        if self.verify_mode and not self.ssl_ca_certs:
            fact = f"not set, and mode {self.ssl_cert_reqs} needs the file with the CAs of the clients"
            raise SettingsError("ssl_ca_certs", fact, ("ssl_ca_certs", "validation_fullchain.pem"))
        if self.ssl_version not in _VERSIONS:
            fact = f"{self.ssl_version!r} is neither 17 (TLS 1.2 and 1.3) nor 5 (TLS 1.2 alone)"
            raise SettingsError("ssl_version", fact, ("ssl_version", "17"))

    def _check_proxy(self) -> None:
        from asgi_mtls.client_cert_header import is_header_name

        if not is_header_name(self.proxy_header):
            header = self.proxy_header
            fact = f"{header!r} is no name of letters, digits and dashes of a header that holds one certificate"
            raise SettingsError("proxy_header", fact, ("proxy_header", "Client-Cert"))
        if self.proxy and not self.verify_mode:
            fact = f"the proxy shows no certificate in mode {self.ssl_cert_reqs or 'off'}, so it can't be known"
            raise SettingsError("trusted_proxy", fact, ("ssl_cert_reqs", "required"))

    @property
    def verify_mode(self) -> ssl.VerifyMode:
        """Whether clients are asked for a certificate, and whether they need one."""
        return CERT_REQS[self.ssl_cert_reqs or "off"]

    @cached_property
    def proxy(self) -> TrustedProxy | None:
        """The proxy whose header is trusted."""
        from asgi_mtls.client_cert_header import trusted_proxy

        if not self.trusted_proxy:
            return None
        try:
            return trusted_proxy(self.trusted_proxy, self.proxy_header)
        except ValueError as error:
            raise SettingsError("trusted_proxy", str(error), ("trusted_proxy", "dns:proxy.example")) from None

    def in_words(self) -> str:
        """Return what a connection may do, in words, for the log."""
        if self.plain_http:
            return "plain HTTP: no encryption, no client certificates"
        crl = self.crl_check if self.crl and self.verify_mode else "off"
        suites = f"ciphers={self.ssl_ciphers}" if self.ssl_ciphers else "AEAD only"
        handshakes = ("open" if self.open_handshakes else "on") if self.handshake_log else "off"
        versions = "TLS 1.2" if self.ssl_version == ssl.PROTOCOL_TLSv1_2 else "TLS 1.2 and 1.3"
        proxy = self.proxy
        return (
            f"{versions}, {suites}, verify={'strict' if self.verify_strict else 'plain'}, "
            f"crl={crl}, resumption={'tickets' if self.session_tickets else 'off'}, "
            f"renegotiation=off, compression=off, handshake<={self.handshake_timeout_s:g}s, "
            f"head<={self.request_head_timeout_s:g}s, handshakes<={self.max_handshakes} (5 times as many with silent "
            f"clients), handshake log={handshakes}" + (f", {proxy.header} believed from {proxy.name}" if proxy else "")
        )


DEFAULTS: dict[str, Any] = {setting.name: setting.default for setting in fields(Settings)}
_OF_TLS = sorted(name for name in DEFAULTS if name.startswith("ssl_") or name in ("crl", "trusted_proxy"))


def parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of settings that were given as text; an empty text is the default.

    Raises:
        SettingsError: a text is no value of its setting.
    """
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        text = texts.get(setting.name) or ""
        if text:
            values[setting.name] = _parse(setting, text)
    return values


def _parse(setting: Field[Any], text: str) -> Any:
    if setting.type == "bool":
        return _SWITCH.get(text, text)
    if setting.type == "float":
        try:
            return float(text)
        except ValueError:
            return text
    if setting.type == "int":
        return int(text) if text.isascii() and text.isdigit() else text
    return _NUMBERS.get(text, text) if setting.name == "ssl_cert_reqs" else text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _though_it_reads(setting: Field[Any], value: object) -> str:
    """Return what is wrong with a number that is given as a text in Python."""
    return ", but a text" if isinstance(value, str) and _is_number(_parse(setting, value)) else ""


def _path(name: str, value: Any) -> Path | None:
    try:
        return Path(value) if value not in (None, "") else None
    except TypeError:
        raise SettingsError(name, f"{value!r} is no path", (name, "")) from None
