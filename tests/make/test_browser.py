"""Real browsers in each mode, what they may read, and the commands for a person's own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest
from workshop import Workshop, compose, copied

from browser.checks import SESSIONS


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with copied(tmp_path_factory.mktemp("copy"), "browser", "compose") as workshop:
        yield workshop


class TestBrowser:
    """One session, in this order."""

    pytestmark = [*compose]

    def test_every_mode(self, lab: Workshop) -> None:
        done = lab.make("test-browser")
        assert done.returncode == 0, done.stdout + done.stderr
        folder = lab.folder / "reports/browser"
        seen = {}
        for mode in ("off", "optional", "required"):
            rows = json.loads((folder / f"{mode}.json").read_text())
            assert {row["verdict"] for row in rows} == {"PASS"}
            assert 'failures="0"' in (folder / f"{mode}.xml").read_text()
            seen |= {(row["browser"], row["check"]): row for row in rows}
        checks = [(b, check) for session in SESSIONS for b in session.browsers for check in session.checks]
        assert set(seen) == {(browser, check.id) for browser, check in checks}
        for browser, check in checks:
            pictures = [f"{browser}-{check.id}.png"]
            pictures += [f"{browser}-{check.id}-dialog.png"] if check.answer else []
            assert sorted(seen[browser, check.id]["pictures"]) == sorted(pictures)
            assert all((folder / picture).stat().st_size > 4000 for picture in pictures)
        accepted = seen["chromium", "required-accept"]["seen"]
        assert {"a question: yes", "the page says: client-good", "certificates sent: [1]"} <= set(accepted)

    def test_it_goes_red_and_names_the_check(self, lab: Workshop) -> None:
        """The checks of mode required, at a server in mode off."""
        lab.up("MODE=off")
        run = ["sh", "scripts/compose-run.sh", "browser", "--mode", "required", "--browser", "chromium"]
        done = lab.run(*run, "--check", "required-accept")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "FAIL chromium required-accept: a question: expected yes, saw no" in done.stdout
        assert "FAIL chromium required-accept: the page says: expected client-good, saw anonymous" in done.stdout
        assert "FAIL chromium required-accept: asked for a certificate: expected yes, saw no" in done.stdout
        assert "see reports/browser/chromium-required-accept.png" in done.stdout

    def test_a_browser_reads_no_server_key_and_is_locked_in(self, lab: Workshop) -> None:
        script = "id -u; ls /lab; touch /app/x; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"
        done = lab.run(
            "docker", "compose", "run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "browser", "-c", script
        )
        text = done.stdout + done.stderr
        assert done.stdout.split()[:4] == ["10001", "certs", "client-tls", "reports"]
        assert "Read-only file system" in text
        assert re.search(r"CapEff:\t0+\nNoNewPrivs:\t1\nSeccomp:\t2\n", text)

    def test_the_commands_for_linux_do_what_they_say(self, lab: Workshop) -> None:
        printed = lab.make("browser", "FOR=linux")
        assert printed.returncode == 0, printed.stderr
        commands = re.findall(r"^ +(?:\w+ +)?((?:mkdir|certutil|pk12util) .*)$", printed.stdout, re.M)
        assert len(commands) == 7
        into, out_of = commands[:4], commands[4:]
        script = "; ".join(
            [*into, "certutil -L -d sql:$HOME/.pki/nssdb", *out_of, "echo ---", "certutil -L -d sql:$HOME/.pki/nssdb"]
        )
        certs = lab.folder / "certs"
        options = ["--user", f"{os.getuid()}:{os.getgid()}", "-e", "HOME=/tmp/home", "-v", f"{certs}:{certs}:ro"]
        command = ["docker", "compose", "run", "--rm", "-T", "--no-deps", *options, "--entrypoint", "sh", "browser"]
        imported, _, removed = lab.run(*command, "-ec", script).stdout.partition("---")
        assert re.search(r"client-good +u,u,u\s", imported), imported
        assert re.search(r"mtls-lab-root +C,,\s", imported)
        assert not re.search("client-good|mtls|mTLS Lab", removed)


def test_without_docker_it_says_so(lab: Workshop) -> None:
    done = lab.make("test-browser", RUNTIME="local")
    assert done.returncode == 2
    assert "error: make test-browser needs Docker" in done.stderr
