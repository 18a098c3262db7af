"""Logging as the user has configured it: theirs is the format, the level, the stream; our fields are fields."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pki import Pki
from server_process import APP, ASGI_MTLS, ServerProcess, as_options, refused, running

from asgi_mtls import Settings, SettingsError, event_log, problems
from asgi_mtls.uvicorn_config import MtlsConfig

JSON = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
        }
    },
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "root": {"handlers": ["out"], "level": "INFO"},
    "loggers": {
        "asgi_mtls": {"handlers": ["out"], "level": "WARNING", "propagate": False},
        "uvicorn": {"level": "INFO", "handlers": ["out"], "propagate": False},
    },
}


def config_file(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "logging.json"
    path.write_text(json.dumps(config))
    return str(path)


def records(server: ServerProcess) -> list[dict[str, Any]]:
    lines = [line for line in server.text.splitlines() if not line.startswith("the application")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_users_configuration_wins(pki: Pki, tmp_path: Path, workers: str) -> None:
    pytest.importorskip("pythonjsonlogger")
    command = [*ASGI_MTLS, "myapp:app", *as_options(pki)]
    environ = {"UVICORN_LOG_CONFIG": config_file(tmp_path, JSON), "UVICORN_WORKERS": workers}
    expired = pki.client("x" * 60, days=(-2, -1))
    with running(command, tmp_path, **environ) as server:
        server.alert(pki.calling(expired))
        server.wait_for("handshake_refused")
        found = records(server)
    assert {record["name"] for record in found} == {"asgi_mtls", "uvicorn.error"}
    ours = [record for record in found if record["name"] == "asgi_mtls"]
    assert {record["levelname"] for record in ours} == {"WARNING"}  # `serving` and `tls_loaded` are INFO
    [refusal] = [record for record in ours if record["event"] == "handshake_refused"]
    assert refusal["peer"].startswith("127.0.0.1:")
    assert refusal["subject"] == f"CN={'x' * 60},O=Example"
    assert (refusal["reason"], refusal["verify_code"]) == ("CERTIFICATE_VERIFY_FAILED", 10)
    assert refusal["verify_message"] == "certificate has expired"
    assert "asctime" in refusal


def test_another_loggers_name(pki: Pki, tmp_path: Path) -> None:
    pytest.importorskip("pythonjsonlogger")
    config = JSON | {"loggers": {"mine": {"level": "INFO"}, "uvicorn": {"level": "INFO"}}}
    command = [*ASGI_MTLS, "myapp:app", *as_options(pki), "--logger", "mine"]
    with running(command, tmp_path, "tls_loaded", UVICORN_LOG_CONFIG=config_file(tmp_path, config)) as server:
        [loaded] = [record for record in records(server) if record.get("event") == "tls_loaded"]
    assert (loaded["name"], loaded["trust_anchors"]) == ("mine", 2)


PROGRAM = """
import asyncio, logging, sys
from asgi_mtls import Settings, serve_async
from myapp import app
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s|%(name)s|%(message)s")
settings = Settings(ssl_certfile=CERT, ssl_keyfile=KEY)
asyncio.run(serve_async(app, settings, port=0, log_config=None))
"""


def test_a_program_that_has_configured_logging(pki: Pki, tmp_path: Path) -> None:
    source = PROGRAM.replace("CERT", repr(str(pki.server.fullchain))).replace("KEY", repr(str(pki.server.privkey)))
    (tmp_path / "program.py").write_text(source)
    with running([sys.executable, "program.py"], tmp_path) as server:
        lines = server.text.splitlines()
    assert all(line.count("|") >= 2 for line in lines)
    assert sum(line.startswith("INFO|asgi_mtls|tls_loaded ") for line in lines) == 1


def test_nobody_has_configured_logging(pki: Pki, tmp_path: Path) -> None:
    with running([*ASGI_MTLS, "myapp:app", *as_options(pki)], tmp_path) as server:
        assert server.text.count("\nINFO tls_loaded ") == 1


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("missing.json", None, "missing.json"),
        ("broken.json", "{", "broken.json: Expecting property name"),
        ("empty.ini", "", "empty.ini: "),
        ("formatter.json", '{"version": 1, "formatters": {"j": {"()": "nope.J"}}}', "No module named 'nope'"),
        ("handler.json", '{"version": 1, "handlers": {"h": {"class": "nope.H"}}}', "No module named 'nope'"),
    ],
)
@pytest.mark.parametrize("way", ["UVICORN_LOG_CONFIG", "--log-config"])
def test_a_configuration_that_can_not_be_used(
    tmp_path: Path, way: str, name: str, content: str | None, fact: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    command = [*ASGI_MTLS, "myapp:app", "--plain-http"]
    environ = {way: str(path)} if way.isupper() else {}
    error = refused([*command, *([] if environ else [way, str(path)])], tmp_path, **environ)
    assert error.startswith(f"error: could not start the server: {way}: ")
    assert fact in error
    assert error.splitlines()[1].startswith("  try: ")


def test_yaml_takes_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "logging.yaml").touch()
    with pytest.raises(SettingsError, match=r"log_config: .*PyYAML(.|\n)*try: pip install pyyaml"):
        MtlsConfig("myapp:app", Settings(plain_http=True), log_config=str(tmp_path / "logging.yaml"))


def test_no_field_can_break_an_event(caplog: pytest.LogCaptureFixture) -> None:
    names = [*vars(__import__("logging").makeLogRecord({})), "asctime", "message", "event", "level"]
    event_log.event(30, "tried", **dict.fromkeys(names, "value"), long="x" * 1000, number=7)
    [record] = caplog.records
    assert record.event == "tried"  # type: ignore[attr-defined]
    assert record.number == 7  # type: ignore[attr-defined]
    assert record.name_ == "value"  # type: ignore[attr-defined]
    assert record.long == "x" * 512 + "...[488 more characters]"  # type: ignore[attr-defined]


PLAIN: dict[str, Any] = {
    "version": 1,  # without `disable_existing_loggers`: true is its default
    "formatters": {"plain": {"format": "%(levelname)s|%(name)s|%(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["out"], "level": "INFO"},
    "loggers": {"uvicorn": {"propagate": True}, "uvicorn.error": {}},
}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_configuration_that_does_not_know_our_logger(pki: Pki, tmp_path: Path, workers: str) -> None:
    environ = {"UVICORN_LOG_CONFIG": config_file(tmp_path, PLAIN), "UVICORN_WORKERS": workers}
    with running([*ASGI_MTLS, "myapp:app", *as_options(pki)], tmp_path, **environ) as server:
        server.alert(pki.calling())
        server.wait_for("WARNING|asgi_mtls|handshake_refused ")
        assert server.text.count("INFO|asgi_mtls|serving ") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_application_that_configures_logging(pki: Pki, tmp_path: Path, workers: str) -> None:
    (tmp_path / "configured.py").write_text(f"import logging.config\nlogging.config.dictConfig({PLAIN!r})\n" + APP)
    with running([*ASGI_MTLS, "configured:app", *as_options(pki)], tmp_path, UVICORN_WORKERS=workers) as server:
        server.alert(pki.calling())
        server.wait_for("handshake_refused ")
        assert "WARNING|asgi_mtls|handshake_refused " in server.text


def test_the_type_of_problems_is_in_force_where_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "_prefix", "urn:x-asgi-mtls:")
    MtlsConfig(application, Settings(plain_http=True)).load()
    assert problems.problem_type("a") == "urn:x-asgi-mtls:a"
    MtlsConfig(application, Settings(plain_http=True, problem_type="urn:b:")).load()
    assert problems.problem_type("a") == "urn:b:a"
    event_log.forget()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Stand in for an application."""
