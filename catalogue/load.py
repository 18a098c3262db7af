"""Read `scenarios.toml` into the model, and refuse what the lab could not run or would judge wrongly."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from catalogue.alerts import ALERTS
from catalogue.errors import CatalogueError, nearest
from catalogue.model import NON_OUTCOMES, Catalogue, Expectation, Expected, Mode, Outcome, Scenario, Sends

DEFAULT_PATH = Path(__file__).with_name("scenarios.toml")
POSITIVE_CONTROL = "client-good"

_ID = re.compile(r"client-[a-z0-9]+(-[a-z0-9]+)*")
_RFC = re.compile(r"RFC \d+ (\d|[A-Z])")
_TEXT_KEYS = ("title", "lesson", "what", "why")
_KEYS = (*_TEXT_KEYS, "rfc", "credential", "sends", "expect")
_EXPECTATION_KEYS = tuple(f.name for f in fields(Expectation))
_NO_CREDENTIAL = "none"

E = TypeVar("E", bound=StrEnum)


def load(path: Path = DEFAULT_PATH) -> Catalogue:
    """Load and check a catalogue.

    Raises:
        CatalogueError: the file cannot be read, is not TOML, or says something the lab cannot run. The
            message names the scenario and the key.
    """
    return _Reader(path).read()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Catalogue:
        try:
            data = self.path.read_bytes()
            document = tomllib.loads(data.decode())
        except OSError as error:
            raise self.error("", error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise self.error("", f"not TOML: {error}") from None
        self.known("", document, ("scenario",))
        tables = self.table("", document.get("scenario"), "scenario")
        scenarios = {id_: self.scenario(id_, self.table(id_, table, "the scenario")) for id_, table in tables.items()}
        if POSITIVE_CONTROL not in scenarios:
            raise self.error("", f"no scenario {POSITIVE_CONTROL}, the positive control that everything rests on")
        return Catalogue(scenarios, hashlib.sha256(data).hexdigest())

    def scenario(self, id_: str, table: dict[str, Any]) -> Scenario:
        if not _ID.fullmatch(id_):
            raise self.error(id_, "a scenario's id is client- and lower-case words joined by hyphens")
        self.known(id_, table, _KEYS)
        text = {key: self.text(id_, table, key) for key in _TEXT_KEYS}
        rfc = table.get("rfc")
        if not isinstance(rfc, list) or not rfc or not all(isinstance(r, str) and _RFC.match(r) for r in rfc):
            raise self.error(id_, 'rfc must list the clauses that rule it, like "RFC 5280 4.2.1.12"')
        credential = table.get("credential", id_)
        if not isinstance(credential, str) or not (_ID.fullmatch(credential) or credential == _NO_CREDENTIAL):
            raise self.error(id_, f'credential must be the name of a credential or "{_NO_CREDENTIAL}"')
        expect = self.table(id_, table.get("expect"), "expect")
        self.known(id_, expect, tuple(Mode), "expect.")
        missing = [mode for mode in Mode if mode not in expect]
        if missing:
            raise self.error(id_, f"no expectation for mode {', '.join(missing)}")
        return Scenario(
            id=id_,
            **text,
            credential=None if credential == _NO_CREDENTIAL else credential,
            sends=self.word(id_, Sends, table.get("sends", Sends.FULLCHAIN), "sends"),
            rfc=tuple(rfc),
            expect={mode: self.expected(id_, mode, expect[mode]) for mode in Mode},
        )

    def expected(self, id_: str, mode: Mode, value: object) -> Expected:
        where = f"expect.{mode}"
        table = dict(self.table(id_, value, where))
        tls12 = self.difference(id_, table.pop("tls12", {}), f"{where}.tls12")
        stock = self.difference(id_, table.pop("stock", {}), f"{where}.stock")
        always = self.difference(id_, table, where)
        if "outcome" not in always:
            raise self.error(id_, f"{where} has no outcome")
        for difference in ({}, tls12, stock, tls12 | stock):
            self.sound(id_, where, always | difference)
        return Expected(Expectation(**always), tls12, stock)

    def difference(self, id_: str, value: object, where: str) -> dict[str, Any]:
        table = dict(self.table(id_, value, where))
        self.known(id_, table, _EXPECTATION_KEYS, f"{where}.")
        if "outcome" in table:
            table["outcome"] = self.word(id_, Outcome, table["outcome"], f"{where}.outcome")
        if "alert" in table and str(table["alert"]) not in ALERTS:
            raise self.error(
                id_, f"{where}.alert {table['alert']!r} is no TLS alert; {nearest(str(table['alert']), ALERTS)}"
            )
        code = table.get("verify_code", 1)
        if not isinstance(code, int) or isinstance(code, bool) or code < 1:
            raise self.error(id_, f"{where}.verify_code must be one of OpenSSL's X509_V_ERR numbers")
        return table

    def sound(self, id_: str, where: str, table: dict[str, Any]) -> None:
        """Refuse an expectation that contradicts itself or expects what is never judged."""
        outcome = table["outcome"]
        if outcome in NON_OUTCOMES:
            raise self.error(id_, f"{where}.outcome {outcome} can't be expected: it means that nothing was seen")
        if outcome is Outcome.SERVED:
            raise self.error(id_, f"{where}.outcome served follows from SERVER=stock; say authenticated or anonymous")
        refused = outcome in (Outcome.REFUSED_BY_SERVER, Outcome.REFUSED_BY_CLIENT)
        if outcome is Outcome.REFUSED_BY_SERVER and "alert" not in table:
            raise self.error(id_, f"{where} is a refusal by the server and names no alert")
        if not refused and ("alert" in table or "verify_code" in table):
            raise self.error(id_, f"{where} has an alert or verify_code, but the outcome {outcome} has neither")

    def text(self, id_: str, table: dict[str, Any], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(id_, f"{key} must be a text")
        return value.strip()

    def word(self, id_: str, kind: type[E], value: object, where: str) -> E:
        try:
            return kind(str(value))
        except ValueError:
            raise self.error(id_, f"{where} {value!r} is unknown; {nearest(str(value), tuple(kind))}") from None

    def table(self, id_: str, value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(id_, f"{where} must be a table")
        return value

    def known(self, id_: str, table: dict[str, Any], keys: tuple[str, ...], where: str = "") -> None:
        for key in table:
            if key not in keys:
                raise self.error(id_, f"unknown key {where}{key}; {nearest(key, keys)}")

    def error(self, id_: str, fact: str) -> CatalogueError:
        scenario = f", scenario {id_}" if id_ else ""
        return CatalogueError(f"could not load {self.path.name}{scenario}", fact, f"edit {self.path}")
