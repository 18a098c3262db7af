"""A matrix as JSON, for programs, as JUnit XML, for CI, and as an HTML page, for people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from catalogue import Expectation, LabError, Scenario
from client.judge import Result, Verdict
from client.lab import knobs
from client.matrix import Matrix
from client.observe import Observed
from client.page import page

KINDS = ("json", "xml", "html")
_OUTPUT_CHARACTERS = 6000
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


def write(matrix: Matrix, runtime: str, folder: Path) -> None:
    """Write `<name>.json`, `<name>.xml` and `<name>.html`, each as a whole.

    Raises:
        LabError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        told = document(matrix, runtime)
        _replace(folder / f"{matrix.name}.json", json.dumps(told, indent=2) + "\n")
        _replace(folder / f"{matrix.name}.xml", junit(matrix))
        _replace(folder / f"{matrix.name}.html", page(told))
    except OSError as error:
        fact = error.strerror or str(error)
        raise LabError(f"could not write {error.filename}", fact, f"ls -ld {folder}") from None


def remove(name: str, folder: Path) -> None:
    """Remove a matrix's reports, so that none outlives a run that could not judge."""
    for kind in KINDS:
        (folder / f"{name}.{kind}").unlink(missing_ok=True)


def document(matrix: Matrix, runtime: str) -> dict[str, Any]:
    """Return the JSON document."""
    scenarios = [matrix.catalogue.scenarios[id_] for id_ in dict.fromkeys(r.scenario for r in matrix.results)]
    return {
        "run": matrix.name,
        "mode": matrix.mode,
        "server": matrix.server,
        "runtime": runtime,
        "started": matrix.started.isoformat(timespec="seconds"),
        "duration_s": round(matrix.duration_s, 3),
        "versions": matrix.versions,
        "lessons": matrix.catalogue.lessons,
        "scenarios": {scenario.id: _scenario(scenario) for scenario in scenarios},
        "results": [_result(result) for result in matrix.results],
    }


def junit(matrix: Matrix) -> str:
    """Return JUnit XML: a failure for a verdict that differs, an error for what could not be judged."""
    suite = TestSuite(f"mtls-lab {matrix.name} {matrix.server}")
    for result in matrix.results:
        case = TestCase(f"{result.scenario} {result.probe} TLS {result.tls}", f"{matrix.name}.{result.scenario}")
        if result.verdict is None:
            case.result = [Error(result.reason)]
        elif result.verdict is Verdict.SKIP:
            case.result = [Skipped(result.reason)]
        elif result.verdict is not Verdict.PASS:
            case.result = [Failure(result.reason, result.verdict)]
        suite.add_testcase(case)
    suite.time = round(matrix.duration_s, 3)
    xml = JUnitXml()
    xml.add_testsuite(suite)
    text: bytes | str = xml.tostring()  # type: ignore[no-untyped-call]
    return _DECLARATION + (text.decode() if isinstance(text, bytes) else text)


def rfc_url(clause: str) -> str:
    """Return the address of a clause: of `RFC 5280 6.1.3 (a)(2)`, the section 6.1.3 of RFC 5280."""
    _, number, section, *_ = clause.split()
    return f"https://www.rfc-editor.org/rfc/rfc{number}#section-{section}"


def _scenario(scenario: Scenario) -> dict[str, Any]:
    texts = ("title", "lesson", "what", "why", "look", "cure", "dangerous")
    return {name: getattr(scenario, name) for name in texts} | {
        "rfc": [{"text": clause, "url": rfc_url(clause)} for clause in scenario.rfc],
        "up": f"make up {knobs(scenario.server)}" if knobs(scenario.server) else "",
    }


def _result(result: Result) -> dict[str, Any]:
    observed = result.observed
    return {
        "scenario": result.scenario,
        "probe": result.probe,
        "tls": result.tls,
        "expected": _seen(result.expected) | {"or_not_presented": result.expected.or_not_presented},
        "observed": _seen(observed),
        "verdict": result.verdict,
        "reason": result.reason,
        "detail": observed.detail if observed else "",
        "output": observed.output[-_OUTPUT_CHARACTERS:] if observed else "",
        "exit_status": observed.exit_status if observed else None,
        "command": result.command,
        "log": (observed.log or None) if observed else None,
        "log_is_own": bool(observed and observed.local_port),
    }


def _seen(what: Expectation | Observed | None) -> dict[str, Any]:
    return {name: getattr(what, name, None) for name in ("outcome", "alert", "verify_code", "problem")}


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".writing-{path.name}")
    temporary.write_text(text)
    os.replace(temporary, path)
