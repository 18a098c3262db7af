"""The server's settings, application and TLS extension, without a connection."""

from __future__ import annotations

import errno
import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cert_factory
import pytest
from asgi_request import ask
from cert_factory import UNREADABLE, unreadable
from running import ROOT, server_environ
from starlette.requests import HTTPConnection

from asgi_mtls.environment import from_environment
from asgi_mtls.event_log import Own, _value
from asgi_mtls.handshake_log.tls_messages import certificates
from asgi_mtls.identity import ClientIdentity, client_identity
from asgi_mtls.peer_certificate import subject, subject_in_words
from asgi_mtls.settings import SettingsError
from asgi_mtls.startup_checks import await_certificate, check_files
from ca.store import Store
from server import app as application
from server.settings import lab_command


@pytest.fixture
def environ(state: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    environment = server_environ(state, "required", 8443)
    for name in [name for name in os.environ if name.startswith(("UVICORN_", "LAB_"))]:
        monkeypatch.delenv(name)
    return {k: v for k, v in environment.items() if k.startswith(("UVICORN_", "LAB_"))}


@pytest.mark.parametrize(
    ("mode", "number"), [("off", 0), ("optional", 1), ("required", 2), ("0", 0), ("1", 1), ("2", 2)]
)
def test_the_mode_is_a_word_or_uvicorns_number(environ: dict[str, str], mode: str, number: int) -> None:
    environ["UVICORN_SSL_CERT_REQS"] = mode
    assert from_environment("LAB_", environ).verify_mode == number


def test_a_trust_file_without_a_mode_is_no_mode_off(environ: dict[str, str]) -> None:
    """Uvicorn would ask no client for a certificate."""
    del environ["UVICORN_SSL_CERT_REQS"]
    with pytest.raises(SettingsError, match="UVICORN_SSL_CERT_REQS: not set, so no client would be asked"):
        from_environment("LAB_", environ)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"UVICORN_SSL_CERT_REQS": "CERT_REQUIRED"}, "UVICORN_SSL_CERT_REQS: 'CERT_REQUIRED' is none of off"),
        ({"UVICORN_SSL_CA_CERTS": ""}, "UVICORN_SSL_CA_CERTS: not set, and mode required needs"),
        ({"UVICORN_SSL_CA_CERTS": "/missing.pem"}, "UVICORN_SSL_CA_CERTS: /missing.pem: No such file"),
        ({"UVICORN_SSL_KEYFILE": "/missing.pem"}, "UVICORN_SSL_KEYFILE: /missing.pem: No such file"),
        (
            {"UVICORN_SSL_CERTFILE": ""},
            "UVICORN_SSL_CERTFILE: not set, so Uvicorn would serve everybody over plain HTTP",
        ),
        ({"LAB_LOG_FILE": "/nonexistent/log"}, "LAB_LOG_FILE: /nonexistent/log: No such file"),
        ({"LAB_SERVER": "plain"}, "LAB_SERVER: 'plain' is neither explained nor stock"),
        ({"LAB_VERIFY_STRICT": "yes"}, "LAB_VERIFY_STRICT: 'yes' is neither 0 nor 1"),
        ({"LAB_HANDSHAKE_TIMEOUT_S": "soon"}, "LAB_HANDSHAKE_TIMEOUT_S: 'soon' is no number of seconds"),
        ({"LAB_HANDSHAKE_TIMEOUT_S": "-1"}, "LAB_HANDSHAKE_TIMEOUT_S: '-1' is no number of seconds"),
        ({"LAB_TRUSTED_PROXY": "10.0.0.1"}, "LAB_TRUSTED_PROXY: '10.0.0.1' is neither dns: and a DNS name nor"),
        (
            {"LAB_TRUSTED_PROXY": "dns:a", "LAB_PROXY_HEADER": "client_cert"},
            "LAB_PROXY_HEADER: 'client_cert' is no name",
        ),
        (
            {"LAB_TRUSTED_PROXY": "dns:a", "UVICORN_SSL_CERT_REQS": "off"},
            "LAB_TRUSTED_PROXY: the proxy shows no certificate in mode off",
        ),
        ({"UVICORN_PORT": "http"}, "'http' is not a valid integer"),
        ({"UVICORN_HEADERS": "X"}, "UVICORN_HEADERS: 'X' has no colon"),
        ({"UVICORN_SSL_CA_CERTS": "pyproject.toml"}, "OpenSSL can't use"),
        ({"UVICORN_SSL_VERSION": "99"}, "UVICORN_SSL_VERSION: 99 is neither 17"),
        ({"UVICORN_UDS": "socket"}, "UVICORN_UDS: asgi-mtls accepts TCP connections itself"),
        ({"UVICORN_HTTP": "zttp"}, "UVICORN_HTTP: 'zttp' is none of auto, h11, httptools"),
    ],
)
def test_bad_settings_are_answered_not_traced(environ: dict[str, str], change: dict[str, str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server"], cwd=ROOT, env=os.environ | environ | change, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: could not start the server: ")
    assert message in done.stderr
    assert "\n  try: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_of_another_certificate_is_answered(environ: dict[str, str], state: Path) -> None:
    change = {"UVICORN_SSL_KEYFILE": str(state / "server-tls/healthcheck/privkey.pem")}
    done = subprocess.run(
        [sys.executable, "-m", "server"], cwd=ROOT, env=os.environ | environ | change, capture_output=True, text=True
    )
    assert "KEY_VALUES_MISMATCH" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_key_names_the_cure(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object) -> None:  # root may read everything, so no file mode would do
        raise PermissionError(errno.EACCES, "Permission denied")

    settings = from_environment("LAB_", environ)
    monkeypatch.setattr("builtins.open", unreadable)
    with pytest.raises(SettingsError, match="Permission denied\n  try: chown"):
        check_files(settings)


def test_uvicorn_reads_its_own_variables(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environ, "UVICORN_HEADERS": "x-a:b x-c:d", "UVICORN_NO_ACCESS_LOG": "1"}.items():
        monkeypatch.setenv(name, value)
    lab = lab_command([])
    assert lab.kind == "explained"
    assert lab.command.options["port"] == 8443
    assert lab.command.options["headers"] == [("x-a", "b"), ("x-c", "d")]
    assert lab.command.settings.verify_mode == ssl.CERT_REQUIRED
    assert lab.command.options["app_dir"] == ""  # the working directory, as Uvicorn's own command has it
    words = lab.command.equivalent
    assert words.startswith("uvicorn server.app:app ")
    assert "--ssl-cert-reqs 2" in words
    assert "--loop" not in words


def test_the_equivalent_command_hides_the_pass_phrase(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environ, "UVICORN_SSL_KEYFILE_PASSWORD": "secret"}.items():
        monkeypatch.setenv(name, value)
    command = lab_command([]).command
    assert "--ssl-keyfile-password ..." in command.equivalent
    assert "secret" not in command.equivalent
    assert "secret" not in repr(command)


def test_defaults(environ: dict[str, str]) -> None:
    settings = from_environment("LAB_", {k: v for k, v in environ.items() if k.startswith("UVICORN_")})
    assert (settings.verify_strict, settings.session_tickets, settings.log_file) == (True, False, None)
    assert settings.proxy is None


def test_the_trusted_proxy_is_in_the_log(environ: dict[str, str]) -> None:
    proxy = {"LAB_TRUSTED_PROXY": "dns:proxy.example", "LAB_PROXY_HEADER": "X-SSL-Client-Cert"}
    words = from_environment("LAB_", environ | proxy).in_words()
    assert words.endswith(", X-SSL-Client-Cert believed from DNS:proxy.example")
    assert "believed" not in from_environment("LAB_", environ | {"LAB_PROXY_HEADER": "X-SSL-Client-Cert"}).in_words()


def test_the_first_certificate_is_waited_for(tmp_path: Path) -> None:
    files = {"UVICORN_SSL_CERTFILE": str(tmp_path / "cert"), "UVICORN_SSL_KEYFILE": str(tmp_path / "key")}

    def wait(seconds: str) -> None:
        await_certificate(from_environment("LAB_", files | {"LAB_CERTIFICATE_WAIT_S": seconds}))

    wait("0")  # nobody asked to wait: what is missing is for others to find
    with pytest.raises(SettingsError, match=r"cert, .*key did not come within 0.2 s\n  try: "):
        wait("0.2")
    with pytest.raises(SettingsError, match="LAB_CERTIFICATE_WAIT_S: 'soon' is no number of seconds"):
        wait("soon")
    threading.Timer(0.2, lambda: [(tmp_path / name).touch() for name in ("cert", "key")]).start()
    start = time.monotonic()
    wait("30")
    assert time.monotonic() - start < 10
    assert all((tmp_path / name).exists() for name in ("cert", "key"))


def connection(state: Path, name: str | None, **tls: Any) -> HTTPConnection:
    store = Store(state)
    chain = [(store.folder("client", name) / "cert.pem").read_text()] if name else []
    extension = {"client_cert_chain": chain, "client_cert_error": None, "tls_version": 0x0304, "cipher_name": "X"} | tls
    return HTTPConnection({"type": "http", "extensions": {"tls": extension}})


def test_identity(state: Path) -> None:
    identity = client_identity(connection(state, "client-good"))
    assert identity
    assert identity.subject == "CN=client-good,O=mTLS Lab"
    assert identity.sans == ("EMAIL:client-good@mtls-lab.test",)
    assert identity.verified
    assert client_identity(connection(state, None)) is None
    assert client_identity(HTTPConnection({"type": "http"})) is None  # plain HTTP, or stock Uvicorn


def test_the_page_escapes_names(state: Path) -> None:
    identity = client_identity(connection(state, "client-good"))
    assert identity
    names = {"common_name": "<script>alert(1)</script>", "sans": ("DNS:<b>",)}
    hostile = ClientIdentity(**vars(identity) | names)
    who = application.WhoAmI(identity=hostile, tls=application.TlsFacts(version="1.3", cipher="X"))
    page = application._page(f"Hello, {application._name(hostile)}!", who)
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("via", [None, "DNS:proxy.example"])
def test_the_page_says_who_verified(state: Path, via: str | None) -> None:
    identity = client_identity(connection(state, "client-good"))
    who = application.WhoAmI(identity=identity, tls=application.TlsFacts(version="1.3", cipher="X", via=via))
    page = application._page("Hello!", who)
    assert ("verified by the proxy in front of me." in page) == ("<dd>DNS:proxy.example</dd>" in page) == bool(via)
    assert "None" not in page.partition("TLS version")[2]


def test_openapi_declares_mutual_tls() -> None:
    document = application.app.openapi()
    assert document["components"]["securitySchemes"]["mutualTLS"]["type"] == "mutualTLS"
    assert {"mutualTLS": []} in document["paths"]["/whoami"]["get"]["security"]


def test_openapi_documents_the_refusal() -> None:
    paths = application.app.openapi()["paths"]
    for path in ("/private", "/admin"):
        operation = paths[path]["get"]
        assert "application/problem+json" in operation["responses"]["403"]["content"]
        assert operation["security"] == [{"mutualTLS": []}]
    assert {} in paths["/"]["get"]["security"]


@pytest.mark.parametrize("name", UNREADABLE.values(), ids=UNREADABLE)
def test_who_has_a_certificate_that_nobody_can_read_is_nobody(name: bytes) -> None:
    tls = cert_factory.connection(unreadable(name)).scope["extensions"]["tls"]
    answer = ask(application.app, "/whoami", tls=tls)
    assert (answer.status, answer.json["identity"]) == (200, None)


def test_a_log_line_can_not_be_forged() -> None:
    assert _value("CN=a,O=b") == "CN=a,O=b"
    assert _value('x" verify_code=0\nERROR') == '"x\\" verify_code=0\\nERROR"'
    assert _value("") == '""'
    assert _value("\x7f\x80") == r'"\u007f\u0080"'


def test_what_a_log_line_has_of_a_text_is_bounded() -> None:
    """Characters count as they stand in the line; what whoever runs the server has said is not cut."""
    for text, shown in (
        ("a" * 512, "a" * 512),
        ("a" * 513, f'"{"a" * 512}...[1 more characters]"'),
        ("\0" * 86, f'"{chr(92)}u0000{(chr(92) + "u0000") * 84}...[1 more characters]"'),
        ("\0" * 10**6, f'"{(chr(92) + "u0000") * 85}...[999915 more characters]"'),
    ):
        assert _value(text) == shown
        assert _value(ValueError(text)) == shown
    assert _value(Own("a" * 513)) == f'"{"a" * 513}"'
    assert _value(Own("a\n")) == r'"a\n"'


def test_what_a_stranger_sends_is_not_kept_for_its_size() -> None:
    """Of the last certificates the subject is known; each of these may have 100 KiB."""
    subject.cache_clear()
    assert subject_in_words(bytes(20_000)) == "(unreadable)"
    assert subject.cache_info().currsize == 0
    assert subject_in_words(bytes(2_000)) == "(unreadable)"
    assert subject.cache_info().currsize == 1


def test_the_certificate_message_is_read_in_both_versions() -> None:
    """RFC 5246 7.4.2: a list of certificates. RFC 8446 4.4.2: a context first, and extensions behind each."""
    der = b"\x30\x03abc"
    entry = len(der).to_bytes(3, "big") + der
    old = b"\x0b\0\0\0" + len(entry).to_bytes(3, "big") + entry
    entry += b"\0\0"
    new = b"\x0b\0\0\0" + b"\0" + len(entry).to_bytes(3, "big") + entry

    def first_certificate(message: bytes, version: int) -> bytes | None:
        return next(certificates(message, version), None)

    assert first_certificate(old, ssl.TLSVersion.TLSv1_2) == der
    assert first_certificate(new, ssl.TLSVersion.TLSv1_3) == der
    assert first_certificate(b"\x0b\0\0\4\0\0\0\0", ssl.TLSVersion.TLSv1_3) is None
    for length in range(len(new)):  # nothing that a peer cuts short is an exception
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            first_certificate(new[:length], version)
