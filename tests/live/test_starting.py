"""How a server starts: with TLS, or with plain HTTP if it is asked for that; and what UVICORN_ENV_FILE brings."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from lifted import get, lifted
from running import READY_S, ROOT, Running, await_listener, context, process, server_environ, unused_port
from workshop import clean_environ

from catalogue import Mode, Server

pytestmark = pytest.mark.live


def refused(environ: dict[str, str]) -> str:
    """Start a server that must not start, and return its error."""
    command = [sys.executable, "-m", "server"]
    environ = clean_environ() | environ
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


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("server", Server)
def test_plain_http_is_served_where_it_is_asked_for_and_the_log_says_so(
    tmp_path: Path, server: Server, workers: str
) -> None:
    port = unused_port()
    environ = clean_environ() | {"UVICORN_PORT": str(port), "LAB_SERVER": server, "LAB_PLAIN_HTTP": "1"}
    environ["UVICORN_WORKERS"] = workers
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
    value = {"UVICORN_SSL_CERT_REQS": "required", "UVICORN_SSL_VERSION": "5"}.get(variable, "anything")
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


EnvFile = Callable[..., dict[str, str]]


@pytest.fixture
def env_file(tmp_path: Path) -> EnvFile:
    """An environment of its own that names a file with these variables."""
    pytest.importorskip("dotenv")

    def written(**variables: str) -> dict[str, str]:
        path = tmp_path / "server.env"
        path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        return clean_environ() | {"UVICORN_ENV_FILE": str(path)}

    return written


def told(state: Path, port: int, mode: Mode = Mode.REQUIRED) -> dict[str, str]:
    """The variables of a server of an issued state, without those that make exports empty."""
    environ = server_environ(state, mode, port)
    return {k: v for k, v in environ.items() if v and k.startswith(("UVICORN_", "LAB_")) and k != "LAB_SERVER"}


@contextmanager
def started(environ: dict[str, str], state: Path, port: int, folder: Path) -> Iterator[Running]:
    log = folder / "server.log"
    with process(environ, log, None) as running:
        await_listener(running.is_alive, port, log)
        yield Running(running, port, state, log)


def is_served(running: Running, name: str) -> bool:
    client = http.client.HTTPSConnection("localhost", running.port, context=context(running, name), timeout=10)
    with closing(client):
        try:
            client.request("GET", "/healthz")
            return client.getresponse().status == 204
        except OSError:  # an alert, or from stock no word
            return False


@pytest.mark.parametrize("server", Server)
def test_tls_in_the_env_file_is_in_force_and_in_the_log(
    env_file: EnvFile, state: Path, tmp_path: Path, server: Server
) -> None:
    port = unused_port()
    environ = env_file(**told(state, port), LAB_SERVER=server, FORWARDED_ALLOW_IPS="192.0.2.1", WEB_CONCURRENCY="1")
    with started(environ, state, port, tmp_path) as running:
        assert is_served(running, "client-good")
        assert not is_served(running, "client-untrusted-root")
    log = running.log.read_text()
    line = re.search(f"^INFO serving server={server} .*", log, re.M)
    assert line
    tls = state / "server-tls"
    for words in (
        f"--port {port} ",
        "--workers 1 ",
        f"--env-file {environ['UVICORN_ENV_FILE']} ",
        "--forwarded-allow-ips 192.0.2.1",
        f"--ssl-keyfile {tls}/server-good/privkey.pem --ssl-certfile {tls}/server-good/fullchain.pem",
        f"--ssl-cert-reqs 2 --ssl-ca-certs {tls}/validation_fullchain.pem",
    ):
        assert words in line[0]
    assert ('defaults="TLS 1.2 and 1.3' in line[0]) == (server is Server.EXPLAINED)
    assert "Loading environment" not in log  # nobody has looked at what may be new in it by now


def test_our_variables_in_the_env_file_are_in_force_and_in_the_log(
    env_file: EnvFile, state: Path, tmp_path: Path
) -> None:
    port = unused_port()
    ours = {"LAB_CRL": str(state / "server-tls/validation_crl.pem"), "LAB_TRUSTED_PROXY": "anybody"}
    ours |= {"LAB_OPEN_HANDSHAKES": "1", "LAB_HANDSHAKE_LOG": "1"}
    for variables in (ours, {}):
        with started(env_file(**variables) | told(state, port), state, port, tmp_path) as running:
            assert is_served(running, "client-good")
            assert is_served(running, "client-revoked") == (not variables)
        log = running.log.read_text()
        serving = re.search("^INFO serving .*", log, re.M)
        assert serving
        assert ("crl=leaf" in serving[0]) == bool(variables) == ("crl=off" not in serving[0])
        assert ("handshake log=open" in serving[0]) == bool(variables) == ("handshake log=off" not in serving[0])
        assert ("Client-Cert believed from anybody" in serving[0]) == bool(variables)
        assert ("WARNING trusted_proxy_anybody " in log) == bool(variables)


def test_what_is_set_already_stays(env_file: EnvFile, state: Path, tmp_path: Path) -> None:
    """As with Uvicorn, and if it is set to nothing, too."""
    port = unused_port()
    set_already = {"UVICORN_PORT": str(port), "LAB_CRL": "", "LAB_SERVER": "explained"}
    in_file = told(state, unused_port()) | {"LAB_CRL": "/missing.pem", "LAB_SERVER": "stock"}
    with started(env_file(**in_file) | set_already, state, port, tmp_path) as running:
        assert is_served(running, "client-good")
    assert re.search("^INFO serving server=explained .*crl=off", running.log.read_text(), re.M)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LAB_CRL": "/missing.pem"}, "LAB_CRL: /missing.pem: No such file"),
        ({"LAB_VERIFY_STRICT": "yes"}, "LAB_VERIFY_STRICT: 'yes' is neither 0 nor 1"),
        ({"LAB_OPEN_HANDSHAKES": "yes"}, "LAB_OPEN_HANDSHAKES: 'yes' is neither 0 nor 1"),
        ({"LAB_TRUSTED_PROXY": "10.0.0.1"}, "LAB_TRUSTED_PROXY: '10.0.0.1' is neither dns:"),
        ({"UVICORN_SSL_CERT_REQS": "perhaps"}, "UVICORN_SSL_CERT_REQS: 'perhaps' is none of off"),
        ({"UVICORN_SSL_CERTFILE": ""}, "UVICORN_SSL_CERTFILE: not set, so Uvicorn would serve everybody over plain"),
        ({"UVICORN_PORT": "http"}, "'http' is not a valid integer"),
        ({"WEB_CONCURRENCY": "many"}, "'many' is not a valid integer"),
        ({"LAB_PLAIN_HTTP": "1"}, "LAB_PLAIN_HTTP: it asks for plain HTTP, and UVICORN_SSL_CA_CERTS for TLS"),
    ],
)
def test_what_is_wrong_in_the_env_file_is_an_error(
    env_file: EnvFile, state: Path, variables: dict[str, str], message: str
) -> None:
    assert message in refused(env_file(**(told(state, unused_port()) | variables)))


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (None, "No such file or directory"),
        (b"LAB_SERVER=stock\nLAB_CRL: crl.pem\n", "line 2 is not NAME=value"),
        ("LAB_SERVER=stöck".encode("latin-1"), "it is not UTF-8"),
        (b"LAB_SERVER=st\0ck", "embedded null byte"),
    ],
)
def test_an_env_file_that_can_not_be_read_is_an_error(tmp_path: Path, content: bytes | None, fact: str) -> None:
    pytest.importorskip("dotenv")
    path = tmp_path / "server.env"
    if content is not None:
        path.write_bytes(content)
    error = refused({"UVICORN_ENV_FILE": str(path)})
    assert f"UVICORN_ENV_FILE: {path}: {fact}" in error


def test_an_env_file_takes_python_dotenv(tmp_path: Path) -> None:
    """Which Uvicorn does not bring, and without which it would end with a traceback."""
    (tmp_path / "dotenv.py").write_text("raise ModuleNotFoundError('No module named dotenv', name='dotenv')")
    (tmp_path / "server.env").touch()
    environ = {"PYTHONPATH": str(tmp_path), "UVICORN_ENV_FILE": str(tmp_path / "server.env")}
    error = refused(environ)
    assert "UVICORN_ENV_FILE: it takes the package python-dotenv, which is not installed" in error
    assert "\n  try: pip install python-dotenv\n" in error
    check = [sys.executable, "-m", "server.healthcheck"]
    environ = clean_environ() | environ
    asked = subprocess.run(check, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=READY_S)
    assert (asked.returncode, asked.stderr) == (1, error)


def test_the_health_check_reads_the_env_file(env_file: EnvFile, state: Path, tmp_path: Path) -> None:
    port = unused_port()
    environ = env_file(**told(state, port))
    check = [sys.executable, "-m", "server.healthcheck"]
    with started(environ, state, port, tmp_path) as running:
        asked = subprocess.run(check, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=READY_S)
        assert asked.returncode == 0, asked.stderr
    asked = subprocess.run(check, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=READY_S)
    assert asked.returncode == 1
    assert f"the server does not answer on port {port}" in asked.stderr
    assert "handshake_refused" not in running.log.read_text()  # it has its credential from there, too


APPLICATION = """
import os

from fastapi import FastAPI

app = FastAPI(docs_url=None, redoc_url=None)


@app.get("/greeting")
def greeting() -> list[str | int]:
    return [os.environ["GREETING"], os.getpid()]
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_application_gets_its_variables_from_the_env_file(state: Path, tmp_path: Path, workers: str) -> None:
    pytest.importorskip("dotenv")
    (tmp_path / "server.env").write_text('GREETING="Hello, ${NAME}"\nNAME=file\n')
    environ = {"UVICORN_ENV_FILE": "server.env", "UVICORN_WORKERS": workers, "NAME": "environment"}
    with lifted(state, tmp_path, APPLICATION, **environ) as running:
        greeting, pid = get(running, None, "/greeting")[2]
        assert greeting == "Hello, environment"
        assert (pid == running.process.pid) == (workers == "1")
    assert os.environ.get("GREETING") is None
