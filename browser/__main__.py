"""`python -m browser --mode required [--browser chromium] [--bundle-from-stdin]`: judge a mode with real browsers.

Exit status: 0 all as expected, 1 something differs, 2 the lab is broken. Reads LAB_URL, LAB_NAMES_URL (the server that
sends the names of its CAs), LAB_CERTS and LAB_REPORTS, and on stdin the PKCS#12 bundle of client-good.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from browser import report
from browser.checks import BROWSERS, SESSIONS
from browser.run import Lab, run
from catalogue import LabError, Mode


def main() -> int:
    """Judge one mode: both browsers at once, each on a screen of its own."""
    parser = argparse.ArgumentParser(prog="python -m browser", description="Judge a mode with real browsers.")
    parser.add_argument("--mode", choices=tuple(Mode), required=True)
    parser.add_argument("--browser", choices=tuple(BROWSERS), action="append")
    parser.add_argument("--check", help="run the session of this check alone")
    parser.add_argument("--bundle-from-stdin", action="store_true")
    arguments = parser.parse_args()
    try:
        with TemporaryDirectory() as folder:
            bundle = Path(folder) / "bundle.p12" if arguments.bundle_from_stdin else None
            if bundle:
                bundle.write_bytes(sys.stdin.buffer.read())
            return _judge(Mode(arguments.mode), arguments.browser or list(BROWSERS), arguments.check, bundle)
    except LabError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2


def _judge(mode: Mode, browsers: list[str], check: str | None, bundle: Path | None) -> int:
    sessions = [s for s in SESSIONS if s.mode is mode and check in (None, *(c.id for c in s.checks))]
    if not sessions:
        ids = ", ".join(c.id for s in SESSIONS if s.mode is mode for c in s.checks)
        raise LabError(f"could not run the check {check!r}", f"mode {mode} has {ids}", "make test-browser")
    lab = Lab(
        url=os.environ["LAB_URL"],
        names_url=os.environ["LAB_NAMES_URL"],
        certs=Path(os.environ["LAB_CERTS"]),
        reports=Path(os.environ["LAB_REPORTS"]) / "browser",
        bundle=bundle,
    )
    for url in {lab.url, *(lab.names_url for session in sessions if session.names)}:
        _answers(url)
    names = [
        f"{browser}-{c.id}{suffix}.png"
        for browser in browsers
        for s in sessions
        for c in s.checks
        for suffix in ("", "-dialog", "-stopped")
    ]
    report.remove(mode, names, lab.reports)
    start = time.monotonic()
    with ThreadPoolExecutor() as pool:
        results = [r for of_one in pool.map(lambda browser: run(lab, browser, sessions), browsers) for r in of_one]
    report.write(mode, results, lab.reports)
    print(report.table(mode, results))
    failed = sum(bool(result.differs) for result in results)
    print(f" {len(results)} checks: {len(results) - failed} PASS, {failed} FAIL, in {time.monotonic() - start:.1f} s\n")
    return 1 if failed else 0


def _answers(url: str) -> None:
    at = urlsplit(url)
    try:
        socket.create_connection((at.hostname or "", at.port or 443), timeout=10).close()
    except OSError as error:
        raise LabError("nothing can be judged", f"no server answers at {url} ({error.strerror})", "make up") from None


if __name__ == "__main__":
    sys.exit(main())
