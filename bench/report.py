"""The figures, the table, and the machine they hold for."""

from __future__ import annotations

import os
import platform
import ssl
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

_WIDTH = 110


@dataclass(frozen=True)
class Figure:
    """A load on one kind of server against stock: rates per second, slice by slice, and the share of time it worked."""

    load: str
    server: str
    stock: list[float]
    other: list[float]
    busy: list[float]
    target: float | None

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round, smallest first."""
        return sorted(other / stock for stock, other in zip(self.stock, self.other, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

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
    for column in ("stock /s", "this /s", "ratio", "middle half", "target", "busy"):
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
            f"{median(figure.busy):.0%}" if figure.busy else "?",
        )
    console = Console(width=_WIDTH if not Console().is_terminal else None, highlight=False)
    console.print(table)
    print("(*) not the same work: stock can't know who calls, explained reads the identity and sends it.")
    print("busy: the share of the time that the server computed; below 90 % the load, or the machine, was the limit.")


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
