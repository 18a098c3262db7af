"""The Postman collection opens in the app, and what newman reports of it is judged rightly."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from running import ROOT

from catalogue import LabError, Mode
from client.postman import judge
from client.postman.runs import COLLECTION, ENVIRONMENT, Run, runs

LOADED = json.loads((ROOT / COLLECTION).read_text())
VALUES = {value["key"]: value["value"] for value in json.loads((ROOT / ENVIRONMENT).read_text())["values"]}
EVERY = [(mode, run) for mode in Mode for run in runs(mode, 8443, "/tmp/bundles")]


def requests_of(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "item" not in item:
        yield item
    for child in item.get("item", ()):
        yield from requests_of(child)


def test_the_collection_is_of_version_2_1() -> None:
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    assert LOADED["info"]["schema"] == schema
    assert set(LOADED) == {"info", "item"}
    assert [folder["name"] for folder in LOADED["item"]] == ["1 off", "2 optional", "3 required", "Look closer"]
    for request in requests_of(LOADED):
        assert set(request) == {"name", "event", "request"}
        url = request["request"]["url"]
        assert url["raw"] == f"{url['protocol']}://{url['host'][0]}:{url['port']}/{'/'.join(url['path'])}"
    environment = json.loads((ROOT / ENVIRONMENT).read_text())
    assert environment["_postman_variable_scope"] == "environment"
    assert all(value["enabled"] and value["value"] for value in environment["values"])


def test_each_request_has_a_test() -> None:
    for request in requests_of(LOADED):
        (event,) = request["event"]
        assert event["listen"] == "test"
        assert "pm.test(" in "\n".join(event["script"]["exec"]), request["name"]


def test_every_variable_is_defined_and_used() -> None:
    text = (ROOT / COLLECTION).read_text()
    used = re.findall(r"{{(\w+)}}", text) + re.findall(r"variables\.get\(\\\"(\w+)\\\"", text)
    assert set(used) == set(VALUES)


def test_nothing_of_a_machine_is_inside() -> None:
    text = (ROOT / COLLECTION).read_text() + (ROOT / ENVIRONMENT).read_text()
    assert not re.search(r"/(home|Users|tmp|work|root|lab)/|[A-Z]:\\\\|BEGIN |file://", text)
    assert {request["request"]["url"]["host"][0] for request in requests_of(LOADED)} == {"{{host}}", "{{bare_host}}"}
    assert VALUES == {"host": "localhost", "bare_host": "127.0.0.1", "port": "8443", "client": "client-good"}


def test_newman_is_pinned_with_hashes_and_without_addresses() -> None:
    wanted = json.loads((ROOT / "client/postman/package.json").read_text())["dependencies"]
    locked = json.loads((ROOT / "client/postman/package-lock.json").read_text())["packages"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", wanted["newman"])
    assert locked[""]["dependencies"] == wanted
    packages = [package for name, package in locked.items() if name]
    assert len(packages) > 100
    assert all(package["integrity"].startswith("sha512-") and "resolved" not in package for package in packages)


@pytest.mark.parametrize(("mode", "run"), EVERY, ids=[f"{mode}-{run.name}" for mode, run in EVERY])
def test_a_run_is_possible(mode: Mode, run: Run) -> None:
    assert judge.assertions_of(LOADED, run.folders) > 0
    command = run.command(8443, "reports/postman/x")
    assert not {"--insecure", "-k"} & set(command)
    assert ("--ssl-extra-ca-certs" in command) == run.trust
    assert ("--ssl-client-cert-list" in command) == bool(run.entries)
    assert [other.name for m, other in EVERY if m is mode].count(run.name) == 1


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_is_tried_with_and_without_certificate_in_every_way(mode: Mode) -> None:
    mine = [run for m, run in EVERY if m is mode]
    ways = {"none" if not (run.entries or "--ssl-client-cert" in run.options) else "some" for run in mine}
    ways |= {key for run in mine for entry in run.entries or () for key in entry}
    ways |= {option for run in mine for option in run.options}
    assert {"none", "some", "cert", "pfx", "--ssl-client-cert", "--ssl-client-key"} <= ways


RUN = Run("a-run", "", ("a folder",))
REFUSED = replace(RUN, errors=("alert 116",))
GREEN = judge.Seen(0, 2, (), ())
RED = judge.Seen(1, 2, (), ("alert 116",))


@pytest.mark.parametrize(
    ("run", "seen", "said"),
    [
        (RUN, GREEN, None),
        (REFUSED, RED, None),
        (replace(RUN, failed=1), replace(GREEN, exit_status=1, failed=("answered",)), None),
        (replace(RUN, errors=("mac verify failure",)), replace(RED, errors=("X mac verify failure",)), None),
        (RUN, replace(GREEN, assertions=0), "0 assertions ran, of 2"),
        (RUN, replace(GREEN, assertions=1), "1 assertions ran, of 2"),
        (RUN, replace(GREEN, exit_status=1, failed=("answered",)), "1 failed, not 0: answered"),
        (replace(RUN, failed=1), GREEN, "0 failed, not 1"),
        (RUN, RED, "requests failed with alert 116, not nothing"),
        (REFUSED, GREEN, "requests failed with nothing, not alert 116"),
        (REFUSED, replace(RED, errors=("alert 45",)), "requests failed with alert 45, not alert 116"),
        (REFUSED, replace(RED, errors=("alert 1166",)), "requests failed with alert 1166, not alert 116"),
        (REFUSED, replace(RED, errors=("alert 116",) * 2), "requests failed with alert 116, alert 116, not alert 116"),
        (RUN, replace(GREEN, exit_status=1), "newman exited with 1, not 0"),
        (REFUSED, replace(RED, exit_status=0), "newman exited with 0, not 1"),
    ],
)
def test_what_differs_is_said(run: Run, seen: judge.Seen, said: str | None) -> None:
    different = judge.differences(run, seen, 2)
    assert said in different if said else not different


def test_a_run_without_assertions_is_never_as_expected() -> None:
    assert judge.differences(RUN, replace(GREEN, assertions=0), 0)


def report(folder: Path, *failures: dict[str, Any]) -> Path:
    """Write what newman would: its statistics and failures."""
    path = folder / "report.json"
    path.write_text(json.dumps({"run": {"stats": {"assertions": {"total": 2}}, "failures": failures}}))
    return path


def test_a_report_is_read(tmp_path: Path) -> None:
    alert = {"message": "80:error:0A00045C:SSL routines::tlsv13 alert:../ssl/x.c:9:SSL alert number 116\n", "code": "E"}
    path = report(
        tmp_path,
        {"at": "request", "error": alert},
        {"at": "request", "error": {"message": "mac verify failure"}},
        {"at": "assertion:0 in test-script", "error": {"name": "AssertionError", "test": "answered", "message": "no"}},
    )
    assert judge.read(RUN, 1, path) == judge.Seen(1, 2, ("answered",), ("alert 116", "mac verify failure"))


@pytest.mark.parametrize(
    ("exit_status", "failures", "fact"),
    [
        (2, (), "newman exited with 2"),
        (0, None, "newman's report can't be read"),
        (1, ({"at": "request", "error": {"message": "connect", "code": "ECONNREFUSED"}},), "was not reached"),
    ],
)
def test_what_is_no_outcome_is_not_judged(
    tmp_path: Path, exit_status: int, failures: tuple[dict[str, Any], ...] | None, fact: str
) -> None:
    path = tmp_path / "absent.json" if failures is None else report(tmp_path, *failures)
    with pytest.raises(LabError, match=fact):
        judge.read(RUN, exit_status, path)
