"""The shipped catalogue is sound, and a malformed one is refused with a message that says where."""

from __future__ import annotations

from pathlib import Path

import pytest

import catalogue
from catalogue import CatalogueError, Expectation, Mode, Outcome, Server, Tls

GOOD = """
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


def test_the_shipped_catalogue_has_the_scenarios_of_the_three_modes() -> None:
    scenarios = catalogue.load().scenarios
    assert set(scenarios) == {
        "client-good",
        "client-none",
        "client-expired",
        "client-not-yet-valid",
        "client-server-eku",
        "client-untrusted-root",
        "client-self-signed",
        "client-public-ca",
        "client-missing-intermediate",
    }


def test_optional_and_required_differ_in_one_scenario() -> None:
    """Optional is not lenient: the best slide of the workshop."""
    differ = [s.id for s in catalogue.load().scenarios.values() if s.expect[Mode.OPTIONAL] != s.expect[Mode.REQUIRED]]
    assert differ == ["client-none"]


def test_mode_off_asks_nobody() -> None:
    for scenario in catalogue.load().scenarios.values():
        assert scenario.expect[Mode.OFF].always == Expectation(Outcome.ANONYMOUS)


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


def test_an_expectation_can_differ_with_stock(tmp_path: Path) -> None:
    changed = GOOD.replace(
        'expect.required = { outcome = "authenticated" }',
        'expect.required = { outcome = "refused_by_server", alert = "unknown_ca",'
        ' stock = { outcome = "refused_by_client", verify_code = 19 } }',
    )
    good = load(tmp_path, changed).scenarios["client-good"]
    assert good.expected(Mode.REQUIRED, Tls.V13, Server.STOCK) == Expectation(
        Outcome.REFUSED_BY_CLIENT, "unknown_ca", 19
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[scenario.client-good]", "[scenario.client-good", "not TOML"),
        ("[scenario.client-good]", "[scenari.client-good]", "unknown key scenari; did you mean scenario?"),
        ("client-good", "client-goof", "no scenario client-good, the positive control"),
        ("client-good", "client good", "not TOML"),
        ("client-good", "Good", "a scenario's id is client- and lower-case words"),
        ('title = "t"', "", "scenario client-good: title must be a text"),
        ('title = "t"', 'titel = "t"', "unknown key titel; did you mean title?"),
        ('why = "y"', 'why = " "', "why must be a text"),
        ('rfc = ["RFC 5280 6.1"]', "rfc = []", "rfc must list the clauses"),
        ('rfc = ["RFC 5280 6.1"]', 'rfc = ["somewhere"]', "rfc must list the clauses"),
        ('why = "y"', 'why = "y"\ncredential = 3', "credential must be the name of a credential"),
        ('why = "y"', 'why = "y"\nsends = "leaff"', "sends 'leaff' is unknown; did you mean leaf?"),
        ("expect.off", "expect.of", "unknown key expect.of; did you mean off?"),
        ('expect.off = { outcome = "anonymous" }', "", "no expectation for mode off"),
        ('"anonymous"', '"anonymus"', "expect.off.outcome 'anonymus' is unknown; did you mean anonymous?"),
        ('outcome = "anonymous"', 'alert = "unknown_ca"', "expect.off has no outcome"),
        ('"anonymous"', '"timeout"', "expect.off.outcome timeout can't be expected"),
        ('"anonymous"', '"served"', "expect.off.outcome served follows from SERVER=stock"),
        ('"anonymous"', '"refused_by_server"', "expect.off is a refusal by the server and names no alert"),
        ('"anonymous"', '"anonymous", alert = "unknown_ca"', "has an alert or verify_code, but the outcome anonymous"),
        ('"anonymous"', '"anonymous", alert = "unknown-ca"', "'unknown-ca' is no TLS alert; did you mean unknown_ca?"),
        ('"anonymous"', '"anonymous", alert = ["unknown_ca"]', "is no TLS alert"),
        ('"anonymous"', '"anonymous", verify_code = true', "verify_code must be one of OpenSSL's X509_V_ERR numbers"),
        ('"anonymous"', '"anonymous", verify_code = 0', "verify_code must be one of OpenSSL's X509_V_ERR numbers"),
        ('"anonymous"', '"anonymous", tls12 = { outcom = 1 }', "unknown key expect.off.tls12.outcom"),
        ('"anonymous"', '"anonymous", stock = { outcome = "refused_by_server" }', "names no alert"),
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
