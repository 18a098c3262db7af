"""A service that calls a service: whose identity arrives, what a connection costs, and how a refusal is told."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import requests
from running import ROOT, server_environ, unused_port

from catalogue import Mode
from examples.calling import AsyncCaller, Credential, ThreadCaller, tls_reason

pytestmark = pytest.mark.live

ROUTES = ("/orders/bolt", "/orders-in-threads/bolt")
SERVICE = "client-spiffe"  # the identity of `orders`
SUBJECT = "CN=client-spiffe,O=mTLS Lab"
CALLER = "client-good"


@dataclass(frozen=True)
class Service:
    """A server of an example; its log is Uvicorn's access log, too."""

    port: int
    log: Path

    def connections(self, path: str = "/stock/") -> set[str]:
        """The peers, `address:port`, that requests for a path came from: a TLS connection has one."""
        lines = [line for line in self.log.read_text().splitlines() if f'"GET {path}' in line]
        return {line.split(" - ")[0].split()[-1] for line in lines}


@contextmanager
def service(state: Path, app: str, log: Path, mode: str = Mode.REQUIRED, **environ: str) -> Iterator[Service]:
    port = unused_port()
    environment = server_environ(state, mode, port) | environ
    command = [sys.executable, "-m", "server", app]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        check = [sys.executable, "-m", "server.healthcheck", "--wait", "60"]
        ready = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)
        assert ready.returncode == 0, ready.stderr + log.read_text()
        yield Service(port, log)
    finally:
        process.terminate()
        process.wait(10)


def files(state: Path, name: str) -> Credential:
    folder = state / "client-tls/clients" / name
    return Credential(folder / "fullchain.pem", folder / "privkey.pem", state / "client-tls/public_root.pem")


def orders_environ(credential: Credential, port: int) -> dict[str, str]:
    return {
        "INVENTORY_URL": f"https://localhost:{port}",
        "INVENTORY_CERTFILE": str(credential.certfile),
        "INVENTORY_KEYFILE": str(credential.keyfile),
        "INVENTORY_CA_CERTS": str(credential.trust),
    }


@pytest.fixture(scope="module")
def inventory(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(state, "examples.inventory:app", tmp_path_factory.mktemp("inventory") / "log") as running:
        yield running


@pytest.fixture
def orders(state: Path, tmp_path: Path, inventory: Service) -> Iterator[Service]:
    environ = orders_environ(files(state, SERVICE), inventory.port)
    with service(state, "examples.orders:app", tmp_path / "log", **environ) as running:
        yield running


def get(state: Path, port: int, path: str, name: str = CALLER, **headers: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPSConnection("localhost", port, context=files(state, name).context(), timeout=20)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.parametrize("path", ROUTES)
def test_the_callee_sees_the_service_and_hears_of_its_caller(state: Path, orders: Service, path: str) -> None:
    forged = {"On-Behalf-Of": "CN=the boss"}
    status, answer = get(state, orders.port, path, **forged)
    assert status == 200
    stock = answer["inventory"]
    assert isinstance(stock, dict)
    assert (stock["available"], stock["asked_by"]) == (12, SUBJECT)
    assert "CN=client-good" in str(answer["ordered_by"])
    assert stock["on_behalf_of"] == answer["ordered_by"]  # and not what the caller claimed


def test_nobody_else_speaks_for_others(state: Path, inventory: Service) -> None:
    status, stock = get(state, inventory.port, "/stock/bolt", CALLER, **{"On-Behalf-Of": "CN=the boss"})
    assert status == 200
    assert "CN=client-good" in str(stock["asked_by"])
    assert stock["on_behalf_of"] is None


@pytest.mark.parametrize("path", ROUTES)
def test_one_connection_carries_many_requests(state: Path, orders: Service, inventory: Service, path: str) -> None:
    before = inventory.connections()
    for _ in range(5):
        assert get(state, orders.port, path)[0] == 200
    assert len(orders.connections(path)) == 5  # the caller of the test connects each time: they are told apart
    assert len(inventory.connections() - before) == 1


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("name", "reason"), [("client-expired", "certificate_expired"), ("client-untrusted-root", "unknown_ca")]
)
def test_a_refused_service_answers_502_with_the_alert(
    state: Path, tmp_path: Path, inventory: Service, name: str, reason: str, path: str
) -> None:
    environ = orders_environ(files(state, name), inventory.port)
    with service(state, "examples.orders:app", tmp_path / "log", **environ) as orders:
        status, problem = get(state, orders.port, path)
    assert (status, problem["status"]) == (502, 502)
    assert str(problem["detail"]).endswith(f"refused this client: {reason}.")


@pytest.mark.parametrize("path", ROUTES)
def test_unreachable_and_untrusted_services_are_502(state: Path, tmp_path: Path, inventory: Service, path: str) -> None:
    wrong_root = state / "client-tls/clients/client-good/cert.pem"
    good = files(state, SERVICE)
    for credential, port, words in (
        (good, unused_port(), "no connection"),
        (Credential(good.certfile, good.keyfile, wrong_root), inventory.port, "was not accepted"),
    ):
        environ = orders_environ(credential, port)
        with service(state, "examples.orders:app", tmp_path / "log", **environ) as orders:
            status, problem = get(state, orders.port, path)
        assert status == 502
        assert words in str(problem["detail"])


def test_a_silent_service_is_504(state: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts by its backlog, and says nothing
        environ = orders_environ(files(state, SERVICE), silent.getsockname()[1])
        with service(state, "examples.orders:app", tmp_path / "log", **environ) as orders:
            answers = [get(state, orders.port, path) for path in ROUTES]
    assert [status for status, _ in answers] == [504, 504]
    assert {problem["detail"] for _, problem in answers} == {"The inventory did not answer in time."}


def test_without_identity_the_callee_refuses(state: Path, inventory: Service) -> None:
    """The negative twin: it is the certificate that opens the door."""
    context = ssl.create_default_context(cafile=state / "client-tls/public_root.pem")
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.HTTPError) as caught:
        client.get(f"https://localhost:{inventory.port}/stock/bolt")
    assert tls_reason(caught.value) == "the service refused this client: certificate_required"


def test_httpx_lets_a_late_alert_through_as_it_is(state: Path, inventory: Service) -> None:
    """An `except httpx.HTTPError` alone misses a TLS 1.3 refusal: why `orders` handles ssl.SSLError."""
    context = files(state, "client-expired").context()

    async def refused() -> None:
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            await client.get(f"https://localhost:{inventory.port}/stock/bolt")

    with pytest.raises(ssl.SSLError) as caught:
        asyncio.run(refused())
    assert tls_reason(caught.value) == "the service refused this client: certificate_expired"
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in TLS 1.2 the refusal is part of the handshake
    with pytest.raises(httpx.ConnectError) as wrapped:
        asyncio.run(refused())
    assert tls_reason(wrapped.value) == "the service refused this client: certificate_expired"


def test_a_new_credential_is_used_by_the_next_call(state: Path, tmp_path: Path, inventory: Service) -> None:
    for name in ("fullchain.pem", "privkey.pem"):
        shutil.copy(state / "client-tls/clients" / SERVICE / name, tmp_path)
    credential = Credential(tmp_path / "fullchain.pem", tmp_path / "privkey.pem", files(state, SERVICE).trust)
    url = f"https://localhost:{inventory.port}"

    def install(name: str) -> None:
        folder = state / "client-tls/clients" / name
        for file in ("privkey.pem", "fullchain.pem"):
            new = tmp_path / "new"
            shutil.copy(folder / file, new)
            os.replace(new, tmp_path / file)

    async def asked() -> list[str]:
        caller = AsyncCaller(credential, url)
        names = []
        for name in (SERVICE, "client-good", None, SERVICE):
            if name:
                install(name)
            else:  # half written: what was loaded goes on serving
                credential.certfile.write_text(credential.certfile.read_text()[:100])
            async with caller.client() as client:
                names.append((await client.get("/stock/nut")).raise_for_status().json()["asked_by"])
        await caller.aclose()
        return names

    first, second, kept, last = asyncio.run(asked())
    assert first == last == SUBJECT
    assert second == kept
    assert "CN=client-good" in second
    with ExitStack() as stack:
        caller = ThreadCaller(credential, url)
        stack.callback(caller.close)
        before = caller.get("/stock/nut", {}).json()["asked_by"]
        install("client-good")
        assert (before, caller.get("/stock/nut", {}).json()["asked_by"]) == (SUBJECT, second)


def test_no_cookie_and_no_redirect_is_followed(state: Path) -> None:
    """All callers share a pool: what the callee sets for one is not sent for another, nor a name elsewhere."""
    asked: list[tuple[str, str | None]] = []

    class Callee(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Cookie"]))
            self.send_response(302 if self.path == "/moved" else 204)
            self.send_header("Set-Cookie", "session=of-alice")
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*(state / "server-tls/server-good" / name for name in ("fullchain.pem", "privkey.pem")))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Callee) as callee:
        callee.socket = tls.wrap_socket(callee.socket, server_side=True)
        threading.Thread(target=callee.serve_forever).start()
        url = f"https://localhost:{callee.server_port}"

        async def with_httpx() -> int:
            caller = AsyncCaller(files(state, SERVICE), url)
            async with caller.client() as client:
                assert [(await client.get("/a")).status_code for _ in range(2)] == [204, 204]
                moved = await client.get("/moved")
            await caller.aclose()
            return moved.status_code

        try:
            assert asyncio.run(with_httpx()) == 302
            with closing(ThreadCaller(files(state, SERVICE), url)) as caller:
                assert [caller.get("/a", {}).status_code for _ in range(2)] == [204, 204]
                with pytest.raises(requests.TooManyRedirects) as caught:
                    caller.get("/moved", {})
        finally:
            callee.shutdown()
    assert caught.value.response.status_code == 302
    assert asked == [("/a", None), ("/a", None), ("/moved", None)] * 2


# What the libraries do that a reader would not expect; the README says so, and this is why it may.


def test_a_client_for_each_request_costs_a_handshake_each(state: Path, inventory: Service) -> None:
    url, context = f"https://localhost:{inventory.port}", files(state, SERVICE).context()
    before = inventory.connections("/stock/each")
    for _ in range(4):
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.get(f"{url}/stock/each").status_code == 200
    assert len(inventory.connections("/stock/each") - before) == 4
    with httpx.Client(verify=context, trust_env=False) as client:
        for _ in range(4):
            assert client.get(f"{url}/stock/shared").status_code == 200
    assert len(inventory.connections("/stock/shared")) == 1


def test_requests_verify_true_does_not_trust_a_private_root(state: Path, inventory: Service) -> None:
    good = files(state, SERVICE)
    with requests.Session() as session:
        session.trust_env = False
        session.cert = (str(good.certfile), str(good.keyfile))
        with pytest.raises(requests.exceptions.SSLError) as caught:
            session.get(f"https://localhost:{inventory.port}/stock/nut", timeout=10)
        session.verify = str(good.trust)
        assert session.get(f"https://localhost:{inventory.port}/stock/nut", timeout=10).status_code == 200
    assert "was not accepted" in str(tls_reason(caught.value))


def test_requests_verify_true_adds_public_roots_to_a_context(state: Path, inventory: Service) -> None:
    caller = ThreadCaller(files(state, SERVICE), f"https://localhost:{inventory.port}")
    with closing(caller), caller.session() as session:
        context = session.get_adapter("https://")._context  # type: ignore[attr-defined]
        assert caller.get("/stock/nut", {}).status_code == 200
        ours = len(context.get_ca_certs())
        assert ours == 1
        session.close()
        session.verify = True
        assert caller.get("/stock/nut", {}).status_code == 200
        assert len(context.get_ca_certs()) > ours + 50


def test_requests_cert_for_each_request(state: Path, inventory: Service) -> None:
    """In a session each `cert` has connections of its own; `requests.get` is a session, and a handshake, each time."""
    url = f"https://localhost:{inventory.port}"
    certs = [(str(files(state, name).certfile), str(files(state, name).keyfile)) for name in (SERVICE, CALLER)]
    trust = str(files(state, SERVICE).trust)
    with requests.Session() as session:
        session.trust_env = False
        seen = [
            session.get(f"{url}/stock/cert", cert=cert, verify=trust, timeout=10).json()["asked_by"]
            for cert in certs * 2
        ]
    assert seen[0] == seen[2] != seen[1] == seen[3]
    assert len(inventory.connections("/stock/cert")) == 2
    for _ in range(3):
        assert requests.get(f"{url}/stock/bare", cert=certs[0], verify=trust, timeout=10).status_code == 200
    assert len(inventory.connections("/stock/bare")) == 3
