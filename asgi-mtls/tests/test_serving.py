"""`serve` and `serve_async`: in a program of one's own, beside others, with either event loop."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pki import Pki
from server_process import replace_server_certificate, running

from asgi_mtls import Settings, SettingsError, serve, serve_async
from asgi_mtls.uvicorn_config import MtlsConfig

LOOPS = ["asyncio", "uvloop"]
PROGRAM = """
import asyncio, logging, signal, sys
from asgi_mtls import Settings, serve, serve_async
from asgi_mtls.uvicorn_config import MtlsConfig
from myapp import app
import uvicorn

def settings(**more):
    return Settings(
        ssl_certfile="fullchain.pem", ssl_keyfile="privkey.pem", ssl_ca_certs=TRUST, ssl_cert_reqs="required", **more
    )

{main}

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""
TASK_GROUP = """
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_async(app, settings(), port=0))
"""
UVICORNS_SERVER = """
async def main():
    await uvicorn.Server(MtlsConfig(app, settings(), port=0)).serve()
"""
CANCELLED = """
async def main():
    serving = asyncio.create_task(serve_async(app, settings(), port=0))
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        print("cancelled", flush=True)
    await asyncio.Event().wait()
"""
TWO = """
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_async(app, settings(), port=0))
        optional = Settings(
            ssl_certfile="fullchain.pem", ssl_keyfile="privkey.pem", ssl_ca_certs=TRUST, ssl_cert_reqs="optional"
        )
        group.create_task(serve_async(app, optional, port=0))
"""
OWN_HANDLER = """
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: print("the program's own", flush=True))
    await serve_async(app, settings(), port=0)
"""


def program(pki: Pki, folder: Path, main: str, loop: str = "asyncio") -> list[str]:
    """Write a program and its server's files to a folder; return the command that runs it."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    pki.server.credential.write(folder)
    (folder / "program.py").write_text(PROGRAM.replace("{main}", main).replace("TRUST", repr(str(pki.trust_file))))
    return [sys.executable, "program.py", loop]


@pytest.mark.parametrize("main", [TASK_GROUP, UVICORNS_SERVER], ids=["task group", "uvicorn.Server"])
@pytest.mark.parametrize("loop", LOOPS)
def test_in_a_running_loop_alerts_are_sent_and_files_followed(pki: Pki, tmp_path: Path, loop: str, main: str) -> None:
    with running(program(pki, tmp_path, main, loop), tmp_path) as server:
        good = pki.calling(pki.good)
        assert server.ask(good) == {"pid": server.process.pid, "client": "CN=good,O=Example"}
        assert server.alert(pki.calling(pki.expired)) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
        assert server.alert(pki.calling()) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        serial = replace_server_certificate(pki, tmp_path)
        server.wait_for_serial(serial, good)
        server.send(signal.SIGHUP)
        server.wait_for("tls_reloaded why=SIGHUP")
        assert server.ask(good)["client"] == "CN=good,O=Example"
        server.send(signal.SIGTERM)
        server.wait()
        assert "the application has shut down" in server.text
        assert "files_not_followed" not in server.text


@pytest.mark.parametrize("loop", LOOPS)
def test_cancellation_stops_the_server_and_not_the_program(pki: Pki, tmp_path: Path, loop: str) -> None:
    with running(program(pki, tmp_path, CANCELLED, loop), tmp_path) as server:
        assert server.ask(pki.calling(pki.good))["client"] == "CN=good,O=Example"
        server.send(signal.SIGUSR1)
        server.wait_for("cancelled")
        assert "the application has shut down" in server.text
        with pytest.raises(ConnectionRefusedError):
            server.ask(pki.calling(pki.good))
        assert server.process.poll() is None


def test_two_servers_in_one_program(pki: Pki, tmp_path: Path) -> None:
    with running(program(pki, tmp_path, TWO), tmp_path) as server:
        server.wait_for("Uvicorn running", 2)
        outcomes = {port: server.alert(pki.calling(), port) for port in server.ports}
        assert sorted(outcomes.values()) == ["TLSV13_ALERT_CERTIFICATE_REQUIRED", "it was served"]
        serial = replace_server_certificate(pki, tmp_path)
        for port in server.ports:
            server.wait_for_serial(serial, pki.calling(pki.good), port)
        server.send(signal.SIGHUP)
        server.wait_for("tls_reloaded why=SIGHUP", 2)
        server.send(signal.SIGTERM)
        server.wait()
        assert server.text.count("the application has shut down") == 2


def test_the_programs_own_handler_of_sighup_stays(pki: Pki, tmp_path: Path) -> None:
    with running(program(pki, tmp_path, OWN_HANDLER), tmp_path) as server:
        server.send(signal.SIGHUP)
        server.wait_for("the program's own")
        serial = replace_server_certificate(pki, tmp_path)
        server.wait_for_serial(serial, pki.calling(pki.good))
        assert "why=SIGHUP" not in server.text


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"logger": "b"}, "logger: 'b', but another server of this process has 'asgi_mtls'"),
        ({"problem_type": "urn:b:"}, "problem_type: 'urn:b:', but another server of this process has None"),
        ({"logged_refusals": 5}, "logged_refusals: '5', but another server of this process has '1000'"),
    ],
)
def test_two_servers_share_a_log(other: dict[str, Any], message: str) -> None:
    async def both() -> None:
        options: dict[str, Any] = {"port": 0, "lifespan": "off", "log_config": None}
        first = asyncio.create_task(serve_async(application, Settings(plain_http=True), **options))
        await asyncio.sleep(0)
        try:
            await serve_async(application, Settings(plain_http=True, **other), **options)
        finally:
            first.cancel()
            await asyncio.wait([first])

    with pytest.raises(SettingsError) as caught:
        asyncio.run(both())
    assert message in str(caught.value)


@pytest.mark.parametrize("options", [{"workers": 2}, {"reload": True}])
def test_serve_async_starts_no_other_process(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="workers: serve_async serves in this process"):
        asyncio.run(serve_async("myapp:app", Settings(plain_http=True), **options))


@pytest.mark.parametrize("options", [{"workers": 2}, {"reload": True}])
def test_several_processes_need_the_application_as_a_text(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="workers: several workers and reload need the application as a text"):
        serve(application, Settings(plain_http=True), log_config=None, **options)


@pytest.mark.parametrize("start", [serve, MtlsConfig])
def test_options_of_tls_belong_in_the_settings(start: Any) -> None:
    with pytest.raises(TypeError, match=r"ssl_keyfile belongs in asgi_mtls\.Settings"):
        start(application, Settings(plain_http=True), log_config=None, ssl_keyfile="key.pem")


def test_waiting_for_a_certificate_does_not_block_the_loop(tmp_path: Path) -> None:
    async def turns_while_waiting() -> int:
        turns = 0
        settings = Settings(ssl_certfile=tmp_path / "missing.pem", certificate_wait_s=0.3)
        waiting = asyncio.create_task(serve_async(application, settings, log_config=None))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0.01)
        with pytest.raises(SettingsError, match=r"certificate_wait_s: .*missing.pem did not come within 0.3 s"):
            await waiting
        return turns

    assert asyncio.run(turns_while_waiting()) > 5


def test_a_server_that_is_loaded_outside_a_loop_says_that_it_follows_nothing(
    pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    config = MtlsConfig(application, Settings(**pki.tls()), log_config=None)
    uvicorn.Server(config).config.load()
    [said] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert said.getMessage().startswith("files_not_followed ")
