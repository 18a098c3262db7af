"""What a browser can be asked to do, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Any

from browser.screen import Screen, wait_for


class Shown(StrEnum):
    """What a person sees after asking for a page."""

    DIALOG = "dialog"
    PAGE = "page"
    ERROR = "error page"


class Browser(ABC):
    """A browser that runs on a screen, with a window that fills it."""

    name: str

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def go(self, url: str) -> Shown:
        """Ask for a page, and return what appears: the certificate dialog, the page or an error page."""
        self._start(url)
        return self._appears(dialog=True)

    def accept(self) -> Shown:
        """Send the certificate that the dialog offers first."""
        self.screen.key("Return")
        return self._appears(dialog=False)

    def cancel(self) -> Shown:
        """Close the dialog without sending one."""
        self.screen.key("Escape")
        return self._appears(dialog=False)

    def _appears(self, dialog: bool) -> Shown:
        seen: list[Shown] = []

        def look() -> bool:
            now = self._shown()
            if now and (dialog or now is not Shown.DIALOG):
                seen.append(now)
            return bool(seen)

        wait_for(look, f"{self.name} shows a page, an error page{' or a dialog' if dialog else ''}")
        return seen[0]

    @abstractmethod
    def _start(self, url: str) -> None: ...

    @abstractmethod
    def _shown(self) -> Shown | None:
        """Return what is shown, or None while it is loading."""

    @abstractmethod
    def secure(self) -> bool:
        """Tell whether the browser calls the connection of the page secure: its padlock."""

    @abstractmethod
    def error_code(self) -> str:
        """Return the code on the error page."""

    @abstractmethod
    def text(self) -> str:
        """Return the text of the page."""

    @abstractmethod
    def scroll_to_end(self) -> None:
        """Show the end of the page."""

    @abstractmethod
    def whoami(self) -> dict[str, Any]:
        """Return what the application's /whoami says to this browser."""
