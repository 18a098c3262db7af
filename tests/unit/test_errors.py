"""The error index: texts are looked up tolerantly, honestly when nothing fits, and the pages are up to date."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from running import ROOT, client

import catalogue
from catalogue import LabError, Outcome
from client import documents, observations
from client.errors import FITS, Match, _words, families, find

KNOWN = catalogue.load()
RECORDED = observations.load()
INDEX = families(KNOWN, RECORDED)


def best(text: str) -> Match:
    match = find(text, INDEX)[0]
    assert match.score >= FITS
    return match


@pytest.mark.parametrize(
    ("text", "family", "likeliest"),
    [
        ("curl: (56) ... alert unsupported certificate", "alert:unsupported_certificate", "client-server-eku"),
        (  # another version, other numbers, "sslv3" of OpenSSL 3.0 for "ssl/tls" of 3.5
            "curl: (56) OpenSSL SSL_read: OpenSSL/3.2.1: error:0A000415:SSL routines::sslv3 alert certificate expired",
            "alert:certificate_expired",
            "client-expired",
        ),
        ("ssl/tls alert certificate expired", "alert:certificate_expired", "client-expired"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] (_ssl.c:2580)", "alert:certificate_required", "client-none"),
        ("*** Received alert [48]: CA is unknown", "alert:unknown_ca", "client-untrusted-root"),
        ("SSL alert number 116", "alert:certificate_required", "client-none"),
        ("remote error: tls: unknown certificate authority", "alert:unknown_ca", "client-untrusted-root"),  # Go
        ("remote error: tls: expired certificate", "alert:certificate_expired", "client-expired"),
        ("received fatal alert: UnknownCA", "alert:unknown_ca", "client-untrusted-root"),  # rustls
        ("Received fatal alert: certificate_unknown", "alert:certificate_unknown", "client-no-aki"),  # Java
        ("curl: (52) Empty reply from server", "closed", "client-none"),
        ("('Connection aborted.', BrokenPipeError(32, 'Broken pipe'))", "closed", "client-none"),
        ("curl: (56) Recv failure: Connection reset by peer", "closed", "client-none"),
        (
            "ssl.SSLError: [X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:9)",
            "load:key-mismatch",
            "client-wrong-key",
        ),
        (
            "curl: (58) unable to set private key file: '/etc/tls/my.key' type PEM",
            "load:key-mismatch",
            "client-wrong-key",
        ),
        ("ssl.SSLError: [SSL: EE_KEY_TOO_SMALL] ee key too small", "load:key-too-small", "client-weak-rsa"),
        ("ca md too weak", "load:hash-too-weak", "client-sha1"),
        (
            "curl: (60) SSL: no alternative certificate subject name matches target host name 'api.example.com'",
            "client:62",
            "server-wrong-host",
        ),
        ("curl: (60) SSL certificate problem: certificate has expired", "client:10", "server-expired"),
        ("certificate verify failed: self-signed certificate (_ssl.c:1000)", "client:18", "server-self-signed"),
        ("SSL certificate problem: unable to get local issuer certificate", "client:20", "server-untrusted-root"),
        (
            "WARNING handshake_refused peer=127.0.0.1:1 reason=CERTIFICATE_VERIFY_FAILED verify_code=79 tls=1.3",
            "alert:unknown_ca",
            "client-intermediate-not-ca",
        ),
        ("NET::ERR_CERT_AUTHORITY_INVALID", "client:20", "server-untrusted-root"),  # Chromium
        ("x509: certificate signed by unknown authority", "client:20", "server-untrusted-root"),  # Go
        ("SSL certificate problem: self-signed certificate in certificate chain", "client:20", "server-untrusted-root"),
        ("X509_V_ERR_PATH_LENGTH_EXCEEDED", "alert:unknown_ca", "client-pathlen-exceeded"),
        ("verify error:num=10:certificate has expired", "client:10", "server-expired"),
        ("curl: (56) ... alert certificate revoked", "alert:certificate_revoked", "crl-revoked"),
        ("remote error: tls: revoked certificate", "alert:certificate_revoked", "crl-revoked"),  # Go
        ("error 12 at 0 depth lookup: CRL has expired", "alert:certificate_expired", "crl-expired"),
        ("error 3 at 1 depth lookup: unable to get certificate CRL", "alert:unknown_ca", "crl-without-root"),
        ("handshake_refused verify_code=23 verify_message=x", "alert:certificate_revoked", "crl-revoked"),
        ("requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: https://a/b", "forbidden", "authz-none"),
        ("2026-11-24 16:00:00 ERROR 403: Forbidden.", "forbidden", "authz-none"),
        ('{"type": "tag:mtls-lab.test,2026:certificate-name", "status": 403}', "forbidden", "authz-nul"),
        ("INFO forbidden path=/admin problem=certificate-forbidden rule=x", "forbidden", "authz-good"),
        (  # a whole traceback
            'Traceback (most recent call last):\n  File "/srv/app.py", line 3, in <module>\n'
            "httpx.ReadError: [SSL: SSLV3_ALERT_BAD_CERTIFICATE] ssl/tls alert bad certificate (_ssl.c:2590)",
            "alert:bad_certificate",
            "client-not-yet-valid",
        ),
    ],
)
def test_a_pasted_text_is_found(text: str, family: str, likeliest: str) -> None:
    match = best(text)
    assert match.family.key == family
    assert match.causes[0].scenario.id == likeliest


def test_every_recorded_text_finds_its_own_family() -> None:
    for family in INDEX:
        for text in family.texts:
            if text:  # a few tools say the same of different things
                best, *others = find(text, INDEX)
                assert family in [best.family, *(m.family for m in others if m.score == best.score)], text


@pytest.mark.parametrize(
    "text", ["kernel panic - not syncing", "ModuleNotFoundError: No module named 'uvicorn'", "?", "42"]
)
def test_a_text_that_fits_nothing_is_not_made_to_fit(text: str) -> None:
    matches = find(text, INDEX)
    assert all(match.score < FITS for match in matches)
    done = client(None, "explain", LAB_ERROR=text)
    assert done.returncode == 0
    assert done.stdout.startswith("This text fits nothing that was recorded. The nearest:\n")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("HTTPSConnectionPool(host='a', port=1): Max retries exceeded (Caused by NewConnectionError('<urllib3>: "
         "Failed to establish a new connection: [Errno 111] Connection refused'))", "nobody listens"),
        ("curl: (6) Could not resolve host: server", "the server's name is not known"),
        ("curl: (58) could not load PEM client certificate from x.pem, OpenSSL error error:80000002:system library::"
         "No such file or directory", "a file that the tool should load is not there"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1000)", "one side speaks TLS"),
    ],
)  # fmt: skip
def test_what_is_not_about_certificates_is_said_so(text: str, meaning: str) -> None:
    said = client(None, "explain", LAB_ERROR=text).stdout
    assert said.startswith("This is not about certificates.\n")
    assert meaning in said


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("<center>No required SSL certificate was sent</center>", "nginx asks for a client certificate and got none"),
        ("400 the SSL certificate error", "Why stands in its error log alone"),
    ],
)
def test_what_nginx_says_is_known(text: str, meaning: str) -> None:
    assert meaning in client(None, "explain", LAB_ERROR=text).stdout


def test_what_was_not_sent_is_in_no_servers_log() -> None:
    for family in INDEX:
        if family.key.startswith("load:"):
            assert all("nothing is sent" in cause.tell for cause in family.causes.values())


def test_what_explain_says_of_an_error() -> None:
    text = client(None, "explain", LAB_ERROR="curl: (56) ... alert unsupported certificate").stdout
    assert "The server sent the alert unsupported_certificate (43)" in text
    assert text.index("1. A server certificate used as a client (client-server-eku)") < text.index("2. ")
    assert "tell it by: the server's log has verify_code=26, INVALID_PURPOSE" in text
    assert "cure: Have a client certificate issued" in text
    assert "More about one: make explain S=client-server-eku" in text
    closed = client(None, "explain", LAB_ERROR="curl: (52) Empty reply from server").stdout
    assert "python/cpython#98078" in closed
    assert "make up SERVER=explained" in closed


@pytest.mark.parametrize(
    ("problem", "said"), [("certificate-name", False), ("tls-unknown", True), ("certificate-required", False)]
)
def test_what_explain_says_of_a_problem(problem: str, said: bool) -> None:
    """SERVER=explained is advice only where the application may not know who is calling."""
    text = client(None, "explain", LAB_ERROR=f'{{"type": "tag:mtls-lab.test,2026:{problem}", "status": 403}}').stdout
    assert text.startswith("The handshake succeeded, and the application forbids (HTTP 403)\n")
    assert ("make up SERVER=explained" in text.split("1. ")[0]) is said
    if not said:
        assert f"tell it by: the answer's problem is {problem}" in text.split("2. ")[0]


def test_two_generations_of_openssl_are_recorded() -> None:
    assert {o.openssl.split()[1][:3] for o in RECORDED} >= {"3.0", "3.5"}
    assert {o.server for o in RECORDED} == {"explained", "stock"}
    assert {o.tool for o in RECORDED} >= {"raw", "requests", "httpx", "curl", "openssl", "wget", "node", "gnutls"}
    refused = {s.id for s in KNOWN.scenarios.values() if s.cure and not s.dangerous}
    assert refused - {o.scenario for o in RECORDED} <= {"client-encrypted-key"}


def test_nothing_of_a_machine_is_recorded() -> None:
    for path in sorted(observations.FOLDER.glob("*.json")):
        assert not re.search(r"/(root|home|work|tmp|usr|lab)/|:\d{5}\b|PRIVATE KEY", path.read_text()), path


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ("curl: (35) SSL_connect: SSL_ERROR_SYSCALL in connection to localhost:40123 ",
         "curl: (35) SSL_connect: SSL_ERROR_SYSCALL in connection to localhost:8443 "),
        ("curl: (58) unable to set private key file: '.lab/client-tls/clients/a/privkey.pem' type PEM",
         "curl: (58) unable to set private key file: 'privkey.pem' type PEM"),
        ("4057F:error:0A000415:SSL routines:ssl3_read_bytes:x:../ssl/record/rec_layer_s3.c:1605:SSL alert number 45",
         "error:0A000415:SSL routines:ssl3_read_bytes:x:rec_layer_s3.c:N:SSL alert number 45"),
        ("[SSL: X] y (_ssl.c:1006)", "[SSL: X] y (_ssl.c:N)"),
        ("HTTPSConnectionPool(host='server', port=9001)", "HTTPSConnectionPool(host='localhost', port=8443)"),
    ],
)  # fmt: skip
def test_what_differs_from_run_to_run_is_left_out(detail: str, text: str) -> None:
    assert observations.text_of(detail) == text


def report(**changes: object) -> str:
    result = {
        "scenario": "client-expired",
        "probe": "raw",
        "tls": "1.3",
        "observed": {"outcome": "refused_by_server", "alert": "certificate_expired", "verify_code": 10},
        "verdict": "PASS",
        "exit_status": None,
        "detail": "ssl.SSLError: sslv3 alert certificate expired",
    }
    versions = {"raw": "Python 3.13.5, OpenSSL 3.5.9 4 Aug 2026"}
    head = {"server": "explained", "mode": "required", "versions": versions}
    return json.dumps(head | {"results": [result | changes]})


def test_reports_become_observations_each_text_once(tmp_path: Path) -> None:
    accepted = {"outcome": "authenticated", "alert": None, "verify_code": None}
    reports = [
        report(),
        report().replace('"required"', '"optional"'),
        report(observed=accepted),
        report(verdict="SKIP"),
    ]
    collected = observations.collect("\n".join(reports))
    assert [(o.mode, o.outcome, o.alert) for o in collected] == [
        ("required", Outcome.REFUSED_BY_SERVER, "certificate_expired")
    ]
    name, text = observations.dumps(collected, tmp_path)
    assert name == "openssl-3.5.9-python-3.13.5.json"
    (tmp_path / name).write_text(text)
    assert observations.load(tmp_path) == collected
    other = [replace(o, tool="curl") for o in collected]  # recorded another time, on a machine that has curl only
    (tmp_path / name).write_text(observations.dumps(other, tmp_path)[1])
    assert {o.tool for o in observations.load(tmp_path)} == {"raw", "curl"}


@pytest.mark.parametrize("text", ["[]", "{", '{"results": [{}]}', "3"])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="could not read the reports"):
        observations.collect(text)


@pytest.mark.parametrize("text", [None, "[]", "{", '{"openssl": "x", "python": "y", "observations": [{"tool": 1}]}'])
def test_missing_or_corrupt_observations_are_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(LabError, match=r"could not read .*\n  try: make observe"):
        observations.load(tmp_path)
    with pytest.raises(LabError, match="no attempt failed"):
        observations.dumps([], tmp_path)


def test_the_generated_pages_are_up_to_date() -> None:
    """`make docs` writes them."""
    assert (ROOT / "docs/scenarios.md").read_text() == documents.scenarios(KNOWN)
    assert (ROOT / "docs/errors.md").read_text() == documents.errors(KNOWN, RECORDED)


def test_the_links_of_the_generated_pages_lead_somewhere() -> None:
    pages = {name: (ROOT / "docs" / name).read_text() for name in ("scenarios.md", "errors.md")}

    def anchor(heading: str) -> str:  # as GitHub makes it
        return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

    anchors = {name: {anchor(h) for h in re.findall(r"^#+ (.*)$", page, re.M)} for name, page in pages.items()}
    for name, page in pages.items():
        for target, fragment in re.findall(r"\]\((?!https:)([\w.]*)(?:#([^)]*))?\)", page):
            assert not fragment or fragment in anchors[target or name], fragment
    assert re.search(
        r"\[RFC 5280 4\.2\.1\.12\]\(https://www\.rfc-editor\.org/rfc/rfc5280#section-4\.2\.1\.12\)",
        pages["scenarios.md"],
    )
    for scenario in KNOWN.scenarios:
        assert pages["scenarios.md"].count(f"### {scenario}\n") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "curl: (56) error:0A000415:SSL routines::sslv3 alert bad",
            "curl: (35) error:14094415:SSL routines::ssl/tls alert bad",
        ),
        ("connection to localhost:40123 failed", "connection to 10.0.0.7:8443 failed"),
        ("for https://api.example.com/v1?x=1 failed", "for https://localhost:8443/whoami failed"),
        ("[SSL: TLSV13_ALERT_X] tlsv13 alert x (_ssl.c:1006)", "[SSL: SSLV3_ALERT_X] tlsv1 alert x (_ssl.c:2580)"),
    ],
)
def test_numbers_addresses_and_version_spellings_do_not_matter(one: str, other: str) -> None:
    assert _words(one) == _words(other)
