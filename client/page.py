"""A run as one HTML page that needs no network, no server and no other file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TEMPLATE = Path(__file__).with_name("page.html")
_PLACE = "@RUN@"
# Certificate names and tool output are hostile: nothing in them may end the script element or open a comment in it.
# https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def page(document: dict[str, Any]) -> str:
    """Return the run's HTML document, in ASCII."""
    return _TEMPLATE.read_text(encoding="ascii").replace(_PLACE, json.dumps(document).translate(_ESCAPES))
