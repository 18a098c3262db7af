"""Mutual TLS for ASGI services, built on Uvicorn."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgi_mtls.identity import ClientIdentity as ClientIdentity
    from asgi_mtls.identity import client_identity as client_identity
    from asgi_mtls.serving import serve as serve
    from asgi_mtls.serving import serve_async as serve_async
    from asgi_mtls.settings import Settings as Settings
    from asgi_mtls.settings import SettingsError as SettingsError

__version__ = "0.1.0"

# Imported when they are asked for: identity and rules need no Uvicorn.
_PUBLIC = {
    "ClientIdentity": "identity",
    "client_identity": "identity",
    "serve": "serving",
    "serve_async": "serving",
    "Settings": "settings",
    "SettingsError": "settings",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"asgi_mtls.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
