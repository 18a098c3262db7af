"""On whose behalf a service calls another one: every caller arrives, no caller arrives as another one or as none."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from lifted import credential
from test_service import CALLER, ROUTES, SERVICE, SUBJECT, Service, files, orders_environ, service

from ca.certificates import make
from ca.credentials import AUTHORITIES, client_leaf
from ca.store import Store
from catalogue import Mode

pytestmark = pytest.mark.live

SPIFFE_ID = "spiffe://mtls-lab.test/ns/default/sa/client-spiffe"
VALUE = f"sha256={'ab' * 32};name=CN%3Dthe%20boss"
# How a header is spelled, and what a header's value could be taken for.
FORGED = [
    [("On-Behalf-Of", "CN=the boss")],
    [("On-Behalf-Of", VALUE)],
    [("on-behalf-of", VALUE), ("ON-BEHALF-OF", VALUE)],
    [("On_Behalf_Of", VALUE)],
    [("On-Behalf-Of", f"{VALUE}, {VALUE}")],
    [("On-Behalf-Of", "")],
]


@pytest.fixture(scope="module")
def inventory(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(state, "examples.inventory:app", tmp_path_factory.mktemp("inventory") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def orders(state: Path, tmp_path_factory: pytest.TempPathFactory, inventory: Service) -> Iterator[Service]:
    environ = orders_environ(files(state, SERVICE), inventory.port)
    log = tmp_path_factory.mktemp("orders") / "log"
    environ["LAB_VERIFY_STRICT"] = "0"  # strict verification refuses a certificate that has no name at all
    with service(state, "examples.orders:app", log, Mode.OPTIONAL, **environ) as running:
        yield running


def issued(state: Path, name: str, **other: Any) -> Path:
    """Make a client credential, in one PEM file, that differs by these keywords from the good one of this name."""
    store = Store(state)
    made = make(client_leaf(name, **other), store.read(AUTHORITIES[3], store.read(AUTHORITIES[2], None)))
    path = state / f"{hashlib.sha256(made.cert_pem()).hexdigest()}.pem"
    path.write_bytes(made.cert_pem() + made.chain_pem() + made.key_pem())
    return path


def fingerprint(pem: Path) -> str:
    leaf = pem.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest()


def connection(state: Path, port: int, pem: Path | None) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=state / "client-tls/public_root.pem")
    if pem:
        context.load_cert_chain(pem)
    return http.client.HTTPSConnection("localhost", port, context=context, timeout=20)


def ask(
    state: Path, port: int, path: str, pem: Path | None, headers: Sequence[tuple[str, str]] = ()
) -> tuple[int, dict[str, Any]]:
    with closing(connection(state, port, pem)) as asking:
        asking.putrequest("GET", path)
        for header in headers:
            asking.putheader(*header)
        asking.endheaders()
        response = asking.getresponse()
        return response.status, json.loads(response.read())


def told(answer: dict[str, Any]) -> tuple[str, str]:
    """For whom the inventory was asked: the name, and the fingerprint that tells clients apart."""
    stock = answer["inventory"]
    assert stock["asked_by"] == SUBJECT
    assert answer["ordered_by"] == stock["on_behalf_of"]
    return stock["on_behalf_of"], stock["on_behalf_of_sha256"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("name", "other", "shown"),
    [
        ("client-good", {}, "CN=client-good,O=mTLS Lab"),
        ("client-empty-subject", {"common_name": None}, "EMAIL:client-empty-subject@mtls-lab.test"),
        ("client-machine", {"common_name": None, "sans": ("DNS:a.test", f"URI:{SPIFFE_ID}/a")}, "DNS:a.test"),
        ("client-nameless", {"common_name": None, "sans": ()}, "sha256:"),
        ("client-unicode-subject", {"common_name": "Zoë Łukasz 客户"}, "CN=Zoë Łukasz 客户,O=mTLS Lab"),
        ("client-tricky", {"common_name": "a;name=b, c%0D%0AX: d"}, "CN=a\\;name=b\\, c%0D%0AX: d,O=mTLS Lab"),
    ],
)  # fmt: skip
def test_every_caller_arrives(
    state: Path, orders: Service, path: str, name: str, other: dict[str, Any], shown: str
) -> None:
    pem = issued(state, name, **other)
    status, answer = ask(state, orders.port, path, pem)
    assert status == 200, answer
    expected = shown + fingerprint(pem) if shown.endswith(":") else shown
    assert told(answer) == (expected, fingerprint(pem))


@pytest.mark.parametrize("path", ROUTES)
def test_callers_with_the_same_subject_are_told_apart(state: Path, orders: Service, path: str) -> None:
    first, second = (told(ask(state, orders.port, path, issued(state, CALLER))[1]) for _ in range(2))
    assert first[0] == second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("forged", FORGED)
def test_what_a_caller_says_itself_goes_nowhere(
    state: Path, orders: Service, path: str, forged: list[tuple[str, str]]
) -> None:
    pem = credential(state, CALLER)
    status, answer = ask(state, orders.port, path, pem, forged)
    assert status == 200
    assert told(answer) == ("CN=client-good,O=mTLS Lab", fingerprint(pem))


@pytest.mark.parametrize("path", ROUTES)
def test_a_caller_that_can_not_be_named_is_refused_and_the_callee_not_asked(
    state: Path, orders: Service, inventory: Service, path: str
) -> None:
    before = inventory.log.read_text().count('"GET /stock/')
    nul = issued(state, "client-nul", common_name="a\0\r\nX: b")
    for pem, kind in ((None, "certificate-required"), (nul, "certificate-name")):
        status, problem = ask(state, orders.port, path, pem, FORGED[1])
        assert (status, str(problem["type"]).rpartition(":")[2]) == (403, kind)
    assert inventory.log.read_text().count('"GET /stock/') == before
    assert ask(state, orders.port, path, credential(state, CALLER))[0] == 200
    assert inventory.log.read_text().count('"GET /stock/') == before + 1


def test_one_header_is_believed(state: Path, inventory: Service) -> None:
    status, stock = ask(state, inventory.port, "/stock/bolt", credential(state, SERVICE), FORGED[1])
    assert (status, stock["on_behalf_of"], stock["on_behalf_of_sha256"]) == (200, "CN=the boss", "ab" * 32)
    status, stock = ask(state, inventory.port, "/stock/bolt", credential(state, SERVICE))  # it asks for itself
    assert (status, stock["on_behalf_of"], stock["on_behalf_of_sha256"]) == (200, None, None)


@pytest.mark.parametrize(
    "values",
    [
        [VALUE, VALUE],
        ["CN%3Da", "CN%3Db"],
        ["", ""],
        ["", VALUE],
        [f"{VALUE}, {VALUE}"],
        [""],
        ["CN%3Da"],
        [VALUE.replace("ab", "AB")],
        [VALUE.replace("ab", "a", 1)],
        [f"sha256={'ab' * 32}"],
        [f"sha256={'ab' * 32};name="],
        [f"{VALUE};name=b"],
        [f"{VALUE}%"],
        [f"{VALUE}%zz"],
        [f"{VALUE}%FF"],
        [f"{VALUE} b"],
        [f"{VALUE}\xe9"],
        [f"{VALUE}%0A"],
        [f"{VALUE}%E2%80%AE"],
    ],
)
def test_anything_but_one_whole_header_is_400(state: Path, inventory: Service, values: list[str]) -> None:
    """From the service that may speak for others: a guess could make an own request of one for somebody else."""
    headers = list(zip(("On-Behalf-Of", "on-behalf-OF"), values, strict=False))
    status, problem = ask(state, inventory.port, "/stock/bolt", credential(state, SERVICE), headers)
    assert status == 400, problem
    assert "On-Behalf-Of" in problem["detail"]


def test_a_trailer_and_another_spelling_are_other_fields(state: Path, inventory: Service) -> None:
    head = f"GET /stock/bolt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nOn-Behalf-Of: {VALUE}\r\n"
    other = f"On-Behalf-Of: {VALUE.replace('boss', 'thief')}\r\n"
    with closing(connection(state, inventory.port, credential(state, SERVICE))) as asking:
        asking.connect()
        asking.sock.sendall(f"{head}{other.replace('-', '_')}\r\n0\r\n{other}\r\n".encode())
        response = http.client.HTTPResponse(asking.sock)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["on_behalf_of"] == "CN=the boss"


@pytest.mark.parametrize("forged", [f for f in FORGED if len(f) == 1])
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"sans": (f"URI:{SPIFFE_ID}/below",)},
        {"sans": (f"URI:{SPIFFE_ID}s",)},
        {"sans": (f"URI:{SPIFFE_ID}", f"URI:{SPIFFE_ID}/x")},
        {"common_name": SERVICE},
    ],
)
def test_no_other_client_speaks_for_others(
    state: Path, inventory: Service, other: dict[str, Any], forged: list[tuple[str, str]]
) -> None:
    """Not one with an identity below that of the service, nor one with its subject."""
    pem = issued(state, "client-other", **other)
    status, stock = ask(state, inventory.port, "/stock/bolt", pem, forged)
    assert (status, stock["on_behalf_of"]) == (200, None)
    assert stock["asked_by"]


def test_a_repeated_header_is_400_for_everybody(state: Path, inventory: Service) -> None:
    assert ask(state, inventory.port, "/stock/bolt", credential(state, CALLER), FORGED[2])[0] == 400


def test_a_direct_caller_without_a_subject_is_named(state: Path, inventory: Service) -> None:
    pem = issued(state, "client-empty-subject", common_name=None)
    status, stock = ask(state, inventory.port, "/stock/bolt", pem)
    assert (status, stock["asked_by"]) == (200, "EMAIL:client-empty-subject@mtls-lab.test")
    assert stock["asked_by_sha256"] == fingerprint(pem)
