"""The library in a service without the lab, exactly as its README says."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import readme
from lifted import ask, context, credential, get, lifted
from running import Running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_socket

from asgi_mtls.environment import variable
from asgi_mtls.settings import DEFAULTS

pytestmark = pytest.mark.live

README = readme.README.read_text()


def block(name: str) -> str:
    """Return the labelled block of the README; its names are those of the lab's clients."""
    return (
        readme.labelled(name)
        .replace('"Ops"', '"Lab Admins"')
        .replace('SpiffePath("team.example"', 'SpiffePath("mtls-lab.test"')
    )


# Any ASGI application may read the extension; this one knows no framework.
PLAIN = """
import json

async def plain(scope, receive, send):
    if scope["type"] == "http":
        body = json.dumps(scope["extensions"].get("tls")).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

app = plain
"""
# django/asgiref specs/tls.rst 0.2
SPECIFIED = {"server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "tls_version", "cipher_suite"}


@pytest.fixture(scope="module")
def first(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The README's first application."""
    with lifted(state, tmp_path_factory.mktemp("first"), block("myapp.py")) as running:
        yield running


@pytest.fixture(scope="module")
def whole(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The README's application with rules."""
    with lifted(state, tmp_path_factory.mktemp("whole"), block("rules.py")) as running:
        yield running


def test_ten_lines_are_enough(first: Running) -> None:
    assert len([line for line in block("myapp.py").splitlines() if line]) <= 10
    assert get(first, "client-good", "/hello") == (200, "application/json", "Hello, client-good!")
    status, media_type, problem = get(first, None, "/hello")
    assert (status, media_type) == (403, "application/problem+json")
    assert problem == {
        "type": "urn:x-asgi-mtls:certificate-required",
        "title": "A client certificate is needed",
        "status": 403,
        "detail": problem["detail"],
        "instance": "/hello",
    }
    assert "Connect again with a certificate" in problem["detail"]
    assert not list(first.log.parent.glob("ca")) + list(first.log.parent.glob("catalogue"))


def test_the_rules_of_the_readme(whole: Running) -> None:
    answers = {
        (name, path): get(whole, name, path)
        for name in (None, "client-good", "client-admin", "client-spiffe")
        for path in ("/", "/admin", "/machines")
    }
    statuses = {who: [answers[who, path][0] for path in ("/", "/admin", "/machines")] for who, _ in answers}
    assert statuses == {
        None: [200, 403, 403],
        "client-good": [200, 403, 403],
        "client-admin": [200, 200, 403],
        "client-spiffe": [200, 403, 200],
    }
    assert answers[None, "/"][2] == "Hello, stranger!"
    assert answers["client-admin", "/admin"][2] == "At your service, client-admin!"
    assert answers["client-good", "/admin"][2]["rule"] == "organizational unit"
    assert answers["client-good", "/machines"][2]["rule"] == "machines of the team"
    assert "Traceback" not in whole.log.read_text()


def test_the_socket_of_the_readme(whole: Running) -> None:
    url = f"wss://localhost:{whole.port}/socket"
    with connect_socket(url, ssl=context(whole, "client-admin")) as socket:
        assert re.fullmatch("[0-9a-f]{64}", str(socket.recv(10)))
    for name in (None, "client-good"):
        with pytest.raises(InvalidStatus) as refused:
            connect_socket(url, ssl=context(whole, name))
        response = refused.value.response
        assert response.status_code == 403
        assert response.headers["Content-Type"] == "application/problem+json"
        assert b'"instance": "/socket"' in (response.body or b"")


def test_every_variable_is_in_the_readme() -> None:
    used = {variable(setting) for setting in DEFAULTS if not setting.startswith("ssl_")}
    assert len(used) >= 8
    assert {name for name in used if f"| `{name}` |" not in README} == set()


@pytest.mark.parametrize("protocol", ["h11", "httptools"])
def test_an_application_without_a_framework(state: Path, tmp_path: Path, protocol: str) -> None:
    with lifted(state, tmp_path, PLAIN, UVICORN_HTTP=protocol, UVICORN_LIFESPAN="off") as running:
        named, nobody = (get(running, name, "/")[2] for name in ("client-good", None))
    for tls in (named, nobody):
        assert set(tls) >= SPECIFIED
        assert tls["tls_version"] == 0x0304
        assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)  # RFC 8446 B.4
        assert tls["client_cert_error"] is None
    assert (nobody["client_cert_chain"], nobody["client_cert_name"]) == ([], None)
    assert credential(state, "client-good").read_text().startswith(named["client_cert_chain"][0])
    assert named["client_cert_name"] == "CN=client-good,O=mTLS Lab"


def test_plain_http_has_no_extension(state: Path, tmp_path: Path) -> None:
    environ = {f"UVICORN_SSL_{name}": "" for name in ("CERTFILE", "KEYFILE", "CA_CERTS")} | {"LAB_PLAIN_HTTP": "1"}
    with lifted(state, tmp_path, block("rules.py"), "off", **environ) as running:
        connection = http.client.HTTPConnection("localhost", running.port, timeout=10)
        assert ask(connection, "/")[2] == "Hello, stranger!"
        status, _, problem = ask(connection, "/admin")
        connection.close()
    assert status == 403
    assert problem["type"].endswith(":tls-unknown")
