"""The lab goes red when it must, and nothing in a user's environment changes a verdict."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from junitparser import JUnitXml
from matrices import MOST, results_of
from running import Running, client, serving, unused_port

from catalogue import NON_OUTCOMES, Mode, Server, Tls
from client.judge import Result
from client.lab import open_lab
from client.matrix import Answered, try_one
from client.probes import PROBES

pytestmark = pytest.mark.live

# Where no tool is installed, the three probes that are Python are what there is: a quick matrix.
NO_TOOLS = {"PATH": "/nonexistent"}
RAW = ("--probe", "raw")  # quicker still, where nothing is asked of other tools
RESULTS = results_of()


def test_off_judged_as_required_is_wrongly_accepted(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OFF)
    done = client(running, "matrix", "--mode", "required", "--probe", MOST)
    assert done.returncode == 1
    assert done.stdout.count("WRONG-ACCEPT client-none") >= 8
    report = json.loads((running.state / "reports/required.json").read_text())
    wrong = [r for r in report["results"] if r["verdict"] == "WRONG-ACCEPT"]
    assert {r["verdict"] for r in report["results"] if r["scenario"] == "authz-admin"} == {"WRONG-REFUSE"}
    assert {r["verdict"] for r in report["results"] if r["scenario"] == "authz-operator"} == {"WRONG-REASON"}
    asked = [r for r in report["results"] if not r["scenario"].startswith("authz-")]
    assert {r["verdict"] for r in report["results"] if r["scenario"] == "authz-none"} == {"WRONG-ACCEPT"}
    tried = [r for r in asked if r["verdict"] != "SKIP" and r["expected"]["outcome"] != "not_presented"]
    wrong = [r for r in asked if r["verdict"] == "WRONG-ACCEPT"]
    may_not_load = [r for r in tried if r["observed"]["outcome"] == "not_presented"]
    assert len(wrong) == len(tried) - len(may_not_load) > len(asked) / 2
    failed = [r for r in report["results"] if r["verdict"] in ("WRONG-ACCEPT", "WRONG-REFUSE", "WRONG-REASON")]
    suite = JUnitXml.fromfile(str(running.state / "reports/required.xml"))
    assert (suite.tests, suite.failures) == (results_of(MOST), len(failed))


def test_required_judged_as_off_is_wrongly_refused(serve: Callable[..., Running]) -> None:
    done = client(serve(Mode.REQUIRED), "matrix", "--mode", "off", *RAW)
    assert done.returncode == 1
    assert "WRONG-REFUSE client-expired raw TLS 1.3" in done.stdout


def test_as_expected_exits_0_and_reports(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OPTIONAL)
    done = client(running, "matrix", "--mode", "optional", "--server", "explained", **NO_TOOLS)
    assert done.returncode == 0, done.stdout
    assert re.search(rf"{RESULTS} results: \d+ PASS, \d+ SKIP, in \d+\.\d s", done.stdout)
    report = json.loads((running.state / "reports/optional.json").read_text())
    assert {"mode", "server", "runtime", "versions", "duration_s", "results"} <= set(report)
    expired = next(r for r in report["results"] if (r["scenario"], r["probe"]) == ("client-expired", "raw"))
    assert expired["observed"] == {
        "outcome": "refused_by_server",
        "alert": "certificate_expired",
        "verify_code": 10,
        "problem": None,
    }
    assert expired["expected"] == expired["observed"] | {"or_not_presented": False}
    assert re.search(r"WARNING handshake_refused peer=.* verify_code=10 ", expired["log"])


def test_another_kind_of_server_is_noticed(serve: Callable[..., Running]) -> None:
    done = client(serve(Mode.OFF, Server.STOCK), "matrix", "--mode", "off", "--server", "explained")
    assert done.returncode == 2
    assert (
        "SERVER=explained was asked for, but the server that answers is stock\n  try: make up SERVER=explained"
        in done.stderr
    )


def test_a_stopped_server(state: Path, tmp_path: Path) -> None:
    with serving(state, tmp_path / "log", Mode.REQUIRED) as running:
        environ = running.environ
    done = client(None, "matrix", "--mode", "required", **environ)
    assert done.returncode == 2
    assert "unreachable" in done.stderr
    assert "\n  try: make up" in done.stderr
    assert "PASS" not in done.stdout


def test_a_server_that_stops_halfway(state: Path, tmp_path: Path) -> None:
    """What could not be seen is never a verdict."""
    with serving(state, tmp_path / "log", Mode.REQUIRED, UVICORN_LIMIT_MAX_REQUESTS="4") as running:
        done = client(running, "matrix", "--mode", "required", *RAW)
    assert done.returncode == 2
    assert "NOT-JUDGED" in done.stdout


def seen_at(state: Path, probe: str, tls: Tls, scenario: str, talk: Callable[[socket.socket], None]) -> Result:
    """Make one attempt, judged as at a stock server, at a listener that talks as told to every connection."""
    if not PROBES[probe].version():
        pytest.skip(f"{probe} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with suppress(OSError):  # no connection yet, or one that the client broke off
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(5)
                        talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        lab = open_lab({"LAB_CERTS": str(state / "client-tls"), "LAB_URL": url})
        server = Answered(Server.STOCK)
        result = try_one(lab, lab.catalogue.scenarios[scenario], PROBES[probe], tls, Mode.REQUIRED, server)
        stop.set()
        thread.join()
    return result


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("tls", Tls)
def test_a_port_that_hangs_up_is_no_refusal(state: Path, probe: str, tls: Tls) -> None:
    """Whoever says nothing has refused nobody, whatever the tool calls it."""
    result = seen_at(state, probe, tls, "client-expired", lambda connection: connection.recv(1) and None)
    assert result.verdict is None
    assert result.observed
    assert result.observed.outcome in NON_OUTCOMES


ANSWERS = {
    "500": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "403 of a proxy": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nConnection: close\r\n\r\nForbidden",
    "403 of another application": b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n"
    b'Content-Length: 40\r\nConnection: close\r\n\r\n{"type": "about:blank", "status": 403}  ',
}


@pytest.mark.parametrize("scenario", ["client-expired", "authz-good"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("tls", Tls)
def test_an_answer_that_is_not_the_labs_is_no_verdict(
    state: Path, probe: str, tls: Tls, answer: str, scenario: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    good = state / "server-tls/server-good"
    context.load_cert_chain(good / "fullchain.pem", good / "privkey.pem")

    def say(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(ANSWERS[answer])
            with suppress(OSError):
                secured.unwrap()

    result = seen_at(state, probe, tls, scenario, say)
    assert result.verdict is None, result.observed


@pytest.mark.parametrize("probe", PROBES)
def test_half_a_record_is_no_refusal(state: Path, probe: str) -> None:
    def half_a_record(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\x16\x03")

    result = seen_at(state, probe, Tls.V13, "client-expired", half_a_record)
    assert result.verdict is None, result.observed


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("missing", ["clients/client-wrong-key/privkey.pem", "public_root.pem"])
def test_a_missing_file_proves_nothing(state: Path, tmp_path: Path, probe: str, missing: str) -> None:
    """client-wrong-key should not be presented, and is not; but not for the reason that was to be shown."""
    shutil.copytree(state, tmp_path / "lab")
    (tmp_path / "lab/client-tls" / missing).unlink()
    result = seen_at(tmp_path / "lab", probe, Tls.V13, "client-wrong-key", lambda _: None)
    assert result.verdict is None
    assert "No such file" in result.reason


def test_a_missing_log_is_no_evidence(serve: Callable[..., Running], tmp_path: Path) -> None:
    done = client(serve(Mode.REQUIRED), "matrix", *RAW, LAB_SERVER_LOG=str(tmp_path / "another.log"))
    assert done.returncode == 2
    assert "NOT-JUDGED client-self-signed raw TLS 1.3: the server's log" in done.stdout


def test_no_report_outlives_a_run_that_could_not_judge(serve: Callable[..., Running]) -> None:
    running = serve(Mode.OFF)
    assert client(running, "matrix", "--mode", "off", *RAW).returncode == 0
    assert (running.state / "reports/off.json").exists()
    assert client(running, "matrix", "--mode", "off", "--server", "stock", *RAW).returncode == 2
    assert not (running.state / "reports/off.json").exists()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH\r\n"])
def test_something_else_on_the_port(state: Path, says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def answer() -> None:
            listener.settimeout(0.1)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        done = client(None, "matrix", LAB_CERTS=str(state / "client-tls"), LAB_URL=url)
        stop.set()
        thread.join()
    assert done.returncode == 2
    assert "the positive control" in done.stderr


def test_a_stale_manifest(serve: Callable[..., Running], tmp_path: Path) -> None:
    running = serve(Mode.OFF)
    certs = tmp_path / "client-tls"
    shutil.copytree(running.state / "client-tls", certs)
    manifest = certs / "manifest.json"
    manifest.write_text(re.sub(r'("catalogue_sha256": ")\w+', r"\g<1>0000", manifest.read_text()))
    done = client(running, "matrix", LAB_CERTS=str(certs))
    assert done.returncode == 2
    assert "issued for another catalogue than this client's (a stale volume)\n  try: make up" in done.stderr


@pytest.mark.parametrize(
    "text", [None, "", "{", '{"format": 2}', '{"format": 2, "catalogue_sha256": "x", "credentials": 3}']
)
def test_a_missing_or_corrupt_manifest(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    done = client(None, "matrix", LAB_CERTS=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: could not read ")
    assert "Traceback" not in done.stderr


def test_a_manifest_of_an_older_lab_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    done = client(None, "matrix", LAB_CERTS=str(tmp_path))
    assert done.returncode == 2
    assert "its format is 1, not 2\n  try: make up" in done.stderr


def test_hostile_environment(serve: Callable[..., Running], tmp_path: Path) -> None:
    """Proxies, CA bundles and configuration files of a user reach no probe."""
    running = serve(Mode.REQUIRED)
    nowhere = f"http://127.0.0.1:{unused_port()}"
    (tmp_path / ".curlrc").write_text("insecure\nproxy = 127.0.0.1:1\nfail\nuser-agent = x\noutput = /dev/null\n")
    (tmp_path / ".wgetrc").write_text(f"use_proxy = on\nhttps_proxy = {nowhere}\ncheck_certificate = off\nquota = 1\n")
    (tmp_path / ".netrc").write_text("machine localhost login a password b\n")
    config = tmp_path / "openssl.cnf"
    config.write_text(  # Python sets the versions itself, but not which signatures of the server it takes
        "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
        "MaxProtocol = TLSv1.1\nSignatureAlgorithms = RSA-PSS+SHA512\n"
    )
    (tmp_path / "empty.pem").touch()
    hostile = {
        "HOME": str(tmp_path),
        "CURL_HOME": str(tmp_path),
        "NETRC": str(tmp_path / ".netrc"),
        "OPENSSL_CONF": str(config),
        "SSLKEYLOGFILE": "/nonexistent/keys",
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"), nowhere),
        **dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), str(tmp_path / "empty.pem")),
        "SSL_CERT_DIR": "/nonexistent",
        "NODE_OPTIONS": "--require=/nonexistent",
        "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    }
    done = client(running, "matrix", "--mode", "required", "--probe", MOST, **hostile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"{results_of(MOST)} results: \d+ PASS, \d+ SKIP, in", done.stdout)
    for probe in set(PROBES) - set(MOST.split(",")):  # the slow tools: what is accepted and what is refused
        if PROBES[probe].version():
            for scenario, outcome in (("client-good", "authenticated"), ("client-none", "refused by server")):
                done = client(running, "probe", "--scenario", scenario, "--probe", probe, **hostile)
                assert f"outcome: {outcome}" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("matrix", "--mode", "requird"), "could not use the mode 'requird': did you mean required?"),
        (
            ("probe", "--scenario", "client-goood", "--probe", "raw"),
            "could not find client-goood: no such scenario; did you mean client-good?",
        ),
        (
            ("probe", "--scenario", "client-good", "--probe", "crul"),
            "could not find the probe crul: did you mean curl?",
        ),
        (("matrix", "--probe", "raw,crul"), "could not find the probe crul: did you mean curl?"),
        (
            ("probe", "--scenario", "client-good", "--probe", "curl", "--tls", "1.1"),
            "could not use the TLS version '1.1'",
        ),
        (("explain",), "no scenario was named"),
        (("explain", "--scenario", "client-expird"), "did you mean client-expired?"),
    ],
)
def test_bad_input_is_answered(serve: Callable[..., Running], arguments: tuple[str, ...], error: str) -> None:
    done = client(serve(Mode.OFF), *arguments)
    assert done.returncode == 2
    assert error in done.stderr
    assert "\n  try: make " in done.stderr
    assert "Traceback" not in done.stderr


def test_probe_prints_the_command_before_the_outcome(serve: Callable[..., Running]) -> None:
    done = client(serve(Mode.REQUIRED), "probe", "--scenario", "client-expired", "--probe", "curl", "--tls", "1.2")
    command, outcome, *_ = done.stdout.splitlines()
    assert command.startswith("curl -q ")
    assert "--tls-max 1.2" in command
    assert outcome == "outcome: refused by server (certificate_expired)"
    assert done.returncode == 0


def test_explain_names_modes_and_rules() -> None:
    text = client(None, "explain", "--scenario", "client-none").stdout
    assert "required  refused 116 certificate_required; TLS 1.2: refused 40 handshake_failure" in text
    assert "RFC 8446 4.4.2.4" in text
