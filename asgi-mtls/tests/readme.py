"""The README's blocks of code and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"(?:^<!-- (?P<label>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its `label` is the HTML comment in the line above it, or empty."""

    language: str
    label: str
    text: str


def blocks(language: str) -> list[Block]:
    """Return the blocks of a language, in the order in which they stand."""
    found = [Block(one["language"], one["label"] or "", one["text"]) for one in _BLOCK.finditer(README.read_text())]
    return [block for block in found if block.language == language]


def labelled(label: str) -> str:
    """Return the text of the block with a label."""
    [text] = [block.text for language in ("python", "sh") for block in blocks(language) if block.label == label]
    return text


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    below = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.search(r"(?:^\|.*\n)+", below, re.M)
    assert lines, heading
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[0].splitlines()][2:]
