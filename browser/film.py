"""`python -m browser.film optional|required|cut`: film what a person sees who opens the page in Chromium.

`optional` and `required` each film a scene against the server in that mode, with the PKCS#12 bundle of client-good on
stdin; `cut` puts the scenes together, as MP4 and as GIF. Each scene must end as it should, or there is no film. Exit
status: 0 filmed, 2 not. Reads LAB_URL, LAB_CERTS and LAB_REPORTS.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from browser import store
from browser.checks import GOOD, NOT_SENT
from browser.chromium import Chromium, chromium
from browser.run import PASSWORD
from browser.screen import DEADLINE_S, Screen
from browser.visit import Shown
from catalogue import LabError, Mode

FRAMES_PER_S, GIF_FRAMES_PER_S, GIF_WIDTH = 15, 8, 800
_LOOK_S = 2.5  # long enough to read what is there
_TITLE = """<body style="font: 22px/1.6 sans-serif; margin: 3em; color: #222"><h2>{}</h2><p>{}</p></body>"""


@dataclass(frozen=True)
class Scene:
    """What is done in a mode: the `answer` to the dialog, and what that `ends` with."""

    title: str
    text: str
    answer: str
    ends: str


SCENES = {
    Mode.OPTIONAL: Scene(
        "Phase 2: the server asks for a certificate",
        "<code>make up MODE=optional</code>. One was imported: Chromium asks which to send. OK sends it.",
        "accept",
        GOOD,
    ),
    Mode.REQUIRED: Scene(
        "Phase 3: no certificate, no page",
        "<code>make up MODE=required</code>. The same, but Cancel.",
        "cancel",
        NOT_SENT["chromium"],
    ),
}


def main() -> int:
    """Film a scene, or cut the film."""
    words = (*SCENES, "cut")
    reports = Path(os.environ["LAB_REPORTS"]) / "film"
    try:
        if sys.argv[1:] == ["cut"]:
            _cut(reports)
        elif len(sys.argv) == 2 and sys.argv[1] in SCENES:
            _film(Mode(sys.argv[1]), sys.stdin.buffer.read(), reports)
        else:
            raise LabError("could not film", f"{sys.argv[1:]} is none of {', '.join(words)}", "make demo")
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _film(mode: Mode, bundle: bytes, reports: Path) -> None:
    reports.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        work, home = Path(folder), Path(folder) / "home"
        store.make(home / ".pki/nssdb", Path(os.environ["LAB_CERTS"]) / "public_root.pem")
        (work / "bundle.p12").write_bytes(bundle)
        store.add(home / ".pki/nssdb", work / "bundle.p12", PASSWORD)
        driver = partial(_Filmed, SCENES[mode])
        with (
            sync_playwright() as playwright,
            Screen(work / "screen") as screen,
            chromium(playwright, screen, home, work / "net-log.json", driver) as browser,
        ):
            _play(browser, SCENES[mode], reports / f"{mode}.mkv")


class _Filmed(Chromium):
    """Shows a title, and goes to a page as a person does: by typing its address."""

    def __init__(self, scene: Scene, screen: Screen, page: Page) -> None:
        super().__init__(screen, page)
        page.set_content(_TITLE.format(scene.title, scene.text))

    def _start(self, url: str) -> None:
        self._loads = 0
        self.screen.key("ctrl+l")
        self.screen.type(url)
        self.screen.key("Return")


def _play(browser: Chromium, scene: Scene, target: Path) -> None:
    screen = browser.screen
    screen.settled()
    with _camera(screen, target):
        time.sleep(_LOOK_S)
        if browser.go(os.environ["LAB_URL"] + "/") is not Shown.DIALOG:
            raise LabError("could not film", "Chromium does not ask for a certificate", "make test-browser")
        screen.settled()
        time.sleep(_LOOK_S)
        shown = browser.accept() if scene.answer == "accept" else browser.cancel()
        screen.settled()
        time.sleep(2 * _LOOK_S)
    ends = browser.whoami()["identity"]["common_name"] if shown is Shown.PAGE else browser.error_code()
    if ends != scene.ends:
        raise LabError("could not film", f"the scene ends with {ends}, not with {scene.ends}", "make test-browser")


@contextmanager
def _camera(screen: Screen, target: Path) -> Iterator[None]:
    """Film the screen, without loss."""
    width, height = screen.picture().width, screen.picture().height
    grab = ("-f", "x11grab", "-draw_mouse", "0", "-framerate", str(FRAMES_PER_S), "-video_size", f"{width}x{height}")
    command = ["ffmpeg", "-y", "-v", "error", "-progress", "-", *grab, "-i", screen.display]
    command += [*_X264, "-preset", "ultrafast", "-qp", "0", str(target)]
    camera = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for line in camera.stdout or ():
            if line.startswith(b"frame=") and int(line[6:]) > 0:
                break
        yield
    finally:
        camera.communicate(b"q", timeout=DEADLINE_S)
    if camera.returncode:
        raise LabError("could not film", f"ffmpeg ended with {camera.returncode}", "make demo")


_X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p")


def _cut(reports: Path) -> None:
    """Put the scenes together: H.264 whose index comes first, so that it starts to play at once, and a GIF."""
    scenes = reports / "scenes.txt"
    scenes.write_text("".join(f"file {mode}.mkv\n" for mode in SCENES))
    whole = ("ffmpeg", "-y", "-v", "error", "-f", "concat", "-i", str(scenes))
    _ffmpeg(
        *whole, *_X264, "-crf", "26", "-preset", "veryslow", "-movflags", "+faststart", str(reports / "browser.mp4")
    )
    smaller = f"fps={GIF_FRAMES_PER_S},scale={GIF_WIDTH}:-2:flags=lanczos,split[a][b];[a]palettegen=max_colors=48"
    palette = f"{smaller}:stats_mode=diff[p];[b][p]paletteuse=dither=none:diff_mode=rectangle"
    _ffmpeg(*whole, "-vf", palette, str(reports / "browser.gif"))


def _ffmpeg(*command: str) -> None:
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        raise LabError("could not cut the film", f"{command[0]} failed (its reason is above)", "make demo")


if __name__ == "__main__":
    sys.exit(main())
