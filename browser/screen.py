"""A virtual screen (Xvfb): what is on it, and keys pressed on it as a person presses them.

Xvfb keeps its pixels in a file, an XWD dump, so looking at the screen needs no further program.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from browser.picture import BARS, Picture
from catalogue import LabError

WIDTH, HEIGHT = 1000, 700
DEADLINE_S = 60.0  # for a machine with much else to do; nothing waits for as long as that otherwise
INTERVAL_S = 0.05


class Screen:
    """A running Xvfb, as a context manager. `display` is what X clients need in DISPLAY, like `:99`."""

    def __init__(self, folder: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
        """Start it. `folder` is for the pixels: one folder for each screen."""
        folder.mkdir(parents=True, exist_ok=True)
        self._pixels = folder / "Xvfb_screen0"
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{width}x{height}x24", "-fbdir", str(folder)]
        self._process = subprocess.Popen(
            [*command, "-nolisten", "tcp", "-noreset"],
            pass_fds=[writing],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as told:  # it writes its number when it is ready
            number = told.readline().strip()
        if not number:
            raise LabError("could not start a virtual screen", "Xvfb ended at once", "make status")
        self.display = f":{number}"
        self._xdotool("mousemove", str(width), str(height))  # out of the picture

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()

    def picture(self) -> Picture:
        """Return what is on the screen now."""
        data = self._pixels.read_bytes()
        # XWD version 7, all big-endian: the size of the header is the first number, of the colour map the 20th.
        header = struct.unpack(">25I", data[:100])
        start = header[0] + header[19] * 12
        return Picture(header[4], header[5], data[start : start + header[12] * header[5]])

    def settled(self, within_s: float = 10.0) -> Picture:
        """Return the screen when something is drawn on the page and it has stopped changing, or after that time."""
        before = self.picture()
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            time.sleep(4 * INTERVAL_S)
            now = self.picture()
            if now.below(BARS) == before.below(BARS) and not now.blank():
                return now
            before = now
        return before

    def key(self, *keys: str) -> None:
        """Press keys one after another, by their X names, like `Return`."""
        self._xdotool("key", *keys)

    def type(self, text: str) -> None:
        """Type a text."""
        self._xdotool("type", "--delay", "30", text)

    def _xdotool(self, *arguments: str) -> None:
        subprocess.run(["xdotool", *arguments], env=os.environ | {"DISPLAY": self.display}, check=True)


def wait_for(condition: Callable[[], object], what: str, within_s: float = DEADLINE_S) -> None:
    """Wait until a condition is true.

    Raises:
        TimeoutError: it never was; `what` says what was waited for.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        time.sleep(INTERVAL_S)


@contextmanager
def process(command: list[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, its output in a file, and end it afterwards."""
    with log.open("wb") as output:
        running = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
