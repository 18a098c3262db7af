"""Settings are checked when they are made, whichever way they come in; an error is in the user's own words."""

from __future__ import annotations

import pickle
import ssl
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from asgi_mtls import Settings, SettingsError
from asgi_mtls.environment import from_environment, of_variables, texts, variable
from asgi_mtls.settings import DEFAULTS

TLS: dict[str, Any] = {"ssl_certfile": "c.pem", "ssl_ca_certs": "t.pem"}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        *(("off", ssl.CERT_NONE), ("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)),
        *((ssl.CERT_NONE, ssl.CERT_NONE), (ssl.CERT_OPTIONAL, ssl.CERT_OPTIONAL), (2, ssl.CERT_REQUIRED)),
    ],
)
def test_the_mode_as_a_word_or_as_pythons_constant(mode: Any, expected: ssl.VerifyMode) -> None:
    settings = Settings(**TLS, ssl_cert_reqs=mode)
    assert settings.verify_mode is expected
    assert settings.ssl_cert_reqs in ("off", "optional", "required")


@pytest.mark.parametrize("mode", [3, -1, True, "", "CERT_REQUIRED"])
def test_no_other_mode(mode: Any) -> None:
    with pytest.raises(SettingsError, match="ssl_cert_reqs: "):
        Settings(**TLS, ssl_cert_reqs=mode)


def test_settings_are_frozen_and_hide_the_pass_phrase() -> None:
    settings = Settings(ssl_certfile=Path("c.pem"), ssl_keyfile_password="secret")
    assert "secret" not in repr(settings)
    with pytest.raises(FrozenInstanceError):
        settings.crl = None  # type: ignore[misc]


def test_paths_are_paths() -> None:
    settings = Settings(**TLS, ssl_cert_reqs="required", crl="", log_file="events.log")  # type: ignore[arg-type]
    assert (settings.ssl_certfile, settings.crl, settings.log_file) == (Path("c.pem"), None, Path("events.log"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "ssl_certfile: not set, so Uvicorn would serve everybody over plain HTTP"),
        (TLS, "ssl_cert_reqs: not set, so no client would be asked for a certificate, though ssl_ca_certs is set"),
        ({"ssl_certfile": "c", "ssl_cert_reqs": "required"}, "ssl_ca_certs: not set, and mode required needs the file"),
        ({"plain_http": True, "crl": "x"}, "plain_http: it asks for plain HTTP, and crl for TLS"),
        ({"plain_http": "1"}, "plain_http: '1' is neither 0 nor 1"),
        ({"ssl_certfile": "c", "ssl_version": 3}, "ssl_version: 3 is neither 17 (TLS 1.2 and 1.3) nor 5"),
        ({"ssl_certfile": "c", "crl_check": "all"}, "crl_check: 'all' is neither leaf nor chain"),
        ({"ssl_certfile": "c", "max_handshakes": True}, "max_handshakes: 'True' is no number from 1 to 100000"),
        ({"ssl_certfile": "c", "handshake_timeout_s": 3601}, "handshake_timeout_s: '3601' is no number of seconds"),
        ({"ssl_certfile": "c", "trusted_proxy": "dns:a"}, "trusted_proxy: the proxy shows no certificate in mode off"),
    ],
)
def test_what_can_not_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**settings)
    assert str(caught.value).startswith(f"error: could not start the server: {message}")
    assert "\n  try: " in str(caught.value)


def test_the_same_error_in_the_words_of_the_environment() -> None:
    with pytest.raises(SettingsError) as caught:
        from_environment(environ={"UVICORN_SSL_CERTFILE": "c.pem", "UVICORN_SSL_CA_CERTS": "t.pem"})
    assert "UVICORN_SSL_CERT_REQS: not set" in str(caught.value)
    assert str(caught.value).endswith(
        "though UVICORN_SSL_CA_CERTS is set\n  try: export UVICORN_SSL_CERT_REQS=required"
    )
    with pytest.raises(SettingsError, match="OTHER_MAX_HANDSHAKES: 'many' is no number"):
        from_environment("OTHER_", {"UVICORN_SSL_CERTFILE": "c.pem", "OTHER_MAX_HANDSHAKES": "many"})


def test_the_names_of_variables() -> None:
    assert [variable(name) for name in ("ssl_certfile", "crl", "log_config")] == [
        *("UVICORN_SSL_CERTFILE", "ASGI_MTLS_CRL", "UVICORN_LOG_CONFIG"),
    ]
    assert variable("crl", "LAB_") == "LAB_CRL"
    assert of_variables().assign("ASGI_MTLS_CRL", "") == "unset ASGI_MTLS_CRL"
    assert of_variables().assign("ASGI_MTLS_CRL", "a b") == "export ASGI_MTLS_CRL='a b'"


def test_an_empty_variable_is_not_set() -> None:
    assert texts(environ={variable(name): "" for name in DEFAULTS}) == {}


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({}, "ssl_certfile='fullchain.pem', or: plain_http=True"),
        ({"plain_http": True, "crl": "x"}, "plain_http=False, or: crl=None"),
        ({"plain_http": "1"}, "plain_http=False"),
        ({"ssl_certfile": "c", "verify_strict": 1}, "verify_strict=True"),
        ({"ssl_certfile": "c", "handshake_timeout_s": "10"}, "handshake_timeout_s=10.0"),
        ({"ssl_certfile": "c", "max_handshakes": 10.5}, "max_handshakes=200"),
        ({"ssl_certfile": "c", "ssl_version": "17"}, "ssl_version=17"),
        ({"ssl_certfile": "c", "crl_check": None}, "crl_check='leaf'"),
    ],
)
def test_a_cure_in_python_is_a_value_that_works(settings: dict[str, Any], cure: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**settings)
    assert str(caught.value).endswith(f"\n  try: {cure}")


@pytest.mark.parametrize("name", ["ssl_certfile", "ssl_ciphers", "ssl_keyfile_password", "logger", "proxy_header"])
@pytest.mark.parametrize("value", [3, b"text", ["a"]])
def test_a_text_is_a_text(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"{name}: .* is no "):
        Settings(**{"ssl_certfile": "c", name: value})


@pytest.mark.parametrize("name", ["logger", "proxy_header"])
def test_what_has_a_default_is_not_empty(name: str) -> None:
    empty: dict[str, Any] = {name: ""}
    with pytest.raises(SettingsError, match=f"{name}: '' is no "):
        Settings(**TLS, ssl_cert_reqs="off", **empty)


def test_settings_and_their_errors_can_be_sent_to_another_process() -> None:
    settings = Settings(**TLS, ssl_cert_reqs="required", trusted_proxy="dns:proxy.example")
    assert pickle.loads(pickle.dumps(settings)) == settings
    error = SettingsError("crl", "it is not {}", ("crl", "x"), also="log_file", spelling=of_variables())
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert "ASGI_MTLS_CRL: it is not ASGI_MTLS_LOG_FILE" in str(copy)


def test_a_variable_of_no_setting_is_an_error() -> None:
    environ = {"UVICORN_SSL_CERTFILE": "c.pem", "ASGI_MTLS_CRLS": "clients.crl"}
    with pytest.raises(SettingsError, match="ASGI_MTLS_CRLS: there is no such setting\n  try: export ASGI_MTLS_CRL="):
        from_environment(environ=environ)
    with pytest.raises(SettingsError, match="ASGI_MTLS_XYZ: there is no such setting\n  try: unset ASGI_MTLS_XYZ"):
        texts(environ={"ASGI_MTLS_XYZ": "1"})
    with pytest.raises(SettingsError, match="try: export UVICORN_SSL_CA_CERTS=x, or: unset ASGI_MTLS_SSL_CA_CERTS"):
        texts(environ={"ASGI_MTLS_SSL_CA_CERTS": "x"})
    kubernetes = {
        "ASGI_MTLS_SERVICE_HOST": "10.0.0.1",
        "ASGI_MTLS_PORT_8443_TCP_ADDR": "10.0.0.1",
        "ASGI_MTLS_PORT": "tcp:",
    }
    assert texts(environ=kubernetes) == {}
    assert texts("LAB_", {"LAB_MODE": "required"}) == {}  # the prefix is somebody else's
