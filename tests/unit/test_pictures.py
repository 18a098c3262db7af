"""The pictures of the browser lesson, and the browser program's own: PNG, blank or not, the table."""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter
from pathlib import Path

import pytest
from running import ROOT

from browser import report
from browser.checks import BROWSERS, SESSIONS
from browser.picture import BARS, Picture
from browser.result import Result
from catalogue import Mode

LESSON = ROOT / "docs/browser.md"
SHOWN = re.findall(r"!\[[^]]*\]\((media/browser/[^)]+)\)", LESSON.read_text())
MAX_BYTES = 80_000


def indexes(png: bytes) -> tuple[int, int, bytes]:
    """Return width, height and the pixels' numbers in the palette, of a PNG as `Picture.png` writes it."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length :][:4])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 3)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert set(rows[:: width + 1]) == {0}
    return width, height, b"".join(rows[y * (width + 1) + 1 : (y + 1) * (width + 1)] for y in range(height))


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_of_the_lesson_is_there_and_not_blank(name: str) -> None:
    png = (LESSON.parent / name).read_bytes()
    assert len(png) < MAX_BYTES
    width, height, pixels = indexes(png)
    assert (width, height) == (1000, 700)
    (_, background), *_ = Counter(pixels[BARS * width :]).most_common(1)
    assert (width * (height - BARS) - background) * 150 > width * (height - BARS)


def test_the_lesson_shows_each_check_and_every_picture_is_of_a_check() -> None:
    ids = {check.id for session in SESSIONS for check in session.checks}
    assert {f"media/browser/chromium-{id_}.png" for id_ in ids} <= set(SHOWN)
    known = {f"{browser}-{id_}{suffix}.png" for browser in BROWSERS for id_ in ids for suffix in ("", "-dialog")}
    assert {path.name for path in (LESSON.parent / "media/browser").iterdir()} <= known


def picture(colours: list[int], width: int = 300, height: int = 200) -> Picture:
    pixels = [colours[(x + y * width) % len(colours)] for y in range(height) for x in range(width)]
    return Picture(width, height, struct.pack(f"<{len(pixels)}I", *pixels))


def test_png_keeps_up_to_256_colours_and_the_size() -> None:
    colours = [n << 16 | (255 - n) << 8 | n for n in range(256)]
    width, height, pixels = indexes(picture(colours).png())
    assert (width, height) == (300, 200)
    assert len(set(pixels)) == 256
    assert len(set(indexes(picture([n * 65 for n in range(4000)]).png())[2])) <= 256


def test_blank_looks_below_the_bars() -> None:
    assert picture([0xFFFFFF]).blank()
    assert picture([*[0xFFFFFF] * 999, 0]).blank()
    assert not picture([n * 1000 for n in range(100)]).blank()
    drawn, white = picture([n * 1000 for n in range(100)]), picture([0xFFFFFF])
    assert Picture(300, 200, drawn.data[: 4 * 300 * BARS] + white.below(BARS)).blank()


def test_a_failure_names_the_check_the_fact_and_the_picture(tmp_path: Path) -> None:
    check = SESSIONS[0].checks[0]
    good, bad = Result(Mode.OFF, "firefox", check), Result(Mode.OFF, "chromium", check, pictures=["chromium-off.png"])
    good.compare("a question", "no", "no")
    bad.compare("a question", "yes", "no")
    table = report.table(Mode.OFF, [good, bad])
    assert re.search(r"^ off +no question.* FAIL +PASS$", table, re.M)
    assert "FAIL chromium off: a question: expected no, saw yes" in table
    assert "see reports/browser/chromium-off.png" in table
    report.write(Mode.OFF, [good, bad], tmp_path)
    assert 'tests="2" failures="1"' in (tmp_path / "off.xml").read_text()
    assert (tmp_path / "off.json").read_text().count('"verdict": "FAIL"') == 1
