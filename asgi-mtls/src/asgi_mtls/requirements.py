"""What must be installed, and the errors that name what is missing or does not fit.

Nothing is imported here that may be missing.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

import asgi_mtls
from asgi_mtls.settings import SettingsError

LOWEST = {"cryptography": "42.0.8", "gunicorn": "20.1", "uvicorn": "0.47"}
_OF_UVICORN = ("click", "h11")  # Uvicorn brings them
_OF_POSIX = ("fcntl", "pwd", "resource")  # of the standard library


def unmet(error: ImportError) -> SettingsError:
    """Return an import's failure as an error that names the package, its version and a cure.

    Raises:
        ImportError: the given one; it is about nothing that asgi-mtls needs.
    """
    package = (error.name or "").partition(".")[0]
    if package in _OF_POSIX:
        return unfit_platform(f"Python has no module {package}")
    if package not in (*LOWEST, *_OF_UVICORN):
        raise error
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        fact = f"asgi-mtls {asgi_mtls.__version__} needs it, and it is not installed"
        return SettingsError(package, fact, _install(package))
    return unfit(package, str(error).partition(" (")[0])


def unfit(package: str, fact: str) -> SettingsError:
    """Return the error about an installed package that lacks what is needed; it names both versions."""
    version = metadata.version(package)
    fact = f"asgi-mtls {asgi_mtls.__version__} can't work with {package} {version}: {fact}"
    if package in LOWEST and _numbers(version) < _numbers(LOWEST[package]):
        return SettingsError(package, fact, _install(package))
    return SettingsError(package, fact, f"pip install '{package}<{version}'", "install a newer asgi-mtls")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def unfit_platform(fact: str) -> SettingsError:
    """Return the error about a system that can't be served on."""
    return SettingsError("platform", f"{sys.platform}: {fact}", "serve on Linux or macOS, or in a container")


def _install(package: str) -> str:
    return f"pip install '{package}>={LOWEST[package]}'" if package in LOWEST else f"pip install {package}"
