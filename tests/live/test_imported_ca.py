"""An imported CA at work: every scenario has its verdict, and real handshakes heed its name constraints."""

from __future__ import annotations

import http.client
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from corporate import CONSTRAINED, Corporate, corporate, imported
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from matrices import FEW, assert_as_expected, results_of
from running import Running, all_servers, context, serving

from ca.issue import ledger
from ca.revocation import revoke
from ca.store import Store
from catalogue import Mode, Server, Tls
from client.judge import Verdict
from client.matrix import control, run
from client.probes import chosen

pytestmark = pytest.mark.live

# For clients of one unit, whose e-mail addresses are others than the lab's, and whose SPIFFE IDs are none of the lab's.
NARROW = (
    "critical,permitted;dirName:base,permitted;email:corp.example,permitted;URI:corp.example,permitted;DNS:corp.example"
    "\n[base]\n1.DC=example\n2.DC=corp\nOU=Lab"
)


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two labs with everything issued, and imported CAs that may sign further CAs."""
    folder = tmp_path_factory.mktemp("imported")
    for name, constraints in (("plain", ""), ("narrow", NARROW)):
        imported(folder / name, corporate(folder / "corp" / name, constraints))
    return {name: folder / name for name in ("plain", "narrow")}


@pytest.mark.parametrize(
    ("name", "server"), [("plain", Server.EXPLAINED), ("narrow", Server.EXPLAINED), ("narrow", Server.STOCK)]
)
def test_every_scenario_has_its_verdict(labs: dict[str, Path], tmp_path: Path, name: str, server: Server) -> None:
    with serving(labs[name], tmp_path / "log", Mode.REQUIRED, server) as running:
        done = run(running.lab, Mode.REQUIRED, server, probes=chosen(FEW))
        assert control(running.lab).imported
    assert_as_expected(done)
    assert len(done.results) == results_of(FEW)


def test_every_scenario_of_another_server_has_its_verdict(labs: dict[str, Path], tmp_path: Path) -> None:
    """But for the two that look for a list of the imported CA's root, which the lab does not have."""
    with all_servers(labs["narrow"], tmp_path, Mode.REQUIRED) as running:
        done = run(running.lab, Mode.REQUIRED, Server.EXPLAINED, servers=True, probes=chosen("raw"))
    assert not done.wrong, [result.reason for result in done.wrong]
    assert not done.unjudged
    skipped = {r.scenario: r.reason for r in done.results if r.verdict is Verdict.SKIP}
    assert skipped.keys() == {"crl-good-chain", "crl-without-root", "server-ca-as-server"}
    assert "its root's revocation list" in skipped["crl-good-chain"]


def test_a_client_of_each_of_the_two_cas_can_be_revoked(labs: dict[str, Path], tmp_path: Path) -> None:
    state = Path(shutil.copytree(labs["narrow"], tmp_path / "lab"))
    entries, revoked = ledger(Store(state)), ("client-rsa", "client-empty-subject")
    others = ("client-good", "client-root-included")
    assert len({entries[name].issuer for name in revoked}) == len({entries[name].issuer for name in others}) == 2
    for name in revoked:
        revoke(Store(state), name)
    crl = {"LAB_CRL": str(state / "server-tls/validation_crl.pem"), "LAB_CRL_CHECK": "leaf"}
    with serving(state, tmp_path / "log", Mode.REQUIRED, **crl) as running:
        for name in others:
            assert answers(context(running, name), running)
        for number, name in enumerate(revoked, 1):
            assert not answers(context(running, name), running)
            wait_for(lambda number=number: refusals(running, 23) == number)


@dataclass(frozen=True)
class Issued:
    """A CA with name constraints, and the folder of the good client that the lab issued below it."""

    corp: Corporate
    client: Path


@pytest.fixture(scope="module")
def constrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, Issued]]]:
    """One server that trusts all of those CAs, each from a lab of its own."""
    folder, made = tmp_path_factory.mktemp("constrained"), {}
    trust = b""
    for number, (kind, case) in enumerate(CONSTRAINED.items()):
        corp = corporate(folder / f"corp{number}", case.constraints, above=case.above)
        store, _ = imported(folder / f"lab{number}", corp, "client-good")
        made[kind] = Issued(corp, store.client / "clients/client-good")
        trust += corp.root.public_bytes(Encoding.PEM)
    (folder / "trust.pem").write_bytes(trust)
    files = {"UVICORN_SSL_CA_CERTS": str(folder / "trust.pem"), "LAB_HEALTHCHECK_DIR": str(made["DNS"].client)}
    with serving(folder / "lab0", folder / "log", Mode.REQUIRED, **files) as running:
        yield running, made


@pytest.mark.parametrize("tls", Tls)
@pytest.mark.parametrize("kind", CONSTRAINED)
def test_a_handshake_heeds_the_name_constraints(
    constrained: tuple[Running, dict[str, Issued]], tmp_path: Path, kind: str, tls: Tls
) -> None:
    """What the lab issued is let in; a leaf of the same CA that it does not permit is not."""
    (running, made), case = constrained, CONSTRAINED[kind]
    good = context(running)
    version = {Tls.V12: ssl.TLSVersion.TLSv1_2, Tls.V13: ssl.TLSVersion.TLSv1_3}[tls]
    good.minimum_version = good.maximum_version = version
    good.load_cert_chain(made[kind].client / "fullchain.pem", made[kind].client / "privkey.pem")
    assert answers(good, running)
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = made[kind].corp.leaf(case.subject, *case.names, key=key)
    chain = leaf.public_bytes(Encoding.PEM) + made[kind].corp.certificate.public_bytes(Encoding.PEM)
    (tmp_path / "chain").write_bytes(chain)
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    forced = context(running)
    forced.minimum_version = forced.maximum_version = version
    forced.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    before = refusals(running, 47, 48)
    assert not answers(forced, running)
    wait_for(lambda: refusals(running, 47, 48) == before + 1)  # a subtree violation


def answers(client: ssl.SSLContext, running: Running) -> bool:
    """Whether a client is answered. Why it is not, the server's log says: an alert can be lost to a reset."""
    connection = http.client.HTTPSConnection("localhost", running.port, timeout=30, context=client)
    try:
        connection.request("GET", "/private")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def refusals(running: Running, *codes: int) -> int:
    """How many handshakes the server refused for these verify errors."""
    return sum(running.log.read_text().count(f"verify_code={code} ") for code in codes)


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
