"""How a server starts: with TLS, or with plain HTTP if that is what it is asked for."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from running import READY_S, ROOT, await_listener, process, server_environ, unused_port
from workshop import clean_environ

from catalogue import Mode, Server

pytestmark = pytest.mark.live


def refused(environ: dict[str, str]) -> str:
    """Start a server that must not start, and return its error."""
    command = [sys.executable, "-m", "server"]
    environ = clean_environ() | {"UVICORN_PORT": str(unused_port())} | environ
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=READY_S)
    assert done.returncode == 2
    assert done.stderr.startswith("error: could not start the server: ")
    assert "\n  try: " in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("server", Server)
@pytest.mark.parametrize("variable", ["", "UVICORN_SSL_CERTFILE=", "UVICORN_SSL_CERT_REQS=off", "LAB_PLAIN_HTTP=0"])
def test_no_tls_is_an_error_unless_it_is_asked_for(server: Server, variable: str) -> None:
    name, _, value = variable.partition("=")
    error = refused({"LAB_SERVER": server} | ({name: value} if name else {}))
    assert "UVICORN_SSL_CERTFILE: not set, so Uvicorn would serve everybody over plain HTTP" in error
    assert error.endswith("\n  try: export UVICORN_SSL_CERTFILE=fullchain.pem, or: export LAB_PLAIN_HTTP=1\n")


@pytest.mark.parametrize("server", Server)
def test_plain_http_is_served_where_it_is_asked_for_and_the_log_says_so(tmp_path: Path, server: Server) -> None:
    port = unused_port()
    environ = clean_environ() | {"UVICORN_PORT": str(port), "LAB_SERVER": server, "LAB_PLAIN_HTTP": "1"}
    log = tmp_path / "log"
    with process(environ, log, None) as running:
        await_listener(running.is_alive, port, log)
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 204
        check = [sys.executable, "-m", "server.healthcheck"]
        asked = subprocess.run(check, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=READY_S)
        assert asked.returncode == 0, asked.stderr
    serving = re.search(r"^INFO serving .*", log.read_text(), re.M)
    assert serving
    assert f'server={server} defaults="plain HTTP: ' in serving[0]


@pytest.mark.parametrize(
    "variable",
    [
        *("UVICORN_SSL_CERTFILE", "UVICORN_SSL_KEYFILE", "UVICORN_SSL_KEYFILE_PASSWORD", "UVICORN_SSL_CA_CERTS"),
        *("UVICORN_SSL_CIPHERS", "UVICORN_SSL_VERSION", "UVICORN_SSL_CERT_REQS", "LAB_CRL", "LAB_TRUSTED_PROXY"),
    ],
)
def test_plain_http_and_tls_contradict_each_other(variable: str) -> None:
    value = {"UVICORN_SSL_CERT_REQS": "required"}.get(variable, "anything")
    error = refused({"LAB_PLAIN_HTTP": "1", variable: value})
    assert f"LAB_PLAIN_HTTP: it asks for plain HTTP, and {variable} for TLS" in error
    assert error.endswith(f"\n  try: unset LAB_PLAIN_HTTP, or: unset {variable}\n")


def test_plain_http_is_asked_for_with_1() -> None:
    assert "LAB_PLAIN_HTTP: 'yes' is neither 0 nor 1" in refused({"LAB_PLAIN_HTTP": "yes"})


def test_a_server_with_tls_does_not_say_that_it_is_plain(state: Path, tmp_path: Path) -> None:
    port = unused_port()
    log = tmp_path / "log"
    with process(server_environ(state, Mode.OFF, port), log, None) as running:
        await_listener(running.is_alive, port, log)
    assert re.search(r'^INFO serving server=explained defaults="TLS 1\.2', log.read_text(), re.M)
    assert "plain HTTP" not in log.read_text()
