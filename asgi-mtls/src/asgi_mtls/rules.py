"""Rules: which clients are allowed. A rule answers `allows(identity)`; its name does not reveal the value it wants.

A name is compared as a whole, code point by code point. Nothing is normalised, no part is searched for, the string form
of a subject is not used, and the common name is never a host name. ASCII case is ignored only in DNS names and in the
domain of an e-mail address. A value that cannot be right (empty, an invisible character, a `*` elsewhere) is a
ValueError when the rule is made.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from asgi_mtls.identity import ClientIdentity, is_spiffe_id, unsafe_character

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_BASE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@%\\*]+(?:/[^/?#%\\*]+)*", re.ASCII)
_NOT_IN_PATH = frozenset("?#%\\")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Rule(Protocol):
    """Something that allows or forbids an identity. The 403 names the rule by its `name`."""

    @property
    def name(self) -> str: ...

    def allows(self, identity: ClientIdentity) -> bool: ...


def check_is_rule(rule: object) -> None:
    """Check that something is a rule, where it is used and not at the first request.

    Raises:
        TypeError: it is not, or it is the class of one.
    """
    if isinstance(rule, type) or not callable(getattr(rule, "allows", None)) or not hasattr(rule, "name"):
        raise TypeError(f"{rule!r} is not a rule, such as OrganizationalUnit('Ops')")


@dataclass(frozen=True)
class OrganizationalUnit:
    """One organizational unit (OU) of the subject is this, exactly: case, spaces and all."""

    unit: str = field(repr=False)
    name: str = "organizational unit"

    def __post_init__(self) -> None:
        _check(self.unit)

    def allows(self, identity: ClientIdentity) -> bool:
        return self.unit in identity.organizational_units


@dataclass(frozen=True)
class DnsName:
    """A subject alternative name is this DNS name, or below it in the place of `*`: `*.team.example`.

    The `*` stands for one whole label, the left-most. A wildcard in the certificate matches nothing.
    """

    pattern: str = field(repr=False)
    name: str = "DNS name"

    def __post_init__(self) -> None:
        _check(self.pattern)
        parent = self.pattern.removeprefix("*.")
        if not _HOST.fullmatch(_lower(parent)) or (parent != self.pattern and "." not in parent):
            raise ValueError(f"{self.pattern!r} is neither a DNS name nor *. and one of two labels or more")

    def allows(self, identity: ClientIdentity) -> bool:
        return any(self._matches(_lower(name)) for name in identity.names.dns)

    def _matches(self, name: str) -> bool:
        if not _HOST.fullmatch(name):
            return False
        wanted = _lower(self.pattern)
        return name.partition(".")[2] == wanted[2:] if wanted.startswith("*.") else name == wanted


@dataclass(frozen=True)
class EmailAddress:
    """A subject alternative name is this e-mail address; `*@team.example` for every address of exactly that domain."""

    pattern: str = field(repr=False)
    name: str = "e-mail address"

    def __post_init__(self) -> None:
        _check(self.pattern)
        local, domain = _mailbox(self.pattern)
        if not local or not _HOST.fullmatch(domain):
            raise ValueError(f"{self.pattern!r} is neither an e-mail address nor *@ and a domain")

    def allows(self, identity: ClientIdentity) -> bool:
        local, domain = _mailbox(self.pattern)
        boxes = (_mailbox(name) for name in identity.names.email)
        return any(box[0] and box[1] == domain and local in ("*", box[0]) for box in boxes)


@dataclass(frozen=True)
class Uri:
    """A subject alternative name is this URI, or below it: `https://team.example/jobs/*`.

    The `*` stands for one whole path segment or more. Below a prefix no URI is taken that has a query, a fragment,
    a percent sign, a backslash, or a segment that is empty, `.` or `..`: another program may read it differently.
    """

    pattern: str = field(repr=False)
    name: str = "URI"

    def __post_init__(self) -> None:
        _check(self.pattern)
        base = self.pattern.removesuffix("/*")
        if base != self.pattern and (not _BASE.fullmatch(base) or {".", ".."}.intersection(base.split("/"))):
            raise ValueError(f"{self.pattern!r} has no scheme://host and plain path before /*")
        if "*" in base:
            raise ValueError(f"{self.pattern!r} has a * that is not its last path segment")

    def allows(self, identity: ClientIdentity) -> bool:
        if not self.pattern.endswith("/*"):
            return self.pattern in identity.names.uri
        return any(_below(self.pattern[:-1], uri) for uri in identity.names.uri)


@dataclass(frozen=True)
class IpAddress:
    """A subject alternative name is this IP address (the one in the certificate, not the one that calls)."""

    address: str = field(repr=False)
    name: str = "IP address"

    def __post_init__(self) -> None:
        ipaddress.ip_address(self.address)

    def allows(self, identity: ClientIdentity) -> bool:
        return str(ipaddress.ip_address(self.address)) in identity.names.ip


@dataclass(frozen=True)
class SpiffePath:
    """The SPIFFE ID is of this trust domain, and at this path or below it, by whole segments; `/` is everything."""

    trust_domain: str = field(repr=False)
    path: str = field(default="/", repr=False)
    name: str = "SPIFFE ID"

    def __post_init__(self) -> None:
        if "/" in self.trust_domain or self.path[:1] != "/" or not is_spiffe_id(f"{self._base}/any"):
            raise ValueError(f"{self.trust_domain!r} and {self.path!r} make no SPIFFE ID")

    @property
    def _base(self) -> str:
        return f"spiffe://{self.trust_domain}{'' if self.path == '/' else self.path}"

    def allows(self, identity: ClientIdentity) -> bool:
        spiffe_id = identity.spiffe_id
        return spiffe_id is not None and (spiffe_id == self._base or spiffe_id.startswith(f"{self._base}/"))


@dataclass(frozen=True, init=False)
class Fingerprints:
    """The certificate is one of these: SHA-256 of its DER in hex, with colons or without, in either case.

    A renewed certificate has another fingerprint.
    """

    accepted: frozenset[str] = field(repr=False)
    name: str

    def __init__(self, accepted: Iterable[str], name: str = "certificate fingerprint") -> None:
        if isinstance(accepted, str):
            accepted = (accepted,)
        given = [text.strip() for text in accepted]
        plain = [text.replace(":", "").lower() for text in given]
        for number, text in enumerate(plain, 1):
            if not _SHA256.fullmatch(text):
                raise ValueError(f"fingerprint {number} of {len(plain)} is not the 64 hex digits of a SHA-256")
        if not plain:
            raise ValueError("no fingerprints: no client would be allowed")
        object.__setattr__(self, "accepted", frozenset(plain))
        object.__setattr__(self, "name", name)

    def allows(self, identity: ClientIdentity) -> bool:
        return identity.sha256 in self.accepted


@dataclass(frozen=True)
class _Several:
    rules: tuple[Rule, ...]
    every: bool

    def __post_init__(self) -> None:
        for rule in self.rules:
            check_is_rule(rule)

    @property
    def name(self) -> str:
        return f"{'all' if self.every else 'any'} of ({', '.join(rule.name for rule in self.rules)})"

    def allows(self, identity: ClientIdentity) -> bool:
        answers = (rule.allows(identity) for rule in self.rules)
        return all(answers) if self.every else any(answers)


def any_of(first: Rule, *others: Rule) -> Rule:
    """Return the rule that allows a client if one of these rules does."""
    return _Several((first, *others), every=False)


def all_of(first: Rule, *others: Rule) -> Rule:
    """Return the rule that allows a client if all of these rules do."""
    return _Several((first, *others), every=True)


def _check(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a text")
    if not text or text != text.strip():
        raise ValueError(f"{text!r} is empty, or begins or ends with a space")
    if character := unsafe_character(text):
        raise ValueError(f"{text!r} has a character that can't be seen: {character}")


def _lower(text: str) -> str:
    """Lower A to Z and nothing else: `str.lower` would make a k of the Kelvin sign."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def _mailbox(text: str) -> tuple[str, str]:
    local, at, domain = text.partition("@")
    return (local, _lower(domain)) if at and "@" not in domain and '"' not in local else ("", "")


def _below(base: str, uri: str) -> bool:
    if not uri.startswith(base):
        return False
    rest = uri[len(base) :]
    return not _NOT_IN_PATH.intersection(rest) and not {"", ".", ".."}.intersection(rest.split("/"))
