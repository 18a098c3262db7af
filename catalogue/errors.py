"""The one error that the lab's programs show a person: what failed, the fact, and the command that cures it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from catalogue.shown import visible


class LabError(Exception):
    """Something the user can cure. Its text is what the programs print, with nothing in it that a terminal obeys.

    The cure is a command. Texts of others are part of it only as `catalogue.word` returns them.
    """

    def __init__(self, failed: str, fact: str, cure: str) -> None:
        fact = "\n".join(map(visible, fact.split("\n")))  # what a program said may have several lines
        failed, cure = visible(failed), visible(cure)
        self.failed, self.fact, self.cure = failed, fact, cure
        super().__init__(f"error: {failed}: {fact}\n  try: {cure}")


class CatalogueError(LabError):
    """`scenarios.toml` does not say something that the lab can run."""


class ManifestError(LabError):
    """The issued certificates are missing, incomplete, or belong to another catalogue."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for a close misspelling of a known word, else the known words."""
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(words)}"
