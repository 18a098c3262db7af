"""Whether a CA permits a name: name constraints (RFC 5280 4.2.1.10), for each kind of name that they can be about.

Where the RFC leaves something open, it is read as OpenSSL reads it, which verifies the lab's clients. Every CA above a
leaf constrains it: a name has to satisfy all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")  # what OpenSSL takes for one in a common name: two labels or more
# A URI with a host that is a name, and nothing before it.
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://(?![0-9.]+(?:[:/]|$))({_LABEL}(?:\.{_LABEL})*)(?::[0-9]+)?(?:/.*)?")
_MAILBOX = re.compile(r"[^@]+@[^@]+")


def of(certificates: Iterable[x509.Certificate]) -> tuple[x509.NameConstraints, ...]:
    """Return the name constraints of some CAs."""
    return tuple(e.value for c in certificates for e in c.extensions if isinstance(e.value, x509.NameConstraints))


def unusable(certificate: x509.Certificate) -> str:
    """Return why a CA's name constraints can't be heeded, or nothing if they can, or if it has none."""
    for constraints in of([certificate]):
        for base in (*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())):
            if type(base) not in _WITHIN:
                return f"its nameConstraints are about a kind of name ({type(base).__name__}) that is not known here"
            if isinstance(base, (x509.RFC822Name, x509.UniformResourceIdentifier)) and not base.value:
                return "its nameConstraints have an empty e-mail address or URI, which verifiers read differently"
        if constraints.public_bytes() not in certificate.tbs_certificate_bytes:  # the parser drops what is more
            return "its nameConstraints say more than which names, like a minimum, which RFC 5280 forbids"
    return ""


def permits(constraints: Iterable[x509.NameConstraints], name: x509.GeneralName) -> bool:
    """Tell whether all of these permit a name: it is below a permitted name of its kind, and below no excluded one."""
    return _permits(constraints, type(name), name.value)


def forbidden(
    constraints: Sequence[x509.NameConstraints], subject: x509.Name, names: Sequence[x509.GeneralName]
) -> list[str]:
    """Return the names of a leaf, in words, that are not permitted.

    Args:
        subject: is a directory name; its e-mail addresses count too, and, if no other name is a DNS name, a common
            name that looks like one.
        names: the subject alternative names.
    """
    said = (*_names_of(subject, names), *((type(name), name.value) for name in names))
    return [_words(kind, value) for kind, value in said if not _permits(constraints, kind, value)]


def subject_base(constraints: Sequence[x509.NameConstraints]) -> tuple[x509.RelativeDistinguishedName, ...] | None:
    """Return with what a subject has to begin: nothing in particular (empty), or None if nothing known will do."""
    permitted = [base for one in constraints for base in one.permitted_subtrees or ()]
    bases = [base.value.rdns for base in permitted if isinstance(base, x509.DirectoryName)]
    if not bases:
        return ()
    for base in sorted(bases, key=len, reverse=True):
        if _permits(constraints, x509.DirectoryName, x509.Name(base)):
            return tuple(base)
    return None


def _permits(constraints: Iterable[x509.NameConstraints], kind: type[x509.GeneralName], value: Any) -> bool:
    return all(_one_permits(one, kind, value) for one in constraints)


def _one_permits(constraints: x509.NameConstraints, kind: type[x509.GeneralName], value: Any) -> bool:
    permitted = [base.value for base in constraints.permitted_subtrees or () if type(base) is kind]
    excluded = [base.value for base in constraints.excluded_subtrees or () if type(base) is kind]
    if not permitted and not excluded:
        return True
    needed = {x509.UniformResourceIdentifier: _URI, x509.RFC822Name: _MAILBOX}.get(kind)
    if needed and not needed.fullmatch(value):
        return False  # it has no host to compare: it must be rejected
    within = _WITHIN[kind]
    if any(within(value, base) for base in excluded):
        return False
    return not permitted or any(within(value, base) for base in permitted)


def _names_of(subject: x509.Name, others: Sequence[x509.GeneralName]) -> Iterator[tuple[type[x509.GeneralName], Any]]:
    if subject.rdns:
        yield x509.DirectoryName, subject
    for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield x509.RFC822Name, attribute.value
    if not any(isinstance(name, x509.DNSName) for name in others):
        names = (str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME))
        yield from ((x509.DNSName, name) for name in names if _DNS_NAME.fullmatch(name))


def _email(address: str, base: str) -> bool:
    """The base is a mailbox, a host or, with a dot before it, every host below."""
    local, _, host = address.rpartition("@")
    mailbox, _, domain = base.rpartition("@")
    if domain.startswith("."):
        return _below(host, domain)
    return mailbox in ("", local) and host.lower() == domain.lower()


def _dns(name: str, base: str) -> bool:
    """The base is itself and every name below it; with a dot before it those below it; empty, every name."""
    if base.startswith("."):
        return _below(name, base)
    return not base or name.lower() == base.lower() or _below(name, f".{base}")


def _uri(uri: str, base: str) -> bool:
    """The base is a host or, with a dot before it, every host below."""
    matched = _URI.fullmatch(uri)
    host = matched[1] if matched else ""
    return _below(host, base) if base.startswith(".") else host.lower() == base.lower()


def _ip(address: Any, network: Any) -> bool:
    return address in network  # never, if one is IPv4 and the other IPv6


def _directory(name: x509.Name, base: x509.Name) -> bool:
    """The name begins with the base, compared as in RFC 5280 7.1: case and repeated spaces do not count."""
    wanted = [_comparable(rdn) for rdn in base.rdns]
    return [_comparable(rdn) for rdn in name.rdns[: len(wanted)]] == wanted


_WITHIN: dict[type[x509.GeneralName], Callable[[Any, Any], bool]] = {
    x509.RFC822Name: _email,
    x509.DNSName: _dns,
    x509.UniformResourceIdentifier: _uri,
    x509.IPAddress: _ip,
    x509.DirectoryName: _directory,
}


def _below(host: str, domain: str) -> bool:
    return host.lower().endswith(domain.lower())


def _comparable(rdn: x509.RelativeDistinguishedName) -> set[tuple[str, str | bytes]]:
    def plain(value: str | bytes) -> str | bytes:
        return " ".join(value.lower().split()) if isinstance(value, str) else value

    return {(attribute.oid.dotted_string, plain(attribute.value)) for attribute in rdn}


def _words(kind: type[x509.GeneralName], value: Any) -> str:
    if isinstance(value, x509.Name):
        return f"the subject {value.rfc4514_string()}"
    words = {x509.RFC822Name: "the e-mail address", x509.DNSName: "the DNS name", x509.IPAddress: "the address"}
    return f"{words.get(kind, 'the URI')} {value}"
