"""Certificates follow RFC 5280's profile, and each faulty credential has exactly one fault.

The verifiers are independent of the lab: `openssl verify` and `cryptography.x509.verification`.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ca.certificates import Credential, make
from ca.credentials import AUTHORITIES, CLIENTS, client_leaf, healthcheck, server_good
from ca.recipe import SELF, Recipe

RECIPES = {recipe.name: recipe for recipe in AUTHORITIES}
FAULTY = sorted(set(CLIENTS) - {"client-good"})
# What `openssl verify` says of each, from RFC 5280 6.1 and the X509_V_ERR numbers; the catalogue says the same.
CODES = {
    "client-expired": 10,
    "client-not-yet-valid": 9,
    "client-server-eku": 26,
    "client-untrusted-root": 20,
    "client-self-signed": 18,
    "client-public-ca": 20,
}


@pytest.fixture(scope="module")
def authorities() -> dict[str, Credential]:
    made: dict[str, Credential] = {}
    for recipe in AUTHORITIES:
        made[recipe.name] = make(recipe, made.get(recipe.issuer))
    return made


def made(recipe: Recipe, authorities: dict[str, Credential]) -> Credential:
    return make(recipe, None if recipe.issuer == SELF else authorities[recipe.issuer])


def openssl_verify(credential: Credential, root: Credential, purpose: str, folder: Path) -> int:
    """Return 0, or the verify error."""
    for name, data in (
        ("root.pem", root.cert_pem()),
        ("chain.pem", credential.chain_pem()),
        ("cert.pem", credential.cert_pem()),
    ):
        (folder / name).write_bytes(data)
    untrusted = ["-untrusted", "chain.pem"] if credential.chain else []
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.pem", *untrusted, "cert.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    code = re.search(r"error (\d+) at", done.stdout + done.stderr)
    assert (done.returncode == 0) == (code is None), done.stderr
    return int(code[1]) if code else 0


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


def test_the_server_and_the_health_check_are_accepted(authorities: dict[str, Credential], tmp_path: Path) -> None:
    server = made(server_good(("DNS:lab.example",)), authorities)
    assert openssl_verify(server, authorities["public-root"], "sslserver", tmp_path) == 0
    assert openssl_verify(server, authorities["validation-root"], "sslserver", tmp_path) == 20  # unrelated PKIs
    knock = made(healthcheck(), authorities)
    assert openssl_verify(knock, authorities["validation-root"], "sslclient", tmp_path) == 0


def test_every_faulty_credential_is_in_the_table() -> None:
    assert sorted(CODES) == FAULTY


@pytest.mark.parametrize("name", FAULTY)
def test_one_credential_one_fault(name: str, authorities: dict[str, Credential], tmp_path: Path) -> None:
    """With its one fault both verifiers refuse it; with that one keyword undone both accept it."""
    root = authorities["validation-root"]
    recipe = CLIENTS[name]()
    good = client_leaf(name)
    different = [f for f in Recipe.__dataclass_fields__ if getattr(recipe, f) != getattr(good, f)]
    assert len(different) == 1
    faulty = made(recipe, authorities)
    assert openssl_verify(faulty, root, "sslclient", tmp_path) == CODES[name]
    assert not cryptography_accepts(faulty, root)
    mended = made(good, authorities)
    assert openssl_verify(mended, root, "sslclient", tmp_path) == 0
    assert cryptography_accepts(mended, root)


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
