"""The page of a run carries the run unchanged, whatever is in it, and fetches nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import client.page
from client.page import page

TEMPLATE = Path(client.page.__file__).with_name("page.html").read_text(encoding="ascii")
HOSTILE = {
    "end of the script": "</script><script>alert(1)</script>",
    "end of the script, spelled otherwise": "</ScRiPt ><img src=x onerror=alert(1)>",
    "comment": "<!-- <script> -->",
    "CDATA": "]]><![CDATA[",
    "entity": "&lt;&quot;&amp;",
    "line separators": "\u2028\u2029\r\n\x00\x85",
    "backquotes": "`${alert(1)}` ```",
    "quotes": '"\'\\"\\u003c',
    "the template's own place": "@RUN@",
    "beyond ASCII": "M\u00fcller \U0001f510 \u202e",
    "not UTF-8": b"\xff\xfe".decode(errors="surrogateescape"),
}


class Scripts(HTMLParser):
    """Collect every script element: its attributes and its text. `tags` counts all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.found.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found and self.cdata_elem == "script":
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)


def run_of(html: str) -> Any:
    (text,) = (text for attributes, text in Scripts(html).found if attributes.get("id") == "run")
    return json.loads(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_comes_back_unchanged_and_adds_no_element(text: str) -> None:
    document = {"run": "required", "results": [{"detail": text, "output": f"a\n{text}", text: None}]}
    html = page(document)
    assert run_of(html) == document
    assert Scripts(html).tags == Scripts(TEMPLATE).tags


def test_nothing_in_the_data_can_end_its_element_or_break_a_line() -> None:
    before, after = TEMPLATE.split("@RUN@")
    data = page(HOSTILE).removeprefix(before).removesuffix(after)
    assert json.loads(data) == HOSTILE
    assert not re.search("[<>&\n]", data)
    assert data.isascii()


def test_the_policy_allows_nothing_from_outside() -> None:
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in TEMPLATE


def test_the_template_refers_to_nothing_outside() -> None:
    assert not re.search(r"https?://", TEMPLATE)
    assert not re.search(r"""(?:\b(?:src|href|action|poster)\s*=|\burl\(|@import\b)""", TEMPLATE)


def test_the_template_makes_no_markup_of_text() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|srcdoc", TEMPLATE)
    assert not re.search(r"<[^>]+\son\w+=", TEMPLATE.partition("<script")[0])


def test_without_javascript_the_page_says_what_is_missing() -> None:
    assert re.search(r"<noscript>.*JavaScript is off.*</noscript>", TEMPLATE, re.S)


def test_the_template_has_one_place_for_the_run() -> None:
    assert TEMPLATE.count("@RUN@") == 1
