"""Show text that others wrote to a person, and put it into commands that a person pastes."""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from contextlib import suppress

# Characters that can't be seen, as in `asgi_mtls.identity`, which must not import this package. The server refuses a
# certificate with such a name, so the CA does not issue one.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
    "\u2800\U00016fe4\U0001d159]"
)
_ACTIVE = frozenset("$`\\\"'")  # what a shell, or make, reads as more than itself


def visible(text: str) -> str:
    r"""Return a text with what could deceive a terminal or a reader written out, like `\x00` and `\u202e`."""

    def written(character: str) -> str:
        return character.encode("unicode_escape").decode() if _is_hidden(character) else character

    return "".join(map(written, text))


def word(text: str, placeholder: str) -> str:
    """Return a text as one word of a command that is printed for people to paste, into a shell and through make.

    A text in which a shell, make or a terminal could read more than itself is not repeated: the placeholder is.
    """
    if not text or _ACTIVE & set(text) or visible(text) != text:
        return placeholder
    return shlex.quote(text)


def say(line: str) -> None:
    """Print a line of progress to stderr. If its reader has ended, the work goes on."""
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr)


def _is_hidden(character: str) -> bool:
    return character != " " and (unicodedata.category(character) in _HIDDEN or bool(_IGNORABLE.match(character)))
