"""HAProxy and nginx in front of the server: the same verdicts, and nobody but them says who calls."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import shlex
import ssl
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from matrices import results_of
from workshop import Workshop, compose, copied

from catalogue import NGINX_FAULTY

pytestmark = [*compose]

ADMIN = "Hello, client-admin"


@pytest.fixture(scope="module", params=["haproxy", "nginx"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), request.param, "compose", PROXY=request.param) as workshop:
        yield workshop


def proxy(lab: Workshop) -> str:
    return lab.environ["PROXY"]


def connect(lab: Workshop, credential: str | None) -> http.client.HTTPSConnection:
    certs = lab.folder / "certs"
    context = ssl.create_default_context(cafile=certs / "public_root.pem")
    if credential:
        folder = certs / "clients" / credential
        context.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    return http.client.HTTPSConnection("localhost", int(lab.port), context=context, timeout=10)


def ask(lab: Workshop, path: str, credential: str | None, *headers: tuple[str, str]) -> tuple[int, str]:
    """Ask as a client would, with further headers. Returns the status and the body."""
    connection = connect(lab, credential)
    try:
        connection.putrequest("GET", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def leaf(lab: Workshop, name: str) -> str:
    return (lab.folder / f"certs/clients/{name}/cert.pem").read_text()


def forgeries(lab: Workshop) -> list[list[tuple[str, str]]]:
    """Return header fields that say, in many spellings, that the client is client-admin."""
    pem = leaf(lab, "client-admin")
    told = f":{base64.b64encode(ssl.PEM_cert_to_DER_cert(pem)).decode()}:"
    escaped = quote(pem, safe="")
    names = ["Client-Cert", "client-cert", "CLIENT-CERT", "Client_Cert", "client_cert", "Client-cert"]
    names_nginx = ["X-SSL-Client-Cert", "x-ssl-client-cert", "X_SSL_Client_Cert", "X-SSL_Client-Cert"]
    single = [[(name, told)] for name in names] + [[(name, escaped)] for name in names_nginx]
    chains = [[("Client-Cert", told), (name, told)] for name in ("Client-Cert-Chain", "Client_Cert_Chain")]
    repeated = [[(name, told)] * 2 for name in names[:4]] + [[(name, escaped)] * 2 for name in names_nginx[:3]]
    everything = [[*((name, told) for name in names), *((name, escaped) for name in names_nginx)]]
    alone = [[(name, told)] for name in ("Client-Cert-Chain", "client_cert_chain", "CLIENT-CERT_CHAIN")]
    return single + chains + repeated + everything + alone


def said_by_the_application(lab: Workshop, requests: list[list[tuple[str, str]]], *credential: str) -> list[str]:
    """Ask the application itself, from a container on its private network, by the name in its certificate.

    Returns what curl said, each time, of both its outputs.
    """
    project, port = lab.environ["COMPOSE_PROJECT_NAME"], lab.port
    curl = ("curl", "-sS", "--max-time", "10", "--cacert", "/certs/public_root.pem", *credential)
    to = ("--connect-to", f"server:{port}:app:{port}", f"https://server:{port}/admin")
    script = "\n".join(
        shlex.join([*curl, *(word for name, value in headers for word in ("-H", f"{name}: {value}")), *to])
        + "\necho //"
        for headers in requests
    )
    command = ("run", "--rm", "-i", "--network", f"{project}_behind-proxy", "-v", f"{project}_client-tls:/certs:ro")
    done = subprocess.run(
        ["docker", *command, "--entrypoint", "sh", f"{project}-client", "-c", "exec 2>&1; . /dev/stdin"],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.split("//\n")[:-1]


@pytest.mark.parametrize("mode", ["off", "required", "optional"])
def test_a_mode(lab: Workshop, mode: str) -> None:
    probes = "" if mode == "required" else "raw,curl,wget"  # wget heeds which CAs are named
    done = lab.make(f"test-{mode}", f"PROBE={probes}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"PROXY={proxy(lab)}" in done.stdout
    assert re.search(rf"{results_of(probes)} results: \d+ PASS, \d+ SKIP, in ", done.stdout)
    report = json.loads((lab.folder / f"reports/{mode}.json").read_text())
    assert report["server"] == proxy(lab)
    expired = [r for r in report["results"] if (r["scenario"], r["probe"]) == ("client-expired", "raw")]
    assert [r["observed"]["verify_code"] for r in expired] == [None if mode == "off" else 10] * 2


def test_a_forged_header_changes_nothing_through_the_proxy(lab: Workshop) -> None:
    """In mode optional, so that a client without a certificate gets through, too."""
    assert ask(lab, "/admin", "client-admin")[1].startswith('{"message":"' + ADMIN)  # so it is there to be had
    for headers in forgeries(lab):
        for credential, problem in (("client-good", "certificate-forbidden"), (None, "certificate-required")):
            status, body = ask(lab, "/admin", credential, *headers)
            assert (status, problem in body) == (403, True), (headers, body)
            assert ADMIN not in body


@pytest.mark.parametrize("credential", [None, "client-good"])
@pytest.mark.parametrize("form", [0, 6])
def test_a_forged_trailer_changes_nothing_through_the_proxy(lab: Workshop, form: int, credential: str | None) -> None:
    """What follows a chunked body: HAProxy passes it on, and what deletes headers does not see it."""
    ((name, value),) = forgeries(lab)[form]
    head = "GET /admin HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = connect(lab, credential)
    with contextlib.closing(connection):
        connection.connect()
        connection.sock.sendall(f"{head}0\r\n{name}: {value}\r\n\r\n".encode())  # in one piece
        response = http.client.HTTPResponse(connection.sock)
        response.begin()
        assert response.status == 403
        assert ADMIN not in response.read().decode()


@pytest.mark.parametrize("name", ["Client-Cert ", "Client-Cert\t", "X-SSL-Client-Cert ", "Client-Cert\x0b"])
def test_what_is_no_name_of_a_field_changes_nothing(lab: Workshop, name: str) -> None:
    """RFC 9112 5.1: a space before the colon is to be refused; it may also be dropped."""
    value = forgeries(lab)[6 if name.startswith("X") else 0][0][1]
    status, body = ask(lab, "/admin", "client-good", (name, value))
    assert status in (400, 403)
    assert ADMIN not in body


def test_no_upgrade_but_to_a_websocket_is_passed_on(lab: Workshop) -> None:
    """Uvicorn, which has no WebSocket library in the image, says so of each upgrade that reaches it, and answers."""

    def warnings() -> int:
        return lab.make("logs").stdout.count("Unsupported upgrade request")

    key = base64.b64encode(bytes(16)).decode()
    further = (("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key), ("HTTP2-Settings", "AAMAAABk"))
    before = warnings()
    for values in (["h2c"], ["foo"], ["foo, websocket"], ["foo", "websocket"], ["WebSocket"]):  # the last one arrives
        upgrade = [("Connection", "Upgrade, HTTP2-Settings"), *(("Upgrade", value) for value in values), *further]
        assert ask(lab, "/whoami", "client-good", *upgrade)[0] in ((200,) if len(values) == 1 else (200, 400))
    deadline = time.monotonic() + 10
    while warnings() == before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert warnings() == before + 1


def test_a_forged_header_changes_nothing_at_the_application_itself(lab: Workshop) -> None:
    forged = forgeries(lab)
    good = ("--cert", "/certs/clients/client-good/fullchain.pem", "--key", "/certs/clients/client-good/privkey.pem")
    said = said_by_the_application(lab, forged, *good)
    assert len(said) == len(forged)
    assert [text for text in said if "certificate-forbidden" not in text or ADMIN in text] == []
    nobody = said_by_the_application(lab, forged[:3])
    assert [bool(re.match(r"curl: \(56\) .*alert certificate required", text)) for text in nobody] == [True] * 3


def test_nobody_else_reaches_the_application(lab: Workshop) -> None:
    assert lab.run("docker", "compose", "port", "server", lab.port).stdout.strip() in ("", ":0")
    server = json.loads(lab.run("docker", "inspect", lab.server_id()).stdout)[0]
    project = lab.environ["COMPOSE_PROJECT_NAME"]
    assert list(server["NetworkSettings"]["Networks"]) == [f"{project}_behind-proxy"]
    assert not any(server["NetworkSettings"]["Ports"].values())
    network = json.loads(lab.run("docker", "network", "inspect", f"{project}_behind-proxy").stdout)[0]
    assert network["Internal"] is True


def test_the_proxy_is_unprivileged_and_reads_what_it_needs(lab: Workshop) -> None:
    script = "id -u; touch /proxy/x; grep -E 'CapEff|NoNewPrivs' /proc/self/status; ls /lab"
    command = ("docker", "compose", "--profile", "proxy", "exec", "-T", proxy(lab), "sh", "-c", script)
    done = lab.run(*command)
    assert done.stdout.split() == [
        *("10001", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "log", "proxy-tls", "server-tls"),
    ]
    assert "Read-only file system" in done.stderr


def test_it_names_its_cas_and_both_logs_are_shown(lab: Workshop) -> None:
    assert "CN = mTLS Lab Validation Root" in ca_names(lab) or "CN=mTLS Lab Validation Root" in ca_names(lab)
    logs = lab.make("logs").stdout
    assert re.search(rf"^{proxy(lab)}-1 .* status=200 ", logs, re.M)
    assert re.search(r"^server-1 .*GET /whoami HTTP/1.1", logs, re.M)


def ca_names(lab: Workshop) -> str:
    """Return what s_client says of the CA names in the server's request for a certificate, with what follows."""
    said = lab.run(
        "openssl", "s_client", "-connect", f"localhost:{lab.port}", "-CAfile", "certs/public_root.pem"
    ).stdout
    start = re.search("^(Acceptable client certificate CA names|No client certificate CA names sent)$", said, re.M)
    assert start, said
    return said[start.start() :].partition("Shared Requested")[0]


def test_a_revoked_client_is_refused(lab: Workshop) -> None:
    """One that was revoked before it started, and one that is while it serves."""
    lab.up("CRL=validation_crl", "MODE=required")
    assert ask(lab, "/private", "client-operator")[0] == 200
    assert lab.run("make", "revoke", "CREDENTIAL=client-operator").stdout.endswith("has read them again\n")
    for name in ("client-revoked", "client-operator"):
        if proxy(lab) == "nginx":
            status, body = ask(lab, "/private", name)
            assert (status, NGINX_FAULTY in body) == (400, True)
        else:
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REVOKED"):
                ask(lab, "/private", name)
    assert ask(lab, "/private", "client-good")[0] == 200


def test_a_list_is_read_again_when_the_old_process_accepts_nobody(lab: Workshop) -> None:
    """Its successor runs before that, and the kernel gives connections to both: by which list is luck."""
    old = re.findall(r"(?:start worker process |New worker \()(\d+)", lab.make("logs").stdout)[-1]

    def signal(name: str) -> None:
        lab.run("sh", "scripts/every-profile.sh", "exec", "-T", proxy(lab), "sh", "-c", f"kill -{name} {old}")

    signal("STOP")
    with subprocess.Popen(
        ["make", "unrevoke", "CREDENTIAL=client-operator"],
        cwd=lab.folder,
        env=lab.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as taking:
        time.sleep(4)
        ended = taking.poll()
        signal("CONT")
        said, _ = taking.communicate()
    assert ended is None
    assert said.endswith("has read them again\n")
    assert ask(lab, "/private", "client-operator")[0] == 200


def test_a_rotated_certificate_is_served(lab: Workshop) -> None:
    before = ssl.get_server_certificate(("localhost", int(lab.port)))
    done = lab.make("rotate", "WHAT=server")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the client, as before        accepted" in done.stdout
    assert ssl.get_server_certificate(("localhost", int(lab.port))) != before


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("up", "RUNTIME=local"), "needs Docker: RUNTIME is local"),
        (("up", "SERVER=stock"), "does not go with SERVER=stock"),
        (("up", "SERVER_CREDENTIAL=server-encrypted-key"), "are given no pass phrase"),
        (("up", "PUBLIC_CA=acme"), "PUBLIC_CA=acme is another CA"),
        (("test-servers",), "make test-servers does not go with PROXY="),
        (("up", "PROXY=squid"), "unknown PROXY: 'squid' is none of none haproxy nginx"),
    ],
)
def test_what_does_not_go_with_a_proxy_is_said(lab: Workshop, arguments: tuple[str, ...], fact: str) -> None:
    done = lab.make(*arguments)
    assert done.returncode == 2
    assert fact in done.stderr
    assert "\n  try: " in done.stderr


def test_without_it_the_server_answers_itself(lab: Workshop) -> None:
    lab.up("PROXY=none", "MODE=required")
    running = lab.run("docker", "compose", "ps", "-a", "--services").stdout.split()
    assert proxy(lab) not in running
    assert ca_names(lab).startswith("No client certificate CA names sent")
    assert json.loads(ask(lab, "/whoami", "client-good")[1])["identity"]["common_name"] == "client-good"
    assert "certificate-forbidden" in ask(lab, "/admin", "client-good", *forgeries(lab)[0])[1]
