"""No page of ours loads anything from elsewhere: what a page loads acts with the client's certificate."""

from __future__ import annotations

import ast
import html
import importlib
import re
import types
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from asgi_request import Answer, ask
from fastapi import FastAPI
from readme import labelled
from running import ROOT
from starlette.routing import BaseRoute
from test_house import tracked

from asgi_mtls.handshake_log.recorder import HandshakeLog
from asgi_mtls.tls_extension import HANDSHAKE_LOG
from client.page import page

# Attributes that a browser follows by itself. An <a href> waits for a click and takes no script along.
LOADS = {"src", "srcset", "poster", "data", "background", "action", "formaction", "manifest", "ping", "xlink:href"}
IN_TEXT = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)|\b(?:from|import)\s*\(?\s*["']([^"']+)["']""")
APPLICATIONS = ("server.app", "examples.inventory", "examples.orders")


class Loads(HTMLParser):
    """Collect what a page loads from another origin: by attribute, in a style or a script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            followed = name in LOADS or (name == "href" and tag != "a")
            self._note(*(value or "").replace(",", " ").split() if followed else ())
            if name == "style":
                self._note_text(value or "")
            if tag == "meta" and name == "content":  # a refresh takes the page elsewhere by itself
                self._note(*re.findall(r"(?i)\burl\s*=\s*['\"]?([^'\";\s]+)", value or ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self._note_text(data)

    def _note_text(self, text: str) -> None:
        self._note(*(address for match in IN_TEXT.findall(text) for address in match if address))

    def _note(self, *addresses: str) -> None:
        self.found += [a for a in map(html.unescape, addresses) if re.match(r"(?i)\s*([a-z][a-z0-9+.-]*:)?//", a)]


def application(name: str) -> FastAPI:
    """Import an application of the repository, or that of the Python in asgi-mtls/README.md."""
    if name == "asgi-mtls/README.md":
        module = types.ModuleType("readme")
        exec(compile(labelled("rules.py"), name, "exec"), module.__dict__)
        app = module.__dict__["app"]
    else:
        app = importlib.import_module(name).app
    assert isinstance(app, FastAPI)
    return app


def paths(routes: list[BaseRoute]) -> Iterator[str]:
    """Every path that can be asked for, those of routers and mounted applications, too; a parameter is the word `x`."""
    for route in routes:
        inner: Any = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        yield from paths(inner or [])
        if path := getattr(route, "path", None):
            yield re.sub(r"\{[^}]+\}", "x", path)


def answers(app: FastAPI) -> dict[str, Answer]:
    """Ask for everything as a browser does that has no certificate."""
    asked = {*paths(app.routes), "/", "/docs", "/docs/oauth2-redirect", "/redoc", "/no-such-page"}
    events = {path for path in asked if path.endswith("/events")}  # it never ends, and is no page
    log = {HANDSHAKE_LOG: HandshakeLog(is_open=True)}
    return {path: ask(app, path, accept="text/html,*/*", **log) for path in sorted(asked - events)}


@pytest.mark.parametrize("name", [*APPLICATIONS, "asgi-mtls/README.md"])
def test_no_page_of_an_application_loads_from_elsewhere(name: str) -> None:
    got = answers(application(name))
    pages = {path: answer for path, answer in got.items() if "html" in answer.headers.get("content-type", "")}
    assert {path: Loads(answer.body.decode()).found for path, answer in pages.items()} == {path: [] for path in pages}
    for path, answer in pages.items():
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
    assert set(pages) == ({"/", "/handshakes"} if name == "server.app" else set())
    assert [got[path].status for path in ("/docs", "/docs/oauth2-redirect", "/redoc")] == [404, 404, 404]
    assert got["/openapi.json"].status == 200


def test_fastapis_own_pages_would_be_found() -> None:
    """The twin: what the test above looks for is there in a FastAPI that was told nothing."""
    got = answers(FastAPI())
    for path in ("/docs", "/redoc"):
        assert any(address.endswith(".js") for address in Loads(got[path].body.decode()).found), path


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('<script src="//cdn.example/a.js"></script>', 1),
        ("<script>import('https://cdn.example/a.js'); import x from \"https://cdn.example/b.js\"</script>", 2),
        ("<style>@import 'https://cdn.example/a.css'; p { background: url( HTTPS://cdn.example/a.png ) }</style>", 2),
        ('<p style="background: url(//cdn.example/a.png)"><link rel=preload href=https://cdn.example/a>', 2),
        ('<img srcset="/a.png 1x, https://cdn.example/b.png 2x"><form action="http://a.example/"></form>', 2),
        ('<meta http-equiv="refresh" content="0; url=https://a.example/">', 1),
        ('<a href="https://www.rfc-editor.org/">RFC</a><img src="/a.png"><script src="a.js"></script>', 0),
    ],
)
def test_each_way_to_load_is_found(text: str, count: int) -> None:
    assert len(Loads(text).found) == count


def test_the_labs_page_carries_its_policy() -> None:
    answer = ask(application("server.app"), "/", accept="text/html")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'none'" in policy  # it has none
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/]{43}='(;|$)", policy)
    assert "frame-ancestors 'none'" in policy


def html_files() -> list[Path]:
    return [path for path in tracked("*.html", "*.htm", "*.svg") if "node_modules" not in path.parts]


def test_no_file_loads_from_elsewhere() -> None:
    files = html_files()
    assert {path.name for path in files} >= {"page.html", "terminal.svg"}
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in files}
    texts["a report"] = page({"run": "required", "results": [{"detail": "<script src=//cdn.example/a.js></script>"}]})
    assert {name: Loads(text).found for name, text in texts.items()} == {name: [] for name in texts}


def fastapi_calls(source: str) -> Iterator[ast.Call]:
    """Every `FastAPI(...)` in Python source, in the strings in it, too: some tests serve such a string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name == "FastAPI":
                yield node
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import FastAPI" in node.value:
            yield from fastapi_calls(node.value)


def off(call: ast.Call, name: str) -> bool:
    values = [word.value for word in call.keywords if word.arg == name]
    return any(isinstance(value, ast.Constant) and value.value is None for value in values)


def test_every_application_that_we_show_switches_fastapis_pages_off() -> None:
    sources = {path: path.read_text() for path in tracked("*.py") if path.name != Path(__file__).name}
    for path in tracked("*.md"):
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)
        sources |= {path / str(number): block for number, block in enumerate(blocks)}
    calls = {path: list(fastapi_calls(source)) for path, source in sources.items() if "FastAPI" in source}
    assert sum(map(len, calls.values())) >= 8
    loud = {
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, found in calls.items()
        for call in found
        if not (off(call, "docs_url") and off(call, "redoc_url"))
    }
    assert loud == set()
