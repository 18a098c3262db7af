"""Issuing is atomic and idempotent: nothing that is good is lost, and nothing half-written is ever read."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from judging import content
from running import ROOT, THOROUGH

import ca.store
import catalogue
from ca.credentials import AUTHORITIES, SERVERS
from ca.issue import Issuance, issue, parse_names, serving
from ca.recipe import PASS_PHRASE
from ca.revocation import revoke
from ca.store import CERT, CHAIN, FULLCHAIN, KEY, Store
from catalogue import LabError
from catalogue import manifest as manifests

EVERYTHING = 85


def run(folder: Path, names: str = "", path: Path = catalogue.DEFAULT_PATH) -> Issuance:
    return issue(catalogue.load(path), Store(folder), names, say=lambda _: None)


@pytest.fixture
def lab(tmp_path: Path, state: Path) -> Path:
    """A folder of the test's own in which everything is issued."""
    return Path(shutil.copytree(state, tmp_path / "lab"))


def how_many_issued(folder: Path) -> int:
    return len(run(folder).issued)


def generation(done: Issuance, name: str = "server-good", trust: str = "validation_fullchain") -> str:
    return serving(done, catalogue.load(), name, trust)["LAB_GENERATION"]


def assert_whole(folder: Path) -> None:
    """Everything that the manifest names is there, is what it says, and fits its key."""
    store = Store(folder)
    manifest = manifests.load(store.client / manifests.NAME)
    assert set(catalogue.load().credentials) <= set(manifest.credentials)
    for name, issued in manifest.credentials.items():
        pem = (store.folder(issued.role, name) / "cert.pem").read_bytes()
        assert f"{x509.load_pem_x509_certificate(pem).serial_number:x}" == issued.serial
    assert not list(folder.rglob(".writing-*"))


def test_a_second_issue_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = content(tmp_path)
    second = run(tmp_path)
    assert (len(first.issued), first.kept) == (EVERYTHING, 0)
    assert (len(second.issued), second.kept) == (0, EVERYTHING)
    assert content(tmp_path) == before
    assert generation(first) == generation(second)
    assert first.client_digest == second.client_digest
    assert_whole(tmp_path)


def test_the_digest_of_what_clients_read_follows_it(lab: Path) -> None:
    before = run(lab).client_digest
    revoke(Store(lab), "client-good")
    revoked = run(lab).client_digest
    (lab / "client-tls/clients/client-good/cert.pem").unlink()
    issued_again = run(lab).client_digest
    assert len({before, revoked, issued_again}) == 3
    assert run(lab).client_digest == issued_again


def test_modes_of_folders_and_keys(tmp_path: Path) -> None:
    os.umask(0o022)
    run(tmp_path)
    for folder in ("ca-private", "server-tls", "client-tls", "proxy-tls"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
    keys = list(tmp_path.rglob("privkey.pem"))
    assert len(keys) == EVERYTHING
    assert all(key.stat().st_mode & 0o777 == 0o600 for key in keys)
    assert not list((tmp_path / "server-tls").rglob("client-*"))
    assert {path.name for path in (tmp_path / "proxy-tls").iterdir()} == {CERT, CHAIN, FULLCHAIN, KEY}
    ca_keys = {key.read_bytes() for key in (tmp_path / "ca-private").rglob("privkey.pem")}
    assert not ca_keys & {
        key.read_bytes()
        for part in ("server-tls", "client-tls", "proxy-tls")
        for key in (tmp_path / part).rglob("*.pem")
    }


def test_killed_at_any_moment_the_next_run_completes_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    real, count = ca.store.os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == limit:
            raise Killed
        real(source, target)

    monkeypatch.setattr(ca.store.os, "replace", replace)
    limit = 0
    run(tmp_path / "all")
    total = count
    assert total > 4 * EVERYTHING
    for limit in (*range(1, total, total // (20 if THOROUGH else 5)), total):
        count = 0
        folder = tmp_path / str(limit)
        with pytest.raises(Killed):
            run(folder)
        assert not (folder / "client-tls" / manifests.NAME).exists()
        roots = {p: p.read_bytes() for p in folder.glob("ca-private/*-root/cert.pem")}
        count = -total * 2
        run(folder)
        assert_whole(folder)
        assert all(p.read_bytes() == data for p, data in roots.items())  # a whole root is never made twice


def test_killed_while_an_expired_intermediate_is_replaced(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    real_datetime, real_replace = ca.issue.datetime, ca.store.os.replace

    class Later(real_datetime):  # type: ignore[misc,valid-type]
        @classmethod
        def now(cls, tz: object = None) -> object:
            return real_datetime.now(tz) + 731 * ca.recipe.DAY

    for limit in range(1, 8):
        folder, left = Path(shutil.copytree(state, tmp_path / str(limit))), limit

        def replace(source: Path, target: Path) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            real_replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(ca.issue, "datetime", Later)
            patch.setattr(ca.store.os, "replace", replace)
            with pytest.raises(Killed):
                run(folder)
        run(folder)
        assert_whole(folder)


def test_a_real_kill(tmp_path: Path) -> None:
    environ = os.environ | {"LAB_STATE": str(tmp_path)}
    killed = []
    for delay_s in (0.02, 0.15, 0.2, 0.25):
        process = subprocess.Popen(
            [sys.executable, "-m", "ca", "issue"],
            cwd=ROOT,
            env=environ,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(delay_s)  # not waiting for anything: this is the moment of the kill
        process.send_signal(signal.SIGKILL)
        killed.append(process.wait())
    assert -signal.SIGKILL in killed  # it was still at work
    run(tmp_path)
    assert_whole(tmp_path)


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        done = pool.map(how_many_issued, [tmp_path, tmp_path])
    assert sorted(done) == [0, EVERYTHING]
    assert_whole(tmp_path)


def test_changed_names_touch_the_servers_alone(tmp_path: Path) -> None:
    first = run(tmp_path)
    second = run(tmp_path, "lab.example, 10.0.0.1")
    nameless = {"server-wrong-host", "server-cn-only"}
    assert second.issued == dict.fromkeys(SERVERS.keys() - nameless, "what it should say has changed")
    assert generation(second) != generation(first)
    server = manifests.load(tmp_path / "client-tls/manifest.json").credentials["server-good"]
    assert server.sans[-2:] == ("DNS:lab.example", "IP:10.0.0.1")


def test_what_a_server_is_started_with(tmp_path: Path) -> None:
    done = run(tmp_path)
    known = catalogue.load()
    assert generation(done) != generation(done, "server-expired") != generation(done, trust="validation_root")
    assert "UVICORN_SSL_KEYFILE_PASSWORD" not in serving(done, known, "server-good", "validation_root")
    encrypted = serving(done, known, "server-encrypted-key", "validation_fullchain")
    assert encrypted["UVICORN_SSL_KEYFILE_PASSWORD"] == PASS_PHRASE
    with pytest.raises(LabError, match=r"no such server credential; did you mean server-expired\?\n  try: make up"):
        serving(done, known, "server-expird", "validation_fullchain")
    with pytest.raises(LabError, match=r"no such trust file; did you mean validation_root\?\n  try: make up TRUST="):
        serving(done, known, "server-good", "validation_rot")


def test_issuing_is_quick(tmp_path: Path) -> None:
    """RSA keys included; the time of an RSA key varies, and so does a core's: the best of three counts.

    It computes and waits for nothing, so it is its own time that counts, not that of the tests beside it.
    """
    first, second = [], []
    for attempt in ("a", "b", "c"):
        for times in (first, second):
            start = time.process_time()
            run(tmp_path / attempt)
            times.append(time.process_time() - start)
    assert min(first) < 2
    assert min(second) < 0.3


def test_faulty_signatures_and_keys_are_kept_as_they_are(lab: Path) -> None:
    """What is wrong on purpose is not taken for damage: not the signature, nor the key, nor the order, nor SHA-1."""
    clients = lab / "client-tls/clients"
    assert b"ENCRYPTED PRIVATE KEY" in (clients / "client-encrypted-key/privkey.pem").read_bytes()
    assert run(lab).issued == {}
    (clients / "client-wrong-key/privkey.pem").write_bytes((clients / "client-good/privkey.pem").read_bytes())
    assert run(lab).issued == {}  # still a wrong key
    (clients / "client-encrypted-key/privkey.pem").write_bytes((clients / "client-good/privkey.pem").read_bytes())
    assert list(run(lab).issued) == ["client-encrypted-key"]


def test_a_lost_intermediate_of_a_scenario_is_made_again_and_its_leaf_too(lab: Path) -> None:
    """Nobody imports it, unlike the intermediates of the two PKIs."""
    (lab / "ca-private/expired-intermediate/privkey.pem").unlink()
    issued = run(lab).issued
    assert set(issued) == {"expired-intermediate", "client-expired-intermediate"}
    assert issued["client-expired-intermediate"] == "its issuer expired-intermediate was issued again"
    assert_whole(lab)


def test_prose_re_issues_nothing_but_the_manifest_is_renewed(tmp_path: Path) -> None:
    run(tmp_path / "lab")
    changed = tmp_path / "scenarios.toml"
    changed.write_text(catalogue.DEFAULT_PATH.read_text().replace("A good client", "A fine client"))
    done = run(tmp_path / "lab", path=changed)
    assert done.issued == {}
    assert manifests.load(tmp_path / "lab/client-tls/manifest.json").catalogue_sha256 == catalogue.load(changed).sha256


def test_an_unmade_credential_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "scenarios.toml"
    text = catalogue.DEFAULT_PATH.read_text().replace('credential = "none"', 'credential = "client-expird"')
    changed.write_text(text)
    with pytest.raises(LabError, match=r"nothing makes the credential client-expird; did you mean client-expired\?"):
        run(tmp_path / "lab", path=changed)
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("damage", ["privkey.pem", "cert.pem", "fullchain.pem"])
def test_a_damaged_leaf_is_issued_again(lab: Path, damage: str) -> None:
    (lab / "client-tls/clients/client-good" / damage).write_text("")
    assert run(lab).issued == {"client-good": "its files were missing or damaged"}
    assert_whole(lab)


def test_a_key_of_another_certificate_is_noticed(lab: Path) -> None:
    clients = lab / "client-tls/clients"
    (clients / "client-good/privkey.pem").write_bytes((clients / "client-expired/privkey.pem").read_bytes())
    assert list(run(lab).issued) == ["client-good"]


def test_a_chain_of_another_pki_is_noticed(lab: Path) -> None:
    """Consistent in itself, and wrong: the server's trust file would hide it from the positive control."""
    good, other = (lab / "client-tls/clients" / name for name in ("client-good", "client-public-ca"))
    (good / "chain.pem").write_bytes((other / "chain.pem").read_bytes())
    (good / "fullchain.pem").write_bytes((good / "cert.pem").read_bytes() + (other / "chain.pem").read_bytes())
    assert run(lab).issued == {"client-good": "its chain was damaged"}


def test_a_key_that_others_may_read_is_mended(lab: Path) -> None:
    key = lab / "client-tls/clients/client-good/privkey.pem"
    key.chmod(0o644)
    assert run(lab).issued == {}
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ledger", ["", '{"format": 1}'])
def test_a_damaged_root_is_an_error_without_a_ledger_too(lab: Path, ledger: str) -> None:
    """After an update the old ledger can't be read; that must not replace what people imported."""
    (lab / "ca-private/ledger.json").write_text(ledger)
    (lab / "ca-private/validation-root/privkey.pem").write_text("")
    with pytest.raises(LabError, match="could not keep validation-root"):
        run(lab)


def test_a_lost_root_is_an_error_not_a_new_root(lab: Path) -> None:
    (lab / "ca-private/validation-root/privkey.pem").unlink()
    with pytest.raises(LabError, match=r"could not keep validation-root: .*\n  try: make clean up"):
        run(lab)


def test_a_lost_ledger_keeps_the_roots(lab: Path) -> None:
    (lab / "ca-private/ledger.json").unlink()
    issued = run(lab).issued
    assert not issued.keys() & {recipe.name for recipe in AUTHORITIES}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 2, "credentials": {"a": {}}}'])
def test_a_corrupt_ledger_loses_no_root(lab: Path, text: str) -> None:
    roots = {path: path.read_bytes() for a in AUTHORITIES if (path := lab / f"ca-private/{a.name}/cert.pem")}
    (lab / "ca-private/ledger.json").write_text(text)
    said: list[str] = []
    issue(catalogue.load(), Store(lab), say=said.append)
    old = "its format is 1, not 2" if text == '{"format": 1}' else "it is corrupt"
    assert said[0].startswith(f"ledger.json can't be used ({old}")
    assert {path: path.read_bytes() for path in roots} == roots
    assert_whole(lab)


def test_time_runs_out(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the lifetime later, what should be valid is issued again; what is expired stays expired."""
    real = ca.issue.datetime

    class Later(real):  # type: ignore[misc,valid-type]
        @classmethod
        def now(cls, tz: object = None) -> object:
            return real.now(tz) + 65 * ca.recipe.DAY

    monkeypatch.setattr(ca.issue, "datetime", Later)
    issued = run(lab).issued
    assert {"server-good", "healthcheck", "client-good"} <= set(issued)
    assert not {"client-expired", "client-not-yet-valid", "validation-root", "validation-intermediate"} & set(issued)


def test_an_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca-private").write_text("a file where a folder should be")
    with pytest.raises(LabError, match=r"could not write .*ca-private: File exists"):
        run(tmp_path)


def test_names() -> None:
    assert parse_names(" A.example ,10.0.0.1,,::1") == ("DNS:a.example", "IP:10.0.0.1", "IP:::1")
    for bad in ("a b", "-a.example", "a..b", "https://a", "a_b", "x" * 64):
        with pytest.raises(LabError, match="LAB_SERVER_NAMES"):
            parse_names(bad)


def test_show_and_list(state: Path) -> None:
    def ca_program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ca", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | {"LAB_STATE": str(state)}, capture_output=True, text=True
        )

    assert ca_program("list").stdout.count("\n") == EVERYTHING
    shown = ca_program("show", "client-expired").stdout
    assert "CN=client-expired" in shown
    assert "BEGIN CERTIFICATE" in shown
    assert "PRIVATE" not in shown
    missing = ca_program("show", "client-expird")
    assert missing.returncode == 2
    assert missing.stderr == (
        "error: could not show client-expird: no such certificate; did you mean client-expired?\n  try: make list\n"
    )
