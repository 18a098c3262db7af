"""Settings as environment variables: `UVICORN_SSL_*`, and `ASGI_MTLS_*` for what Uvicorn does not have."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from asgi_mtls.settings import DEFAULTS, Settings, SettingsError, Spelling, parsed

PREFIX = "ASGI_MTLS_"
# What Kubernetes sets for services whose names begin with asgi-mtls.
_OF_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_.+)?)?)")


def variable(setting: str, prefix: str = PREFIX) -> str:
    """Return the environment variable of a setting, or of an option of Uvicorn's."""
    is_ours = setting in DEFAULTS and not setting.startswith("ssl_")
    return (prefix if is_ours else "UVICORN_") + setting.upper()


def of_variables(prefix: str = PREFIX) -> Spelling:
    """Return how environment variables name settings."""

    def assign(name: str, value: str) -> str:
        return f"export {name}={shlex.quote(value)}" if value else f"unset {name}"

    return Spelling(lambda setting: variable(setting, prefix), assign)


def texts(prefix: str = PREFIX, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the text of each setting that a variable gives; an empty variable gives none.

    Raises:
        SettingsError: a variable begins with our prefix and is of no setting: a slip could switch revocation off.
    """
    if prefix == PREFIX:  # another one is shared with the settings of whoever has it
        _refuse_unknown(environ)
    found = {setting: environ.get(variable(setting, prefix)) for setting in DEFAULTS}
    return {setting: text for setting, text in found.items() if text}


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = [variable(setting) for setting in DEFAULTS if not setting.startswith("ssl_")]
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or _OF_KUBERNETES.fullmatch(name):
            continue
        if environ[name]:
            setting = name.removeprefix(PREFIX).lower()
            meant = [variable(setting)] if setting in DEFAULTS else get_close_matches(name, known, 1, 0.85)
            cures = [f"export {close}={shlex.quote(environ[name])}" for close in meant]
            raise SettingsError(name, "there is no such setting", *cures, f"unset {name}")


def from_environment(prefix: str = PREFIX, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that environment variables make.

    Raises:
        SettingsError: a variable has a value that it can't have; the error names it.
    """
    try:
        return Settings(**parsed(texts(prefix, environ)))
    except SettingsError as error:
        raise error.spelled(of_variables(prefix)) from None


def read_env_file(path: str | None, spelling: Spelling | None = None) -> None:
    """Add what is in an env file to the environment of this process.

    Uvicorn reads it, too, but only after it has parsed its own variables. As with Uvicorn, a variable that is set
    already keeps its value, even an empty one.

    Args:
        path: what `--env-file` or UVICORN_ENV_FILE names, None for no file.
        spelling: how the user has named the setting; as a variable, unless given.

    Raises:
        SettingsError: the file can't be read, or the package that reads it is not installed.
    """
    if not path:
        return
    spelling = spelling or of_variables()
    try:
        from dotenv import load_dotenv
        from dotenv.parser import parse_stream
    except ImportError:
        fact = "it takes the package python-dotenv, which is not installed"
        raise SettingsError("env_file", fact, "pip install python-dotenv", spelling=spelling) from None
    try:
        text = Path(path).read_text("utf-8")
        # python-dotenv would leave the line out, which may be the one with the revocation lists.
        if wrong := next((binding.original.line for binding in parse_stream(io.StringIO(text)) if binding.error), 0):
            raise ValueError(f"line {wrong} is not NAME=value")
        load_dotenv(stream=io.StringIO(text))
    except (OSError, ValueError) as error:
        fact = (isinstance(error, OSError) and error.strerror) or str(error)
        fact = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else fact
        raise SettingsError("env_file", f"{path}: {fact}", ("env_file", ""), spelling=spelling) from None
