"""`python -m client`: judge a mode (`matrix`), make one attempt (`probe`), say what should happen or what an error
means (`explain`), write what tools said (`observe`) and the pages that follow from it (`document`).

Exit status: 0 all as expected, 1 a verdict differs, 2 the lab is broken. Reads LAB_CERTS, LAB_URL, LAB_SERVER_LOG,
LAB_REPORTS, LAB_RUNTIME, LAB_PORTS and LAB_VERBOSE, and LAB_SHOWN_URL, LAB_SHOWN_CERTS and LAB_SHOWN_PYTHON for the
commands it prints; and LAB_ERROR, the error text to explain.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from catalogue import Crl, LabError, Mode, Proxy, Server, Tls, Trust, nearest

if TYPE_CHECKING:
    from enum import StrEnum

    E = TypeVar("E", bound=StrEnum)

_PIPED_WIDTH = 150


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m client", description="Present credentials and judge outcomes.")
    commands = parser.add_subparsers(dest="command", required=True)
    matrix = commands.add_parser("matrix", help="judge the running server as if it were in a mode")
    matrix.add_argument("--mode", default="required")
    matrix.add_argument("--server", help="fail if another kind of server answers")
    matrix.add_argument("--servers", action="store_true", help="judge the other servers, which run at LAB_PORTS")
    matrix.add_argument("--probe", default="", metavar="NAMES", help="try these alone, as in raw,curl")
    probe = commands.add_parser("probe", help="make one attempt")
    probe.add_argument("--scenario", default="")
    probe.add_argument("--probe", default="")
    probe.add_argument("--tls", default=Tls.V13)
    explain = commands.add_parser("explain", help="say what a scenario is and what should happen, or what an error is")
    explain.add_argument("--scenario", default="")
    servers = (
        "list the other servers that scenarios ask for: name, credential, trust file, CRL, CRL_CHECK, pass phrase or -"
    )
    commands.add_parser("servers", help=servers)
    commands.add_parser(
        "steady", help="ask the server without a pause until stdin ends; exit with 1 if a request failed"
    )
    commands.add_parser("observe", help="read reports (JSON) on stdin; write what tools said as a tar archive")
    document = commands.add_parser("document", help="write a page of docs/ to stdout")
    document.add_argument("page", choices=("scenarios", "errors"))
    commands.add_parser("export", help="write what a person needs on the host to stdout, as a tar archive")
    reports = commands.add_parser("reports", help="write a matrix's reports to stdout, as a tar archive")
    reports.add_argument("--name", default="required")
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
    from client.matrix import SERVERS, attempts, run
    from client.probes import chosen

    mode = _word(Mode, arguments.mode, "mode", "make matrix MODE=required")
    server = _server(arguments.server) if arguments.server else None
    probes = chosen(arguments.probe)
    report.remove(SERVERS if arguments.servers else mode, reports_folder(os.environ))
    lab = open_lab(os.environ)
    verbose = os.environ.get("LAB_VERBOSE", "") not in ("", "0")
    console = Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
    total = sum(1 for _ in attempts(lab.catalogue.of(default_server=not arguments.servers), probes))
    with show.progress(console, total, verbose) as seen:
        done = run(lab, mode, server, seen, servers=arguments.servers, probes=probes)
    show.matrix(console, done, lab.runtime, verbose)
    report.write(done, lab.runtime, lab.reports)
    return done.status


def _probe(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from client import show
    from client.lab import knobs, open_lab, scenario
    from client.matrix import Answered, try_one
    from client.probes import probe

    lab = open_lab(os.environ)
    tls = _word(Tls, arguments.tls, "TLS version", "make probe S=client-good PROBE=curl TLS=1.3")
    wanted, tool = scenario(lab.catalogue, arguments.scenario), probe(arguments.probe)
    console = Console()
    if knobs(wanted.server):
        console.print(f"# at the server of: make up {knobs(wanted.server)}", markup=False, highlight=False)
    command = tool.command(lab.shown_attempt(lab.attempt(wanted, tls)))
    console.print(command, markup=False, highlight=False, soft_wrap=True)
    result = try_one(lab, wanted, tool, tls, Mode.REQUIRED, Answered(Server.EXPLAINED, tool.openssl()))
    show.outcome(console, result)
    if result.observed and result.verdict is None:
        raise LabError("nothing was seen that could be judged", result.reason, "make up")
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    import catalogue
    from client import observations, show
    from client.lab import scenario

    known = catalogue.load()
    error = os.environ.get("LAB_ERROR", "").strip()  # not an argument: shells would take its quotes for theirs
    if error and not arguments.scenario:
        show.error(Console(), error, known, observations.load())
    else:
        show.explanation(Console(), scenario(known, arguments.scenario))
    return 0


def _servers(_: argparse.Namespace) -> int:
    from client.lab import open_lab

    lab = open_lab(os.environ)
    for variant in lab.catalogue.variants[1:]:
        pass_phrase = lab.manifest.credentials[variant.credential].pass_phrase
        print(variant.name, variant.credential, variant.trust, variant.crl, variant.crl_check, pass_phrase or "-")
    return 0


def _steady(_: argparse.Namespace) -> int:
    from client import steady
    from client.lab import open_lab

    seen = steady.run(open_lab(os.environ), lambda: print("asking", flush=True))
    failed = f"{len(seen.failures)} failed, the first {seen.failures[0]}" if seen.failures else "none failed"
    total = seen.new + seen.kept
    print(f"requests {total} answered, {seen.new} on connections of their own, {seen.kept} on one; {failed}")
    print("serials", *seen.serials)
    return 1 if seen.failures else 0


def _observe(_: argparse.Namespace) -> int:
    from client import observations

    name, text = observations.dumps(observations.collect(sys.stdin.read()))
    data = text.encode()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mtime = len(data), int(time.time())
        archive.addfile(member, io.BytesIO(data))
    return 0


def _document(arguments: argparse.Namespace) -> int:
    import catalogue
    from client import documents, observations

    known = catalogue.load()
    pages = {
        "scenarios": lambda: documents.scenarios(known),
        "errors": lambda: documents.errors(known, observations.load()),
    }
    print(pages[arguments.page](), end="")
    return 0


def _export(_: argparse.Namespace) -> int:
    from client.lab import open_lab

    lab = open_lab(os.environ)
    certs = Path(lab.view.certs)
    credentials = lab.manifest.credentials.values()
    trust_files = [f"{trust}.pem" for trust in Trust]
    lists = [f"{crl}.pem" for crl in Crl if crl.startswith("validation_")]
    names = ["public_root.pem", *trust_files, *lists, *(f for c in credentials for f in c.files.values())]
    _tar(certs, [*names, "manifest.json"])  # the manifest last: its presence means that the copy is complete
    return 0


def _reports(arguments: argparse.Namespace) -> int:
    from client.lab import reports_folder
    from client.report import KINDS

    folder = reports_folder(os.environ)
    files = [f"{arguments.name}.{kind}" for kind in KINDS]
    _tar(folder, [name for name in files if (folder / name).exists()])
    return 0


def _tar(folder: Path, names: list[str]) -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for name in names:
            archive.add(folder / name, arcname=name)


_COMMANDS = {
    "matrix": _matrix,
    "probe": _probe,
    "explain": _explain,
    "export": _export,
    "reports": _reports,
    "servers": _servers,
    "steady": _steady,
    "observe": _observe,
    "document": _document,
}


def _server(value: str) -> Server | Proxy:
    return Proxy(value) if value in tuple(Proxy) else _word(Server, value, "server", "make up SERVER=explained")


def _word(kind: type[E], value: str, what: str, cure: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise LabError(f"could not use the {what} {value!r}", nearest(value, tuple(kind)), cure) from None
