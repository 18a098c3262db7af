"""The client credentials, one function each: a good leaf of the validation PKI but for one keyword."""

from __future__ import annotations

from ca.credentials import Recipes, below, client, client_leaf, intermediate, root
from ca.recipe import (
    ANY_EKU,
    CLIENT_AUTH,
    EXPIRED,
    NOT_YET_VALID,
    PASS_PHRASE,
    SELF,
    SERVER_AUTH,
    Files,
    Key,
    Signature,
)

ADMINS = "Lab Admins"  # the organizational unit that an application trusts


@client
def client_good() -> Recipes:
    return client_leaf("client-good")


@client
def client_rsa() -> Recipes:
    return client_leaf("client-rsa", key=Key.RSA_3072)


@client
def client_p384() -> Recipes:
    return client_leaf("client-p384", key=Key.P384)


@client
def client_ed25519() -> Recipes:
    return client_leaf("client-ed25519", key=Key.ED25519)


@client
def client_mldsa() -> Recipes:
    return client_leaf("client-mldsa", key=Key.ML_DSA_65)


@client
def client_no_eku() -> Recipes:
    return client_leaf("client-no-eku", eku=())


@client
def client_two_ekus() -> Recipes:
    return client_leaf("client-two-ekus", eku=(CLIENT_AUTH, SERVER_AUTH))


@client
def client_root_included() -> Recipes:
    return client_leaf("client-root-included", files=Files.WITH_ROOT)


@client
def client_long_chain() -> Recipes:
    upper = intermediate("long-chain-upper", path_length=2)
    middle = intermediate("long-chain-middle", upper.name, path_length=1)
    return below("client-long-chain", upper, middle, intermediate("long-chain-lower", middle.name))


@client
def client_empty_subject() -> Recipes:
    return client_leaf("client-empty-subject", common_name=None)


@client
def client_unicode_subject() -> Recipes:
    return client_leaf("client-unicode-subject", common_name="Zoë Łukasz 客户")


@client
def client_spiffe() -> Recipes:
    return client_leaf("client-spiffe", sans=("URI:spiffe://mtls-lab.test/ns/default/sa/client-spiffe",))


@client
def client_encrypted_key() -> Recipes:
    return client_leaf("client-encrypted-key", pass_phrase=PASS_PHRASE)


@client
def client_no_policy() -> Recipes:
    return below("client-no-policy", intermediate("policy-intermediate", requires_policy=True))


@client
def client_key_agreement() -> Recipes:
    return client_leaf("client-key-agreement", key_usage=("keyAgreement",))


@client
def client_expired() -> Recipes:
    return client_leaf("client-expired", validity=EXPIRED)


@client
def client_not_yet_valid() -> Recipes:
    return client_leaf("client-not-yet-valid", validity=NOT_YET_VALID)


@client
def client_expired_intermediate() -> Recipes:
    return below("client-expired-intermediate", intermediate("expired-intermediate", validity=EXPIRED))


@client
def client_server_eku() -> Recipes:
    return client_leaf("client-server-eku", eku=(SERVER_AUTH,))


@client
def client_any_eku() -> Recipes:
    return client_leaf("client-any-eku", eku=(ANY_EKU,))


@client
def client_intermediate_eku() -> Recipes:
    return below("client-intermediate-eku", intermediate("server-only-intermediate", eku=(SERVER_AUTH,)))


@client
def client_no_digital_signature() -> Recipes:
    return client_leaf("client-no-digital-signature", key_usage=("keyEncipherment",))


@client
def client_ca_certificate() -> Recipes:
    """A CA below an intermediate of path length 0: what it signs, nobody believes, so its key may be known."""
    return client_leaf("client-ca-certificate", is_ca=True)


@client
def client_self_signed() -> Recipes:
    return client_leaf("client-self-signed", issuer=SELF)


@client
def client_untrusted_root() -> Recipes:
    return client_leaf("client-untrusted-root", issuer="untrusted-intermediate")


@client
def client_forged_issuer() -> Recipes:
    """Both names of the validation PKI, and other keys."""
    above = root("forged-root", "mTLS Lab Validation Root", role="faulty")
    forged = intermediate("forged-intermediate", above.name, common_name="mTLS Lab Validation Intermediate")
    return below("client-forged-issuer", above, forged)


@client
def client_public_ca() -> Recipes:
    return client_leaf("client-public-ca", issuer="public-intermediate")


@client
def client_intermediate_not_ca() -> Recipes:
    return below("client-intermediate-not-ca", intermediate("not-ca-intermediate", is_ca=False))


@client
def client_intermediate_no_cert_sign() -> Recipes:
    return below("client-intermediate-no-cert-sign", intermediate("no-cert-sign-intermediate", key_usage=("cRLSign",)))


@client
def client_pathlen_exceeded() -> Recipes:
    return below("client-pathlen-exceeded", intermediate("pathlen-intermediate", "validation-intermediate"))


@client
def client_name_constraints() -> Recipes:
    return below("client-name-constraints", intermediate("constrained-intermediate", permitted=("EMAIL:other.test",)))


@client
def client_bad_signature() -> Recipes:
    return client_leaf("client-bad-signature", signature=Signature.BROKEN)


@client
def client_unknown_critical_extension() -> Recipes:
    return client_leaf("client-unknown-critical-extension", unknown_critical=True)


@client
def client_intermediate_unknown_critical() -> Recipes:
    return below(
        "client-intermediate-unknown-critical", intermediate("unknown-critical-intermediate", unknown_critical=True)
    )


@client
def client_no_aki() -> Recipes:
    return client_leaf("client-no-aki", authority_key_identifier=False)


@client
def client_ca_not_critical() -> Recipes:
    return below("client-ca-not-critical", intermediate("not-critical-intermediate", basic_constraints_critical=False))


@client
def client_ca_no_key_usage() -> Recipes:
    return below("client-ca-no-key-usage", intermediate("no-key-usage-intermediate", key_usage=()))


@client
def client_weak_rsa() -> Recipes:
    return client_leaf("client-weak-rsa", key=Key.RSA_1024)


@client
def client_sha1() -> Recipes:
    return client_leaf("client-sha1", signature=Signature.SHA_1)


@client
def client_wrong_key() -> Recipes:
    return client_leaf("client-wrong-key", files=Files.WRONG_KEY)


@client
def client_wrong_chain_order() -> Recipes:
    return client_leaf("client-wrong-chain-order", files=Files.REVERSED)


@client
def client_admin() -> Recipes:
    return client_leaf("client-admin", organizational_units=(ADMINS,))


@client
def client_operator() -> Recipes:
    return client_leaf("client-operator", organizational_units=("Lab Operators",))


@client
def client_admin_substring() -> Recipes:
    return client_leaf("client-admin-substring", organizational_units=(f"Not {ADMINS}",))


@client
def client_admin_lookalike() -> Recipes:
    """The A is U+0410, the Cyrillic letter."""
    return client_leaf(
        "client-admin-lookalike", organizational_units=(ADMINS.replace("A", "\N{CYRILLIC CAPITAL LETTER A}"),)
    )


@client
def client_admin_in_cn() -> Recipes:
    return client_leaf("client-admin-in-cn", common_name=f"client,OU={ADMINS}")


@client
def client_admin_nul() -> Recipes:
    """What reads it as a string of C ends at the NUL."""
    return client_leaf("client-admin-nul", organizational_units=(f"{ADMINS}\0x",))


@client
def client_revoked() -> Recipes:
    return client_leaf("client-revoked", revoked="keyCompromise")


@client
def client_revoked_intermediate() -> Recipes:
    return below("client-revoked-intermediate", intermediate("revoked-intermediate", revoked="cACompromise"))
