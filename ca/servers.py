"""The server credentials, one function each: a good leaf of the public PKI but for one keyword."""

from __future__ import annotations

from ca.credentials import Recipes, server, server_leaf
from ca.recipe import CLIENT_AUTH, EXPIRED, NOT_YET_VALID, PASS_PHRASE, SELF, Files

Sans = tuple[str, ...]


@server
def server_good(sans: Sans) -> Recipes:
    return server_leaf("server-good", sans)


@server
def server_encrypted_key(sans: Sans) -> Recipes:
    return server_leaf("server-encrypted-key", sans, pass_phrase=PASS_PHRASE)


@server
def server_wrong_host(sans: Sans) -> Recipes:
    return server_leaf("server-wrong-host", sans, sans=("DNS:other.mtls-lab.test",))


@server
def server_cn_only(sans: Sans) -> Recipes:
    return server_leaf("server-cn-only", sans, sans=())


@server
def server_expired(sans: Sans) -> Recipes:
    return server_leaf("server-expired", sans, validity=EXPIRED)


@server
def server_not_yet_valid(sans: Sans) -> Recipes:
    return server_leaf("server-not-yet-valid", sans, validity=NOT_YET_VALID)


@server
def server_self_signed(sans: Sans) -> Recipes:
    return server_leaf("server-self-signed", sans, issuer=SELF)


@server
def server_untrusted_root(sans: Sans) -> Recipes:
    return server_leaf("server-untrusted-root", sans, issuer="untrusted-intermediate")


@server
def server_missing_intermediate(sans: Sans) -> Recipes:
    return server_leaf("server-missing-intermediate", sans, files=Files.LEAF_ALONE)


@server
def server_client_eku(sans: Sans) -> Recipes:
    return server_leaf("server-client-eku", sans, eku=(CLIENT_AUTH,))


@server
def server_validation_ca(sans: Sans) -> Recipes:
    return server_leaf("server-validation-ca", sans, issuer="validation-intermediate")


@server
def server_ca_as_server(sans: Sans) -> Recipes:
    """A CA below an intermediate of path length 0: what it signs, nobody believes, so its key may be known."""
    return server_leaf("server-ca-as-server", sans, is_ca=True)
