"""The command `asgi-mtls`: Uvicorn's options and ours, typed, as variables, or in an env file."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pki import Pki
from server_process import APP, ASGI_MTLS, as_options, clean_environ, refused, running

from asgi_mtls import Settings, SettingsError
from asgi_mtls.command_line import read
from asgi_mtls.environment import variable
from asgi_mtls.settings import DEFAULTS

TLS = ["--ssl-certfile", "c.pem", "--ssl-ca-certs", "t.pem", "--ssl-cert-reqs", "required"]
VALUES = {
    "ssl_certfile": "other.pem",
    "ssl_keyfile": "key.pem",
    "ssl_keyfile_password": "secret",
    "ssl_ca_certs": "trust.pem",
    "ssl_cert_reqs": "optional",
    "ssl_ciphers": "ECDHE+AESGCM",
    "ssl_version": "5",
    "verify_strict": "0",
    "session_tickets": "1",
    "crl": "lists.pem",
    "crl_check": "chain",
    "handshake_timeout_s": "2.5",
    "request_head_timeout_s": "3",
    "max_handshakes": "7",
    "trusted_proxy": "dns:proxy.example",
    "proxy_header": "X-Client-Cert",
    "certificate_wait_s": "4",
    "handshake_log": "1",
    "open_handshakes": "1",
    "log_file": "events.log",
    "logged_refusals": "5",
    "logger": "mine",
    "problem_type": "https://example.com/problems/",
}


@pytest.fixture(autouse=True)
def _environ() -> Iterator[None]:
    """An environment without settings, which an env file may add to."""
    before, clean = dict(os.environ), clean_environ()
    for environ in clean, before:
        os.environ.clear()
        os.environ.update(environ)
        if environ is clean:
            yield


def set_variables(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def typed(setting: str, value: str) -> list[str]:
    words = setting.replace("_", "-")
    if isinstance(DEFAULTS[setting], bool):
        return [f"--{words}" if value == "1" else f"--no-{words}"]
    return [f"--{words}", value]


def start(*arguments: str) -> None:
    command = read(arguments)
    with command.spelled():
        command.run()


def error_of(*arguments: str) -> str:
    with pytest.raises(SettingsError) as caught:
        start(*arguments)
    return str(caught.value)


def test_the_help_fits_a_terminal_and_starts_with_examples() -> None:
    environ = clean_environ() | {"COLUMNS": "80"}
    done = subprocess.run([*ASGI_MTLS, "--help"], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Usage: asgi-mtls [OPTIONS] APP"
    assert done.stdout.index("$ asgi-mtls myapp:app --ssl-certfile") < done.stdout.index("TLS, clients and log:")
    assert done.stdout.index("TLS, clients and log:") < done.stdout.index("\nUvicorn:") < done.stdout.index("--port")
    assert "  APP" not in lines
    for setting in DEFAULTS:
        assert re.search(rf"^  --{setting.replace('_', '-')}\b", done.stdout, re.M), setting
    ours = done.stdout.partition("\nUvicorn:")[0]
    assert "--handshake-timeout-s SECONDS" in ours
    assert "--crl FILE" in ours
    assert "--max-handshakes NUMBER" in ours
    assert "--ssl-cert-reqs off|optional|required" in ours
    assert ours.count(" TEXT ") == 1  # a pass phrase


def test_the_version_names_what_serves() -> None:
    done = subprocess.run([*ASGI_MTLS, "--version"], env=clean_environ(), capture_output=True, text=True, timeout=60)
    assert re.fullmatch(r"asgi-mtls \S+, Uvicorn \S+, Python \S+\n", done.stdout)


def test_each_setting_has_a_value_here() -> None:
    assert set(VALUES) == set(DEFAULTS) - {"plain_http"}


@pytest.mark.parametrize("setting", VALUES)
def test_each_setting_is_an_option_and_a_variable(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    base = read(["myapp:app", *TLS]).settings
    by_option = read(["myapp:app", *TLS, *typed(setting, VALUES[setting])]).settings
    name = setting.replace("_", "-")
    left = [word for index, word in enumerate(TLS) if f"--{name}" not in (word, TLS[index - 1])]
    monkeypatch.setenv(variable(setting), VALUES[setting])
    by_variable = read(["myapp:app", *left]).settings
    assert by_option == by_variable != base
    assert replace(by_option, **{setting: getattr(base, setting)}) == base


def test_plain_http_is_an_option_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(["myapp:app", "--plain-http"]).settings == Settings(plain_http=True)
    monkeypatch.setenv("ASGI_MTLS_PLAIN_HTTP", "1")
    assert read(["myapp:app"]).settings == Settings(plain_http=True)


def test_what_is_typed_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(
        monkeypatch, ASGI_MTLS_CRL="a.crl", UVICORN_PORT="1", UVICORN_SSL_CERT_REQS="off", WEB_CONCURRENCY="4"
    )
    set_variables(monkeypatch, ASGI_MTLS_HANDSHAKE_LOG="1", ASGI_MTLS_LOG_FILE="a.log")
    words = ["--crl", "b.crl", "--port", "2", "--workers", "3", "--no-handshake-log", "--log-file", ""]
    command = read(["myapp:app", *TLS, *words])
    settings = command.settings
    assert (str(settings.crl), settings.verify_mode, settings.handshake_log) == ("b.crl", ssl.CERT_REQUIRED, False)
    assert settings.log_file is None
    assert (command.options["port"], command.options["workers"]) == (2, 3)
    assert "--port 2 --workers 3" in command.equivalent


@pytest.mark.parametrize(("word", "mode"), [("required", 2), ("2", 2), ("optional", 1), ("1", 1)])
def test_the_mode_is_a_word_or_a_number(word: str, mode: int) -> None:
    assert read(["a:b", *TLS, "--ssl-cert-reqs", word]).settings.verify_mode == mode


@pytest.mark.parametrize("way", ["--env-file", "UVICORN_ENV_FILE"])
def test_an_env_file_is_read_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str) -> None:
    pytest.importorskip("dotenv")
    lines = ["UVICORN_APP=myapp:app", "UVICORN_PORT=8443", "UVICORN_SSL_CERTFILE=c.pem", "ASGI_MTLS_MAX_HANDSHAKES=9"]
    (tmp_path / "server.env").write_text("\n".join(lines))
    path = str(tmp_path / "server.env")
    if way == "UVICORN_ENV_FILE":
        monkeypatch.setenv(way, path)
    command = read(["--env-file", path] if way == "--env-file" else [])
    assert (command.app, command.options["port"], command.settings.max_handshakes) == ("myapp:app", 8443, 9)
    assert str(command.settings.ssl_certfile) == "c.pem"
    assert f"--env-file {path}" in command.equivalent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "APP: the application is missing\n  try: asgi-mtls myapp:app"),
        (["a:b", "--prot", "1"], "--prot: there is no such option\n  try: --port"),
        (["a:b", "--zzz"], "--zzz: there is no such option\n  try: asgi-mtls --help"),
        (["a:b", "c"], "the command line: Got unexpected extra argument (c)"),
        (["a:b", "--port", "x"], "--port: 'x' is not a valid integer\n"),
        (["a:b", "--ssl-cert-reqs", "3"], "--ssl-cert-reqs: '3' is none of off, optional, required (or 0, 1, 2)"),
        (["a:b", *TLS, "--ssl-version", "x"], "--ssl-version: 'x' is neither 17 (TLS 1.2 and 1.3) nor 5"),
        (["a:b", *TLS, "--ssl-version", "16"], "--ssl-version: 16 is neither 17 (TLS 1.2 and 1.3) nor 5"),
        (["a:b", *TLS, "--max-handshakes", "0"], "--max-handshakes: '0' is no number from 1 to 100000"),
        (["a:b", "--ssl-certfile", "c", "--ssl-ca-certs", "t"], "--ssl-cert-reqs: not set, so no client would be"),
        (["a:b", "--plain-http", "--crl", "x"], "--plain-http: it asks for plain HTTP, and --crl for TLS\n"),
        (["a:b", "--plain-http", "--crl", "x"], "\n  try: --no-plain-http, or: leave out --crl"),
        (["a:b", "--env-file", "/missing"], "--env-file: /missing: No such file or directory"),
        (["a:b", "--plain-http", "--header", "X"], "--headers: 'X' has no colon"),
        (["a:b", *TLS], "--ssl-certfile: c.pem: No such file or directory"),
    ],
)
def test_an_error_names_what_was_typed(arguments: list[str], message: str) -> None:
    pytest.importorskip("dotenv")
    error = error_of(*arguments)
    assert error.startswith("error: could not start the server: ")
    assert message in error + "\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "UVICORN_SSL_CERTFILE: not set, so Uvicorn would serve everybody over plain HTTP"),
        ({"UVICORN_PORT": "x"}, "UVICORN_PORT: 'x' is not a valid integer"),
        ({"WEB_CONCURRENCY": "x"}, "WEB_CONCURRENCY: 'x' is not a valid integer"),
        ({"UVICORN_SSL_VERSION": "0"}, "UVICORN_SSL_VERSION: 0 is neither 17"),
        ({"UVICORN_SSL_CERT_REQS": "yes"}, "UVICORN_SSL_CERT_REQS: 'yes' is none of off"),
        ({"ASGI_MTLS_CRL_CHECK": "all"}, "ASGI_MTLS_CRL_CHECK: 'all' is neither leaf nor chain"),
    ],
)
def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    if variables:
        set_variables(monkeypatch, **({"UVICORN_SSL_CERTFILE": "c.pem"} | variables))
    assert message in error_of("a:b")


@pytest.mark.parametrize(("number", "versions"), [("2", "23"), ("17", "23"), ("5", "2"), ("", "23")])
def test_the_tls_versions_that_uvicorns_number_means(pki: Pki, tmp_path: Path, number: str, versions: str) -> None:
    command = [*ASGI_MTLS, "myapp:app", *as_options(pki)]
    with running(command, tmp_path, UVICORN_SSL_VERSION=number) as server:
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            client = pki.calling(pki.good)
            client.minimum_version = client.maximum_version = version
            served = version.name[-1] in versions
            if served:
                assert server.ask(client)["client"] == "CN=good,O=Example"
            else:
                assert "PROTOCOL_VERSION" in server.alert(client)


def test_a_factory_in_another_folder_with_reload(pki: Pki, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "other.py").write_text(APP)
    command = [*ASGI_MTLS, "other:make", "--factory", "--app-dir", "source", *as_options(pki), "--reload"]
    with running(command, tmp_path) as server:
        assert server.ask(pki.calling(pki.good))["client"] == "CN=good,O=Example"
        os.utime(folder / "other.py", (2e9, 2e9))
        server.wait_for("startup complete", 2)
        assert server.ask(pki.calling(pki.good))["client"] == "CN=good,O=Example"


def test_the_port_and_the_workers_that_were_typed(pki: Pki, tmp_path: Path) -> None:
    with running([*ASGI_MTLS, "myapp:app", *as_options(pki), "--workers", "2"], tmp_path) as server:
        server.wait_for("startup complete", 2)
        assert server.text.count("tls_loaded") == 2
        assert server.ask(pki.calling(pki.good))["pid"] != server.process.pid
        port = server.ports[0]
        stock = [sys.executable, "-m", "uvicorn", "myapp:app", f"--port={port}"]
        status = subprocess.run(stock, cwd=tmp_path, env=clean_environ(), capture_output=True, timeout=60).returncode
        command = [*ASGI_MTLS, "myapp:app", *as_options(pki), "--port", str(port), "--workers", "2"]
        error = refused(command, tmp_path, status)  # 3, and 1 with Uvicorn 0.47
        assert "Address already in use" in error
