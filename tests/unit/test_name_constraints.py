"""Name constraints by each kind of name: what the lab says that a CA permits, and what OpenSSL accepts."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from corporate import Corporate, corporate
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.name_constraints import forbidden, of, permits, subject_base, unusable

CN = NameOID.COMMON_NAME
KINDS = {"email": x509.RFC822Name, "DNS": x509.DNSName, "URI": x509.UniformResourceIdentifier}


def named(text: str) -> x509.GeneralName:
    """The name that `email:a@b` or `IP:10.0.0.1` says, as a hostile CA would write it, too."""
    kind, _, value = text.partition(":")
    if kind == "IP":
        return x509.IPAddress(ip_address(value))
    if kind == "dirName":
        return x509.DirectoryName(x509.Name.from_rfc4514_string(value))
    name: x509.GeneralName = KINDS[kind]._init_without_validation(value)  # type: ignore[attr-defined]
    return name


# A constraint, names that are below it, and names of its kind that are not.
WITHIN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "email:corp.example": (
        ("email:a@corp.example", "email:a@CORP.Example"),
        ("email:a@x.corp.example", "email:a@xcorp.example", "email:corp.example@other.test"),
    ),
    "email:.corp.example": (
        ("email:a@x.corp.example", "email:a@y.X.corp.EXAMPLE"),
        ("email:a@corp.example", "email:a@xcorp.example", "email:.corp.example@other.test"),
    ),
    "email:bob@corp.example": (
        ("email:bob@corp.example", "email:bob@Corp.example"),
        ("email:Bob@corp.example", "email:ann@corp.example", "email:bob@x.corp.example"),
    ),
    "DNS:corp.example": (
        ("DNS:corp.example", "DNS:a.corp.example", "DNS:B.a.CORP.example"),
        ("DNS:xcorp.example", "DNS:corp.example.test", "DNS:example"),
    ),
    "DNS:.corp.example": (("DNS:a.corp.example",), ("DNS:corp.example", "DNS:xcorp.example")),
    "URI:corp.example": (
        ("URI:spiffe://corp.example/a", "URI:https://CORP.example:8443", "URI:https://corp.example:1/a@b"),
        ("URI:https://a.corp.example/", "URI:https://corp.example.test/", "URI:https://other.test/corp.example"),
    ),
    "URI:.corp.example": (
        ("URI:https://a.corp.example/",),
        ("URI:https://corp.example/", "URI:https://xcorp.example/"),
    ),
    "IP:10.0.0.0/255.0.0.0": (("IP:10.1.2.3",), ("IP:11.1.2.3", "IP:::1", "IP:::ffff:10.1.2.3")),
    "IP:2001:db8::/ffff:ffff::": (("IP:2001:db8::1",), ("IP:2001:db9::1", "IP:10.0.0.1")),
    "dirName:base\n[base]\n1.DC=example\n2.DC=corp\nO=Corp  Limited": (
        ("dirName:O=Corp  Limited,DC=corp,DC=example", "dirName:CN=x,O=corp limited,DC=CORP,DC=example"),
        ("dirName:DC=corp,DC=example", "dirName:CN=x,DC=corp,DC=example", "dirName:O=Corp Limited,CN=x"),
    ),
}
# What has no host that could be compared (RFC 5280: to be rejected, where there is a constraint of that kind).
ODD = (
    *("URI:urn:a:b", "URI:mailto:a@corp.example", "URI:https://10.0.0.1/", "URI:https:///a", "URI:corp.example"),
    *("URI:https://bob@corp.example/", "URI:https://corp.example@other.test/", "URI:https://corp.example?a=/"),
    *("email:corp.example", "email:@corp.example", "email:a@b@corp.example"),
)


def accepted(corp: Corporate, folder: Path, *leaves: x509.Certificate) -> list[bool]:
    """Which of some leaves OpenSSL accepts."""
    (folder / "ca").write_bytes(corp.certificate.public_bytes(Encoding.PEM))
    files = [f"leaf{number}" for number in range(len(leaves))]
    for file, leaf in zip(files, leaves, strict=True):
        (folder / file).write_bytes(leaf.public_bytes(Encoding.PEM))
    strict = ("-x509_strict", "-purpose", "sslclient", "-partial_chain")
    command = ["openssl", "verify", *strict, "-CAfile", "ca", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return [f"{file}: OK" in done.stdout.splitlines() for file in files]


@pytest.mark.parametrize("base", WITHIN, ids=lambda base: base.splitlines()[0])
@pytest.mark.parametrize("kind", ["permitted", "excluded"])
def test_the_lab_permits_what_openssl_accepts(tmp_path: Path, base: str, kind: str) -> None:
    within, outside = WITHIN[base]
    corp = corporate(tmp_path, f"critical,{kind};{base}")
    names = [*map(named, within), *map(named, outside)]
    # A constraint on directory names is about the subject, too.
    plain, clash = ((CN, "bob"),), base.startswith("dirName") and kind == "permitted"
    leaves = [corp.leaf((), name) if clash else corp.leaf(plain, name) for name in names]
    wanted = [(number < len(within)) == (kind == "permitted") for number in range(len(names))]
    assert [permits(of([corp.certificate]), name) for name in names] == wanted
    assert accepted(corp, tmp_path, *leaves) == wanted
    others = [named(first) for other, ((first, *_), _) in WITHIN.items() if other.split(":")[0] != base.split(":")[0]]
    assert all(permits(of([corp.certificate]), other) for other in others), "another kind of name is not constrained"
    assert not unusable(corp.certificate)


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("kind", ["permitted", "excluded"])
def test_a_name_without_a_host_is_not_permitted(kind: str, text: str) -> None:
    subtree = [KINDS[text.split(":")[0]]("corp.example")]
    constraints = x509.NameConstraints(*((subtree, None) if kind == "permitted" else (None, subtree)))
    assert not permits([constraints], named(text))
    other = x509.NameConstraints([x509.DNSName("corp.example")], None)
    assert permits([other], named(text)), "without a constraint of that kind it is"


PLAIN = ("bob", "client-good", "Bob Meier.", "bob..meier", "-bob.meier", "bob.meier-", "bob.corp.example")


@pytest.mark.parametrize("cn", [*PLAIN, "bob.meier", "bob.other.example", "a_b.c-d"])
def test_a_common_name_may_be_a_dns_name(tmp_path: Path, cn: str) -> None:
    """OpenSSL takes it for one if it looks like one, of two labels or more, and there is no other DNS name."""
    corp, fits = corporate(tmp_path, "critical,permitted;DNS:corp.example"), cn in PLAIN
    dns = x509.DNSName("a.corp.example")
    leaves = [corp.leaf(((CN, cn),)), corp.leaf(((CN, cn),), x509.RFC822Name("a@b.c")), corp.leaf(((CN, cn),), dns)]
    assert accepted(corp, tmp_path, *leaves) == [fits, fits, True]
    subject = leaves[0].subject
    assert [bool(forbidden(of([corp.certificate]), subject, sans)) for sans in ([], [dns])] == [not fits, False]


def test_an_e_mail_address_in_the_subject_counts(tmp_path: Path) -> None:
    corp = corporate(tmp_path, "critical,permitted;email:corp.example")
    leaves = [corp.leaf(((CN, "bob"), (NameOID.EMAIL_ADDRESS, a))) for a in ("a@corp.example", "a@other.test")]
    assert accepted(corp, tmp_path, *leaves) == [True, False]
    assert [bool(forbidden(of([corp.certificate]), leaf.subject, [])) for leaf in leaves] == [False, True]


def test_an_empty_dns_name_is_every_name() -> None:
    assert permits([x509.NameConstraints([x509.DNSName("")], None)], x509.DNSName("a.test"))
    assert not permits([x509.NameConstraints(None, [x509.DNSName("")])], x509.DNSName("a.test"))


def test_every_ca_above_constrains() -> None:
    email = [x509.NameConstraints([x509.RFC822Name(name)], None) for name in ("corp.example", "other.test")]
    both = x509.NameConstraints([x509.RFC822Name("corp.example"), x509.RFC822Name("other.test")], None)
    name = x509.RFC822Name("a@corp.example")
    assert [permits(some, name) for some in ([email[0]], [both], [both, email[0]], email)] == [True, True, True, False]


def directory(*names: str) -> list[x509.GeneralName]:
    return [x509.DirectoryName(x509.Name.from_rfc4514_string(name)) for name in names]


def test_how_a_subject_has_to_begin() -> None:
    """With the longest that all permit; with nothing in particular if none is named; else none is known."""

    def begins(*constraints: x509.NameConstraints) -> str | None:
        base = subject_base(constraints)
        return None if base is None else x509.Name(base).rfc4514_string()

    corp, unit = directory("O=Corp"), directory("OU=Lab,O=Corp")
    assert begins() == begins(x509.NameConstraints(None, corp)) == ""
    assert begins(x509.NameConstraints(unit, None), x509.NameConstraints(corp, None)) == "OU=Lab,O=Corp"
    assert begins(x509.NameConstraints(corp, None), x509.NameConstraints(unit, None)) == "OU=Lab,O=Corp"
    assert begins(x509.NameConstraints([*corp, *unit], unit)) == "O=Corp"
    assert begins(x509.NameConstraints(corp, corp)) is None
    assert begins(x509.NameConstraints(corp, None), x509.NameConstraints(directory("O=Other"), None)) is None


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), "RegisteredID"),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x05\x00"), "OtherName"),
        (x509.RFC822Name._init_without_validation(""), "an empty e-mail address"),
        (x509.UniformResourceIdentifier(""), "an empty e-mail address or URI"),
        (x509.DNSName(""), ""),
        (x509.IPAddress(ip_network("0.0.0.0/0")), ""),
        (x509.DirectoryName(x509.Name([])), ""),
    ],
)
def test_what_can_not_be_heeded_is_said(tmp_path: Path, base: x509.GeneralName, said: str) -> None:
    corp = corporate(tmp_path)
    for constraints in (x509.NameConstraints([base], None), x509.NameConstraints(None, [base])):
        leaf = corp.leaf(((CN, "CA"),))
        builder = x509.CertificateBuilder(
            leaf.issuer, leaf.subject, leaf.public_key(), 1, leaf.not_valid_before_utc, leaf.not_valid_after_utc
        )
        certificate = builder.add_extension(constraints, critical=True).sign(corp.key, hashes.SHA256())
        assert unusable(certificate) == "" if not said else said in unusable(certificate)
