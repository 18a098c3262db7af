"""The shipped catalogue is sound, and a malformed one is refused with a message that says where."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import catalogue
from asgi_mtls.handshake_log import tls_messages
from catalogue import (
    ALERTS,
    NGINX_FAULTY,
    NGINX_NONE,
    PUBLIC_PATH,
    VERIFY_ERRORS,
    CatalogueError,
    Crl,
    Expectation,
    Mode,
    Outcome,
    Proxy,
    Server,
    Tls,
    Tool,
    Variant,
)
from catalogue.verify_errors import ALERT_OF

GOOD = """
[lessons]
l = "A lesson"
[scenario.client-good]
title = "t"
lesson = "l"
what = "w"
why = "y"
rfc = ["RFC 5280 6.1"]
expect.off = { outcome = "anonymous" }
expect.optional = { outcome = "authenticated" }
expect.required = { outcome = "authenticated" }
"""


def load(folder: Path, text: str) -> catalogue.Catalogue:
    path = folder / "scenarios.toml"
    path.write_text(text)
    return catalogue.load(path)


# What the lab promises to show.
CLIENTS = """
good none rsa p384 ed25519 mldsa no-eku two-ekus root-included long-chain empty-subject unicode-subject spiffe
encrypted-key missing-intermediate expired not-yet-valid expired-intermediate server-eku any-eku self-signed
untrusted-root forged-issuer public-ca intermediate-not-ca pathlen-exceeded name-constraints bad-signature
unknown-critical-extension no-digital-signature ca-certificate weak-rsa sha1 wrong-key wrong-chain-order
intermediate-eku key-agreement intermediate-no-cert-sign intermediate-unknown-critical no-policy no-aki
ca-not-critical ca-no-key-usage revoked
"""
SERVERS = """
encrypted-key wrong-host cn-only expired not-yet-valid self-signed untrusted-root missing-intermediate client-eku
validation-ca ca-as-server
"""
REVOCATION = """
revoked good good-chain revoked-intermediate-leaf revoked-intermediate without-root expired other-issuer
"""
AUTHORIZATION = "none private good operator admin substring lookalike in-cn nul"


def test_the_shipped_catalogue_has_every_scenario() -> None:
    promised = {f"client-{name}" for name in CLIENTS.split()} | {f"server-{name}" for name in SERVERS.split()}
    promised |= {f"crl-{name}" for name in REVOCATION.split()} | {f"authz-{name}" for name in AUTHORIZATION.split()}
    promised |= {"trust-root-only", "trust-intermediate-only", "trust-public-mixed"}
    assert set(catalogue.load().scenarios) == promised


def test_client_and_authz_scenarios_ask_for_the_default_server_and_the_others_for_another() -> None:
    known = catalogue.load()
    for scenario in known.scenarios.values():
        assert (scenario.server == Variant()) == scenario.id.startswith(("client-", "authz-"))
        assert (scenario.path != PUBLIC_PATH) == scenario.id.startswith("authz-")
        assert (scenario.server.crl is not Crl.NONE) == scenario.id.startswith("crl-")
    assert known.variants[0] == Variant()
    assert len({variant.name for variant in known.variants}) == len(known.variants) == 20


def test_what_is_accepted_and_should_not_be_is_labelled() -> None:
    assert [s.id for s in catalogue.load().scenarios.values() if s.dangerous] == [
        "trust-public-mixed",
        "client-revoked",
        "crl-revoked-intermediate-leaf",
    ]


def test_an_alert_follows_from_the_verify_error() -> None:
    """By OpenSSL's own table, the numbers and names of x509_vfy.h."""
    assert ALERT_OF[47] == "certificate_unknown"
    assert set(ALERT_OF.values()) <= set(ALERTS)
    header = Path("/usr/include/openssl/x509_vfy.h")
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    numbers = {int(n): name for name, n in re.findall(r"define\s+X509_V_ERR_(\w+)\s+(\d+)", header.read_text())}
    assert {code: numbers.get(code) for code in VERIFY_ERRORS} == VERIFY_ERRORS


def test_alerts_are_spelled_as_in_the_library() -> None:
    """The library imports nothing of the lab, so it has a table of its own, with one alert that TLS 1.3 dropped."""
    its = {number: name for number, name in tls_messages.ALERTS.items() if name != "no_renegotiation"}
    assert its == {number: name for name, number in ALERTS.items()}


def test_every_scenario_says_how_it_is_seen_and_cured() -> None:
    for scenario in catalogue.load().scenarios.values():
        assert scenario.look or scenario.id == "server-encrypted-key", scenario.id
        outcomes = {scenario.expected(Mode.REQUIRED, Tls.V13, server).outcome for server in Server}
        assert scenario.cure or outcomes <= {Outcome.AUTHENTICATED, Outcome.SERVED}, scenario.id


def test_optional_and_required_differ_where_there_is_no_certificate() -> None:
    """Optional is not lenient: the best slide of the workshop."""
    scenarios = catalogue.load().scenarios.values()
    differ = [s.id for s in scenarios if s.expect[Mode.OPTIONAL] != s.expect[Mode.REQUIRED]]
    assert differ == [s.id for s in scenarios if s.credential is None] == ["client-none", "authz-none"]


def test_mode_off_asks_no_client_for_a_certificate() -> None:
    for scenario in catalogue.load().scenarios.values():
        if scenario.id.startswith("client-"):
            always = scenario.expect[Mode.OFF].always
            assert always.outcome in (Outcome.ANONYMOUS, Outcome.NOT_PRESENTED)
            assert (always.alert, always.verify_code) == (None, None)


def test_tls12_has_no_alert_for_a_missing_certificate() -> None:
    none = catalogue.load().scenarios["client-none"]
    assert none.expected(Mode.REQUIRED, Tls.V13, Server.EXPLAINED).alert == "certificate_required"
    assert none.expected(Mode.REQUIRED, Tls.V12, Server.EXPLAINED).alert == "handshake_failure"


def test_stock_delivers_neither_identity_nor_reason(tmp_path: Path) -> None:
    scenarios = catalogue.load().scenarios
    stock = Server.STOCK
    assert scenarios["client-good"].expected(Mode.REQUIRED, Tls.V13, stock) == Expectation(Outcome.SERVED)
    refused = Expectation(Outcome.REFUSED_BY_SERVER)
    assert scenarios["client-expired"].expected(Mode.REQUIRED, Tls.V13, stock) == refused


def test_stock_forbids_everybody_alike_where_a_certificate_is_needed() -> None:
    """It does not tell the application who is calling; whom the handshake refuses, it refuses."""
    unknown = Expectation(Outcome.FORBIDDEN, problem="tls-unknown")
    for scenario in catalogue.load().scenarios.values():
        for mode in Mode:
            if scenario.id.startswith("authz-") and (scenario.credential or mode is not Mode.REQUIRED):
                assert scenario.expected(mode, Tls.V13, Server.STOCK) == unknown
            else:
                assert scenario.expected(mode, Tls.V13, Server.STOCK).outcome is not Outcome.FORBIDDEN


def test_stock_looks_nobody_up() -> None:
    for scenario in catalogue.load().scenarios.values():
        if scenario.id.startswith("crl-"):
            assert scenario.expected(Mode.REQUIRED, Tls.V13, Server.STOCK) == Expectation(Outcome.SERVED)


def test_a_proxy_refuses_whom_the_server_refuses_but_for_strictness() -> None:
    """HAProxy with the same alert, nginx with an answer 400; what only a strict verifier minds gets through."""
    milder = set()
    for scenario in catalogue.load().of(default_server=True):
        for mode, tls in itertools.product(Mode, Tls):
            always = scenario.expected(mode, tls, Server.EXPLAINED)
            haproxy = scenario.expected(mode, tls, Proxy.HAPROXY)
            nginx = scenario.expected(mode, tls, Proxy.NGINX)
            assert nginx.outcome is haproxy.outcome
            if haproxy != always:
                assert haproxy == Expectation(Outcome.AUTHENTICATED)
                milder.add(scenario.id)
            if nginx != haproxy:
                assert haproxy.outcome is Outcome.REFUSED_BY_SERVER
                assert nginx.problem == (NGINX_FAULTY if scenario.credential else NGINX_NONE)
                assert nginx.alert is None
    assert milder == {"client-no-aki", "client-ca-not-critical", "client-ca-no-key-usage"}


def test_a_proxy_looks_up_revocation_lists() -> None:
    revoked = catalogue.load().scenarios["crl-revoked"]
    assert revoked.expected(Mode.REQUIRED, Tls.V13, Proxy.HAPROXY).verify_code == 23
    assert revoked.expected(Mode.REQUIRED, Tls.V13, Proxy.NGINX) == Expectation(
        Outcome.REFUSED_BY_SERVER, None, 23, NGINX_FAULTY
    )


def test_wget_keeps_to_itself_what_a_proxy_does_not_name() -> None:
    for scenario in catalogue.load().scenarios.values():
        for tls, proxy in itertools.product(scenario.withheld, Proxy):
            optional = scenario.expected(Mode.OPTIONAL, tls, proxy, Tool.WGET)
            assert optional.outcome is Outcome.ANONYMOUS
            required = scenario.expected(Mode.REQUIRED, tls, proxy, Tool.WGET)
            assert required.outcome is Outcome.REFUSED_BY_SERVER
            assert required.problem == (NGINX_NONE if proxy is Proxy.NGINX else None)
            for tool in set(Tool) - {Tool.WGET}:
                assert scenario.expected(Mode.OPTIONAL, tls, proxy, tool).outcome is not Outcome.ANONYMOUS


def test_what_nginx_calls_otherwise() -> None:
    """Told to go on, OpenSSL finds a second thing wrong; and sees a signature that the explained server never sees."""
    scenarios = catalogue.load().scenarios
    for id_ in ("client-intermediate-not-ca", "client-intermediate-no-cert-sign"):
        assert scenarios[id_].expected(Mode.REQUIRED, Tls.V13, Proxy.NGINX).verify_code == 32
        assert scenarios[id_].expected(Mode.REQUIRED, Tls.V13, Proxy.HAPROXY).verify_code == 79
    for id_ in ("client-wrong-key", "client-wrong-chain-order"):
        gnutls = scenarios[id_].expected(Mode.REQUIRED, Tls.V13, Proxy.NGINX, Tool.GNUTLS)
        assert (gnutls.alert, gnutls.verify_code, gnutls.problem) == ("decrypt_error", None, None)


def test_a_command_names_the_port_as_the_person_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    look = catalogue.load().scenarios["client-none"].look
    assert "localhost:8443" in look
    monkeypatch.setenv("LAB_URL", "https://server:9000")
    assert catalogue.load().scenarios["client-none"].look == look.replace("8443", "9000")
    monkeypatch.setenv("LAB_SHOWN_URL", "https://localhost:9001")
    assert catalogue.load().scenarios["client-none"].look == look.replace("8443", "9001")
    assert not [s.id for s in catalogue.load().scenarios.values() if "{port}" in s.look or "{files}" in s.look]


def test_an_expectation_can_differ_with_stock(tmp_path: Path) -> None:
    changed = GOOD.replace(
        'expect.required = { outcome = "authenticated" }',
        'expect.required = { outcome = "refused_by_server", alert = "unknown_ca",'
        ' stock = { outcome = "refused_by_client", verify_code = 19 } }',
    ).replace("rfc = [", 'cure = "c"\nrfc = [')
    good = load(tmp_path, changed).scenarios["client-good"]
    assert good.expected(Mode.REQUIRED, Tls.V13, Server.STOCK) == Expectation(Outcome.REFUSED_BY_CLIENT, None, 19)


def test_an_expectation_can_differ_with_a_tool(tmp_path: Path) -> None:
    changed = GOOD.replace(
        'expect.required = { outcome = "authenticated" }',
        'expect.required = { outcome = "refused_by_server", verify_code = 10, wget = { outcome = "authenticated" } }',
    ).replace("rfc = [", 'cure = "c"\nrfc = [')
    good = load(tmp_path, changed).scenarios["client-good"]
    refused = Expectation(Outcome.REFUSED_BY_SERVER, "certificate_expired", 10)
    assert good.expected(Mode.REQUIRED, Tls.V13, Server.EXPLAINED, Tool.CURL) == refused
    assert good.expected(Mode.REQUIRED, Tls.V13, Server.EXPLAINED, Tool.WGET) == Expectation(Outcome.AUTHENTICATED)
    assert good.expected(Mode.REQUIRED, Tls.V13, Server.STOCK, Tool.WGET) == Expectation(Outcome.SERVED)


def test_short_words_for_several_modes(tmp_path: Path) -> None:
    several = GOOD.replace('expect.optional = { outcome = "authenticated" }\n', "").replace("required", "asked")
    assert load(tmp_path, several).scenarios == load(tmp_path, GOOD).scenarios


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[scenario.client-good]", "[scenario.client-good", "not TOML"),
        ("[scenario.client-good]", "[scenari.client-good]", "unknown key scenari; did you mean scenario?"),
        ("client-good", "client-goof", "no scenario client-good, the positive control"),
        ("client-good", "client good", "not TOML"),
        ("client-good", "Good", "a scenario's id is client-, server-, trust-, crl- or authz- and"),
        ('title = "t"', "", "scenario client-good: title must be a text"),
        ('title = "t"', 'titel = "t"', "unknown key titel; did you mean title?"),
        ('why = "y"', 'why = " "', "why must be a text"),
        ('rfc = ["RFC 5280 6.1"]', "rfc = []", "rfc must list the clauses"),
        ('rfc = ["RFC 5280 6.1"]', 'rfc = ["somewhere"]', "rfc must list the clauses"),
        ('why = "y"', 'why = "y"\ncredential = 3', "credential must be the name of a credential"),
        ('why = "y"', 'why = "y"\ncredential = "server-good"', "credential must be the name of a credential"),
        ('why = "y"', 'why = "y"\nserves = "client-good"', "serves must be the name of a server credential"),
        ('why = "y"', 'why = "y"\ntrust = "validation_rot"', "trust 'validation_rot' is unknown; did you mean"),
        (
            'why = "y"',
            'why = "y"\ncrl = "validation_clr"',
            "crl 'validation_clr' is unknown; did you mean validation_crl?",
        ),
        (
            'why = "y"',
            'why = "y"\ncrl = "validation_crl"\ncrl_check = "leave"',
            "crl_check 'leave' is unknown; did you",
        ),
        ('why = "y"', 'why = "y"\ncrl_check = "leaf"', "there is no crl to look it up in"),
        ('why = "y"', 'why = "y"\npath = "private"', "path must be like \"/private\": 'private'"),
        ('why = "y"', 'why = "y"\npath = "/a b"', "path must be like"),
        ('why = "y"', 'why = "y"\npath = 1', "path must be like"),
        ('"anonymous"', '"forbidden"', "the outcome forbidden has a problem, and no other outcome has"),
        (
            '"anonymous"',
            '"anonymous", problem = "a-b"',
            "the outcome forbidden has a problem, and no other outcome has",
        ),
        ('"anonymous"', '"forbidden", problem = "a-b"', "cure must be a text"),
        ('"anonymous"', '"forbidden", problem = "A B"', 'expect.off.problem must be like "certificate-required"'),
        ('why = "y"', 'why = "y"\ncommon = "yes"', "common must be true or false"),
        ('why = "y"', 'why = "y"\ndangerous = true', "cure must be a text"),
        ('why = "y"', 'why = "y"\nneeds = { openssl = "new" }', 'needs.openssl must be a version like "3.5"'),
        ('why = "y"', 'why = "y"\nneeds = { tls = "1.1" }', "needs.tls '1.1' is unknown"),
        ('why = "y"', 'why = "y"\nneeds = { tool = "curl" }', "unknown key needs.tool"),
        ('l = "A lesson"', 'm = "A lesson"', "lesson 'l' is none of [lessons]"),
        ('l = "A lesson"', "l = 3", "l must be a text"),
        ("expect.off", "expect.every = { outcome = 'anonymous' }\nexpect.off", "both speak of mode"),
        ('why = "y"', 'why = "y"\nsends = "leaff"', "sends 'leaff' is unknown; did you mean leaf?"),
        ("expect.off", "expect.of", "unknown key expect.of; did you mean off?"),
        ('expect.off = { outcome = "anonymous" }', "", "no expectation for mode off"),
        ('"anonymous"', '"anonymus"', "expect.off.outcome 'anonymus' is unknown; did you mean anonymous?"),
        ('outcome = "anonymous"', 'alert = "unknown_ca"', "expect.off has no outcome"),
        ('"anonymous"', '"timeout"', "expect.off.outcome timeout can't be expected"),
        ('"anonymous"', '"served"', "expect.off.outcome served follows from SERVER=stock"),
        ('"anonymous"', '"refused_by_server"', "expect.off is a refusal by the server and names neither"),
        ('"anonymous"', '"refused_by_server", verify_code = 10', "cure must be a text"),
        (
            '"anonymous"',
            '"refused_by_server", verify_code = 10, alert = "unknown_ca"',
            "OpenSSL reports verify error 10",
        ),
        ('"anonymous"', '"anonymous", tls12 = { stock = {} }', "unknown key expect.off.tls12.stock"),
        ('"anonymous"', '"anonymous", raw = { curl = {} }', "unknown key expect.off.raw.curl"),
        ('"anonymous"', '"refused_by_server", verify_code = [10]', "verify_code must be one of OpenSSL's"),
        ('"RFC 5280 6.1"', '"RFC 5280 6.1foo"', "rfc must list the clauses"),
        ('why = "y"', 'why = "y"\nneeds = { openssl = 3.10 }', 'needs.openssl must be a version like "3.5"'),
        ('"anonymous"', '"anonymous", or_not_presented = 1', "or_not_presented must be true or false"),
        (
            '"anonymous"',
            '"anonymous", crul = { outcome = "anonymous" }',
            "unknown key expect.off.crul; did you mean curl?",
        ),
        ('"anonymous"', '"anonymous", alert = "unknown_ca"', "has an alert or verify_code, but the outcome anonymous"),
        ('"anonymous"', '"anonymous", alert = "unknown-ca"', "'unknown-ca' is no TLS alert; did you mean unknown_ca?"),
        ('"anonymous"', '"anonymous", alert = ["unknown_ca"]', "is no TLS alert"),
        ('"anonymous"', '"anonymous", verify_code = true', "verify_code must be one of OpenSSL's X509_V_ERR numbers"),
        ('"anonymous"', '"anonymous", verify_code = 0', "verify_code must be one of OpenSSL's X509_V_ERR numbers"),
        ('"anonymous"', '"anonymous", tls12 = { outcom = 1 }', "unknown key expect.off.tls12.outcom"),
        ('"anonymous"', '"anonymous", stock = { outcome = "refused_by_server" }', "names neither alert"),
        ('{ outcome = "anonymous" }', '"anonymous"', "expect.off must be a table"),
    ],
)
def test_a_malformed_catalogue_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert message in str(caught.value)
    assert f"\n  try: edit {tmp_path}/scenarios.toml" in str(caught.value)


def test_the_good_one_of_these_loads(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).credentials == ("client-good",)


def test_a_missing_catalogue_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="No such file"):
        catalogue.load(tmp_path / "scenarios.toml")
