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
from dataclasses import Field, dataclass, fields
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
_HELP = """Serve an ASGI application with mutual TLS.

\b
  $ {name} myapp:app --ssl-certfile fullchain.pem \\
      --ssl-keyfile privkey.pem --ssl-ca-certs clients.pem \\
      --ssl-cert-reqs required
  Serve clients that have a certificate of a CA in clients.pem.

\b
  $ {name} myapp:app ... --crl clients.crl
  Refuse those whose certificate is revoked.

\b
  $ UVICORN_PORT=8443 {prefix}CRL=clients.crl {name} myapp:app ...
  Give options as environment variables: UVICORN_* for Uvicorn's and for
  --ssl-*, {prefix}* for all others. A typed option wins.

\b
  $ {name} myapp:app --env-file server.env
  Read the variables from a file.

The files are followed: a new certificate, trust file or revocation list is in
force at once, without a restart."""


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
        config = prepare(self.app, self.settings, dict(self.options))
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
    command = _command(prefix, name, default_app)
    arguments = list(arguments)
    # The env file has variables that the parser reads, so its name is needed first; errors can wait.
    known = command.make_context(name, arguments.copy(), resilient_parsing=True)
    read_env_file(known.params.get("env_file"), _spelling(prefix, known))
    for other, usual in _OTHER_NAMES.items():
        if os.environ.get(other) and not os.environ.get(usual):
            os.environ[usual] = os.environ[other]
    try:
        context = command.make_context(name, arguments.copy())
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        raise _as_settings_error(error, name) from None
    spelling = _spelling(prefix, context)
    try:
        settings = Settings(**parsed(texts(prefix) | _typed(context)))
        options = _options(context)
    except SettingsError as error:
        raise error.spelled(spelling) from None
    return Command(context.params["app"], settings, options, _equivalent(context, settings.verify_mode), spelling)


def _as_settings_error(error: click.ClickException, name: str) -> SettingsError:
    """Return click's error as one that names the option or the variable that the user has given."""
    if isinstance(error, click.NoSuchOption):
        return SettingsError(error.option_name, "there is no such option", *(error.possibilities or [f"{name} --help"]))
    if isinstance(error, click.MissingParameter):
        return SettingsError("APP", "the application is missing", f"{name} myapp:app")
    parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
    if not isinstance(error, click.BadParameter) or not isinstance(parameter, click.Option) or not context:
        return SettingsError("the command line", error.format_message(), f"{name} --help")
    if context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE:
        given = parameter.opts[0]
    else:
        given = f"UVICORN_{str(parameter.name).upper()}"
        given = next((o for o, usual in _OTHER_NAMES.items() if usual == given and os.environ.get(o)), given)
    return SettingsError(given, error.message.rstrip("."), f"{name} --help")


class _Help(click.Command):
    """Uvicorn's command with our options in a section of their own, before Uvicorn's."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        ours = {*DEFAULTS, "env_file", "help", "version"}
        sections: dict[str, list[tuple[str, str]]] = {"TLS, clients and log": [], "Uvicorn": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record:
                sections["TLS, clients and log" if parameter.name in ours else "Uvicorn"].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _command(prefix: str, name: str, default_app: str | None) -> click.Command:
    replaced = {"app", "env_file", "version", *DEFAULTS}
    default: dict[str, Any] = {"default": default_app} if default_app else {}
    return _Help(
        name,
        params=[
            click.Argument(["app"], envvar="UVICORN_APP", **default),
            *(_option(setting) for setting in fields(Settings)),
            *(parameter for parameter in uvicorn_command.params if parameter.name not in replaced),
            click.Option(["--env-file"], metavar="FILE", help="variables, as NAME=value"),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                help="print the versions",
                callback=_print_version,
            ),
        ],
        help=_HELP.format(name=name, prefix=prefix),
        context_settings={"auto_envvar_prefix": "UVICORN"},
    )


def _print_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        python = sys.version.split()[0]
        click.echo(f"asgi-mtls {asgi_mtls.__version__}, Uvicorn {uvicorn.__version__}, Python {python}")
        context.exit()


def _option(setting: Field[Any]) -> click.Option:
    """Return the option of a setting. Its value stays a text, for `parsed`."""
    words, text, is_switch = setting.name.replace("_", "-"), setting.metadata["help"], setting.type == "bool"
    if setting.default is not None:
        text += f"  [default: {_shown(setting.default)}]"
    kinds = {"Path | None": "FILE", "float": "SECONDS", "int": "NUMBER"}
    return click.Option(
        [f"--{words}/--no-{words}" if is_switch else f"--{words}", setting.name],
        default=None,
        type=bool if is_switch else str,
        metavar=None
        if is_switch
        else "|".join(setting.metadata["choices"]) or kinds.get(str(setting.type), setting.metadata["kind"]),
        help=text,
        allow_from_autoenv=setting.name.startswith("ssl_"),
    )


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _typed(context: click.Context) -> dict[str, str]:
    """Return the texts of the settings that the command line gives; an empty one takes a variable's value away."""
    given = {name: context.params[name] for name in DEFAULTS if _is_typed(context, name)}
    return {name: f"{value:d}" if isinstance(value, bool) else value for name, value in given.items()}


def _spelling(prefix: str, context: click.Context) -> Spelling:
    """Return how a user names settings: what was typed as options; and what was not given, if any option was typed."""
    variables, given = of_variables(prefix), texts(prefix)
    types_options = any(_is_typed(context, name) for name in DEFAULTS)
    switches = {name for name, default in DEFAULTS.items() if isinstance(default, bool)}

    def name(setting: str) -> str:
        is_option = _is_typed(context, setting) or (types_options and setting in DEFAULTS and setting not in given)
        return f"--{setting.replace('_', '-')}" if is_option else variables.name(setting)

    def assign(name: str, value: str) -> str:
        setting = name.removeprefix("--").replace("-", "_")
        if setting == name:
            return variables.assign(name, value)
        if setting in switches:
            return name if value == "1" else f"--no-{name.removeprefix('--')}"
        return f"{name} {shlex.quote(value)}" if value else f"leave out {name}"

    return Spelling(name, assign)


def _options(context: click.Context) -> dict[str, Any]:
    """Return the options of `uvicorn.Config` but those that are ours."""
    ours = {*DEFAULTS, "app", "env_file"}
    options = {name: value for name, value in context.params.items() if name not in ours}
    options |= {name: options[name] or None for name in ("reload_dirs", "reload_includes", "reload_excludes")}
    for header in options.get("headers") or ():
        if ":" not in header:
            raise SettingsError("headers", f"{header!r} has no colon", ("headers", "name:value"))
    if options["log_config"] is None:
        del options["log_config"]  # for Uvicorn's own
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
        if str(value) == str(parameter.get_default(context)):
            continue
        if parameter.is_flag:
            words.append(parameter.opts[0] if value else (parameter.secondary_opts or parameter.opts)[0])
            continue
        for item in value if parameter.multiple else (value,):
            if name == "ssl_cert_reqs":
                item = int(mode)  # it takes numbers only
            words += [parameter.opts[0], "..." if "password" in parameter.opts[0] else str(item)]
    return shlex.join(words)
