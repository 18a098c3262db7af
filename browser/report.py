"""The results as a table for people, as JSON for programs and as JUnit XML for CI."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from browser.checks import BROWSERS
from browser.result import Result
from catalogue import Mode

KINDS = ("json", "xml")


def table(mode: Mode, results: Sequence[Result]) -> str:
    """Return a row for each check and a column for each browser; below, what differs."""
    browsers = [browser for browser in BROWSERS if any(r.browser == browser for r in results)]
    checks = list(dict.fromkeys(r.check.id for r in results))
    width = max(16, *(len(id_) for id_ in checks))
    verdicts = {(r.check.id, r.browser): "FAIL" if r.differs else "PASS" for r in results}
    says = {r.check.id: r.check.says for r in results}
    lines = [f" mode {mode:<{width - 5}}  {'':58}" + "".join(f"  {browser:<8}" for browser in browsers)]
    for id_ in checks:
        cells = "".join(f"  {verdicts.get((id_, browser), '-'):<8}" for browser in browsers)
        lines.append(f" {id_:<{width}}  {says[id_]:<58}{cells}")
    for result in results:
        if result.differs:
            lines += [f" FAIL {result.browser} {result.check.id}: {fact}" for fact in result.differs]
            lines += [f"      see reports/browser/{picture}" for picture in result.pictures]
    return "\n".join(line.rstrip() for line in lines)


def write(mode: Mode, results: Sequence[Result], folder: Path) -> None:
    """Write `<mode>.json` and `<mode>.xml`, each as a whole."""
    rows = [
        {
            "mode": mode,
            "browser": r.browser,
            "check": r.check.id,
            "says": r.check.says,
            "verdict": "FAIL" if r.differs else "PASS",
            "seen": r.seen,
            "differs": r.differs,
            "pictures": r.pictures,
            "duration_s": round(r.duration_s, 3),
        }
        for r in results
    ]
    _replace(folder / f"{mode}.json", json.dumps(rows, indent=2).encode() + b"\n")
    failures = sum(bool(r.differs) for r in results)
    suite = ElementTree.Element(
        "testsuite", name=f"mtls-lab browser {mode}", tests=str(len(rows)), failures=str(failures)
    )
    for r in results:
        name, time = f"{r.browser} {r.check.id}", f"{r.duration_s:.3f}"
        case = ElementTree.SubElement(suite, "testcase", name=name, classname=f"browser.{mode}", time=time)
        if r.differs:
            ElementTree.SubElement(case, "failure", message=r.differs[0]).text = "\n".join((*r.differs, *r.pictures))
    _replace(folder / f"{mode}.xml", ElementTree.tostring(suite, "utf-8", xml_declaration=True))


def remove(mode: Mode, pictures: Sequence[str], folder: Path) -> None:
    """Remove what an earlier run of a mode left, so that nothing outlives a run that could not judge."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"{mode}.{kind}" for kind in KINDS), *pictures):
        (folder / name).unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".writing-{path.name}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
