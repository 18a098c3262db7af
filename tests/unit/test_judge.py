"""The verdict's truth table, and how the probes read alerts and answers."""

from __future__ import annotations

import pytest

from catalogue import ALERTS, NGINX_FAULTY, NGINX_NONE, Expectation, Outcome, Proxy, Server, alert_name
from client.judge import Verdict, judge
from client.observe import Observed, alert_of_packed, alert_of_reason, answered, http_answer, openssl_version

AUTHENTICATED = Expectation(Outcome.AUTHENTICATED)
ANONYMOUS = Expectation(Outcome.ANONYMOUS)
SERVED = Expectation(Outcome.SERVED)
EXPIRED = Expectation(Outcome.REFUSED_BY_SERVER, "certificate_expired", 10)
NO_REASON = Expectation(Outcome.REFUSED_BY_SERVER)
WEAK = Expectation(Outcome.REFUSED_BY_SERVER, "bad_certificate", 66, or_not_presented=True)
NOT_PRESENTED = Expectation(Outcome.NOT_PRESENTED)
FORBIDDEN = Expectation(Outcome.FORBIDDEN, problem="certificate-forbidden")
BY_NGINX = Expectation(Outcome.REFUSED_BY_SERVER, verify_code=10, problem=NGINX_FAULTY)
BY_CLIENT = Expectation(Outcome.REFUSED_BY_CLIENT, verify_code=20)

MINE = "aa"
as_me = Observed(Outcome.AUTHENTICATED, sha256=MINE)
as_other = Observed(Outcome.AUTHENTICATED, sha256="bb")
anonymous = Observed(Outcome.ANONYMOUS)
served = Observed(Outcome.SERVED)
forbidden = Observed(Outcome.FORBIDDEN, problem="certificate-forbidden")
nobody_to_it = Observed(Outcome.FORBIDDEN, problem="certificate-required")


def refused(alert: str | None, code: int | None = None, problem: str | None = None) -> Observed:
    return Observed(Outcome.REFUSED_BY_SERVER, alert, code, problem)


@pytest.mark.parametrize(
    ("expected", "observed", "server", "verdict"),
    [
        (AUTHENTICATED, as_me, "explained", Verdict.PASS),
        (AUTHENTICATED, as_other, "explained", Verdict.WRONG_ACCEPT),
        (AUTHENTICATED, anonymous, "explained", Verdict.WRONG_ACCEPT),
        (AUTHENTICATED, refused("unknown_ca", 20), "explained", Verdict.WRONG_REFUSE),
        (AUTHENTICATED, Observed(Outcome.REFUSED_BY_CLIENT, verify_code=10), "explained", Verdict.WRONG_REFUSE),
        (AUTHENTICATED, Observed(Outcome.NOT_PRESENTED), "explained", Verdict.WRONG_REFUSE),
        (ANONYMOUS, anonymous, "explained", Verdict.PASS),
        (ANONYMOUS, as_me, "explained", Verdict.WRONG_ACCEPT),
        (ANONYMOUS, refused("certificate_required"), "explained", Verdict.WRONG_REFUSE),
        (EXPIRED, refused("certificate_expired", 10), "explained", Verdict.PASS),
        (EXPIRED, refused("certificate_expired"), "explained", Verdict.PASS),  # a client sees no verify error
        (EXPIRED, refused("certificate_expired", 12), "explained", Verdict.WRONG_REASON),  # a stale CRL
        (EXPIRED, refused("unknown_ca", 10), "explained", Verdict.WRONG_REASON),
        (EXPIRED, refused(None), "explained", Verdict.WRONG_REASON),  # lost, though it should have arrived
        (EXPIRED, anonymous, "explained", Verdict.WRONG_ACCEPT),
        (EXPIRED, as_me, "explained", Verdict.WRONG_ACCEPT),
        (EXPIRED, Observed(Outcome.NOT_PRESENTED), "explained", Verdict.WRONG_REFUSE),
        (NO_REASON, refused(None), "stock", Verdict.PASS),
        (NO_REASON, refused("unknown_ca"), "stock", Verdict.PASS),  # a later Python may deliver it
        (NO_REASON, served, "stock", Verdict.WRONG_ACCEPT),
        (SERVED, served, "stock", Verdict.PASS),
        (SERVED, refused(None), "stock", Verdict.WRONG_REFUSE),
        (SERVED, anonymous, "stock", Verdict.WRONG_ACCEPT),  # then it is no stock server
        (FORBIDDEN, forbidden, "explained", Verdict.PASS),
        (FORBIDDEN, nobody_to_it, "explained", Verdict.WRONG_REASON),  # forbidden, but not because it was recognised
        (FORBIDDEN, as_me, "explained", Verdict.WRONG_ACCEPT),
        (FORBIDDEN, served, "stock", Verdict.WRONG_ACCEPT),
        (FORBIDDEN, refused("unknown_ca", 20), "explained", Verdict.WRONG_REFUSE),
        (AUTHENTICATED, forbidden, "explained", Verdict.WRONG_REFUSE),
        (SERVED, forbidden, "stock", Verdict.WRONG_REFUSE),
        (EXPIRED, forbidden, "explained", Verdict.WRONG_ACCEPT),  # it got through the handshake
        (NO_REASON, forbidden, "stock", Verdict.WRONG_ACCEPT),
        (BY_NGINX, refused(None, 10, NGINX_FAULTY), "nginx", Verdict.PASS),
        (BY_NGINX, refused(None, None, NGINX_FAULTY), "nginx", Verdict.PASS),
        (BY_NGINX, refused(None, 12, NGINX_FAULTY), "nginx", Verdict.WRONG_REASON),
        (BY_NGINX, refused(None, None, NGINX_NONE), "nginx", Verdict.WRONG_REASON),
        (BY_NGINX, refused("certificate_expired", 10), "nginx", Verdict.WRONG_REASON),
        (BY_NGINX, as_me, "nginx", Verdict.WRONG_ACCEPT),
        (EXPIRED, refused(None, 10, NGINX_FAULTY), "haproxy", Verdict.WRONG_REASON),
        (EXPIRED, refused("certificate_expired", 10), "haproxy", Verdict.PASS),
        (EXPIRED, refused(None), "haproxy", Verdict.WRONG_REASON),
        (NOT_PRESENTED, forbidden, "explained", Verdict.WRONG_ACCEPT),
        (NOT_PRESENTED, Observed(Outcome.NOT_PRESENTED), "explained", Verdict.PASS),
        (NOT_PRESENTED, anonymous, "explained", Verdict.WRONG_ACCEPT),
        (WEAK, Observed(Outcome.NOT_PRESENTED), "explained", Verdict.PASS),
        (WEAK, refused("bad_certificate", 66), "explained", Verdict.PASS),
        (WEAK, refused("unknown_ca", 20), "explained", Verdict.WRONG_REASON),
        (WEAK, anonymous, "explained", Verdict.WRONG_ACCEPT),
        (BY_CLIENT, Observed(Outcome.REFUSED_BY_CLIENT, verify_code=20), "explained", Verdict.PASS),
        (BY_CLIENT, Observed(Outcome.REFUSED_BY_CLIENT, verify_code=62), "stock", Verdict.WRONG_REASON),
        (EXPIRED, Observed(Outcome.UNREACHABLE), "explained", None),
        (EXPIRED, Observed(Outcome.TIMEOUT), "explained", None),
        (NO_REASON, Observed(Outcome.PROBE_ERROR), "stock", None),
    ],
)
def test_truth_table(expected: Expectation, observed: Observed, server: str, verdict: Verdict | None) -> None:
    who = Proxy(server) if server in tuple(Proxy) else Server(server)
    found, reason = judge(expected, observed, MINE, who)
    assert found is verdict
    assert bool(reason) == (verdict is not Verdict.PASS)


def test_every_alert_is_read_from_openssl_code_and_python_reason() -> None:
    for name, number in ALERTS.items():
        assert alert_name(number) == name
        assert alert_of_packed(f"curl: (56) error:0A000{1000 + number:03X}:SSL routines::x, errno 0") == name
        assert alert_of_reason(f"TLSV1_ALERT_{name.upper()}") == name
    assert alert_name(7) == "alert_7"


@pytest.mark.parametrize(
    ("text", "alert"),
    [
        ("error:0A00045C:SSL routines::tlsv13 alert certificate required", "certificate_required"),
        ("error:0A000412:SSL routines::ssl/tls alert bad certificate", "bad_certificate"),
        ("error:1404C45C:SSL routines:ST_OK:reason(1116)", "certificate_required"),  # LibreSSL
        ("error:14094415:SSL routines:ssl3_read_bytes:sslv3 alert certificate expired", "certificate_expired"),  # 1.1.1
        ("error:0A000126:SSL routines::unexpected eof while reading", None),
        ("curl: (52) Empty reply from server", None),
    ],
)
def test_packed_codes(text: str, alert: str | None) -> None:
    assert alert_of_packed(text) == alert


def test_python_reasons() -> None:
    assert alert_of_reason("TLSV13_ALERT_CERTIFICATE_REQUIRED") == "certificate_required"
    assert alert_of_reason("SSLV3_ALERT_BAD_CERTIFICATE") == "bad_certificate"
    assert alert_of_reason("CERTIFICATE_VERIFY_FAILED") is None
    assert alert_of_reason("WRONG_VERSION_NUMBER") is None
    assert alert_of_reason(None) is None


PROBLEM = b'{"type": "tag:mtls-lab.test,2026:certificate-required", "title": "t", "status": 403}'


@pytest.mark.parametrize("media_type", ["application/problem+json", None])
def test_a_problem_of_the_labs_is_forbidden(media_type: str | None) -> None:
    seen = http_answer(403, PROBLEM, "403 Forbidden", media_type)
    assert (seen.outcome, seen.problem, seen.detail) == (Outcome.FORBIDDEN, "certificate-required", "403 Forbidden")


@pytest.mark.parametrize(
    ("status", "body", "media_type"),
    [
        (403, PROBLEM, "application/json"),
        (403, PROBLEM, "text/html; charset=utf-8"),
        (403, PROBLEM.replace(b"mtls-lab.test", b"proxy.example"), "application/problem+json"),
        (403, PROBLEM.replace(b"403", b"401"), "application/problem+json"),
        (403, b'{"detail": "Forbidden"}', None),
        (403, b'{"type": 3, "status": 403}', None),
        (403, b"[]", None),
        (403, b"<html>Forbidden</html>", None),
        (403, b"", None),
        (401, PROBLEM, "application/problem+json"),
        (200, PROBLEM, "application/problem+json"),
        (500, b"", None),
    ],
)
def test_what_is_not_the_labs_is_no_forbidden(status: int, body: bytes, media_type: str | None) -> None:
    """A proxy's 403, or another status, says nothing about what the lab's application decided."""
    assert http_answer(status, body, "", media_type).outcome is Outcome.PROBE_ERROR


NGINX = """<html>
<head><title>400 The SSL certificate error</title></head>
<body>
<center><h1>400 Bad Request</h1></center>
<center>The SSL certificate error</center>
<hr><center>nginx/1.26.3</center>
</body>
</html>
"""


@pytest.mark.parametrize("text", [NGINX_FAULTY, NGINX_NONE])
@pytest.mark.parametrize("media_type", ["text/html", None])
def test_nginx_refuses_with_400_and_its_own_words(text: str, media_type: str | None) -> None:
    seen = http_answer(400, NGINX.replace(NGINX_FAULTY, text), "400", media_type)
    assert (seen.outcome, seen.alert, seen.problem) == (Outcome.REFUSED_BY_SERVER, None, text)


@pytest.mark.parametrize(
    ("status", "body", "media_type"),
    [
        (400, NGINX.replace(NGINX_FAULTY, "Request Header Or Cookie Too Large"), "text/html"),
        (400, NGINX.replace(NGINX_FAULTY, "The plain HTTP request was sent to HTTPS port"), "text/html"),
        (400, NGINX.replace("nginx", "another"), "text/html"),
        (400, NGINX, "application/problem+json"),
        (400, "Invalid HTTP request received.", "text/plain; charset=utf-8"),
        (400, NGINX_FAULTY, None),
        (403, NGINX, "text/html"),
        (200, NGINX, "text/html"),
        (400, '{"type": "tag:mtls-lab.test,2026:client-cert-malformed", "status": 400}', "application/problem+json"),
    ],
)
def test_another_400_is_no_refusal(status: int, body: str, media_type: str | None) -> None:
    """Neither nginx's for other reasons nor the application's own."""
    assert http_answer(status, body, "", media_type).outcome is Outcome.PROBE_ERROR


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"hello", b'{"identity": 3, "tls": {}, "openssl": "x"}'])
def test_an_answer_that_is_not_the_labs_is_no_outcome(body: bytes) -> None:
    assert answered(body).outcome is Outcome.PROBE_ERROR


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("OpenSSL 3.0.19 27 Jan 2026", (3, 0)),
        ("curl 8.14.1, OpenSSL/3.5.9", (3, 5)),
        ("Node v20.20.2, OpenSSL 3.0.19", (3, 0)),
        ("LibreSSL 3.3.6", None),
        ("GNU Wget 1.21.3", None),
        ("", None),
    ],
)
def test_openssl_versions(text: str, version: tuple[int, ...] | None) -> None:
    assert openssl_version(text) == version
