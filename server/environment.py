"""The environment that a server starts in, as far as it must be known before the rest is read.

It imports little, so that the health check can afford it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

_SWITCH = {"0": False, "1": True}


class SettingsError(Exception):
    """The environment asks for something that can't be served. Its text names the variable and the cure."""

    def __init__(self, variable: str, fact: str, cure: str) -> None:
        super().__init__(f"error: could not start the server: {variable}: {fact}\n  try: {cure}")


def read_env_file() -> None:
    """Add to the environment of this process what is in the file that UVICORN_ENV_FILE names.

    Uvicorn reads it, too, but only after it has parsed its own variables. As with Uvicorn, a variable that is set
    already keeps its value, even an empty one.

    Raises:
        SettingsError: it can't be read, or takes a package that is not there.
    """
    path = os.environ.get("UVICORN_ENV_FILE")
    if not path:
        return
    try:
        from dotenv import load_dotenv
        from dotenv.parser import parse_stream
    except ImportError:
        fact = "it takes the package python-dotenv, which is not installed"
        raise SettingsError("UVICORN_ENV_FILE", fact, "pip install python-dotenv") from None
    try:
        text = Path(path).read_text("utf-8")
        # python-dotenv would leave the line out, which may be the one with the revocation lists.
        if wrong := next((binding.original.line for binding in parse_stream(io.StringIO(text)) if binding.error), 0):
            raise ValueError(f"line {wrong} is not NAME=value")
        load_dotenv(stream=io.StringIO(text))
    except (OSError, ValueError) as error:
        fact = (isinstance(error, OSError) and error.strerror) or str(error)
        fact = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else fact
        raise SettingsError("UVICORN_ENV_FILE", f"{path}: {fact}", "unset UVICORN_ENV_FILE") from None


def switch(environ: Mapping[str, str], name: str, default: str) -> bool:
    """Return whether a variable is 1.

    Raises:
        SettingsError: it is neither 0 nor 1.
    """
    value = environ.get(name) or default
    if value not in _SWITCH:
        raise SettingsError(name, f"{value!r} is neither 0 nor 1", f"export {name}={default}")
    return _SWITCH[value]


def asking_for_tls(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that ask for TLS, or mean something with it alone."""
    return [
        name
        for name, value in sorted(environ.items())
        if (name.startswith("UVICORN_SSL_") or name in ("LAB_CRL", "LAB_TRUSTED_PROXY"))
        and value
        and not (name == "UVICORN_SSL_CERT_REQS" and value in ("0", "off"))
    ]


def plain_http(environ: Mapping[str, str]) -> bool:
    """Return whether LAB_PLAIN_HTTP asks for plain HTTP.

    Raises:
        SettingsError: a variable asks for TLS, too.
    """
    if not switch(environ, "LAB_PLAIN_HTTP", "0"):
        return False
    if names := asking_for_tls(environ):
        fact = f"it asks for plain HTTP, and {names[0]} for TLS"
        raise SettingsError("LAB_PLAIN_HTTP", fact, f"unset LAB_PLAIN_HTTP, or: unset {names[0]}")
    return True
