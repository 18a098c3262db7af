"""The recordings in docs/media/: what they are, what they show, and what they keep to themselves.

`make demo` runs this on what it has just recorded, before it takes the place of what is there.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from running import ROOT

MEDIA = Path(os.environ.get("LAB_MEDIA", ROOT / "docs/media"))
CAST, SVG = MEDIA / "terminal.cast", MEDIA / "terminal.svg"
GIF, MP4 = MEDIA / "browser.gif", MEDIA / "browser.mp4"
LARGEST = 400_000
PHASES = [
    "make up MODE=off",
    "Hello, stranger!",
    "make up MODE=optional",
    "--ssl-cert-reqs 1",
    "Hello, stranger!",
    "Hello, client-good!",
    "make up MODE=required",
    "--ssl-cert-reqs 2",
    "alert certificate required",
    "make explain E=",
    "certificate_required (116)",
    "Hello, client-good!",
    "make matrix",
    " PASS",
]
BIN = Path(sys.executable).parent


def cast() -> tuple[dict[str, object], list[tuple[float, str, str]]]:
    """Read an asciicast v2: a header, then a line for each thing that was written, with its time in seconds."""
    header, *events = (json.loads(line) for line in CAST.read_text().splitlines())
    return header, [(float(t), kind, data) for t, kind, data in events]


def written() -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()].|\r", "", "".join(data for _, _, data in cast()[1]))


def steps(svg: Path) -> tuple[int, float]:
    """Count the different pictures of an animation of termtosvg, and say how many seconds it takes."""
    text = "".join(ET.parse(svg).getroot().itertext())
    duration = re.search(r"--animation-duration: (\d+)ms", text)
    assert duration
    return len(set(re.findall(r"translateY\(-?\d+px\)", text))), int(duration[1]) / 1000


def test_the_terminal_was_recorded_as_asciicast_v2() -> None:
    header, events = cast()
    assert (header["version"], header["width"], header["height"]) == (2, 112, 30)
    times = [time for time, _, _ in events]
    assert times == sorted(times)
    assert {kind for _, kind, _ in events} == {"o"}
    limit = float(str(header["idle_time_limit"]))
    shown = sum(min(after - before, limit) for before, after in pairwise(times))
    assert 40 < shown < 120


def test_the_terminal_shows_the_three_phases_in_order() -> None:
    text, at = written(), 0
    for phrase in PHASES:
        at = text.find(phrase, at)
        assert at >= 0, f"{phrase!r} does not come, or not in this order:\n{text}"
        at += len(phrase)
    assert "WRONG-" not in text


def test_the_terminal_shows_nothing_of_the_machine() -> None:
    header, _ = cast()
    assert set(header["env"]) <= {"TERM"}  # type: ignore[call-overload]
    text = written()
    assert set(re.findall(r"(?<![\w.:/~-])/(\w+)", text)) <= {"lab", "dev"}, "paths of another than a container"
    assert not re.search(r"[\w-]+@[\w.-]+[:#$]", text), "user@host:"
    assert not re.search(r"make\[\d+\]", text)


@pytest.mark.parametrize("name", ["terminal.cast", "terminal.svg", "browser.gif", "browser.mp4"])
def test_no_home_is_in_a_recording(name: str) -> None:
    assert not re.findall(rb"/(?:home|root|Users|tmp|work)/\w+", (MEDIA / name).read_bytes())


def test_the_picture_of_the_terminal_moves() -> None:
    assert SVG.stat().st_size < LARGEST
    assert ET.parse(SVG).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    pictures, seconds = steps(SVG)
    assert pictures > 100
    assert 40 < seconds < 130


def delays(gif: bytes) -> Iterator[float]:
    """Walk the blocks of a GIF (its specification, 17 to 26), and say how many seconds each picture stays."""

    def after_table(at: int, flags: int) -> int:
        return at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    def after_blocks(at: int) -> int:
        while gif[at]:
            at += gif[at] + 1
        return at + 1

    at, delay = after_table(13, gif[10]), 0
    while gif[at] != 0x3B:  # the trailer
        if gif[at] == 0x21:  # an extension
            if gif[at + 1] == 0xF9:
                delay = int.from_bytes(gif[at + 4 : at + 6], "little")
            at = after_blocks(at + 2)
        else:
            assert gif[at] == 0x2C, "neither an extension nor a picture"
            yield delay / 100
            at = after_blocks(after_table(at + 10, gif[at + 9]) + 1)


def test_the_browser_is_an_animated_gif() -> None:
    gif = GIF.read_bytes()
    assert gif[:6] == b"GIF89a"
    assert len(gif) < LARGEST
    assert struct.unpack("<HH", gif[6:10]) == (800, 560)
    stays = list(delays(gif))
    assert len(stays) > 30, "a person types, a dialog opens, pages appear"
    assert 20 < sum(stays) < 90


def test_the_browser_is_a_video_for_every_player() -> None:
    video = MP4.read_bytes()
    assert len(video) < LARGEST
    boxes, at = {}, 0
    while at < len(video):  # ISO/IEC 14496-12 4.2: size and type
        size, kind = struct.unpack(">I4s", video[at : at + 8])
        boxes[kind] = video[at : at + size]
        at += size
    assert list(boxes)[:2] == [b"ftyp", b"moov"], "the index comes first: it starts to play at once"
    assert b"avc1" in boxes[b"moov"]
    scale, duration = struct.unpack(">II", boxes[b"moov"][8:].partition(b"mvhd")[2][12:20])
    assert 20 < duration / scale < 90


def test_the_recorder_records(tmp_path: Path) -> None:
    """In a second, what `make demo` does in a minute and a half."""
    recorded, drawn = tmp_path / "short.cast", tmp_path / "short.svg"
    program = "stty size; sleep 0.2; echo two"
    for command in (
        ["asciinema", "rec", "-q", "--cols", "112", "--rows", "30", "-c", program, str(recorded)],
        ["termtosvg", "render", str(recorded), str(drawn), "-t", "window_frame"],
    ):
        environ = os.environ | {"TERM": "xterm", "ASCIINEMA_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run(
            [BIN / command[0], *command[1:]], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
    assert "30 112" in recorded.read_text()
    assert steps(drawn)[0] >= 2


@pytest.mark.parametrize(
    ("make", "curl", "fact"),
    [
        ("exit 1", "exit 0", "this did not succeed: make up MODE=off | grep 'served as'"),
        ("echo served as by uvicorn", "exit 7", "this did not succeed: curl --cacert"),
        ("echo served as by uvicorn", "exit 0", "nobody was refused in MODE=required"),
    ],
    ids=["make fails", "curl fails", "nobody is refused"],
)
def test_a_session_that_goes_wrong_is_no_recording(make: str, curl: str, fact: str, tmp_path: Path) -> None:
    for name, script in {"make": make, "curl": curl, "sleep": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PORT": "8443", "TERM": "xterm"}
    done = subprocess.run(
        ["sh", "scripts/demo-session.sh"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == f"error: the session failed: {fact}" + done.stderr.partition(fact)[2]


def test_the_readme_shows_one_of_each() -> None:
    pictures = set(re.findall(r"!\[[^\]]+\]\((docs/media/[^)]+)\)", (ROOT / "README.md").read_text()))
    assert {"docs/media/terminal.svg", "docs/media/browser.gif"} <= pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
