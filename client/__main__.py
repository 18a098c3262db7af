"""`python -m client`: judge a mode (`matrix`), make one attempt (`probe`), say what should happen (`explain`).

Exit status: 0 all as expected, 1 a verdict differs, 2 the lab is broken. Reads LAB_CERTS, LAB_URL, LAB_SERVER_LOG,
LAB_REPORTS and LAB_RUNTIME, and LAB_SHOWN_URL, LAB_SHOWN_CERTS and LAB_SHOWN_PYTHON for the commands it prints.
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from catalogue import LabError, Mode, Server, Tls, nearest

if TYPE_CHECKING:
    from enum import StrEnum

    E = TypeVar("E", bound=StrEnum)

# Nothing else of the environment reaches the probes: no proxy, CA bundle, key log, OpenSSL or curl configuration.
_KEPT = ("PATH", "TERM", "COLUMNS", "LINES", "NO_COLOR", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_KEPT_PREFIXES = ("LAB_", "PYTHON")
_ALONE = "LAB_CLIENT_ALONE"  # set once that is done; not compared, because Python itself adds LC_CTYPE (PEP 538)
_PIPED_WIDTH = 100


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m client", description="Present credentials and judge outcomes.")
    commands = parser.add_subparsers(dest="command", required=True)
    matrix = commands.add_parser("matrix", help="judge the running server as if it were in a mode")
    matrix.add_argument("--mode", default="required")
    matrix.add_argument("--server", help="fail if another kind of server answers")
    probe = commands.add_parser("probe", help="make one attempt")
    probe.add_argument("--scenario", default="")
    probe.add_argument("--probe", default="")
    probe.add_argument("--tls", default=Tls.V13)
    explain = commands.add_parser("explain", help="say what a scenario is and what should happen")
    explain.add_argument("--scenario", default="")
    commands.add_parser("export", help="write what a person needs on the host to stdout, as a tar archive")
    reports = commands.add_parser("reports", help="write a mode's reports to stdout, as a tar archive")
    reports.add_argument("--mode", default="required")
    arguments = parser.parse_args()
    try:
        status = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `make matrix | head`: whoever reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LabError as error:
        if os.environ.get("LAB_DEBUG") == "1":
            raise
        print(error, file=sys.stderr)
        return 2


def _matrix(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from client import report, show
    from client.lab import open_lab, reports_folder
    from client.matrix import attempts, run

    mode = _word(Mode, arguments.mode, "mode", "make matrix MODE=required")
    server = _word(Server, arguments.server, "server", "make up SERVER=explained") if arguments.server else None
    report.remove(mode, reports_folder(os.environ))
    lab = open_lab(os.environ)
    console = Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
    with show.progress(console, sum(1 for _ in attempts(tuple(lab.catalogue.scenarios.values())))) as seen:
        done = run(lab, mode, server, seen)
    show.matrix(console, done, lab.runtime)
    report.write(done, lab.runtime, lab.reports)
    return done.status


def _probe(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from client import show
    from client.lab import open_lab, scenario
    from client.matrix import try_one
    from client.probes import probe

    lab = open_lab(os.environ)
    tls = _word(Tls, arguments.tls, "TLS version", "make probe S=client-good PROBE=curl TLS=1.3")
    wanted, tool = scenario(lab.catalogue, arguments.scenario), probe(arguments.probe)
    console = Console()
    attempt = lab.attempt(wanted, tls, lab.shown)
    console.print(tool.command(attempt), markup=False, highlight=False, soft_wrap=True)
    result = try_one(lab, wanted, tool, tls, Mode.REQUIRED, Server.EXPLAINED)
    show.outcome(console, result)
    if result.observed and result.verdict is None:
        raise LabError("nothing was seen that could be judged", result.reason, "make up")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    import catalogue
    from client import show
    from client.lab import scenario

    show.explanation(Console(), scenario(catalogue.load(), arguments.scenario))
    return 0


def _export(_: argparse.Namespace) -> int:
    from client.lab import open_lab

    lab = open_lab(os.environ)
    certs = Path(lab.view.certs)
    credentials = lab.manifest.credentials.values()
    names = ["public_root.pem", "validation_fullchain.pem", *(f for c in credentials for f in c.files.values())]
    _tar(certs, [*names, "manifest.json"])  # the manifest last: its presence means that the copy is complete
    return 0


def _reports(arguments: argparse.Namespace) -> int:
    from client.lab import reports_folder

    folder = reports_folder(os.environ)
    mode = _word(Mode, arguments.mode, "mode", "make matrix MODE=required")
    _tar(folder, [f"{mode}.{kind}" for kind in ("json", "xml") if (folder / f"{mode}.{kind}").exists()])
    return 0


def _tar(folder: Path, names: list[str]) -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for name in names:
            archive.add(folder / name, arcname=name)


_COMMANDS = {"matrix": _matrix, "probe": _probe, "explain": _explain, "export": _export, "reports": _reports}


def _word(kind: type[E], value: str, what: str, cure: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise LabError(f"could not use the {what} {value!r}", nearest(value, tuple(kind)), cure) from None


def _alone() -> None:
    """Start again without the part of the environment that could change a verdict."""
    if _ALONE not in os.environ:
        kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}
        os.execve(sys.executable, [sys.executable, "-m", "client", *sys.argv[1:]], kept | {_ALONE: "1"})


if __name__ == "__main__":
    _alone()
    sys.exit(main())
