"""Every target, in both runtimes, as a person uses it. The tests of this file are one session, in its order."""

from __future__ import annotations

import itertools
import json
import re
import socket
import ssl
import time
from pathlib import Path

import pytest
from matrices import FEW, SOME, results_of
from running import slowness, unused_port
from workshop import Workshop

import catalogue
from client.probes import chosen

pytestmark = pytest.mark.live

UP_S = {"compose": 8, "local": 3}
MATRIX_S = 20  # the whole of a mode, every probe, both TLS versions
KNOWN = catalogue.load()
EVERYTHING = 85


def all_pass(probes: str = FEW) -> str:
    return rf"{results_of(probes)} results: \d+ PASS(, \d+ SKIP)?, in "


def test_up_says_what_to_know_and_what_to_try(workshop: Workshop) -> None:
    text = workshop.up()
    assert f"https://localhost:{workshop.port}" in text
    assert "required (SERVER=explained" in text
    assert re.search(r"served as by +uvicorn server\.app:app .*--ssl-cert-reqs 2", text)
    assert f"RUNTIME={workshop.runtime} (as asked" in text
    issued = re.search(rf"{EVERYTHING} issued, 0 kept, in (\d+\.\d+) s", text)
    assert issued
    assert float(issued[1]) < 3 * slowness()
    commands = [line.strip() for line in text.splitlines() if line.startswith(("  curl ", "  printf "))]
    assert len(commands) == 3
    anonymous, good, by_hand = (workshop.run("sh", "-c", command) for command in commands)
    assert anonymous.returncode == 56
    assert "alert certificate required" in anonymous.stderr
    assert good.stdout.startswith('{"message":"Hello, client-good!"')
    assert by_hand.stdout.startswith("HTTP/1.1 200 OK")


def test_a_second_up_changes_nothing_and_is_quick(workshop: Workshop) -> None:
    manifest = workshop.folder / "certs/manifest.json"
    copied = workshop.folder / ".lab/copied"  # written whenever the certificates themselves are looked at
    before, server, looked_at = manifest.read_bytes(), workshop.server_id(), copied.stat().st_mtime_ns
    text = workshop.up()
    kept = re.search(rf"0 issued, {EVERYTHING} kept, in (\d+\.\d+) s", text)
    assert kept
    assert float(kept[1]) < 0.5 * slowness()
    assert "certificates in certs are up to date" in text
    assert (manifest.read_bytes(), workshop.server_id(), copied.stat().st_mtime_ns) == (before, server, looked_at)


def test_from_down_to_ready_in_time(workshop: Workshop) -> None:
    workshop.make("down")
    start = time.monotonic()
    workshop.up()
    assert time.monotonic() - start < UP_S[workshop.runtime] * slowness()


def test_switching_the_mode_restarts_the_server_alone(workshop: Workshop) -> None:
    manifest = workshop.folder / "certs/manifest.json"
    before, server = manifest.read_bytes(), workshop.server_id()
    assert "optional (SERVER=explained" in workshop.up("MODE=optional")
    assert workshop.server_id() != server
    assert manifest.read_bytes() == before


# required.json is of the last one: others look at it.
@pytest.mark.parametrize(
    ("server", "mode"), [*itertools.product(["stock", "explained"], ["off", "optional", "required"])]
)
def test_a_mode(workshop: Workshop, mode: str, server: str) -> None:
    """With every tool; elsewhere `test_modes` does that already, but for what make adds."""
    in_image = workshop.runtime == "compose" and server == "explained"
    probes = "" if (mode == "required" and server == "explained") or in_image else FEW
    verbose = (mode, server) == ("optional", "explained")
    done = workshop.make(f"test-{mode}", f"SERVER={server}", f"PROBE={probes}", f"VERBOSE={verbose:d}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(all_pass(probes), done.stdout)
    if verbose:
        assert re.search(r"client-expired +refused 45 certificate_expired +PASS +PASS", done.stdout)
    else:  # only what differs is shown
        assert "Time, 3 scenarios" in done.stdout
        assert "client-expired" not in done.stdout
    alone = ", with raw, curl alone" if probes == FEW else ""
    assert f"mode {mode}{alone}, SERVER={server}" in done.stdout
    report = json.loads((workshop.folder / f"reports/{mode}.json").read_text())
    assert (report["mode"], report["server"], report["runtime"]) == (mode, server, workshop.runtime)
    assert report["duration_s"] < MATRIX_S * slowness()
    assert list(report["versions"]) == [probe.name for probe in chosen(probes)]
    if in_image:  # what the image carries; elsewhere a tool may be missing, and is SKIP
        absent = {name for name, version in report["versions"].items() if version == "not installed"}
        assert absent == {"node", "gnutls"}
    assert len(report["results"]) == results_of(probes)
    keys = {"scenario", "probe", "tls", "expected", "observed", "verdict", "command"}
    for result in report["results"]:
        assert keys <= set(result)
        assert set(result["observed"]) == {"outcome", "alert", "verify_code", "problem"} < set(result["expected"])
        if result["verdict"] == "SKIP":
            assert result["reason"]
    assert (workshop.folder / f"reports/{mode}.xml").read_text().startswith("<?xml")
    assert "client-expired" in (workshop.folder / f"reports/{mode}.html").read_text()


def test_the_newest_openssl_takes_the_newest_keys(workshop: Workshop) -> None:
    """ML-DSA is tried where OpenSSL 3.5 is on both sides, as in the images; elsewhere it is SKIP with the reason."""
    report = json.loads((workshop.folder / "reports/required.json").read_text())
    mine = [r for r in report["results"] if r["scenario"] == "client-mldsa" and r["tls"] == "1.3"]
    tried = {r["probe"] for r in mine if r["verdict"] == "PASS"}
    in_python = {"raw", "requests", "httpx"}
    if workshop.runtime == "compose":
        assert {*in_python, "curl", "openssl"} <= tried
    else:
        assert in_python & tried == (in_python if ssl.OPENSSL_VERSION_INFO >= (3, 5) else set())
    skipped = [r["reason"] for r in mine if r["verdict"] != "PASS"]
    assert all(re.search("needs OpenSSL 3.5|not installed", reason) for reason in skipped), skipped


def test_reported_commands_run_when_pasted(workshop: Workshop) -> None:
    report = json.loads((workshop.folder / "reports/required.json").read_text())
    for result in report["results"]:
        if result["verdict"] == "SKIP":
            continue
        if (result["tls"], result["scenario"]) == ("1.3", "client-good"):
            assert "CN=client-good" in workshop.run("sh", "-c", result["command"]).stdout
        if (result["tls"], result["scenario"]) == ("1.3", "client-expired"):
            pasted = workshop.run("sh", "-c", result["command"])
            said = pasted.stdout + pasted.stderr  # wget has no word for an alert after the handshake
            silent = result["probe"] == "wget" and pasted.returncode == 4
            assert silent or re.search("(?i)certificate[ _](is )?expired", said), pasted


@pytest.mark.parametrize("server", ["explained", "stock"])
def test_the_other_servers(workshop: Workshop, server: str) -> None:
    probes = SOME if server == "stock" or workshop.runtime == "local" else "PROBE="
    done = workshop.make("test-servers", f"SERVER={server}", "VERBOSE=1", probes, UVICORN_WORKERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "19 further servers" in done.stderr
    assert re.search(r"trust-public-mixed +\S+ \(dangerous\)", done.stdout)
    report = json.loads((workshop.folder / "reports/servers.json").read_text())
    assert {r["scenario"] for r in report["results"]} == {s.id for s in KNOWN.of(default_server=False)}
    assert {r["verdict"] for r in report["results"]} == {"PASS", "SKIP"}
    if server == "explained":
        refused = [r for r in report["results"] if (r["scenario"], r["probe"]) == ("trust-root-only", "raw")]
        assert all("verify_code=20" in r["log"] for r in refused)
    default = workshop.make("probe", "S=client-good", "PROBE=raw").stdout  # it is still there, alone
    assert default.endswith(f"outcome: {'authenticated' if server == 'explained' else 'served'}\n"), default


def test_a_faulty_server_to_play_with(workshop: Workshop) -> None:
    text = workshop.up("SERVER_CREDENTIAL=server-expired")
    assert "SERVER_CREDENTIAL=server-expired" in text
    done = workshop.make("probe", "S=server-expired", "PROBE=curl")
    assert "outcome: refused by client" in done.stdout
    assert "certificate has expired" in done.stdout
    done = workshop.make("matrix")
    assert "refused_by_client" in done.stderr
    assert "\n  try: make up SERVER_CREDENTIAL=server-good" in done.stderr
    text = workshop.up("SERVER_CREDENTIAL=server-encrypted-key", "TRUST=validation_root")
    assert "--ssl-keyfile-password ..." in text
    assert "validation_root.pem" in text
    assert workshop.make("probe", "S=client-good", "PROBE=raw").stdout.endswith("outcome: authenticated\n")
    assert "unknown_ca" in workshop.make("probe", "S=trust-root-only", "PROBE=raw").stdout
    for knob, fact in (
        ("SERVER_CREDENTIAL=server-expird", "no such server credential; did you mean server-expired?"),
        ("TRUST=validation_rot", "no such trust file; did you mean validation_root?"),
    ):
        wrong = workshop.make("up", knob)
        assert fact in wrong.stderr
        assert "\n  try: make up " in wrong.stderr
    workshop.up()


def test_every_look_shows_something(workshop: Workshop) -> None:
    """The commands that scenarios print for the credential's files can be pasted."""
    for scenario in KNOWN.of(default_server=True):
        done = workshop.run("sh", "-c", scenario.look.replace("localhost:8443", f"localhost:{workshop.port}"))
        said = done.stdout + done.stderr
        assert said.strip(), scenario.look
        assert not re.search(r"No such file|Can't open|[Uu]nknown option|not found|syntax error", said), (
            scenario.look,
            said,
        )


def test_a_pasted_error_is_explained(workshop: Workshop) -> None:
    done = workshop.make(
        "explain", 'E=curl: (56) it\'s "an" ... alert unsupported certificate; `touch broken` $(shell touch broken) $1'
    )
    assert done.returncode == 0, done.stderr
    assert "1. A server certificate used as a client (client-server-eku)" in done.stdout
    assert not (workshop.folder / "broken").exists()


def test_off_judged_as_required_is_red(workshop: Workshop) -> None:
    workshop.up("MODE=off")
    server = workshop.server_id()
    done = workshop.make("matrix", "MODE=required", "PROBE=raw")
    assert "WRONG-ACCEPT client-none raw TLS 1.3" in done.stdout
    assert re.search(r"make: \*\*\* .*Error 1", done.stderr)
    assert workshop.server_id() == server


def test_the_matrix_takes_the_server_that_runs(workshop: Workshop) -> None:
    assert workshop.make("up", "MODE=off", "SERVER=stock", COLUMNS="20").returncode == 0  # ps heeds it
    done = workshop.make("matrix", "MODE=off", "PROBE=raw")
    assert done.returncode == 0, done.stderr
    assert "SERVER=stock" in done.stdout


def test_probe_and_explain(workshop: Workshop) -> None:
    workshop.up()
    done = workshop.make("probe", "S=client-none", "PROBE=openssl", "TLS=1.2")
    assert done.stdout.startswith("printf 'GET /whoami")
    assert "outcome: refused by server (handshake_failure)" in done.stdout
    assert "RFC 5280" in workshop.make("explain", "S=client-expired").stdout
    wrong = workshop.make("explain", "S=client-expird")
    assert "did you mean client-expired?" in wrong.stderr
    assert re.search(r"make: \*\*\* .*Error 2", wrong.stderr)


def test_what_is_typed_is_data(workshop: Workshop) -> None:
    """A shell's characters in a knob are no shell's, and a dash makes no option of it."""
    value = "-x'\"b;$(touch broken)$(shell touch broken)"
    for arguments, fact in (
        (("rotate", f"WHAT={value}"), "error: unknown WHAT: '"),
        (("revoke", f"CREDENTIAL={value}"), "error: could not revoke "),
        (("revoke", "CREDENTIAL=client-good", f"REASON={value}"), "error: could not revoke client-good: "),
        (("unrevoke", f"CREDENTIAL={value}"), "error: could not "),
        (("show", f"NAME={value}"), "error: could not "),
        (("explain", f"S={value}"), "error: could not find "),
        (("probe", f"S={value}", "PROBE=raw"), "error: could not find "),
        (("probe", "S=client-good", f"PROBE={value}"), "error: could not find the probe "),
        (("matrix", f"PROBE=raw,{value}"), "error: could not find the probe "),
    ):
        done = workshop.make(*arguments)
        assert done.returncode == 2, arguments
        assert fact in done.stderr, (arguments, done.stderr)
        assert "\n  try: make " in done.stderr
    assert not (workshop.folder / "broken").exists()


def test_list_show_status_logs(workshop: Workshop) -> None:
    assert workshop.make("list").stdout.count("\n") == EVERYTHING
    assert "CN=client-good" in workshop.make("show", "NAME=client-good").stdout
    assert re.search("running, pid|Up ", workshop.make("status").stdout)
    log = workshop.make("logs").stdout
    assert "handshake_refused" in log
    assert "PRIVATE" not in log


def test_shell_has_clients_and_files(workshop: Workshop) -> None:
    script = (
        "curl -sS --cacert certs/public_root.pem --cert certs/clients/client-good/fullchain.pem "
        f"--key certs/clients/client-good/privkey.pem https://localhost:{workshop.port}/; "
        "python3 -c 'import requests; print(requests.__version__)'\nexit\n"
    )
    command = (
        ["docker", "compose", "run", "--rm", "-T", "--no-deps", "shell", "sh", "-c", script]
        if workshop.runtime == "compose"
        else ["sh", "-c", f"make -s shell <<'E'\n{script}E"]
    )
    done = workshop.run(*command)
    assert "Hello, client-good!" in done.stdout, done.stderr
    assert re.search(r"\d+\.\d+\.\d+$", done.stdout, re.M)


def test_certs_are_copied_safely(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "my certs"
    assert workshop.make("certs", f"OUT={out}").returncode == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"public_root.pem", "validation_fullchain.pem", "validation_root.pem", "manifest.json"} <= names
    assert {f"clients/client-expired/{name}.pem" for name in ("cert", "chain", "fullchain", "privkey")} <= names
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.rglob("*"))
    mine = out / "clients/client-good/notes.txt"
    mine.touch()
    (out / "manifest.json").write_text('{"catalogue_sha256": "of an older lab"}')
    done = workshop.make("certs", f"OUT={out}")
    assert "were stale: copied again" in done.stderr
    assert "up to date" in workshop.make("certs", f"OUT={out}").stderr


def test_certs_do_not_overwrite_what_is_not_theirs(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = workshop.make("certs", f"OUT={tmp_path}")
    assert "exists and is no copy made by make certs\n  try: make certs OUT=certs" in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_further_names(workshop: Workshop) -> None:
    server = workshop.server_id()
    text = workshop.up("LAB_SERVER_NAMES=lab.example")
    assert "issued server-good: what it should say has changed" in text
    assert workshop.server_id() != server
    url = f"https://lab.example:{workshop.port}/whoami"
    resolve = f"lab.example:{workshop.port}:127.0.0.1"
    good = "certs/clients/client-good"
    done = workshop.run(
        *("curl", "-sS", "--noproxy", "*", "--resolve", resolve, "--cacert", "certs/public_root.pem"),
        *("--cert", f"{good}/fullchain.pem", "--key", f"{good}/privkey.pem", url),
    )
    assert "CN=client-good" in done.stdout, done.stderr
    bad = workshop.make("up", "LAB_SERVER_NAMES=a_b")
    assert "'a_b' is neither a DNS name nor an IP address" in bad.stderr


def test_an_env_file_sets_the_knobs_and_the_command_line_wins(workshop: Workshop) -> None:
    port = unused_port()
    (workshop.folder / ".env").write_text(f"MODE=optional\nSERVER=stock\nPORT={port}\nUVICORN_LOOP=asyncio\n")
    environ = {k: v for k, v in workshop.environ.items() if k != "PORT"}
    alone = Workshop(workshop.folder, workshop.runtime, environ)
    text = alone.up()
    assert f"https://localhost:{port}" in text
    assert "optional (SERVER=stock" in text
    assert "--loop asyncio" in text
    assert "off (SERVER=stock" in alone.up("MODE=off")
    (workshop.folder / ".env").unlink()


def test_a_failed_up_leaves_the_server_alone(workshop: Workshop) -> None:
    workshop.up()
    server = workshop.server_id()
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert workshop.make("up", f"PORT={other.getsockname()[1]}").returncode == 2
    for knob in ("LAB_VERIFY_STRICT=yes", "LAB_TRUSTED_PROXY=dns:*", "LAB_PROXY_HEADER=client_cert"):
        assert workshop.make("up", knob).returncode == 2
    assert workshop.make("up", "LAB_TRUSTED_PROXY=dns:proxy.example", "MODE=off").returncode == 2
    assert workshop.server_id() == server
    assert workshop.make("probe", "S=client-good", "PROBE=raw").stdout.endswith("outcome: authenticated\n")


def test_a_server_that_can_not_start_is_not_waited_for(workshop: Workshop) -> None:
    bad = "none-at-all"
    override = workshop.folder / "docker-compose.override.yml"  # what a local server takes from make's environment
    override.write_text(f"services: {{server: {{environment: {{UVICORN_SSL_CIPHERS: {bad}}}}}}}\n")
    start = time.monotonic()
    done = workshop.make("up", UVICORN_SSL_CIPHERS=bad)
    override.unlink()
    assert done.returncode == 2
    assert "UVICORN_SSL_CIPHERS: OpenSSL knows no cipher suite" in done.stderr
    assert "error: the server does not run: its log is above" in done.stderr
    assert time.monotonic() - start < 30
    workshop.up()


def test_a_damaged_copy_is_mended(workshop: Workshop) -> None:
    key = workshop.folder / "certs/clients/client-good/privkey.pem"
    before = key.read_bytes()
    key.unlink()
    assert "certificates in certs were stale: copied again" in workshop.up()
    assert key.read_bytes() == before


def test_a_port_in_use(workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = workshop.make("up", f"PORT={port}")
    assert f"error: could not start the server: port {port} is in use by another program" in done.stderr
    assert "\n  try: make up PORT=" in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)


def test_down_then_matrix_says_how_to_start(workshop: Workshop) -> None:
    workshop.up()
    assert workshop.make("down").returncode == 0
    done = workshop.make("matrix")
    assert "\n  try: make up" in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)


def test_without_a_server_there_is_no_shell_beside_it(workshop: Workshop) -> None:
    workshop.make("down")
    if workshop.runtime == "compose":
        assert "the server, whose network it shares, does not run\n  try: make up" in workshop.make("shell").stderr
    else:
        assert workshop.make("shell").returncode == 0


def test_from_nothing_running(workshop: Workshop) -> None:
    done = workshop.make("test-optional", "PROBE=raw")
    assert done.returncode == 0, done.stderr
    assert re.search(all_pass("raw"), done.stdout)


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ("MODE=requird", "unknown MODE: 'requird' is none of off, optional, required"),
        ("SERVER=plain", "unknown SERVER: 'plain' is neither explained nor stock"),
        ("PORT=http", "unusable PORT: 'http' is no port number"),
        ("PORT=70000", "unusable PORT: '70000' is no port number"),
        ("UVICORN_LOOP=trio", "unknown UVICORN_LOOP: 'trio' is none of auto asyncio uvloop"),
        ("LAB_SESSION_TICKETS=yes", "unknown LAB_SESSION_TICKETS: 'yes' is none of 0 1"),
        (
            "LAB_TRUSTED_PROXY=bob",
            "unusable LAB_TRUSTED_PROXY: 'bob' is neither dns: and a DNS name nor uri: and a URI",
        ),
        ("LAB_HANDSHAKE_TIMEOUT_S=soon", "unusable LAB_HANDSHAKE_TIMEOUT_S: 'soon' is no number of seconds"),
        ("RUNTIME=podman", "unknown RUNTIME: 'podman' is neither compose nor local"),
    ],
)
def test_bad_knobs(workshop: Workshop, knob: str, message: str) -> None:
    done = workshop.make("up", knob)
    assert f"error: {message}" in done.stderr
    assert "\n  try: make up " in done.stderr
    assert re.search(r"make: \*\*\* .*Error 2", done.stderr)


def test_clean_leaves_nothing(workshop: Workshop) -> None:
    venv = (workshop.folder / ".venv").resolve()
    assert workshop.make("clean").returncode == 0
    assert not [name for name in (".lab", ".venv", "certs", "reports") if (workshop.folder / name).exists()]
    if workshop.runtime == "compose":
        project = workshop.environ["COMPOSE_PROJECT_NAME"]
        for kind in (("volume", "ls"), ("ps", "-a"), ("network", "ls")):
            listed = workshop.run("docker", *kind, "-q", "--filter", f"label=com.docker.compose.project={project}")
            assert listed.stdout == ""
        assert workshop.run("docker", "images", "-q", f"{project}-*").stdout == ""
    (workshop.folder / ".venv").symlink_to(venv)  # for what comes after
