"""What a run of newman reported, and whether it is what was expected.

newman's own verdict does not do: it exits 1 for every request that got no response, those of `pm.sendRequest` whose
test expects just that included [newman 6.2.2].
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalogue import LabError
from client.postman.runs import Run

_ALERT = re.compile(r"SSL alert number (\d+)")
# What says nothing about certificates: the server was not reached.
_UNREACHABLE = ("ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ESOCKETTIMEDOUT", "EHOSTUNREACH", "ENETUNREACH")


@dataclass(frozen=True)
class Seen:
    """What a run did: how it exited, its assertions and which of them failed, what its requests failed with."""

    exit_status: int
    assertions: int
    failed: tuple[str, ...]
    errors: tuple[str, ...]


def read(run: Run, exit_status: int, report: Path) -> Seen:
    """Read newman's JSON report.

    Raises:
        LabError: newman did not run, or did not reach the server: nothing can be judged.
    """
    what, cure = f"could not judge {run.name}", "make up, then: make test-postman"
    if exit_status not in (0, 1):
        raise LabError(what, f"newman exited with {exit_status}, see {report.with_suffix('.txt')}", cure)
    try:
        told = json.loads(report.read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, KeyError) as error:
        raise LabError(what, f"newman's report can't be read: {error}", cure) from None
    failures = [(failure["at"], failure["error"]) for failure in told["failures"]]
    errors = tuple(_reason(error) for at, error in failures if at == "request")
    other = tuple(str(error.get("test") or error.get("message")) for at, error in failures if at != "request")
    lost = [error for error in errors if error.startswith(_UNREACHABLE) and not _expected(run, error)]
    if lost:
        raise LabError(what, f"the server was not reached: {lost[0]}", cure)
    return Seen(exit_status, told["stats"]["assertions"]["total"], other, errors)


def differences(run: Run, seen: Seen, assertions: int) -> list[str]:
    """Return what is not as expected, in words; nothing if all is.

    Args:
        assertions: how many the run's folders have.
    """
    found = []
    if not 0 < assertions == seen.assertions:
        found.append(f"{seen.assertions} assertions ran, of {assertions}")
    if len(seen.failed) != run.failed:
        failed = ": " + ", ".join(seen.failed) if seen.failed else ""
        found.append(f"{len(seen.failed)} failed, not {run.failed}{failed}")
    if len(seen.errors) != len(run.errors) or not all(map(_same, run.errors, seen.errors)):
        found.append(f"requests failed with {_list(seen.errors)}, not {_list(run.errors)}")
    if seen.exit_status != run.exit_status:
        found.append(f"newman exited with {seen.exit_status}, not {run.exit_status}")
    return found


def assertions_of(collection: Mapping[str, Any], folders: tuple[str, ...]) -> int:
    """Count the assertions in folders of a collection, whatever they are nested in."""
    return sum(_assertions(item, folders) for item in collection["item"])


def _assertions(item: Mapping[str, Any], folders: tuple[str, ...], inside: bool = False) -> int:
    inside = inside or item["name"] in folders
    if "item" in item:
        return sum(_assertions(child, folders, inside) for child in item["item"])
    lines = [line for event in item["event"] for line in event["script"]["exec"]]
    return "\n".join(lines).count("pm.test(") if inside else 0


def _reason(error: Mapping[str, Any]) -> str:
    """Return `alert 116`, or the code and the first line of the message."""
    message = str(error.get("message") or "").strip()
    alert = _ALERT.search(message)
    if alert:
        return f"alert {alert[1]}"
    return " ".join(filter(None, (error.get("code"), message.partition("\n")[0]))) or "an error without a name"


def _same(expected: str, seen: str) -> bool:
    return seen == expected or (not expected.startswith("alert ") and expected in seen)


def _expected(run: Run, error: str) -> bool:
    return any(_same(expected, error) for expected in run.errors)


def _list(errors: tuple[str, ...]) -> str:
    return ", ".join(errors) or "nothing"
