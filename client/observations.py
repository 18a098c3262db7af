"""What tools really said, kept in docs/observations/*.json: one file for each set of versions.

Texts are kept as people would paste them, less what differs from run to run: ports, addresses, paths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from catalogue import LabError, Outcome, Tool

FOLDER = Path(__file__).parent.parent / "docs" / "observations"
_FAILED = (Outcome.REFUSED_BY_SERVER, Outcome.REFUSED_BY_CLIENT, Outcome.NOT_PRESENTED, Outcome.FORBIDDEN)
_VARYING = (  # what differs from run to run, and what stands for it
    (re.compile(r"\(_ssl\.c:\d+\)"), "(_ssl.c:N)"),
    (re.compile(r"0x[0-9a-f]{6,}"), "0x..."),
    (re.compile(r"\b[0-9A-F]{12,16}(?=:error:)"), "..."),
    (re.compile(r"(?:[\w.~-]*/)+(?=[\w.-]+\.(?:pem|c)\b)"), ""),
    (re.compile(r"(?<=port=)\d+|(?<=localhost:)\d+|(?<=server:)\d+|(?<=port )\d+"), "8443"),
    (re.compile(r"\bserver(?=:8443|'|\u2019| port)"), "localhost"),
    (re.compile(r"rec_layer_s3\.c:\d+"), "rec_layer_s3.c:N"),
    (re.compile(r"^\w+:(?=error:)"), ""),
)


@dataclass(frozen=True)
class Observation:
    """One failed attempt, and what the tool said.

    `versions` are the tool's own and those of the libraries below it, in words; `exit` is the exit status, None for
    a library; `message` is empty where the tool said nothing; `alert` is the RFC 8446 name of the alert that arrived,
    None if none did.
    """

    tool: str
    version: str
    openssl: str
    python: str
    scenario: str
    tls: str
    server: str
    mode: str
    outcome: str
    exit: int | None
    message: str
    alert: str | None


def text_of(detail: str) -> str:
    """Return a tool's words without what differs from run to run."""
    for pattern, replacement in _VARYING:
        detail = pattern.sub(replacement, detail)
    return detail


def collect(reports: str) -> list[Observation]:
    """Return what the reports (JSON documents, one behind the other) tell of failed attempts, each text once.

    The same text in several modes is one observation, of the first mode.

    Raises:
        LabError: it is no report.
    """
    seen: dict[Observation, Observation] = {}
    try:
        for report in _documents(reports):
            for result in report["results"]:
                if result["observed"]["outcome"] in _FAILED and result["verdict"] == "PASS":
                    observation = _observation(report, result)
                    seen.setdefault(replace(observation, mode=""), observation)
    except (ValueError, KeyError, TypeError) as error:
        raise LabError("could not read the reports", repr(error), "make observe") from None
    return list(seen.values())


def dumps(observations: list[Observation], folder: Path = FOLDER) -> tuple[str, str]:
    """Return the file name and the content for observations made with one set of versions, a line for each.

    What an earlier recording in the folder, with the same OpenSSL and Python, has of other tools is kept.

    Raises:
        LabError: there are none.
    """
    if not observations:
        raise LabError("could not record anything", "no attempt failed in these reports", "make observe")
    first = next((o for o in observations if o.tool == "raw"), observations[0])
    name = "-".join([*first.openssl.split()[:2], *first.python.split()[:2]]).lower() + ".json"
    common = {"openssl": first.openssl, "python": first.python}
    tools = {observation.tool for observation in observations}
    kept = [o for o in _read(folder / name) if o.tool not in tools] if (folder / name).exists() else []
    rows = ",\n".join(
        json.dumps({k: v for k, v in asdict(o).items() if k not in common}, ensure_ascii=False)
        for o in [*observations, *kept]
    )
    head = json.dumps(common, ensure_ascii=False)[:-1]
    return name, f'{head}, "observations": [\n{rows}\n]}}\n'


def load(folder: Path = FOLDER) -> list[Observation]:
    """Return everything that was recorded.

    Raises:
        LabError: a file is not one of ours, or there is none.
    """
    found: list[Observation] = []
    for path in sorted(folder.glob("*.json")):
        found += _read(path)
    if not found:
        raise LabError(f"could not read {folder}", "there are no observations", "make observe")
    return found


def _read(path: Path) -> list[Observation]:
    try:
        document = json.loads(path.read_text())
        common = {name: document[name] for name in ("openssl", "python")}
        found = [Observation(**(common | row)) for row in document["observations"]]
        for observation in found:
            Tool(observation.tool), Outcome(observation.outcome)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"could not read {path}", str(error), "make observe") from None
    return found


def _observation(report: Mapping[str, Any], result: Mapping[str, Any]) -> Observation:
    python, _, openssl = report["versions"]["raw"].partition(", ")
    observed = result["observed"]
    given = {
        "tool": result["probe"],
        "version": report["versions"][result["probe"]],
        "openssl": " ".join(openssl.split()[:2]),
        "python": python,
        "exit": result["exit_status"],
        "message": text_of(result["detail"]),
    }
    given |= {name: result[name] for name in ("scenario", "tls")} | {name: report[name] for name in ("server", "mode")}
    given |= {name: observed[name] for name in ("outcome", "alert")}
    return Observation(**{field.name: given[field.name] for field in fields(Observation)})


def _documents(text: str) -> Iterator[Any]:
    decoder, position = json.JSONDecoder(), 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        document, length = decoder.raw_decode(text[position:])
        position += length
        yield document
