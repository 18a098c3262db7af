"""Every certificate of the lab. A credential differs from a good one by one keyword: its fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ca.recipe import (
    CLIENT_AUTH,
    EXPIRED,
    INTERMEDIATE_VALIDITY,
    NOT_YET_VALID,
    ROOT_VALIDITY,
    SELF,
    SERVER_AUTH,
    Recipe,
)

# The trust anchors first, then what they sign: an issuer stands before its leaves.
AUTHORITIES = (
    Recipe("public-root", "root", "mTLS Lab Public Root", SELF, ROOT_VALIDITY, is_ca=True),
    Recipe(
        "public-intermediate",
        "intermediate",
        "mTLS Lab Public Intermediate",
        "public-root",
        INTERMEDIATE_VALIDITY,
        is_ca=True,
        path_length=0,
    ),
    Recipe("validation-root", "root", "mTLS Lab Validation Root", SELF, ROOT_VALIDITY, is_ca=True),
    Recipe(
        "validation-intermediate",
        "intermediate",
        "mTLS Lab Validation Intermediate",
        "validation-root",
        INTERMEDIATE_VALIDITY,
        is_ca=True,
        path_length=0,
    ),
    Recipe("untrusted-root", "root", "Somebody Else's Root", SELF, ROOT_VALIDITY, is_ca=True),
    Recipe(
        "untrusted-intermediate",
        "intermediate",
        "Somebody Else's Intermediate",
        "untrusted-root",
        INTERMEDIATE_VALIDITY,
        is_ca=True,
        path_length=0,
    ),
)

SERVER_NAMES = ("DNS:localhost", "DNS:server", "IP:127.0.0.1", "IP:::1")


def server_good(extra_sans: tuple[str, ...]) -> Recipe:
    """Return the server's leaf, of the public PKI, for the lab's names and those a user adds."""
    sans = tuple(dict.fromkeys(SERVER_NAMES + extra_sans))
    return Recipe("server-good", "server", "localhost", "public-intermediate", sans=sans, eku=(SERVER_AUTH,))


def healthcheck() -> Recipe:
    """Return the leaf with which the server's health check knocks; it is entitled to nothing."""
    return client_leaf("healthcheck", role="healthcheck")


def client_leaf(name: str, **fault: Any) -> Recipe:
    """Return a good client leaf of the validation PKI, but for the one keyword that is its fault."""
    good: dict[str, Any] = {
        "role": "client",
        "common_name": name,
        "issuer": "validation-intermediate",
        "sans": (f"EMAIL:{name}@mtls-lab.test",),
        "eku": (CLIENT_AUTH,),
    }
    return Recipe(name, **(good | fault))


CLIENTS: dict[str, Callable[[], Recipe]] = {}


def client(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register a function as the client credential of its name: `client_good` makes `client-good`."""
    CLIENTS[make.__name__.replace("_", "-")] = make
    return make


@client
def client_good() -> Recipe:
    return client_leaf("client-good")


@client
def client_expired() -> Recipe:
    return client_leaf("client-expired", validity=EXPIRED)


@client
def client_not_yet_valid() -> Recipe:
    return client_leaf("client-not-yet-valid", validity=NOT_YET_VALID)


@client
def client_server_eku() -> Recipe:
    return client_leaf("client-server-eku", eku=(SERVER_AUTH,))


@client
def client_untrusted_root() -> Recipe:
    return client_leaf("client-untrusted-root", issuer="untrusted-intermediate")


@client
def client_self_signed() -> Recipe:
    return client_leaf("client-self-signed", issuer=SELF)


@client
def client_public_ca() -> Recipe:
    return client_leaf("client-public-ca", issuer="public-intermediate")
