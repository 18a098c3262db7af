"""What came of a check in a browser."""

from __future__ import annotations

from dataclasses import dataclass, field

from browser.checks import Check
from catalogue import Mode


@dataclass
class Result:
    """A check in a browser: passed if nothing `differs`. `pictures` are the files that were written."""

    mode: Mode
    browser: str
    check: Check
    differs: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    duration_s: float = 0.0

    def compare(self, what: str, seen: object, expected: object) -> None:
        """Note what was seen, and whether it is what must be."""
        self.seen.append(f"{what}: {seen}")
        if seen != expected:
            self.differs.append(f"{what}: expected {expected}, saw {seen}")
