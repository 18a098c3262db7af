"""Chromium on a screen: Playwright opens pages and reads them; the certificate dialog, which is no page, gets keys.

That there is a dialog is seen on the screen: it dims the page. What Chromium was asked for and what it sent is in its
own net-log, complete when it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Playwright

from browser.screen import HEIGHT, WIDTH, Screen, wait_for
from browser.visit import Browser, Shown

PROGRAM = "/usr/bin/chromium"
_SPOT = 20, HEIGHT - 20  # of the page, where no dialog reaches
_WHITE = 255, 255, 255
_ERROR_CODE = "() => document.querySelector('.error-code')?.textContent || ''"


class Chromium(Browser):
    """A running Chromium."""

    name = "chromium"

    def __init__(self, screen: Screen, page: Page) -> None:
        super().__init__(screen)
        self._page = page
        self._state = ""
        self._loads = 0
        page.on("load", self._loaded)
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.on("Security.visibleSecurityStateChanged", self._security)
        self._devtools.send("Security.enable")

    def _security(self, event: dict[str, Any]) -> None:
        self._state = event["visibleSecurityState"]["securityState"]

    def _loaded(self, _: Page) -> None:
        self._loads += 1

    def _start(self, url: str) -> None:
        self._loads = 0
        self._page.evaluate("url => { setTimeout(() => { location.href = url }) }", url)

    def _shown(self) -> Shown | None:
        if _grey(self.screen):
            return Shown.DIALOG
        # Playwright calls back while it waits, and waits for ever when it evaluates during a navigation.
        self._page.wait_for_timeout(20)
        if not self._loads:
            return None
        return Shown.ERROR if self._page.evaluate(_ERROR_CODE) else Shown.PAGE

    def secure(self) -> bool:
        self._page.wait_for_timeout(20)  # lets events come in
        return self._state == "secure"

    def error_code(self) -> str:
        return str(self._page.evaluate(_ERROR_CODE))

    def text(self) -> str:
        return str(self._page.evaluate("() => document.body.innerText"))

    def scroll_to_end(self) -> None:
        self._page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")

    def whoami(self) -> dict[str, Any]:
        said: dict[str, Any] = self._page.evaluate("() => fetch('/whoami').then(answer => answer.json())")
        return said


@contextmanager
def chromium(
    playwright: Playwright,
    screen: Screen,
    home: Path,
    log: Path,
    driver: Callable[[Screen, Page], Chromium] | None = None,
) -> Iterator[Chromium]:
    """Start Chromium with a home of its own, in whose .pki/nssdb its certificates are."""
    environ: dict[str, str | float | bool] = {
        "HOME": str(home),
        "DISPLAY": screen.display,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    options = [
        "--no-sandbox",  # Docker's seccomp profile and no-new-privileges stand where Chromium's sandbox would
        "--disable-gpu",  # there is none, and pretending costs time
        "--test-type",  # no bar about that in the pictures
        "--window-position=0,0",
        f"--window-size={WIDTH + 1},{HEIGHT + 1}",
        f"--log-net-log={log}",
    ]
    context = playwright.chromium.launch_persistent_context(
        home / "profile",
        executable_path=PROGRAM,
        headless=False,
        no_viewport=True,
        env=environ,
        args=options,
        ignore_default_args=["--enable-automation"],
    )
    try:
        wait_for(lambda: screen.picture().at(*_SPOT) == _WHITE, "Chromium shows an empty page")
        yield (driver or Chromium)(screen, context.pages[0])
    finally:
        context.close()


def _grey(screen: Screen) -> bool:
    red, green, blue = screen.picture().at(*_SPOT)
    return red == green == blue and 0x30 < red < 0xD0


def net_log(log: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the events about client certificates, in order, with their parameters."""
    told = json.loads(log.read_text())
    names = {number: name for name, number in told["constants"]["logEventTypes"].items()}
    events = ((names[event["type"]], event.get("params", {})) for event in told["events"])
    return [(name, params) for name, params in events if name.startswith("SSL_CLIENT_CERT_")]
