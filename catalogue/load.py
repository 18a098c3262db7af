"""Read `scenarios.toml` into the model, and refuse what the lab could not run or would judge wrongly."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from catalogue.alerts import ALERTS
from catalogue.errors import CatalogueError, nearest
from catalogue.model import (
    GOOD_SERVER,
    NON_OUTCOMES,
    PUBLIC_PATH,
    Catalogue,
    Crl,
    CrlCheck,
    Expectation,
    Expected,
    Mode,
    Needs,
    Outcome,
    Scenario,
    Sends,
    Tls,
    Tool,
    Trust,
    Variant,
    combined,
)
from catalogue.verify_errors import ALERT_OF

DEFAULT_PATH = Path(__file__).with_name("scenarios.toml")
POSITIVE_CONTROL = "client-good"

_KINDS = ("client", "server", "trust", "crl", "authz")
_ID = re.compile(rf"({'|'.join(_KINDS)})-[a-z0-9]+(-[a-z0-9]+)*")
_PATH = re.compile(r"(/[a-z0-9-]+)+")
_PROBLEM = re.compile(r"[a-z]+(-[a-z]+)*")
_RFC = re.compile(r"RFC \d+ ([A-Z]|\d+)(\.\d+)*( (\([a-z0-9]+\))+)?")
_VERSION = re.compile(r"\d+\.\d+")
_TEXT_KEYS = ("title", "lesson", "what", "why")
_OPTIONAL_TEXT_KEYS = ("look", "cure")
_FLAGS = ("common", "dangerous")
_SERVER_KEYS = ("serves", "trust", "crl", "crl_check")
_OTHER_KEYS = ("rfc", "credential", "sends", "path", "needs", "withheld", "expect")
_KEYS = (*_TEXT_KEYS, *_OPTIONAL_TEXT_KEYS, *_FLAGS, *_SERVER_KEYS, *_OTHER_KEYS)
_EXPECTATION_KEYS = tuple(f.name for f in fields(Expectation))
_NO_CREDENTIAL = "none"
_DEFAULT_PORT = 8443
# Short for several modes: those in which the server asks for a certificate, and all.
_SEVERAL = {"asked": (Mode.OPTIONAL, Mode.REQUIRED), "every": tuple(Mode)}
_REFUSED = (Outcome.REFUSED_BY_SERVER, Outcome.REFUSED_BY_CLIENT)

E = TypeVar("E", bound=StrEnum)


def load(path: Path | None = None) -> Catalogue:
    """Load and check a catalogue: LAB_CATALOGUE if that is set, else the lab's own, unless a path is given.

    Raises:
        CatalogueError: the file cannot be read, is not TOML, or says something the lab cannot run. The
            message names the scenario and the key.
    """
    return _Reader(path or Path(os.environ.get("LAB_CATALOGUE") or DEFAULT_PATH)).read()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        # As the person has it who will type the command; the client's variables.
        address = os.environ.get("LAB_SHOWN_URL") or os.environ.get("LAB_URL") or ""
        self.port = str(urlsplit(address).port or _DEFAULT_PORT)

    def read(self) -> Catalogue:
        try:
            data = self.path.read_bytes()
            document = tomllib.loads(data.decode())
        except OSError as error:
            raise self.error("", error.strerror or str(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise self.error("", f"not TOML: {error}") from None
        self.known("", document, ("lessons", "scenario"))
        lessons = self.table("", document.get("lessons"), "lessons")
        self.lessons = {id_: self.text("", lessons, id_) for id_ in lessons}
        tables = self.table("", document.get("scenario"), "scenario")
        scenarios = {id_: self.scenario(id_, self.table(id_, table, "the scenario")) for id_, table in tables.items()}
        if POSITIVE_CONTROL not in scenarios:
            raise self.error("", f"no scenario {POSITIVE_CONTROL}, the positive control that everything rests on")
        return Catalogue(scenarios, self.lessons, hashlib.sha256(data).hexdigest())

    def scenario(self, id_: str, table: dict[str, Any]) -> Scenario:
        if not _ID.fullmatch(id_):
            kinds = f"{'-, '.join(_KINDS[:-1])}- or {_KINDS[-1]}-"
            raise self.error(id_, f"a scenario's id is {kinds} and lower-case words joined by hyphens")
        self.known(id_, table, _KEYS)
        text = {key: self.text(id_, table, key) for key in _TEXT_KEYS}
        text |= {key: self.text(id_, table, key) if key in table else "" for key in _OPTIONAL_TEXT_KEYS}
        credential = self.credential(id_, table)
        text["look"] = text["look"].replace("{files}", f"certs/clients/{credential}").replace("{port}", self.port)
        if text["lesson"] not in self.lessons:
            fact = f"lesson {text['lesson']!r} is none of [lessons]; {nearest(text['lesson'], self.lessons)}"
            raise self.error(id_, fact)
        rfc = table.get("rfc")
        if not isinstance(rfc, list) or not rfc or not all(isinstance(r, str) and _RFC.fullmatch(r) for r in rfc):
            raise self.error(id_, 'rfc must list the clauses that rule it, like "RFC 5280 4.2.1.12"')
        flags = {key: table.get(key, False) for key in _FLAGS}
        for key, value in flags.items():
            if not isinstance(value, bool):
                raise self.error(id_, f"{key} must be true or false")
        expect = self.expectations(id_, table)
        if not text["cure"] and (flags["dangerous"] or any(self.fails(e) for e in expect.values())):
            raise self.error(id_, "cure must be a text: it is refused, forbidden, not presented, or dangerous")
        return Scenario(
            id=id_,
            **text,
            common=flags["common"],
            dangerous=flags["dangerous"],
            withheld=self.withheld(id_, table),
            credential=credential,
            sends=self.word(id_, Sends, table.get("sends", Sends.FULLCHAIN), "sends"),
            server=self.variant(id_, table),
            path=self.path_of(id_, table),
            needs=self.needs(id_, table),
            rfc=tuple(rfc),
            expect=expect,
        )

    def withheld(self, id_: str, table: dict[str, Any]) -> tuple[Tls, ...]:
        versions = table.get("withheld", [])
        if not isinstance(versions, list):
            raise self.error(id_, 'withheld must list TLS versions, like ["1.2", "1.3"]')
        return tuple(self.word(id_, Tls, version, "withheld") for version in versions)

    def credential(self, id_: str, table: dict[str, Any]) -> str | None:
        credential = table.get("credential", id_ if id_.startswith("client-") else POSITIVE_CONTROL)
        if credential == _NO_CREDENTIAL:
            return None
        if not isinstance(credential, str) or not credential.startswith("client-") or not _ID.fullmatch(credential):
            raise self.error(id_, f'credential must be the name of a credential or "{_NO_CREDENTIAL}"')
        return credential

    def path_of(self, id_: str, table: dict[str, Any]) -> str:
        path = table.get("path", PUBLIC_PATH)
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise self.error(id_, f'path must be like "/private": {path!r}')
        return path

    def variant(self, id_: str, table: dict[str, Any]) -> Variant:
        crl = self.word(id_, Crl, table.get("crl", Crl.NONE), "crl")
        if crl is Crl.NONE and "crl_check" in table:
            raise self.error(id_, "crl_check says what to look up, and there is no crl to look it up in")
        return Variant(
            self.server(id_, table),
            self.word(id_, Trust, table.get("trust", Trust.FULLCHAIN), "trust"),
            crl,
            self.word(id_, CrlCheck, table.get("crl_check", CrlCheck.LEAF), "crl_check"),
        )

    def server(self, id_: str, table: dict[str, Any]) -> str:
        serves = table.get("serves", id_ if id_.startswith("server-") else GOOD_SERVER)
        if not isinstance(serves, str) or not serves.startswith("server-") or not _ID.fullmatch(serves):
            raise self.error(id_, "serves must be the name of a server credential")
        return serves

    def needs(self, id_: str, table: dict[str, Any]) -> Needs:
        needs = self.table(id_, table.get("needs", {}), "needs")
        self.known(id_, needs, ("tls", "openssl"), "needs.")
        openssl = needs.get("openssl")
        if openssl is not None and not (isinstance(openssl, str) and _VERSION.fullmatch(openssl)):
            raise self.error(id_, 'needs.openssl must be a version like "3.5"')
        return Needs(
            self.word(id_, Tls, needs["tls"], "needs.tls") if "tls" in needs else None,
            tuple(map(int, str(openssl).split("."))) if openssl else None,
        )

    def expectations(self, id_: str, table: dict[str, Any]) -> dict[Mode, Expected]:
        expect = self.table(id_, table.get("expect"), "expect")
        self.known(id_, expect, (*Mode, *_SEVERAL), "expect.")
        given: dict[str, str] = {}
        for key in expect:
            for mode in _SEVERAL.get(key, (key,)):
                if mode in given:
                    raise self.error(id_, f"expect.{given[mode]} and expect.{key} both speak of mode {mode}")
                given[mode] = key
        missing = [mode for mode in Mode if mode not in given]
        if missing:
            raise self.error(id_, f"no expectation for mode {', '.join(missing)}")
        return {mode: self.expected(id_, given[mode], expect[given[mode]]) for mode in Mode}

    def fails(self, expected: Expected) -> bool:
        outcomes = {expected.always.outcome, *(d.get("outcome") for d in expected.tools.values())}
        return bool(outcomes & {*_REFUSED, Outcome.FORBIDDEN, Outcome.NOT_PRESENTED})

    def expected(self, id_: str, mode: str, value: object) -> Expected:
        where = f"expect.{mode}"
        table = dict(self.table(id_, value, where))
        tls12 = self.difference(id_, table.pop("tls12", {}), f"{where}.tls12")
        stock = self.difference(id_, table.pop("stock", {}), f"{where}.stock")
        tools = {tool: self.difference(id_, table.pop(tool), f"{where}.{tool}") for tool in Tool if tool in table}
        always = self.difference(id_, table, where, (*_EXPECTATION_KEYS, "tls12", "stock", *Tool))
        if "outcome" not in always:
            raise self.error(id_, f"{where} has no outcome")
        expectation = Expectation(**always)
        for first in ({}, tls12):
            for second in ({}, stock):
                for third in ({}, *tools.values()):
                    result = combined(combined(combined(expectation, first), second), third)
                    self.sound(id_, where, result)
        return Expected(expectation, tls12, stock, tools)

    def difference(
        self, id_: str, value: object, where: str, keys: tuple[str, ...] = _EXPECTATION_KEYS
    ) -> dict[str, Any]:
        table = dict(self.table(id_, value, where))
        self.known(id_, table, keys, f"{where}.")
        if "outcome" in table:
            table["outcome"] = self.word(id_, Outcome, table["outcome"], f"{where}.outcome")
        if "alert" in table and str(table["alert"]) not in ALERTS:
            raise self.error(
                id_, f"{where}.alert {table['alert']!r} is no TLS alert; {nearest(str(table['alert']), ALERTS)}"
            )
        if not isinstance(table.get("or_not_presented", False), bool):
            raise self.error(id_, f"{where}.or_not_presented must be true or false")
        if "problem" in table and not _PROBLEM.fullmatch(str(table["problem"])):
            raise self.error(id_, f'{where}.problem must be like "certificate-required": {table["problem"]!r}')
        code = table.get("verify_code")
        if code is not None:
            if type(code) is not int or code not in ALERT_OF:
                raise self.error(id_, f"{where}.verify_code must be one of OpenSSL's X509_V_ERR numbers that we know")
            by_server = table.get("outcome", Outcome.REFUSED_BY_SERVER) is Outcome.REFUSED_BY_SERVER
            if by_server and table.setdefault("alert", ALERT_OF[code]) != ALERT_OF[code]:
                raise self.error(id_, f"{where}.alert: OpenSSL reports verify error {code} as {ALERT_OF[code]}")
        return table

    def sound(self, id_: str, where: str, expectation: Expectation) -> None:
        """Refuse an expectation that contradicts itself or expects what is never judged."""
        outcome = expectation.outcome
        if outcome in NON_OUTCOMES:
            raise self.error(id_, f"{where}.outcome {outcome} can't be expected: it means that nothing was seen")
        if outcome is Outcome.SERVED:
            raise self.error(id_, f"{where}.outcome served follows from SERVER=stock; say authenticated or anonymous")
        if outcome is Outcome.REFUSED_BY_SERVER and not expectation.alert:
            raise self.error(id_, f"{where} is a refusal by the server and names neither alert nor verify_code")
        if (outcome is Outcome.FORBIDDEN) != bool(expectation.problem):
            raise self.error(id_, f"{where}: the outcome forbidden has a problem, and no other outcome has: {outcome}")
        if outcome not in _REFUSED and (expectation.alert or expectation.verify_code):
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
