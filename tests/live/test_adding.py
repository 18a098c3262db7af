"""A new scenario touches two places: a table in the catalogue, and a function that makes its certificate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import serving

import catalogue
from ca.credentials import CLIENTS, Recipes, client, client_leaf
from ca.issue import issue
from ca.store import Store
from catalogue import Mode, Server
from client import documents, report
from client.judge import Verdict
from client.matrix import run
from client.probes import chosen

pytestmark = pytest.mark.live

TABLE = """
[scenario.client-email-eku]
title = "A certificate for mail"
lesson = "usage"
what = "The good certificate in all but one thing: its extended key usage is emailProtection."
why = "The purpose at hand is not among those listed."
look = "openssl x509 -in {files}/cert.pem -noout -ext extendedKeyUsage"
cure = "Issue with clientAuth."
rfc = ["RFC 5280 4.2.1.12"]
[scenario.client-email-eku.expect]
off = { outcome = "anonymous" }
asked = { outcome = "refused_by_server", verify_code = 26 }
"""


def test_a_new_scenario_is_issued_probed_reported_and_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # First place: the table.
    path = tmp_path / "scenarios.toml"
    path.write_text(catalogue.DEFAULT_PATH.read_text() + TABLE)
    monkeypatch.setenv("LAB_CATALOGUE", str(path))
    monkeypatch.setitem(CLIENTS, "client-email-eku", CLIENTS["client-good"])  # taken out again afterwards

    # Second place: the function.
    @client
    def client_email_eku() -> Recipes:
        return client_leaf("client-email-eku", eku=("emailProtection",))

    known = catalogue.load()
    issue(known, Store(tmp_path / "lab"), say=lambda _: None)
    with serving(tmp_path / "lab", tmp_path / "server.log", Mode.REQUIRED) as running:
        done = run(running.lab, Mode.REQUIRED, Server.EXPLAINED, probes=chosen("raw,requests,openssl"))
    mine = [result for result in done.results if result.scenario == "client-email-eku"]
    assert {result.verdict for result in mine} - {Verdict.SKIP} == {Verdict.PASS}
    report.write(done, "local", tmp_path / "reports")
    written = json.loads((tmp_path / "reports/required.json").read_text())
    assert written["scenarios"]["client-email-eku"]["title"] == "A certificate for mail"
    assert "client-email-eku" in (tmp_path / "reports/required.html").read_text()
    assert "client-email-eku" in (tmp_path / "reports/required.xml").read_text()
    page = documents.scenarios(known)
    assert "### client-email-eku" in page
    assert "certs/clients/client-email-eku/cert.pem" in page
