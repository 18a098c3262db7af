"""Run the checks of a mode in a browser, and compare what was seen with what must be."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Error, Playwright, sync_playwright

from browser import store
from browser.checks import ANONYMOUS, BROWSERS, GOOD, Session
from browser.chromium import chromium, net_log
from browser.firefox import Firefox, MarionetteError, firefox
from browser.picture import Picture
from browser.result import Result
from browser.screen import Screen
from browser.visit import Browser, Shown

PASSWORD = "mtls-lab"  # noqa: S105  # of the bundles


@dataclass(frozen=True)
class Lab:
    """Where things are. `bundle` is the PKCS#12 that the CA made for client-good, or None: it is bundled here."""

    url: str
    names_url: str
    certs: Path
    reports: Path
    bundle: Path | None


def run(lab: Lab, browser: str, sessions: Sequence[Session]) -> list[Result]:
    """Run sessions one after another in a browser, each in a fresh one."""
    with sync_playwright() as playwright:
        mine = (session for session in sessions if browser in session.browsers)
        return [result for session in mine for result in _run(lab, browser, session, playwright)]


def _run(lab: Lab, browser: str, session: Session, playwright: Playwright) -> list[Result]:
    results = [Result(session.mode, browser, check) for check in session.checks]
    with TemporaryDirectory() as folder:
        work, home, log = Path(folder), Path(folder) / "home", Path(folder) / "net-log.json"
        _import(lab, session, home / BROWSERS[browser], work)
        with Screen(work / "screen") as screen:
            current = results[0]
            try:
                with chromium(playwright, screen, home, log) if browser == "chromium" else firefox(screen, home) as it:
                    for current in results:
                        _check(lab, session, it, current)
            except (TimeoutError, OSError, MarionetteError, Error) as error:
                current.differs.append(str(error).splitlines()[0])
                _keep(lab, current, screen.picture(), "-stopped")
        if browser == "chromium":  # the first has what the session as a whole showed; without a log nothing is proved
            results[0].compare("a net-log", "yes" if log.exists() else "no", "yes")
            if log.exists():
                _compare_log(results[0], session, net_log(log))
    return results


def _import(lab: Lab, session: Session, certificates: Path, work: Path) -> None:
    store.make(certificates, lab.certs / "public_root.pem")
    for name in session.holds + session.keyless:
        bundle, key = work / f"{name}.p12", name in session.holds
        if name == GOOD and key and lab.bundle:
            bundle = lab.bundle
        else:
            store.bundle(lab.certs / "clients" / name, bundle, PASSWORD, key=key)
        store.add(certificates, bundle, PASSWORD)


def _check(lab: Lab, session: Session, browser: Browser, result: Result) -> None:
    start, check = time.monotonic(), result.check
    shown = browser.go((lab.names_url if session.names else lab.url) + "/")
    result.compare("a question", "yes" if shown is Shown.DIALOG else "no", "yes" if check.answer else "no")
    if shown is Shown.DIALOG:
        _keep(lab, result, browser.screen.settled(), "-dialog")
        if isinstance(browser, Firefox):
            result.compare("offered", ", ".join(browser.offered()), ", ".join(check.offers))
        shown = browser.accept() if check.answer == "accept" else browser.cancel()
    if shown is Shown.PAGE and session.names:
        browser.scroll_to_end()  # where it says who is calling
    _keep(lab, result, browser.screen.settled(), "")
    ends = check.ends if isinstance(check.ends, str) else check.ends[result.browser]
    if shown is Shown.PAGE:
        result.compare("the page says", _named(browser.text()) if session.names else _caller(browser.whoami()), ends)
        result.compare("the padlock", "secure" if browser.secure() else "not secure", "secure")
    else:
        result.compare("the error page says", browser.error_code(), ends)
    result.duration_s = time.monotonic() - start


def _caller(said: dict[str, Any]) -> str:
    """Return whom /whoami takes the browser for."""
    if not said["tls"]:
        return "nobody can know (stock Uvicorn)"
    return str(said["identity"]["common_name"]) if said["identity"] else ANONYMOUS


def _named(text: str) -> str:
    """Return whom the page of `openssl s_server -www` takes the browser for."""
    if "no client certificate available" in text:
        return ANONYMOUS
    subject = re.search(r"Subject: .*CN ?= ?(\S+)", text)
    return subject[1] if subject else "a page without a name"


def _compare_log(result: Result, session: Session, events: list[tuple[str, dict[str, Any]]]) -> None:
    asked = any(name == "SSL_CLIENT_CERT_REQUESTED" for name, _ in events)
    result.compare("asked for a certificate", "yes" if asked else "no", "yes" if session.asked else "no")
    counts = {params["cert_count"] for name, params in events if name == "SSL_CLIENT_CERT_PROVIDED"}
    if session.asked:
        result.compare("certificates sent", sorted(counts), [session.sent])


def _keep(lab: Lab, result: Result, picture: Picture, suffix: str) -> None:
    name = f"{result.browser}-{result.check.id}{suffix}.png"
    (lab.reports / name).write_bytes(picture.png())
    result.pictures.append(name)
    if picture.blank():
        result.differs.append(f"{name} is blank")
