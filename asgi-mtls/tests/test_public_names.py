"""What users import: every public name is there, and what needs no framework imports none."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from cert_factory import certificate

import asgi_mtls

MODULES = ["asgi_mtls", "asgi_mtls.fastapi", "asgi_mtls.starlette", "asgi_mtls.testing"]
FRAMEWORKS = ["fastapi", "starlette", "pydantic", "uvicorn", "httpx", "anyio", "h11"]
BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
"""
PLAIN = """
import asyncio
from asgi_mtls import DnsName, ForbiddenError, OrganizationalUnit, any_of, authorize

certificate = {certificate!r}

async def app(scope, receive, send):
    try:
        caller = authorize(scope, any_of(DnsName("a.test"), OrganizationalUnit("Ops")))
    except ForbiddenError as error:
        await error.answer(scope, receive, send)
        return
    await send({{"type": "http.response.start", "status": 200}})

async def send(message):
    print(message.get("status", ""))

for chain in ([], [certificate]):
    scope = {{"type": "http", "path": "/", "extensions": {{"tls": {{"client_cert_chain": chain}}}}}}
    asyncio.run(app(scope, None, send))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_there(module: str) -> None:
    imported = importlib.import_module(module)
    for name in imported.__all__:
        assert getattr(imported, name) is not None
        assert name in dir(imported)


def test_the_names_are_those_that_type_checkers_see() -> None:
    lazily = {name for names in asgi_mtls._MODULES.values() for name in names}
    assert {*asgi_mtls.__all__} == lazily | {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        asgi_mtls.nothing  # noqa: B018


def test_identity_and_rules_need_no_framework() -> None:
    """Nor Uvicorn: an application may run on another server, or in a test."""
    code = PLAIN.format(certificate=certificate(("OU", "Ops")))
    done = run(BLOCKED.format(blocked=FRAMEWORKS) + code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["403", "200"]


@pytest.mark.parametrize(
    ("module", "needed"),
    [("asgi_mtls.starlette", "starlette"), ("asgi_mtls.fastapi", "fastapi"), ("asgi_mtls.serving", "uvicorn")],
)
def test_the_blocker_blocks(module: str, needed: str) -> None:
    done = run(BLOCKED.format(blocked=[needed]) + f"import {module}")
    assert f"ModuleNotFoundError: {needed}" in done.stderr


def test_starlette_needs_no_fastapi() -> None:
    done = run(BLOCKED.format(blocked=["fastapi", "pydantic", "uvicorn"]) + "import asgi_mtls.starlette")
    assert done.returncode == 0, done.stderr
