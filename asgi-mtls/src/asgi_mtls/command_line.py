"""The command `asgi-mtls myapp:app`: Uvicorn's options and ours, on the command line or as environment variables.

There is no second parser: Uvicorn's own command reads its options and its variables.
"""

from __future__ import annotations

import os
import shlex
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import click
import uvicorn
from uvicorn.main import main as uvicorn_command

import asgi_mtls
from asgi_mtls import event_log
from asgi_mtls.environment import PREFIX, of_variables, read_env_file, texts
from asgi_mtls.serving import log_serving, prepare, run
from asgi_mtls.settings import DEFAULTS, Settings, SettingsError, Spelling, parsed

# What Uvicorn reads under another name gets the usual one, so that the log has it.
_OTHER_NAMES = {"WEB_CONCURRENCY": "UVICORN_WORKERS", "FORWARDED_ALLOW_IPS": "UVICORN_FORWARDED_ALLOW_IPS"}
_OUR_OPTIONS = [setting for setting in fields(Settings) if not setting.name.startswith("ssl_")]
_EXAMPLE = """
\b
Example:
  asgi-mtls myapp:app --port 8443 --ssl-certfile fullchain.pem --ssl-keyfile privkey.pem \\
    --ssl-ca-certs clients.pem --ssl-cert-reqs required

Each option is also an environment variable: UVICORN_PORT for --port, {prefix}CRL for --crl.
"""


@dataclass(frozen=True)
class Command:
    """What a command line and the environment ask for.

    app: the application, as `module:attribute`. options: of `uvicorn.Config`. equivalent: the plain `uvicorn` command
    line that says the same, without our settings; the pass phrase of a key is shown as `...`. spelling: how the user
    has named the settings.
    """

    app: str
    settings: Settings
    options: dict[str, Any]
    equivalent: str
    spelling: Spelling

    def run(self, **fields: object) -> None:
        """Serve until stopped; `fields` are further ones of the event that says so."""
        config = prepare(self.app, self.settings, self.options)
        log_serving(self.settings, **fields, equivalent=event_log.Own(self.equivalent))
        run(config)

    @contextmanager
    def spelled(self) -> Iterator[None]:
        """Have errors name the settings as the user has."""
        try:
            yield
        except SettingsError as error:
            raise error.spelled(self.spelling) from None


def main() -> int:
    """Serve until stopped. Returns 2 if what is asked for can't be served."""
    try:
        command = read(sys.argv[1:])
        with command.spelled():
            command.run()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def read(
    arguments: Sequence[str], *, prefix: str = PREFIX, name: str = "asgi-mtls", default_app: str | None = None
) -> Command:
    """Return what arguments and environment ask for; an env file's variables are added to the environment.

    Args:
        arguments: the command line without the program.
        prefix: what the environment variables of our settings begin with.
        name: the program, for its help.
        default_app: the application if the command line names none.

    Raises:
        SettingsError: something can't be read, or not be served.
        SystemExit: help or the version was asked for, and printed.
    """
    read_env_file(os.environ.get("UVICORN_ENV_FILE"))
    command = _command(prefix, default_app)
    try:
        context = command.make_context(name, list(arguments))
        if context.params["env_file"] and not os.environ.get("UVICORN_ENV_FILE"):
            read_env_file(context.params["env_file"])
        for other, usual in _OTHER_NAMES.items():
            if os.environ.get(other) and not os.environ.get(usual):
                os.environ[usual] = os.environ[other]
        context = command.make_context(name, list(arguments))
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        where = "the command line" if any(word.startswith("-") for word in arguments) else "UVICORN_*"
        raise SettingsError(where, error.format_message(), f"{name} --help") from None
    spelling = _spelling(prefix, {name for name in DEFAULTS if _is_typed(context, name)})
    try:
        settings = Settings(**parsed(texts(prefix)) | _typed(context))
    except SettingsError as error:
        raise error.spelled(spelling) from None
    return Command(
        context.params["app"], settings, _options(context), _equivalent(context, settings.verify_mode), spelling
    )


class _Help(click.Command):
    """Uvicorn's command with our options in a section of their own, before Uvicorn's."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        ours = {setting.name for setting in _OUR_OPTIONS} | {"help", "version"}
        records: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                records[parameter.name in ours].append(record)
        for title, ours_too in (("Options of asgi-mtls", True), ("Options of Uvicorn", False)):
            with formatter.section(title):
                formatter.write_dl(records[ours_too])


def _command(prefix: str, default_app: str | None) -> click.Command:
    replaced = {"app", "version", "ssl_cert_reqs"}
    app = click.Argument(["app"], envvar="UVICORN_APP", default=default_app, required=default_app is None)
    cert_reqs = click.Option(
        ["--ssl-cert-reqs"], help="Client certificates: off, optional or required (0, 1, 2)  [default: off]"
    )
    return _Help(
        "asgi-mtls",
        params=[
            app,
            *(parameter for parameter in uvicorn_command.params if parameter.name not in replaced),
            cert_reqs,
            *(_option(setting) for setting in _OUR_OPTIONS),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                help="Print the versions.",
                callback=_print_version,
            ),
        ],
        help="Serve an ASGI application with mutual TLS.",
        epilog=_EXAMPLE.format(prefix=prefix),
        context_settings={"auto_envvar_prefix": "UVICORN"},
    )


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        python = sys.version.split()[0]
        click.echo(f"asgi-mtls {asgi_mtls.__version__}, Uvicorn {uvicorn.__version__}, Python {python}")
        context.exit()


def _option(setting: Any) -> click.Option:
    words = setting.name.replace("_", "-")
    text = setting.metadata["help"]
    if setting.default is not None:
        text += f"  [default: {_shown(setting.default)}]"
    is_switch = setting.type == "bool"
    names = [f"--{words}/--no-{words}" if is_switch else f"--{words}", setting.name]
    return click.Option(names, default=None, help=text, allow_from_autoenv=False, type=bool if is_switch else str)


def _shown(default: object) -> str:
    return {True: "on", False: "off"}[default] if isinstance(default, bool) else format(default, "")


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _typed(context: click.Context) -> dict[str, Any]:
    """Return the settings that the command line gives."""
    given = {name: context.params[name] for name in DEFAULTS if _is_typed(context, name)}
    switches = {name: value for name, value in given.items() if isinstance(value, bool)}
    return parsed({name: str(value) for name, value in given.items() if name not in switches}) | switches


def _spelling(prefix: str, typed: set[str]) -> Spelling:
    """Return how a user names settings who typed some as options: those, or all if there are no variables."""
    variables = of_variables(prefix)

    def name(setting: str) -> str:
        return f"--{setting.replace('_', '-')}" if setting in typed else variables.name(setting)

    def assign(name: str, value: str) -> str:
        return f"{name} {shlex.quote(value)}" if name.startswith("--") else variables.assign(name, value)

    return Spelling(name, assign)


def _options(context: click.Context) -> dict[str, Any]:
    """Return the options of `uvicorn.Config` but those that are ours."""
    ours = {setting.name for setting in fields(Settings)} | {"app", "env_file"}
    options = {name: value for name, value in context.params.items() if name not in ours}
    options |= {name: options[name] or None for name in ("reload_dirs", "reload_includes", "reload_excludes")}
    for header in options.get("headers") or ():
        if ":" not in header:
            raise SettingsError("UVICORN_HEADERS", f"{header!r} has no colon", "export UVICORN_HEADERS=name:value")
    options["headers"] = [tuple(header.split(":", 1)) for header in options.get("headers") or ()]
    return options


def _equivalent(context: click.Context, mode: ssl.VerifyMode) -> str:
    words = ["uvicorn", context.params["app"]]
    for parameter in uvicorn_command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        given = source in (click.core.ParameterSource.ENVIRONMENT, click.core.ParameterSource.COMMANDLINE)
        if not given or not isinstance(parameter, click.Option):
            continue
        value = context.params[name]
        if value == parameter.get_default(context):
            continue
        if parameter.is_flag:
            words.append(parameter.opts[0] if value else (parameter.secondary_opts or parameter.opts)[0])
            continue
        for item in value if parameter.multiple else (value,):
            if name == "ssl_cert_reqs":
                item = int(mode)  # it takes numbers only
            words += [parameter.opts[0], "..." if "password" in parameter.opts[0] else str(item)]
    return shlex.join(words)
