"""Certificates follow RFC 5280's profile, and each faulty credential has exactly one fault.

The verifiers are independent of the lab: `openssl verify` and `cryptography.x509.verification`.
"""

from __future__ import annotations

import re
import ssl
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

import ca.clients
import ca.servers  # noqa: F401
import catalogue
from ca.certificates import Credential, make
from ca.credentials import (
    AUTHORITIES,
    CLIENTS,
    SERVERS,
    client_leaf,
    healthcheck,
    intermediate,
    proxy,
    recipes,
    server_leaf,
)
from ca.entry import key_kind
from ca.recipe import SELF, Files, Key, Recipe
from catalogue import Mode, Outcome, Scenario, Server, Tls
from client.probes import PROBES

RECIPES = {recipe.name: recipe for recipe in AUTHORITIES}
KNOWN = catalogue.load()


def refused(scenario: Scenario) -> int | None:
    """The verify error with which a strict verifier refuses the scenario's credential, or None."""
    return scenario.expected(Mode.REQUIRED, Tls.V13, Server.EXPLAINED).verify_code


def of_default_server(outcome: Outcome) -> list[str]:
    scenarios = KNOWN.of(default_server=True)
    return [s.id for s in scenarios if s.expect[Mode.REQUIRED].always.outcome is outcome and s.credential == s.id]


FAULTY = of_default_server(Outcome.REFUSED_BY_SERVER)
ACCEPTED = of_default_server(Outcome.AUTHENTICATED)
FAULTY_SERVERS = [
    s.id for s in KNOWN.scenarios.values() if s.expect[Mode.REQUIRED].always.outcome is Outcome.REFUSED_BY_CLIENT
]
# Where Python's cryptography differs from OpenSSL; the pages of these scenarios say so.
CRYPTOGRAPHY_REFUSES = {"client-no-policy"}
CRYPTOGRAPHY_ACCEPTS = {"client-no-digital-signature", "client-weak-rsa"}


@pytest.fixture(scope="module")
def authorities() -> dict[str, Credential]:
    made: dict[str, Credential] = {}
    for recipe in AUTHORITIES:
        made[recipe.name] = make(recipe, made.get(recipe.issuer))
    return made


def made(wanted: Recipe | tuple[Recipe, ...], authorities: dict[str, Credential]) -> Credential:
    """Make a credential, and the intermediates that only it needs."""
    known = dict(authorities)
    for recipe in wanted if isinstance(wanted, tuple) else (wanted,):
        known[recipe.name] = make(recipe, None if recipe.issuer == SELF else known[recipe.issuer])
        last = known[recipe.name]
    return last


def openssl_verify(credential: Credential, root: Credential, purpose: str, folder: Path, *options: str) -> int:
    """Return 0, or the verify error, at the security level of a server (2)."""
    for name, data in (
        ("root.pem", root.cert_pem()),
        ("chain.pem", credential.chain_pem()),
        ("cert.pem", credential.cert_pem()),
    ):
        (folder / name).write_bytes(data)
    untrusted = ["-untrusted", "chain.pem"] if credential.chain else []
    strict = ["-x509_strict", "-auth_level", "2", "-purpose", purpose, *options]
    command = ["openssl", "verify", *strict, "-CAfile", "root.pem", *untrusted, "cert.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    code = re.search(r"error (\d+) at", done.stdout + done.stderr)
    assert (done.returncode == 0) == (code is None), done.stderr
    return int(code[1]) if code else 0


def differences(recipe: Recipe, good: Recipe) -> list[str]:
    """Return what differs between two recipes, besides what they are called."""
    names = ("name", "role", "common_name") if recipe.role == "faulty" else ("name",)
    return [f for f in Recipe.__dataclass_fields__ if f not in names and getattr(recipe, f) != getattr(good, f)]


def cryptography_accepts(credential: Credential, root: Credential) -> bool:
    verifier = verification.PolicyBuilder().store(verification.Store([root.certificate])).build_client_verifier()
    try:
        verifier.verify(credential.certificate, list(credential.chain))
    except verification.VerificationError:
        return False
    return True


def test_the_good_client_is_accepted_by_two_verifiers(authorities: dict[str, Credential], tmp_path: Path) -> None:
    good, root = made(client_leaf("client-good"), authorities), authorities["validation-root"]
    assert openssl_verify(good, root, "sslclient", tmp_path) == 0
    assert cryptography_accepts(good, root)


def test_the_server_the_health_check_and_the_proxy_are_accepted(
    authorities: dict[str, Credential], tmp_path: Path
) -> None:
    server = made(recipes("server-good", ("DNS:lab.example",)), authorities)
    assert openssl_verify(server, authorities["public-root"], "sslserver", tmp_path) == 0
    assert openssl_verify(server, authorities["validation-root"], "sslserver", tmp_path) == 20  # unrelated PKIs
    for recipe in (healthcheck(), proxy()):
        assert openssl_verify(made(recipe, authorities), authorities["validation-root"], "sslclient", tmp_path) == 0


def test_every_credential_has_a_scenario() -> None:
    assert set(CLIENTS) == set(KNOWN.credentials)
    assert set(SERVERS) == set(KNOWN.server_credentials)


@pytest.mark.parametrize("name", FAULTY)
def test_one_client_credential_one_fault(name: str, authorities: dict[str, Credential], tmp_path: Path) -> None:
    """With its one fault OpenSSL refuses it as the catalogue says, and cryptography too; undone, both accept it."""
    root = authorities["validation-root"]
    *above, leaf = recipes(name)
    if name == "client-forged-issuer":  # its fault is who has the keys, not what is written
        assert differences(leaf, client_leaf(name)) == ["issuer"]
        twins = (authorities["validation-intermediate"], authorities["validation-root"])
        forged = made(tuple(recipes(name)), authorities)
        assert [c.subject for c in forged.above] == [twin.certificate.subject for twin in twins]
        assert all(c.public_key() != t.certificate.public_key() for c, t in zip(forged.above, twins, strict=True))
    elif above:  # the leaf is good but for its issuer, and that is good but for one thing
        assert differences(leaf, client_leaf(name)) == ["issuer"]
        (issuer,) = above
        assert len(differences(issuer, intermediate(issuer.name))) == 1
    else:
        assert len(differences(leaf, client_leaf(name))) == 1
    faulty = made(tuple(recipes(name)), authorities)
    assert openssl_verify(faulty, root, "sslclient", tmp_path) == refused(KNOWN.scenarios[name])
    assert cryptography_accepts(faulty, root) == (name in CRYPTOGRAPHY_ACCEPTS)
    mended = (client_leaf(name), (intermediate("mended"), client_leaf(name, issuer="mended")))[bool(above)]
    assert openssl_verify(made(mended, authorities), root, "sslclient", tmp_path) == 0
    assert cryptography_accepts(made(mended, authorities), root)


@pytest.mark.parametrize("name", FAULTY_SERVERS)
def test_one_server_credential_one_fault(name: str, authorities: dict[str, Credential], tmp_path: Path) -> None:
    root, scenario = authorities["public-root"], KNOWN.scenarios[name]
    (recipe,) = recipes(name)
    good = server_leaf(name, ())
    assert len(differences(recipe, good)) == 1
    checks = ["-verify_hostname", "localhost"]
    code = openssl_verify(made(recipe, authorities), root, "sslserver", tmp_path, *checks)
    # The common name alone: OpenSSL falls back on it, RFC 9525 forbids that. `cryptography` follows the RFC.
    assert code == (0 if name == "server-cn-only" else scenario.expect[Mode.REQUIRED].always.verify_code)
    assert openssl_verify(made(good, authorities), root, "sslserver", tmp_path, *checks) == 0
    for wanted, accepted in ((recipe, False), (good, True)):
        builder = verification.PolicyBuilder().store(verification.Store([root.certificate]))
        credential = made(wanted, authorities)
        try:
            builder.build_server_verifier(x509.DNSName("localhost")).verify(
                credential.certificate, list(credential.chain)
            )
        except verification.VerificationError:
            assert not accepted
        else:
            assert accepted


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_server_accepts_two_verifiers_accept(
    name: str, authorities: dict[str, Credential], tmp_path: Path
) -> None:
    root, credential = authorities["validation-root"], made(tuple(recipes(name)), authorities)
    assert cryptography_accepts(credential, root) != (name in CRYPTOGRAPHY_REFUSES)
    needs, version = KNOWN.scenarios[name].needs.openssl, PROBES["openssl"].openssl()
    if needs and (version or ()) < needs:
        pytest.skip(f"the openssl here is {version}, and {name} needs {needs}")
    assert openssl_verify(credential, root, "sslclient", tmp_path) == 0


def test_the_pages_say_where_verifiers_differ() -> None:
    for name in CRYPTOGRAPHY_REFUSES | CRYPTOGRAPHY_ACCEPTS:
        assert "`cryptography`" in KNOWN.scenarios[name].why


@pytest.mark.parametrize("name", ["client-wrong-key", "client-wrong-chain-order"])
def test_files_that_do_not_fit(name: str, authorities: dict[str, Credential], tmp_path: Path) -> None:
    """The certificate is good; what is beside it is not. Undone, OpenSSL loads them."""
    (recipe,) = recipes(name)
    assert differences(recipe, client_leaf(name)) == ["files"]
    for wanted, loads in ((recipe, False), (client_leaf(name), True)):
        credential = made(wanted, authorities)
        (tmp_path / "fullchain.pem").write_bytes(credential.fullchain_pem())
        (tmp_path / "privkey.pem").write_bytes(credential.key_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with nullcontext() if loads else pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
            context.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
        assert openssl_verify(credential, authorities["validation-root"], "sslclient", tmp_path) == 0


def test_trust_files_decide(authorities: dict[str, Credential], tmp_path: Path) -> None:
    """Each of the variants with a trust file of its own: undone, the same client gets the other verdict."""
    good = made(client_leaf("client-good"), authorities)
    alone = replace(good, files=Files.LEAF_ALONE)
    root, above = authorities["validation-root"], authorities["validation-intermediate"]
    assert openssl_verify(alone, root, "sslclient", tmp_path) == refused(KNOWN.scenarios["trust-root-only"])
    assert openssl_verify(good, root, "sslclient", tmp_path) == 0
    assert openssl_verify(good, above, "sslclient", tmp_path) == 2  # as trust-intermediate-only says of stock
    assert openssl_verify(good, above, "sslclient", tmp_path, "-partial_chain") == 0
    public = made(recipes("client-public-ca"), authorities)
    assert openssl_verify(public, root, "sslclient", tmp_path) == 20
    assert openssl_verify(public, authorities["public-root"], "sslclient", tmp_path) == 0  # trust-public-mixed


@pytest.mark.parametrize("name", [recipe.name for recipe in AUTHORITIES])
def test_the_profile_of_a_ca(name: str, authorities: dict[str, Credential]) -> None:
    """RFC 5280 4.2.1.9, 4.2.1.3, 4.2.1.2, 4.2.1.1."""
    extensions = authorities[name].certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert constraints.value.ca
    assert constraints.value.path_length == RECIPES[name].path_length
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
    present = {extension.oid for extension in extensions}
    assert ExtensionOID.SUBJECT_KEY_IDENTIFIER in present
    assert (ExtensionOID.AUTHORITY_KEY_IDENTIFIER in present) == (RECIPES[name].issuer != SELF)


def test_the_profile_of_a_leaf(authorities: dict[str, Credential]) -> None:
    certificate = made(client_leaf("client-good"), authorities).certificate
    extensions = certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert not constraints.value.ca
    assert usage.critical
    assert (usage.value.digital_signature, usage.value.key_cert_sign) == (True, False)
    eku = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(eku) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.days == 90


@pytest.mark.parametrize("kind", Key)
def test_a_key_is_recorded_as_recipes_name_it(kind: Key) -> None:
    made = make(client_leaf("client-x", key=kind), make(intermediate("x", SELF), None))
    assert key_kind(made.certificate.public_key()) == kind
