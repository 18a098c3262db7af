"""gunicorn with `-k asgi_mtls.GunicornWorker`."""

from __future__ import annotations

import os
import signal
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pki import Pki
from server_process import refused, replace_server_certificate, running

from asgi_mtls import SettingsError

pytest.importorskip("gunicorn")
from gunicorn.config import Config

from asgi_mtls.gunicorn_worker import settings_of

BOOT_ERROR = 3  # gunicorn's WORKER_BOOT_ERROR
GUNICORN = [sys.executable, "-m", "gunicorn", "-k", "asgi_mtls.GunicornWorker", "-b", "127.0.0.1:0", "myapp:app"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn 27 makes a control socket in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


def with_files(pki: Pki, folder: Path, *more: str) -> list[str]:
    """The options of a server that requires client certificates; it has its files in a folder of its own."""
    files = pki.server.credential.write(folder)
    options = [f"--certfile={files.fullchain}", f"--keyfile={files.privkey}", f"--ca-certs={pki.trust_file}"]
    return [*GUNICORN, *options, "--cert-reqs=2", *more]


def test_it_serves_refuses_follows_and_stops(pki: Pki, tmp_path: Path) -> None:
    with running(with_files(pki, tmp_path, "-w", "2"), tmp_path) as server:
        server.wait_for("startup complete", 2)
        good = pki.calling(pki.good)
        answer = server.ask(good)
        assert answer["client"] == "CN=good,O=Example"
        assert answer["pid"] != server.process.pid
        assert server.alert(pki.calling(pki.expired)) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
        assert server.alert(pki.calling()) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        server.wait_for("[WARNING] handshake_refused", 2)  # in gunicorn's format
        server.send(signal.SIGHUP, answer["pid"])
        server.wait_for("tls_reloaded why=SIGHUP")
        serial = replace_server_certificate(pki, tmp_path)
        server.wait_for('tls_reloaded why="a file changed"', 2)
        assert server.serial(good) == serial
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert server.text.count("the application has shut down") == 2
        assert "was sent SIG" not in server.text


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_a_quick_stop(pki: Pki, tmp_path: Path, number: signal.Signals) -> None:
    with running(with_files(pki, tmp_path), tmp_path) as server:
        pid = server.ask(pki.calling(pki.good))["pid"]
        server.send(number, pid)
        server.wait_for("startup complete", 2)
        assert server.ask(pki.calling(pki.good))["pid"] != pid
        server.send(number)
        assert server.wait() == 0


def test_max_requests_replaces_the_worker(pki: Pki, tmp_path: Path) -> None:
    with running(with_files(pki, tmp_path, "--max-requests=2", "--max-requests-jitter=0"), tmp_path) as server:
        good = pki.calling(pki.good)
        first = {server.ask(good)["pid"] for _ in range(2)}
        server.wait_for("startup complete", 2)
        assert len(first) == 1
        assert server.ask(good)["pid"] not in first


def test_a_worker_that_hangs_is_replaced(pki: Pki, tmp_path: Path) -> None:
    with running(with_files(pki, tmp_path, "--timeout=2"), tmp_path) as server:
        pid = server.ask(pki.calling(pki.good))["pid"]
        server.send(signal.SIGSTOP, pid)
        server.wait_for("WORKER TIMEOUT")
        server.wait_for("startup complete", 2)
        assert server.ask(pki.calling(pki.good))["pid"] != pid


def test_a_replacement_waits_for_good_files_instead_of_ending_gunicorn(pki: Pki, tmp_path: Path) -> None:
    with running(with_files(pki, tmp_path), tmp_path) as server:
        pid = server.ask(pki.calling(pki.good))["pid"]
        good = (tmp_path / "fullchain.pem").read_bytes()
        (tmp_path / "fullchain.pem").write_bytes(b"")
        server.send(signal.SIGTERM, pid)
        server.wait_for("[ERROR] error: could not start the server: --certfile")
        (tmp_path / "fullchain.pem").write_bytes(good)
        server.wait_for("startup complete", 2)
        assert server.ask(pki.calling(pki.good))["client"] == "CN=good,O=Example"


def test_reload_of_the_code(pki: Pki, tmp_path: Path) -> None:
    with running(with_files(pki, tmp_path, "--reload", "--reload-engine=poll"), tmp_path) as server:
        pid = server.ask(pki.calling(pki.good))["pid"]
        os.utime(tmp_path / "myapp.py", (2e9, 2e9))
        server.wait_for("startup complete", 2)
        assert server.ask(pki.calling(pki.good))["pid"] != pid


def test_uvicorns_variables_where_gunicorn_has_no_option(pki: Pki, tmp_path: Path) -> None:
    environ = {f"UVICORN_{name.upper()}": str(value) for name, value in pki.tls().items()}
    with running(GUNICORN, tmp_path, **environ, ASGI_MTLS_MAX_HANDSHAKES="9") as server:
        assert server.ask(pki.calling(pki.good))["client"] == "CN=good,O=Example"
        assert server.alert(pki.calling()) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        assert "handshakes<=9" in server.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_gunicorns_default_version_is_both(pki: Pki, tmp_path: Path, version: ssl.TLSVersion) -> None:
    with running(with_files(pki, tmp_path), tmp_path) as server:
        client = pki.calling(pki.good)
        client.minimum_version = client.maximum_version = version
        assert server.ask(client)["client"] == "CN=good,O=Example"


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        ([], {}, "--certfile: not set, so Uvicorn would serve everybody over plain HTTP"),
        (["--cert-reqs=2"], {"UVICORN_SSL_CERTFILE": "/missing"}, "--ca-certs: not set, and mode required needs"),
        ([], {"UVICORN_SSL_CERTFILE": "/missing"}, "UVICORN_SSL_CERTFILE: /missing: No such file or directory"),
        ([], {"ASGI_MTLS_PLAIN_HTTP": "1", "ASGI_MTLS_CRL": "x"}, "ASGI_MTLS_PLAIN_HTTP: it asks for plain HTTP"),
        (["-b", "unix:socket"], {"UVICORN_SSL_CERTFILE": "c.pem"}, "--bind: asgi-mtls accepts TCP connections"),
    ],
)
def test_what_can_not_be_served_ends_gunicorn_with_one_message(
    tmp_path: Path, options: list[str], environ: dict[str, str], message: str
) -> None:
    printed = refused([*GUNICORN, *options], tmp_path, BOOT_ERROR, **environ)
    assert printed.count(f"[ERROR] error: could not start the server: {message}") == 1
    assert "Booting worker" not in printed


def cfg(**options: Any) -> Config:
    config = Config()
    for name, value in options.items():
        config.set(name, value)
    return config


def test_the_cure_is_in_gunicorns_words(tmp_path: Path) -> None:
    for name in "c.pem", "t.pem":
        (tmp_path / name).touch()
    printed = refused([*GUNICORN, "--certfile=c.pem", "--ca-certs=t.pem"], tmp_path, BOOT_ERROR)
    assert "--cert-reqs: not set, so no client would be asked for a certificate, though --ca-certs is set" in printed
    assert "\n  try: --cert-reqs 2\n" in printed


def test_a_hook_that_would_not_be_called_is_an_error() -> None:
    def ssl_context(config: Any, default: Any) -> ssl.SSLContext:
        raise NotImplementedError

    with pytest.raises(SettingsError, match="ssl_context: gunicorn's hook is not called"):
        settings_of(cfg(certfile="c.pem", ssl_context=ssl_context))


def test_gunicorns_options_win() -> None:
    values = {"UVICORN_SSL_CERTFILE": "a.pem", "UVICORN_SSL_KEYFILE": "a.key", "ASGI_MTLS_CRL": "lists.pem"}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        settings = settings_of(cfg(certfile="b.pem", ca_certs="t.pem", cert_reqs=ssl.CERT_OPTIONAL, ciphers="AES"))
    found = SimpleNamespace(**{name: str(getattr(settings, name)) for name in ("ssl_certfile", "ssl_keyfile", "crl")})
    assert (found.ssl_certfile, found.ssl_keyfile, found.crl) == ("b.pem", "a.key", "lists.pem")
    assert (settings.ssl_cert_reqs, settings.ssl_ciphers) == ("optional", "AES")
