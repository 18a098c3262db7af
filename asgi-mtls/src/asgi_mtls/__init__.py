"""Mutual TLS for ASGI services, built on Uvicorn."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgi_mtls.authorization import AuthorizeMiddleware, ForbiddenError, authorize
    from asgi_mtls.environment import from_environment
    from asgi_mtls.gunicorn_worker import GunicornWorker
    from asgi_mtls.identity import ClientIdentity, Names, TlsFacts, client_identity, tls_facts, unsafe_character
    from asgi_mtls.problems import Problem, set_problem_type
    from asgi_mtls.rules import (
        DnsName,
        EmailAddress,
        Fingerprints,
        IpAddress,
        OrganizationalUnit,
        Rule,
        SpiffePath,
        Uri,
        all_of,
        any_of,
    )
    from asgi_mtls.serving import serve, serve_async
    from asgi_mtls.settings import Settings, SettingsError

__version__ = "0.1.0"

__all__ = [
    "AuthorizeMiddleware",
    "ClientIdentity",
    "DnsName",
    "EmailAddress",
    "Fingerprints",
    "ForbiddenError",
    "GunicornWorker",
    "IpAddress",
    "Names",
    "OrganizationalUnit",
    "Problem",
    "Rule",
    "Settings",
    "SettingsError",
    "SpiffePath",
    "TlsFacts",
    "Uri",
    "__version__",
    "all_of",
    "any_of",
    "authorize",
    "client_identity",
    "from_environment",
    "serve",
    "serve_async",
    "set_problem_type",
    "tls_facts",
    "unsafe_character",
]

# Imported when they are asked for: only the serving side needs Uvicorn.
_MODULES = {
    "authorization": ("AuthorizeMiddleware", "ForbiddenError", "authorize"),
    "environment": ("from_environment",),
    "gunicorn_worker": ("GunicornWorker",),
    "identity": ("ClientIdentity", "Names", "TlsFacts", "client_identity", "tls_facts", "unsafe_character"),
    "problems": ("Problem", "set_problem_type"),
    "rules": (
        *("DnsName", "EmailAddress", "Fingerprints", "IpAddress", "OrganizationalUnit", "Rule", "SpiffePath", "Uri"),
        *("all_of", "any_of"),
    ),
    "serving": ("serve", "serve_async"),
    "settings": ("Settings", "SettingsError"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            try:
                return getattr(import_module(f"asgi_mtls.{module}"), name)
            except ImportError as error:
                from asgi_mtls.requirements import unmet

                raise ImportError(f"asgi_mtls.{name}: {unmet(error).shortly}", name=error.name) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
