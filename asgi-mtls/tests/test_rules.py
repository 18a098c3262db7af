"""Rules: each way in which a name could be taken for another has a test that it isn't."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from cert_factory import identity
from cryptography import x509

from asgi_mtls.authorization import AuthorizeMiddleware
from asgi_mtls.fastapi import require
from asgi_mtls.identity import ClientIdentity
from asgi_mtls.rules import (
    DnsName,
    EmailAddress,
    Fingerprints,
    IpAddress,
    OrganizationalUnit,
    SpiffePath,
    Uri,
    all_of,
    any_of,
)

ADMINS = OrganizationalUnit("Team Admins")


def with_san(text: str) -> ClientIdentity:
    return identity(("CN", "client"), sans=[text])


def test_the_unit_is_one_of_the_subjects() -> None:
    assert ADMINS.allows(identity(("OU", "Team Admins"), ("CN", "a")))
    assert ADMINS.allows(identity(("OU", "Team Operators"), ("OU", "Team Admins")))


@pytest.mark.parametrize(
    "unit",
    [
        "Not Team Admins",
        "Team Admins 2",
        "team admins",
        "Team  Admins",
        "Team Admins ",
        "Team \N{CYRILLIC CAPITAL LETTER A}dmins",
        "Team\N{NO-BREAK SPACE}Admins",
        "\N{FULLWIDTH LATIN CAPITAL LETTER T}eam Admins",
        "Team Admins\N{FULLWIDTH COMMA}O=x",
        "Team Admins,O=x",
        "Team Admins/O=x",
        "Team Admins+CN=x",
        "Team Admins;",
        "Team Admins\\",
        "Team Admins\0",
        "Team Admins\N{ZERO WIDTH SPACE}",
    ],
)
def test_another_unit_is_another(unit: str) -> None:
    assert not ADMINS.allows(identity(("OU", unit)))


@pytest.mark.parametrize("text", ["client,OU=Team Admins", "client+OU=Team Admins", "OU=Team Admins", "Team Admins"])
def test_the_unit_is_not_read_from_another_attribute(text: str) -> None:
    assert not ADMINS.allows(identity(("CN", text), ("O", text)))


def test_letters_that_are_composed_otherwise_are_others() -> None:
    """Nothing is normalised: two CAs that encode a name otherwise name two."""
    assert OrganizationalUnit("Zo\u00eb").allows(identity(("OU", "Zo\u00eb")))
    assert not OrganizationalUnit("Zo\u00eb").allows(identity(("OU", "Zoe\u0308")))


@pytest.mark.parametrize("name", ["a.team.example", "A.Team.EXAMPLE"])
@pytest.mark.parametrize("pattern", ["a.team.example", "*.team.example", "*.TEAM.example"])
def test_dns_names(name: str, pattern: str) -> None:
    assert DnsName(pattern).allows(with_san(f"DNS:{name}"))


@pytest.mark.parametrize(
    "name",
    [
        "team.example",
        "a.b.team.example",
        "ateam.example",
        ".team.example",
        "*.team.example",
        "a.team.example.",
        "a.team.example.evil.test",
        "a.team.example\0.evil.test",
        "evil.test\0.team.example",
        "a/b.team.example",
        "a b.team.example",
        "-.team.example",
        "a\n.team.example",
    ],
)
def test_dns_names_that_a_wildcard_is_not(name: str) -> None:
    assert not DnsName("*.team.example").allows(with_san(f"DNS:{name}"))
    assert not DnsName("a.team.example").allows(with_san(f"DNS:{name}"))


def test_the_common_name_is_no_host_name() -> None:
    assert not DnsName("a.team.example").allows(identity(("CN", "a.team.example")))
    assert not DnsName("a.team.example").allows(with_san("URI:https://a.team.example"))


def test_ascii_case_and_no_other() -> None:
    """`str.lower` makes a k of the Kelvin sign; here nothing of another script becomes ASCII."""
    with pytest.raises(ValueError, match="is neither a DNS name"):
        DnsName("\N{KELVIN SIGN}.team.example")


@pytest.mark.parametrize(
    "pattern", ["*", "*.example", "a*.team.example", "*.*.example", "a.*.example", "*team.example"]
)
def test_other_wildcards_are_refused_at_once(pattern: str) -> None:
    with pytest.raises(ValueError, match="is neither a DNS name"):
        DnsName(pattern)


def test_email_addresses() -> None:
    alice = EmailAddress("alice@team.example")
    assert alice.allows(with_san("EMAIL:alice@TEAM.example"))
    for other in (
        "Alice@team.example",
        "malice@team.example",
        "alice@sub.team.example",
        "alice@team.example.evil.test",
        "alice@team.example@evil.test",
        "evil@evil.test@team.example",
        "alice\0@team.example",
        "team.example",
    ):
        assert not alice.allows(with_san(f"EMAIL:{other}")), other
    anybody = EmailAddress("*@team.example")
    assert anybody.allows(with_san("EMAIL:bob@team.example"))
    for other in ("bob@sub.team.example", "@team.example", '"bob@evil.test"@team.example', "a@b@team.example"):
        assert not anybody.allows(with_san(f"EMAIL:{other}")), other
    assert not alice.allows(identity(("CN", "alice@team.example")))


def test_uris_below_a_path() -> None:
    jobs = Uri("https://team.example/jobs/*")
    assert jobs.allows(with_san("URI:https://team.example/jobs/a"))
    assert jobs.allows(with_san("URI:https://team.example/jobs/a/b"))
    for other in (
        "https://team.example/jobs",
        "https://team.example/jobs/",
        "https://team.example/jobsa/b",
        "https://team.example/jobs/../admin",
        "https://team.example/jobs/./a",
        "https://team.example/jobs//a",
        "https://team.example/jobs/%2e%2e/admin",
        "https://team.example/jobs/a?b",
        "https://team.example/jobs/a#b",
        "https://team.example/jobs/..\\admin",
        "https://team.example.evil.test/jobs/a",
        "https://evil.test/https://team.example/jobs/a",
        "HTTPS://team.example/jobs/a",
    ):
        assert not jobs.allows(with_san(f"URI:{other}")), other
    assert Uri("https://team.example/a?b").allows(with_san("URI:https://team.example/a?b"))
    assert not Uri("https://team.example/a").allows(with_san("URI:https://team.example/a/b"))


@pytest.mark.parametrize(
    "pattern", ["https://team.example*", "/*", "https:///*", "a/*/b", "https://a@b/*", "https://a/../*"]
)
def test_other_uri_patterns_are_refused_at_once(pattern: str) -> None:
    with pytest.raises(ValueError, match="has"):
        Uri(pattern)


def test_ip_addresses() -> None:
    address = x509.IPAddress(ipaddress.ip_address("2001:db8::1"))
    assert IpAddress("2001:DB8:0::1").allows(identity(("CN", "a"), sans=[address]))
    assert not IpAddress("2001:db8::2").allows(identity(("CN", "a"), sans=[address]))
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        IpAddress("localhost")


def test_spiffe_paths() -> None:
    default = SpiffePath("team.test", "/ns/default")
    assert default.allows(with_san("URI:spiffe://team.test/ns/default"))
    assert default.allows(with_san("URI:spiffe://team.test/ns/default/sa/a"))
    for other in (
        "spiffe://team.test/ns/default2",
        "spiffe://team.test/ns",
        "spiffe://team.test.evil.test/ns/default",
        "spiffe://evil.test/ns/default",
        "spiffe://team.test/ns/default/../admin",
        "https://team.test/ns/default",
    ):
        assert not default.allows(with_san(f"URI:{other}")), other
    assert SpiffePath("team.test").allows(with_san("URI:spiffe://team.test/any"))
    assert not SpiffePath("team.test").allows(with_san("URI:spiffe://team.test.evil/any"))
    both = identity(("CN", "a"), sans=["URI:spiffe://team.test/ns/default", "URI:spiffe://team.test/ns/admin"])
    assert not default.allows(both)


@pytest.mark.parametrize(
    "parts", [("team.test", "ns"), ("team.test", "/a/"), ("Team.test", "/a"), ("", "/a"), ("team.test/a", "/b")]
)
def test_other_spiffe_paths_are_refused_at_once(parts: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="make no SPIFFE ID"):
        SpiffePath(*parts)


def test_fingerprints() -> None:
    known, other = identity(("CN", "a")), identity(("CN", "b"))
    colons = ":".join(known.sha256[i : i + 2] for i in range(0, 64, 2)).upper()
    for given in ([known.sha256], [colons], f" {colons} ", {other.sha256, known.sha256}):
        assert Fingerprints(given).allows(known)
    assert not Fingerprints([other.sha256]).allows(known)


@pytest.mark.parametrize("given", [[], [""], ["ab" * 20], ["g" * 64], ["a" * 63], ["ab" * 32, "x"], ["٣" * 64]])
def test_bad_fingerprints_are_refused_at_once(given: list[str]) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        Fingerprints(given)


def test_rules_together() -> None:
    admin, mailer = identity(("OU", "Team Admins")), with_san("EMAIL:a@team.test")
    mail = EmailAddress("a@team.test")
    assert [any_of(ADMINS, mail).allows(who) for who in (admin, mailer, with_san("DNS:a"))] == [True, True, False]
    assert [all_of(ADMINS, mail).allows(who) for who in (admin, mailer)] == [False, False]
    assert all_of(ADMINS, mail).allows(identity(("OU", "Team Admins"), sans=["EMAIL:a@team.test"]))
    assert (
        any_of(ADMINS, all_of(mail, mail)).name
        == "any of (organizational unit, all of (e-mail address, e-mail address))"
    )


@pytest.mark.parametrize("text", ["", " Team Admins", "Team\0Admins", "Team \u202eAdmins", "Team\u200dAdmins"])
def test_names_that_could_not_be_meant_are_refused_at_once(text: str) -> None:
    for rule in (OrganizationalUnit, DnsName, EmailAddress, Uri):
        with pytest.raises(ValueError, match=r"can't be seen|is empty"):
            rule(text)


@pytest.mark.parametrize("rule", ["Ops", OrganizationalUnit, lambda identity: True, object()])
def test_what_is_no_rule_is_an_error_where_it_is_used(rule: Any) -> None:
    """And not at the first request."""
    uses = (require, any_of, lambda rule: all_of(ADMINS, rule), lambda rule: AuthorizeMiddleware(app, rule))
    for use in uses:
        with pytest.raises(TypeError, match="is not a rule, such as OrganizationalUnit"):
            use(rule)
    with pytest.raises(TypeError, match="is not a text"):
        OrganizationalUnit(["Ops"])  # type: ignore[arg-type]


async def app(*_: object) -> None:
    """Stand in for an application."""
