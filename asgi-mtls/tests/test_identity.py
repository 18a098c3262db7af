"""What is read from a certificate that OpenSSL has verified: names by their kind, SPIFFE IDs, what can't be read."""

from __future__ import annotations

import ipaddress
import json
import logging
import ssl
import timeit
from pathlib import Path

import pytest
from cert_factory import KEY_PEM, UNREADABLE, certificate, connection, identity, unreadable
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydantic import TypeAdapter
from starlette.requests import HTTPConnection

from asgi_mtls import event_log
from asgi_mtls.identity import ClientIdentity, TlsFacts, client_identity, is_spiffe_id, tls_facts

CACHED_S = 3e-6
SVID = "URI:spiffe://team.test/ns/default"
CA = x509.BasicConstraints(ca=True, path_length=None)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, whatever logger a server in this process was told to use."""
    monkeypatch.setattr(event_log, "LOGGER", logging.getLogger(__name__))
    return caplog


def test_names_are_read_by_their_kind() -> None:
    sans = (
        "DNS:a.team.test",
        "EMAIL:a@team.test",
        SVID,
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    )
    known = identity(("O", "Example"), ("OU", "One"), ("CN", "a"), sans=sans)
    assert known.subject == "CN=a,OU=One,O=Example"
    assert known.common_name == "a"
    assert known.names.dns == ("a.team.test",)
    assert known.names.email == ("a@team.test",)
    assert known.names.uri == (SVID.removeprefix("URI:"),)
    assert known.names.ip == ("192.0.2.1",)
    assert known.sans == ("DNS:a.team.test", "EMAIL:a@team.test", SVID, "IP:192.0.2.1", "RID:1.2.3")
    assert known.spiffe_id == "spiffe://team.test/ns/default"
    assert known.not_before.tzinfo
    assert known.unsafe_names == ()


def test_units_of_a_multi_valued_rdn_and_of_several_are_all_there() -> None:
    pem = certificate(("OU", "First"), [("OU", "Second"), ("CN", "a")], ("OU", "Third"))
    known = client_identity(connection(pem))
    assert known
    assert known.organizational_units == ("First", "Second", "Third")


def test_a_separator_in_a_value_makes_no_attribute() -> None:
    known = identity(("CN", "client,OU=Team Admins"))
    assert known.organizational_units == ()
    assert known.common_name == "client,OU=Team Admins"
    assert known.subject == "CN=client\\,OU=Team Admins"


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("Team Admins\0x", "U+0000"),
        ("Team\nAdmins", "U+000A"),
        ("Team \u202eAdmins", "U+202E"),
        ("Team\u200bAdmins", "U+200B"),
        ("Team\u2028Admins", "U+2028"),
        ("Team\u2066Admins", "U+2066"),
        ("Team\u3164Admins", "U+3164"),  # Hangul fillers are letters
        ("Team\u115fAdmins", "U+115F"),
        ("Team\uffa0Admins", "U+FFA0"),
        ("Team\u2800Admins", "U+2800"),
        ("Team\ufe0fAdmins", "U+FE0F"),
        ("Team\U000e0100Admins", "U+E0100"),
        ("Team\u034fAdmins", "U+034F"),
        ("Team\u180bAdmins", "U+180B"),
        ("Team\u17b4Admins", "U+17B4"),
        ("Team\u00a0Admins", "U+00A0"),
        ("Team\u2003Admins", "U+2003"),
        ("Team\ue000Admins", "U+E000"),
        ("Team\u0378Admins", "U+0378"),
    ],
)
def test_characters_that_nobody_sees_are_told(text: str, character: str) -> None:
    assert identity(("OU", text)).unsafe_names == (f"OU {character}",)
    assert identity(("CN", text)).unsafe_names == (f"CN {character}",)


def test_other_scripts_are_no_danger() -> None:
    others = (("CN", "Zoë Łukasz 客户"), ("OU", "Πωλήσεις"), ("O", "เชื่อ नाम 한국 ⠃"))
    assert identity(*others).unsafe_names == ()


def test_a_nul_in_a_san_is_told() -> None:
    assert identity(("CN", "a"), sans=["DNS:a.team.test\0.evil.test"]).unsafe_names == ("DNS U+0000",)


@pytest.mark.parametrize(
    "text",
    ["spiffe://team.test/a", "spiffe://team_1-x.test/ns/A.b_c-1", "spiffe://a/..b", "spiffe://" + "a" * 255 + "/x"],
)
def test_a_spiffe_id(text: str) -> None:
    assert is_spiffe_id(text)
    assert identity(("CN", "a"), sans=[f"URI:{text}"]).spiffe_id == text


@pytest.mark.parametrize(
    "text",
    [
        "https://team.test/a",
        "SPIFFE://team.test/a",
        "spiffe://Team.test/a",
        "spiffe://team.test",
        "spiffe://team.test/",
        "spiffe://team.test/a/",
        "spiffe://team.test//a",
        "spiffe://team.test/a/../b",
        "spiffe://team.test/./b",
        "spiffe://team.test/a?b",
        "spiffe://team.test/a#b",
        "spiffe://team.test:8443/a",
        "spiffe://me@team.test/a",
        "spiffe:///a",
        "spiffe://team.test/a%2fb",
        "spiffe://team.test/a b",
        "spiffe://team.test/a\n",
        "spiffe://" + "a" * 256 + "/x",
        "spiffe://team.test/" + "a" * 2048,
    ],
)
def test_no_spiffe_id(text: str) -> None:
    assert not is_spiffe_id(text)
    assert identity(("CN", "a"), sans=[f"URI:{text}"]).spiffe_id is None


def test_two_uris_are_no_svid() -> None:
    known = identity(("CN", "a"), sans=[SVID, "URI:https://team.test/"])
    assert known.spiffe_id is None
    assert len(known.names.uri) == 2
    assert identity(("CN", "a"), sans=[SVID, "DNS:a.team.test"]).spiffe_id


def test_a_certificate_that_signs_others_is_no_svid() -> None:
    known = client_identity(connection(certificate(("CN", "a"), sans=[SVID], extensions=[(CA, True)])))
    assert known
    assert known.spiffe_id is None


def test_the_chain_is_known_or_said_not_to_be() -> None:
    leaf, issuer = certificate(("CN", "leaf")), certificate(("CN", "issuer"))
    prints = [x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex() for pem in (leaf, issuer)]
    full, resumed = client_identity(connection(leaf, issuer)), client_identity(connection(leaf))
    assert full
    assert resumed
    assert (full.chain, full.chain_known) == (tuple(prints), True)
    assert (resumed.chain, resumed.chain_known) == ((prints[0],), False)
    same = {"chain": None, "chain_known": None}
    assert vars(full) | same == vars(resumed) | same


LEAF = certificate(("CN", "leaf"), ("OU", "Ops"))
FORMS = {
    "ASGI TLS 0.2": {
        "server_cert": None,
        "client_cert_chain": [LEAF],
        "client_cert_name": "OU=Ops,CN=leaf",
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": 0x1301,
    },
    "the chain only": {"client_cert_chain": [LEAF]},
    "a tuple": {"client_cert_chain": (LEAF,)},
    "DER": {"client_cert_chain": [ssl.PEM_cert_to_DER_cert(LEAF)]},
    "PEM in bytes": {"client_cert_chain": [LEAF.encode()]},
    "the leaf's DER": {"client_cert": ssl.PEM_cert_to_DER_cert(LEAF)},
    "the leaf and an unknown chain": {"client_cert": ssl.PEM_cert_to_DER_cert(LEAF), "client_cert_chain": ()},
    "no space around": {"client_cert_chain": [LEAF.strip()], "client_cert_error": None},
}
NOBODY: dict[str, dict[str, object]] = {
    "no extensions": {},
    "extensions that are None": {"extensions": None},
    "other extensions": {"extensions": {"http.response.debug": {}}},
    "the extension is None": {"extensions": {"tls": None}},
    "the extension is empty": {"extensions": {"tls": {}}},
    "the chain is None": {"extensions": {"tls": {"client_cert_chain": None}}},
    "the chain is empty": {"extensions": {"tls": {"client_cert_chain": []}}},
    "the leaf is None": {"extensions": {"tls": {"client_cert": None}}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_a_server_may_fill(form: str) -> None:
    scope = {"type": "http", "path": "/", "extensions": {"tls": FORMS[form]}}
    for seen in (scope, HTTPConnection(scope)):
        known = client_identity(seen)
        assert known
        assert (known.common_name, known.organizational_units, known.verified) == ("leaf", ("Ops",), True)
        assert known.sha256 == x509.load_pem_x509_certificate(LEAF.encode()).fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize("scope", NOBODY.values(), ids=NOBODY)
def test_what_a_server_may_leave_out(scope: dict[str, object]) -> None:
    assert client_identity(scope) is None
    facts = tls_facts(scope)
    assert facts is None or facts == TlsFacts(None, None, None)


@pytest.mark.parametrize(
    ("tls", "facts"),
    [
        ({"tls_version": 0x0304, "cipher_suite": 0x1301}, TlsFacts("1.3", None)),
        (
            {"tls_version": 0x0303, "cipher_suite": 0xC02C, "cipher_name": "X", "via": "DNS:a"},
            TlsFacts("1.2", "X", "DNS:a"),
        ),
        (
            {"tls_version": "TLSv1.3", "cipher_suite": "TLS_AES_128_GCM_SHA256"},
            TlsFacts("1.3", "TLS_AES_128_GCM_SHA256"),
        ),
        ({"tls_version": 0x0305, "cipher_suite": None}, TlsFacts(None, None)),
    ],
)
def test_the_facts_of_the_connection(tls: dict[str, object], facts: TlsFacts) -> None:
    assert tls_facts({"extensions": {"tls": tls}}) == facts


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----", b"-----BEGIN \xff", b"\x30\x00"])
def test_what_is_no_certificate_is_nobody(text: object, logged: pytest.LogCaptureFixture) -> None:
    assert client_identity({"extensions": {"tls": {"client_cert_chain": [text]}}}) is None
    assert [record.getMessage().split()[0] for record in logged.records] == ["certificate_unreadable"]


def test_json_has_what_pydantic_would_make_of_it() -> None:
    known = identity(("CN", "a"), ("OU", "Ops"), sans=["DNS:a.test"])
    assert json.loads(json.dumps(known.as_json())) == TypeAdapter(ClientIdentity).dump_python(known, mode="json")
    assert known.as_json()["not_after"].endswith("Z")


def test_an_error_of_verification_is_kept() -> None:
    pem = certificate(("CN", "a"))
    assert [client_identity(connection(pem, error=error)).verified for error in (None, "expired")] == [True, False]  # type: ignore[union-attr]


def test_a_second_request_costs_next_to_nothing() -> None:
    """Keep-alive must stay within 3 % of a server that does not look at certificates."""
    alive = connection(certificate(("CN", "a")), certificate(("CN", "b")))
    assert client_identity(alive) is client_identity(alive)
    assert min(timeit.repeat(lambda: client_identity(alive), number=1000, repeat=20)) / 1000 < CACHED_S


def accepted_by_openssl(pem: str, folder: Path) -> bytes | None:
    """Return the client certificate (DER) that a server trusting it has seen and verified."""
    (folder / "cert.pem").write_text(pem + KEY_PEM)
    (folder / "server.pem").write_text(certificate(("CN", "server"), sans=["DNS:localhost"]) + KEY_PEM)
    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server_context.load_cert_chain(folder / "server.pem")
    server_context.load_verify_locations(cadata=pem)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context.load_cert_chain(folder / "cert.pem")
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(here, there, server_side=True)
    client = client_context.wrap_bio(there, here)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return server.getpeercert(binary_form=True)


@pytest.mark.parametrize("name", UNREADABLE.values(), ids=UNREADABLE)
def test_what_openssl_takes_and_nobody_can_read_is_nobody(
    name: bytes, tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    pem = unreadable(name)
    seen = accepted_by_openssl(pem, tmp_path)
    assert seen == ssl.PEM_cert_to_DER_cert(pem)
    assert client_identity(connection(ssl.DER_cert_to_PEM_cert(seen))) is None
    assert client_identity(connection(ssl.DER_cert_to_PEM_cert(seen))) is None
    lines = [record.getMessage() for record in logged.records]
    assert len(lines) == 1  # once for each certificate, not for each request
    assert lines[0].startswith("certificate_unreadable sha256=")
