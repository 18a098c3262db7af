"""Answers of the media type `application/problem+json` (RFC 9457), and who may set their type."""

from __future__ import annotations

PROBLEM_JSON = "application/problem+json"
_prefix = "urn:x-asgi-mtls:"


def set_problem_type(prefix: str) -> None:
    """Set what the types of this process's problems begin with: a URI that you own (RFC 9457 3.1.1)."""
    global _prefix
    _prefix = prefix


def problem_type(kind: str) -> str:
    """Return the type of a kind of problem, like `certificate-required`."""
    return _prefix + kind
