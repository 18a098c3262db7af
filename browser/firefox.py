"""Firefox on a screen, driven by Marionette, the protocol that it brings (Playwright drives a patched one only).

Marionette sees the browser's own windows too, so that there is a dialog is asked of Firefox; the answer is a key.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser.screen import DEADLINE_S, HEIGHT, WIDTH, Screen, process, wait_for
from browser.visit import Browser, Shown

PROGRAM = "/usr/bin/firefox-esr"
_PREFERENCES = {
    "marionette.port": 0,  # any free one; it writes which
    "security.default_personal_cert": "Ask Every Time",
    "datareporting.policy.dataSubmissionEnabled": False,
    "browser.aboutwelcome.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "app.normandy.enabled": False,
    "services.settings.server": "data:,",
    "browser.newtab.preload": False,  # neither a page nor a process in advance: nobody opens a second tab
    "dom.ipc.processPrelaunch.enabled": False,
    "ui.prefersReducedMotion": 1,
}
# What the browser's own window shows: the names that the dialog offers, and whether its buttons can be pressed yet.
_STATE = """
const window = Services.wm.getMostRecentWindow("navigator:browser");
const frame = [...window.document.querySelectorAll("browser")].find(
  (one) => one.currentURI?.spec == "chrome://pippki/content/clientauthask.xhtml");
const dialog = frame?.contentDocument;
const page = window.gBrowser.selectedBrowser;
return {
  offered: dialog ? [...dialog.querySelectorAll("#nicknames menuitem")].map((item) => item.label) : null,
  ready: dialog?.readyState == "complete" && dialog.querySelector("dialog").getButton("accept").disabled === false,
  busy: window.gBrowser.selectedTab.hasAttribute("busy"),
  document: page.documentURI?.spec ?? "",
  secure: Boolean(window.gBrowser.securityUI.state & Ci.nsIWebProgressListener.STATE_IS_SECURE),
};
"""


class Marionette:
    """A connection: `length:json`, a request [0, id, name, parameters] and an answer [1, id, error, result]."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._stream = self._socket.makefile("rwb")
        self._count = 0
        self._receive()  # it introduces itself

    def __call__(self, command: str, **parameters: Any) -> Any:
        """Send a command and return its result.

        Raises:
            MarionetteError: it failed.
        """
        self._count += 1
        message = json.dumps([0, self._count, command, parameters]).encode()
        self._stream.write(b"%d:%s" % (len(message), message))
        self._stream.flush()
        _, _, error, result = self._receive()
        if error:
            raise MarionetteError(f"{command}: {error['error']}: {error['message']}")
        return result

    def _receive(self) -> Any:
        length = b""
        while (digit := self._stream.read(1)) != b":":
            if not digit:
                raise MarionetteError("Firefox closed the connection")
            length += digit
        return json.loads(self._stream.read(int(length)))

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class MarionetteError(Exception):
    """Firefox could not do it."""


class Firefox(Browser):
    """A running Firefox."""

    name = "firefox"

    def __init__(self, screen: Screen, marionette: Marionette) -> None:
        super().__init__(screen)
        self._tell = marionette
        marionette("WebDriver:NewSession", capabilities={"alwaysMatch": {"pageLoadStrategy": "none"}})

    def _start(self, url: str) -> None:
        self._in_page("setTimeout(() => { location.href = arguments[0] })", url)

    def _shown(self) -> Shown | None:
        state = self._state()
        if state["offered"] is not None:
            return Shown.DIALOG if state["ready"] else None
        if state["busy"]:
            return None
        # The document's own address: the one above it changes before the document does.
        kinds = {"https": Shown.PAGE, "about:neterror": Shown.ERROR, "about:certerror": Shown.ERROR}
        return next((kind for start, kind in kinds.items() if state["document"].startswith(start)), None)

    def offered(self) -> list[str]:
        """Return the names of the certificates that the dialog offers."""
        return [label.partition(" [")[0] for label in self._state()["offered"] or []]

    def secure(self) -> bool:
        return bool(self._state()["secure"])

    def error_code(self) -> str:
        return str(self._in_page("return document.getNetErrorInfo().errorCodeString"))

    def text(self) -> str:
        return str(self._in_page("return document.body.innerText"))

    def scroll_to_end(self) -> None:
        self._in_page("scrollTo(0, document.documentElement.scrollHeight)")

    def whoami(self) -> dict[str, Any]:
        said: dict[str, Any] = self._in_page("return fetch('/whoami').then(answer => answer.json())")
        return said

    def _state(self) -> dict[str, Any]:
        self._tell("Marionette:SetContext", value="chrome")
        state: dict[str, Any] = self._tell("WebDriver:ExecuteScript", script=_STATE, args=[])["value"]
        return state

    def _in_page(self, script: str, *arguments: str) -> Any:
        self._tell("Marionette:SetContext", value="content")
        return self._tell("WebDriver:ExecuteScript", script=script, args=arguments)["value"]


@contextmanager
def firefox(screen: Screen, home: Path) -> Iterator[Firefox]:
    """Start Firefox with a home of its own, in whose `profile` its certificates are."""
    profile = home / "profile"
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _PREFERENCES.items())
    (profile / "user.js").write_text("\n".join(lines) + "\n")
    environ = {"HOME": str(home), "DISPLAY": screen.display, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    command = [
        PROGRAM,
        "--profile",
        str(profile),
        "--no-remote",
        "--new-instance",
        "--marionette",
        "--width",
        str(WIDTH),
        "--height",
        str(HEIGHT),
    ]
    with process([*command, "--remote-allow-system-access", "about:blank"], environ, home / "firefox.log"):
        port = profile / "MarionetteActivePort"
        wait_for(lambda: port.exists() and port.read_text(), "Firefox starts")
        marionette = Marionette(int(port.read_text()))
        try:
            yield Firefox(screen, marionette)
        finally:
            marionette.close()
