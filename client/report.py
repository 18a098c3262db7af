"""A matrix as JSON, for programs, and as JUnit XML, for CI."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from catalogue import Expectation, LabError, Mode
from client.judge import Result, Verdict
from client.matrix import Matrix
from client.observe import Observed

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


def write(matrix: Matrix, runtime: str, folder: Path) -> None:
    """Write `<mode>.json` and `<mode>.xml`, each as a whole.

    Raises:
        LabError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / f"{matrix.mode}.json", json.dumps(document(matrix, runtime), indent=2) + "\n")
        _replace(folder / f"{matrix.mode}.xml", junit(matrix))
    except OSError as error:
        fact = error.strerror or str(error)
        raise LabError(f"could not write {error.filename}", fact, f"ls -ld {folder}") from None


def remove(mode: Mode, folder: Path) -> None:
    """Remove a mode's reports, so that none outlives a run that could not judge."""
    for kind in ("json", "xml"):
        (folder / f"{mode}.{kind}").unlink(missing_ok=True)


def document(matrix: Matrix, runtime: str) -> dict[str, Any]:
    """Return the JSON document."""
    return {
        "mode": matrix.mode,
        "server": matrix.server,
        "runtime": runtime,
        "versions": matrix.versions,
        "duration_s": round(matrix.duration_s, 3),
        "results": [_result(result) for result in matrix.results],
    }


def junit(matrix: Matrix) -> str:
    """Return JUnit XML: a failure for a verdict that differs, an error for what could not be judged."""
    suite = TestSuite(f"mtls-lab {matrix.mode} {matrix.server}")
    for result in matrix.results:
        case = TestCase(f"{result.scenario} {result.probe} TLS {result.tls}", f"{matrix.mode}.{result.scenario}")
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


def _result(result: Result) -> dict[str, Any]:
    return {
        "scenario": result.scenario,
        "probe": result.probe,
        "tls": result.tls,
        "expected": _seen(result.expected),
        "observed": _seen(result.observed),
        "verdict": result.verdict,
        "reason": result.reason,
        "detail": result.observed.detail if result.observed else "",
        "command": result.command,
    }


def _seen(what: Expectation | Observed | None) -> dict[str, Any]:
    return {name: getattr(what, name, None) for name in ("outcome", "alert", "verify_code")}


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".writing-{path.name}")
    temporary.write_text(text)
    os.replace(temporary, path)
