"""The figures, the table, and the machine they hold for."""

from __future__ import annotations

import os
import platform
import ssl
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

_WIDTH = 120


@dataclass(frozen=True)
class Figure:
    """A load on one kind of server against stock, slice by slice: rates per second, and the share of the time that the
    server computed (empty where the system does not say).
    """

    load: str
    server: str
    stock: list[float]
    other: list[float]
    target: float | None
    stock_busy: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round, smallest first."""
        return sorted(other / stock for stock, other in zip(self.stock, self.other, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    @property
    def cpu_ratio(self) -> float | None:
        """The median ratio of what a second of the server's CPU time did: other programs hardly change it."""
        slices = zip(self.stock, self.stock_busy, self.other, self.busy, strict=False)
        ratios = [(other / busy) / (stock / stock_busy) for stock, stock_busy, other, busy in slices]
        return median(ratios) if ratios else None

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the ratios: their first and third quartile."""
        if len(self.ratios) < 2:
            return self.ratio, self.ratio
        first, _, third = quantiles(self.ratios, n=4, method="inclusive")
        return first, third

    @property
    def misses(self) -> bool:
        """Whether the ratio is below its target."""
        return self.target is not None and self.ratio < self.target

    def as_json(self) -> dict[str, object]:
        """Return what a program would want of it."""
        return {
            "load": self.load,
            "server": self.server,
            "stock_per_s": median(self.stock),
            "per_s": median(self.other),
            "ratio": self.ratio,
            "spread": self.spread,
            "cpu_ratio": self.cpu_ratio,
            "busy": median(self.busy) if self.busy else None,
            "target": self.target,
        }


def print_machine(*, pinned: bool) -> None:
    """Say what the figures hold for."""
    where = "server and load each on a core of its own" if pinned else "server and load on the same cores: expect noise"
    print(f"{_processor()}, {os.cpu_count()} cores, {_system()}; local processes on loopback, {where}")
    libraries = ("uvicorn", "fastapi", "uvloop", "httptools")
    print(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {', '.join(map(_version, libraries))}")
    loop, http = (os.environ.get(f"UVICORN_{name}") or "auto" for name in ("LOOP", "HTTP"))
    print(f"loop {loop}, http {http}, access log off, required mode, one worker")


def print_table(figures: list[Figure], rounds: int, seconds: float) -> None:
    """Print a line for each load and server."""
    table = Table(title=f"explained against stock: {rounds} rounds of {seconds:g} s, medians", title_justify="left")
    for column in ("load", "server"):
        table.add_column(column)
    for column in ("stock /s", "this /s", "ratio", "middle half", "target", "CPU ratio", "busy"):
        table.add_column(column, justify="right")
    for figure in figures:
        target = "" if figure.target is None else f"{figure.target:.2f} {'MISSED' if figure.misses else 'met'}"
        table.add_row(
            figure.load,
            figure.server,
            f"{median(figure.stock):,.0f}",
            f"{median(figure.other):,.0f}",
            f"{figure.ratio:.3f}",
            "{:.3f}-{:.3f}".format(*figure.spread),
            target,
            "?" if figure.cpu_ratio is None else f"{figure.cpu_ratio:.3f}",
            f"{median(figure.busy):.0%}" if figure.busy else "?",
        )
    console = Console(width=_WIDTH if not Console().is_terminal else None, highlight=False)
    console.print(table)
    print("(*) not the same work: stock can't know who calls, explained reads the identity and sends it.")
    print("busy: the share of the time that the server computed; below 90 % the load, or the machine, was the limit,")
    print("and then look at the CPU ratio: what the servers did for each second of their own CPU time.")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"
