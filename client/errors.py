"""The error index: which causes produce a text, and which of them is the likeliest."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from catalogue import (
    ALERTS,
    VERIFY_ERRORS,
    Catalogue,
    Expectation,
    Mode,
    Outcome,
    Scenario,
    Server,
    Tls,
    Tool,
    alert_name,
)
from catalogue.verify_errors import ALERT_OF
from client.observations import Observation, text_of
from client.observe import alert_of_packed

FITS = 0.6  # of a score of 1; below that a text is only near

_CLOSED = "closed"
_FORBIDDEN = "forbidden"
_KINDS = (_CLOSED, "alert", "load", "client", _FORBIDDEN)
_URL = re.compile(r"\w+://\S+|\blocalhost\b|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?|\b[\w-]+(?:\.[\w-]+)+\b(?!\()")
_SPELLINGS = re.compile(r"\b(?:sslv3|tlsv1|tlsv13|tlsv1\.3|ssl/tls|tls)(?=[ _]alert)", re.I)
_STATUS_403 = re.compile(r"\b403\b|\btag:mtls-lab\.test,2026:", re.I)
_PROBLEM = re.compile(r"\btag:mtls-lab\.test,2026:([a-z-]+)|\bproblem=([a-z-]+)")
_ALERT_NUMBER = re.compile(r"alert (?:number |\[)(\d+)", re.I)
# What Go calls the alerts, where its words are not RFC 8446's.
_OTHER_NAMES = {
    "unknown certificate authority": "unknown_ca",
    "expired certificate": "certificate_expired",
    "revoked certificate": "certificate_revoked",
    "unknown certificate": "certificate_unknown",
    "error decrypting message": "decrypt_error",
}
# What programs that are no probes here call a verify error of the server's certificate: Chromium, Go, OpenSSL of a root
# that was sent and is not known (19, whose cure is that of 20).
_VERIFY_NAMES = {
    "ERR_CERT_AUTHORITY_INVALID": 20,
    "certificate signed by unknown authority": 20,
    "self-signed certificate in certificate chain": 20,
    "SELF_SIGNED_CERT_IN_CHAIN": 20,
    "ERR_CERT_DATE_INVALID": 10,
    "certificate has expired or is not yet valid": 10,
    "ERR_CERT_COMMON_NAME_INVALID": 62,
    "ERR_SSL_KEY_USAGE_INCOMPATIBLE": 26,
}
_ALERT_NAMES = {name.replace("_", " "): name for name in ALERTS if "_" in name} | _OTHER_NAMES
# What the tools say of a credential that they will not load, and what it means.
_LOADING = {
    "key-mismatch": ("key.?values.?mismatch|private key|do(?:es)? not match", "key and certificate do not match"),
    "key-too-small": ("key too small", "the key is too short"),
    "hash-too-weak": ("md too weak", "it is signed with too weak a hash"),
    "may-not-sign": ("insufficient credentials|key usage", "its key usage does not allow signing"),
}


@dataclass(frozen=True)
class Cause:
    """A scenario that produces a text, with a tool. `sent` tells whether the tool sent anything."""

    scenario: Scenario
    tool: Tool
    sent: bool
    mode: Mode = Mode.REQUIRED

    @property
    def expected(self) -> Expectation:
        """What should happen to it."""
        return _expected(self.scenario, self.tool, self.mode)

    @property
    def tell(self) -> str:
        """How it is told from others with the same text: by the server's log, or the client's verify error."""
        expected = self.expected
        if expected.outcome is Outcome.FORBIDDEN:
            return f"the answer's problem is {expected.problem}, and the server's log has problem={expected.problem}"
        if expected.outcome is Outcome.NOT_PRESENTED or not self.sent:
            return "nothing is sent, so the server has no complaint about a certificate"
        if expected.outcome is Outcome.REFUSED_BY_CLIENT and expected.verify_code:
            return f"the client finds verify error {expected.verify_code}, {VERIFY_ERRORS[expected.verify_code]}"
        if expected.verify_code:
            return f"the server's log has verify_code={expected.verify_code}, {VERIFY_ERRORS[expected.verify_code]}"
        if expected.alert == "decrypt_error":
            return "the server's log has no verify_code: the certificate is good, the handshake's signature is not"
        if expected.outcome is Outcome.REFUSED_BY_SERVER:
            return "the server's log has reason=PEER_DID_NOT_RETURN_A_CERTIFICATE"
        return "other servers or other tools take it"


@dataclass
class Family:
    """Texts that mean the same, and their causes, the likeliest first. `key` is unique, `title` for people."""

    key: str
    title: str
    texts: dict[str, list[Observation]] = field(default_factory=dict)
    causes: dict[str, Cause] = field(default_factory=dict)

    @property
    def says_nothing(self) -> bool:
        """Tell that these texts have no reason in them: which of them appears is a matter of chance."""
        return self.key == _CLOSED

    @property
    def is_forbidden(self) -> bool:
        """Tell that TLS has nothing to do with it: the application forbids."""
        return self.key == _FORBIDDEN


@dataclass(frozen=True)
class Match:
    """A recorded text that is like a pasted one. `score` is 1 for the same words.

    `verify_code` and `problem` are those that the pasted text names.
    """

    score: float
    text: str
    family: Family
    verify_code: int | None = None
    problem: str | None = None

    @property
    def observations(self) -> list[Observation]:
        return self.family.texts[self.text]

    @property
    def causes(self) -> list[Cause]:
        """The causes of that verify error and of this very text first, then the likeliest."""
        causes = list(self.family.causes.values())
        if self.family.says_nothing:
            return causes
        said_it = {observation.scenario for observation in self.observations}

        def unlike(cause: Cause) -> tuple[bool, ...]:
            named = ((self.verify_code, cause.expected.verify_code), (self.problem, cause.expected.problem))
            return (*(bool(said) and said != its for said, its in named), cause.scenario.id not in said_it)

        return sorted(causes, key=unlike)


def families(known: Catalogue, observations: Iterable[Observation]) -> list[Family]:
    """Sort observations by what they mean: by alert, by what the client finds wrong or can't load, by 403."""
    found: dict[str, Family] = {}
    for observation in observations:
        scenario = known.scenarios.get(observation.scenario)
        if scenario is None:  # recorded with an older catalogue
            continue
        key, title = _meaning(observation, scenario)
        family = found.setdefault(key, Family(key, title))
        family.texts.setdefault(observation.message, []).append(observation)
        if key == _FORBIDDEN and observation.server == Server.STOCK:  # which forbids everybody alike
            continue
        tool = Tool(observation.tool)
        mode = _forbidding(scenario, tool) if key == _FORBIDDEN else Mode.REQUIRED
        family.causes.setdefault(scenario.id, Cause(scenario, tool, not key.startswith("load:"), mode))
    order = {id_: (not scenario.common, number) for number, (id_, scenario) in enumerate(known.scenarios.items())}
    for family in found.values():
        family.causes = {id_: family.causes[id_] for id_ in sorted(family.causes, key=order.__getitem__)}
    return sorted(found.values(), key=lambda family: (_KINDS.index(family.key.split(":")[0]), -len(family.causes)))


def find(text: str, known: list[Family]) -> list[Match]:
    """Return the recorded texts that are like a pasted one, the best first, one for each family.

    Numbers, addresses and the spelling of versions ("sslv3", "ssl/tls") do not matter. Of a text of many lines, each
    is tried. A verify error, an alert or a problem that is named or numbered, and the status 403, decide.
    """
    recorded = [
        (family, message, frozenset(_words(message))) for family in known for message in family.texts if message
    ]
    frequency = Counter(word for _, _, words in recorded for word in words)
    weight = {word: math.log(1 + len(recorded) / count) for word, count in frequency.items()}
    unknown = sum(weight.values()) / max(1, len(weight))

    def value(words: Iterable[str]) -> float:
        return sum(weight.get(word, unknown) for word in words)

    def likeness(line: frozenset[str], words: frozenset[str]) -> float:
        """Weigh how much of the line is in the words (more) and how much of both is common (less)."""
        common = value(line & words)
        return 0.6 * common / value(line) + 0.4 * 2 * common / (value(line) + value(words))

    code = _verify_code(text)
    alert = _alert(text) or (ALERT_OF[code] if code else None)
    decided = {f"alert:{alert}"} if alert else set()
    if code and not re.search("handshake_refused|alert", text):  # a client's
        decided = {f"client:{code}"} & {family.key for family in known} or decided
    problem = _PROBLEM.search(text)
    if problem or (_STATUS_403.search(text) and not decided):
        decided = {_FORBIDDEN}
    lines = [words for line in text.splitlines() if (words := frozenset(_words(line)))]
    best: dict[str, Match] = {}
    for family, message, words in recorded:
        score = max((likeness(line, words) for line in lines), default=0.0)
        if decided:
            score = FITS + (1 - FITS) * score if family.key in decided else score * FITS
        if family.key not in best or score > best[family.key].score:
            best[family.key] = Match(score, message, family, code, problem and (problem[1] or problem[2]))
    return sorted(best.values(), key=lambda match: -match.score)


def _expected(scenario: Scenario, tool: Tool, mode: Mode = Mode.REQUIRED) -> Expectation:
    """Return what should happen with a tool, at the server that says most, and unless said in the mode that does."""
    return scenario.expected(mode, Tls.V13, Server.EXPLAINED, tool)


def _forbidding(scenario: Scenario, tool: Tool) -> Mode:
    """Return the strictest mode in which the application forbids."""
    modes = (Mode.REQUIRED, Mode.OPTIONAL, Mode.OFF)
    return next((m for m in modes if _expected(scenario, tool, m).outcome is Outcome.FORBIDDEN), Mode.OFF)


def _meaning(observation: Observation, scenario: Scenario) -> tuple[str, str]:
    """Return the key (kind:word) and the title of an observation's family."""
    if observation.alert:
        number = ALERTS.get(observation.alert, "?")
        return f"alert:{observation.alert}", f"The server sent the alert {observation.alert} ({number})"
    if observation.outcome == Outcome.FORBIDDEN:
        return _FORBIDDEN, "The handshake succeeded, and the application forbids (HTTP 403)"
    if observation.outcome == Outcome.REFUSED_BY_SERVER:
        return _CLOSED, "The server closed the connection and said nothing"
    if observation.outcome == Outcome.REFUSED_BY_CLIENT:
        code = _expected(scenario, Tool(observation.tool)).verify_code or 0
        name = VERIFY_ERRORS.get(code, "other").lower().replace("_", " ")
        return f"client:{code}", f"The client refuses the server's certificate: {name} (verify error {code})"
    for key, (pattern, title) in _LOADING.items():
        if re.search(pattern, observation.message, re.I):
            return f"load:{key}", f"The tool does not use the credential: {title}"
    return "load:other", "The tool does not use the credential, for another reason"


def _alert(text: str) -> str | None:
    """Return the RFC 8446 name of the alert that a text names, by number or in words."""
    packed = alert_of_packed(text)
    number = _ALERT_NUMBER.search(text)
    if packed or number:
        return packed or alert_name(int(number[1]) if number else 0)
    if not re.search("alert|tls|ssl", text, re.I):
        return None
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # rustls: UnknownCA
    words = " ".join(words.lower().replace("_", " ").split())
    named = [spelling for spelling in _ALERT_NAMES if re.search(rf"\b{spelling}\b", words)]
    return _ALERT_NAMES[max(named, key=len)] if named else None


def _verify_code(text: str) -> int | None:
    """Return OpenSSL's verify error that a text names, by number or by its X509_V_ERR name."""
    number = re.search(r"verify_code=(\d+)|verify error:? ?(?:num=)?(\d+)|error (\d+) at \d+ depth", text)
    code = int(next(filter(None, number.groups()))) if number else None
    named = [c for c, name in VERIFY_ERRORS.items() if re.search(rf"\bX509_V_ERR_{name}\b", text)]
    named += [c for words, c in _VERIFY_NAMES.items() if words in text]
    code = code or (named[0] if named else None)
    return code if code in ALERT_OF else None


def _words(text: str) -> list[str]:
    """Return a text's words in lower case, without numbers, addresses and version spellings."""
    text = _SPELLINGS.sub("", _URL.sub("", text_of(text)))
    return [word for word in re.findall(r"[a-z]{2,}", text.lower().replace("_", " ")) if word != "errno"]
