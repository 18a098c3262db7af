"""What is not installed, too old or too new is named with both versions, and so is a system that can't be served on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from server_process import clean_environ

import asgi_mtls

MAIN = "import sys; from asgi_mtls.__main__ import main; sys.exit(main())"
# Run before anything of asgi_mtls is imported.
NOT_INSTALLED = """
import sys
from importlib import metadata
sys.modules["{0}"] = None
def version(name, real=metadata.version):
    if name == "{0}":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
"""
OTHER_VERSION = """
from importlib import metadata
metadata.version = lambda name, real=metadata.version: "{1}" if name == "{0}" else real(name)
"""
OLD_UVICORN = """
import uvicorn
def __init__(self, app, host="", port=0, ssl_certfile=None): ...
uvicorn.Config.__init__ = __init__
"""
OLD_CRYPTOGRAPHY = """
from cryptography import x509
class Certificate: ...
x509.Certificate = Certificate
"""
WITHOUT_POSIX = """
import asyncio, os, signal, ssl, subprocess, sys, tempfile
import click, cryptography.x509, uvicorn.main
for name in "fcntl", "resource", "pwd", "grp", "termios":
    sys.modules[name] = None
del os.fork, os.getuid, signal.SIGHUP
sys.platform = "win32"
"""


def run(prelude: str, code: str = MAIN, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", prelude + "\n" + code, *arguments]
    return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, timeout=60)


def error_of(prelude: str) -> str:
    done = run(prelude, MAIN, "myapp:app", "--plain-http")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: could not start the server: ")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("package", ["uvicorn", "cryptography", "click", "h11"])
def test_what_is_not_installed_is_named(package: str) -> None:
    error = error_of(NOT_INSTALLED.format(package))
    assert f"{package}: asgi-mtls {asgi_mtls.__version__} needs it, and it is not installed" in error
    assert f"\n  try: pip install {package}" in error.replace("'", "")


@pytest.mark.parametrize(
    ("package", "prelude", "fact"),
    [
        ("uvicorn", "import uvicorn.server as s; del s.ServerState", "cannot import name 'ServerState'"),
        ("uvicorn", "import uvicorn.supervisors as s; del s.Multiprocess", "cannot import name 'Multiprocess'"),
        ("uvicorn", "import sys, uvicorn; del sys.modules['uvicorn.main'].main", "cannot import name 'main'"),
        ("uvicorn", "import uvicorn; del uvicorn.Config.bind_socket", "uvicorn.Config has no bind_socket"),
        ("uvicorn", "import uvicorn; del uvicorn.Server.shutdown", "uvicorn.Server has no shutdown"),
        ("h11", "import h11._receivebuffer as r; del r.ReceiveBuffer", "cannot import name 'ReceiveBuffer'"),
        ("h11", "import sys; sys.modules['h11._receivebuffer'] = None", "import of h11._receivebuffer halted"),
    ],
)
def test_a_name_that_is_gone_is_an_error_with_both_versions(package: str, prelude: str, fact: str) -> None:
    error = error_of(prelude + OTHER_VERSION.format(package, "99.1"))
    assert f"{package}: asgi-mtls {asgi_mtls.__version__} can't work with {package} 99.1: {fact}" in error
    assert f"\n  try: pip install '{package}<99.1', or: install a newer asgi-mtls\n" in error


def test_a_private_attribute_that_is_gone_is_an_error() -> None:
    for name, prelude in {
        "cycle": "from uvicorn.protocols.http.h11_impl import H11Protocol as P\nreal = P.__init__\n"
        "def __init__(self, *a, **k):\n    real(self, *a, **k)\n    del self.cycle\nP.__init__ = __init__",
        "_receive_buffer": "import h11\nreal = h11.Connection.__init__\n"
        "def __init__(self, *a, **k):\n    real(self, *a, **k)\n    del self._receive_buffer\n"
        "h11.Connection.__init__ = __init__",
    }.items():
        assert name in error_of(prelude)


@pytest.mark.parametrize(
    ("package", "version", "lowest", "prelude"),
    [("uvicorn", "0.46.0", "0.47", OLD_UVICORN), ("cryptography", "41.0.7", "42.0.8", OLD_CRYPTOGRAPHY)],
)
def test_what_is_too_old_is_named(package: str, version: str, lowest: str, prelude: str) -> None:
    error = error_of(prelude + OTHER_VERSION.format(package, version))
    assert f"asgi-mtls {asgi_mtls.__version__} can't work with {package} {version}: " in error
    assert f"\n  try: pip install '{package}>={lowest}'\n" in error


@pytest.mark.parametrize(
    ("name", "package"), [("serve", "uvicorn"), ("serve_async", "uvicorn"), ("GunicornWorker", "gunicorn")]
)
def test_a_public_name_without_its_package(name: str, package: str) -> None:
    done = run(NOT_INSTALLED.format(package), f"from asgi_mtls import {name}")
    last = (
        f"ImportError: asgi_mtls.{name}: {package}: asgi-mtls {asgi_mtls.__version__} needs it, and it is not installed"
    )
    assert last in done.stderr


def test_an_error_that_is_not_about_what_is_needed_stays() -> None:
    done = run("import sys; sys.modules['shlex'] = None")
    assert "ModuleNotFoundError: import of shlex halted" in done.stderr


def test_without_posix_the_callers_side_works_and_serving_is_a_clear_error() -> None:
    code = """
from asgi_mtls import ClientIdentity, DnsName, Settings, authorize, client_identity
import asgi_mtls.authorization, asgi_mtls.identity, asgi_mtls.rules, asgi_mtls.testing
print("imported")
"""
    done = run(WITHOUT_POSIX, code)
    assert done.stdout == "imported\n", done.stderr
    error = error_of(WITHOUT_POSIX)
    assert "platform: win32: " in error
    assert "\n  try: serve on Linux or macOS, or in a container\n" in error
    done = run(WITHOUT_POSIX, "from asgi_mtls import serve")
    assert "ImportError: asgi_mtls.serve: platform: win32: " in done.stderr


def test_only_the_ways_in_read_the_environment() -> None:
    sources = Path(asgi_mtls.__file__).parent
    words = ("os.environ", "getenv", "import environ")
    found = {path.name for path in sources.rglob("*.py") if any(word in path.read_text() for word in words)}
    assert found == {"command_line.py", "environment.py"}
