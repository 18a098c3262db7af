"""What certificates are made from: the authorities, and good leaves. A credential differs from these by one keyword.

The credentials are functions in ca/clients.py and ca/servers.py; what each is for is in catalogue/scenarios.toml. A
function returns its credential's recipe, or with it the intermediates that only it needs, in the order of issue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ca.recipe import CLIENT_AUTH, INTERMEDIATE_VALIDITY, ROOT_VALIDITY, SELF, SERVER_AUTH, Recipe

Recipes = Recipe | tuple[Recipe, ...]

SERVER_NAMES = ("DNS:localhost", "DNS:server", "IP:127.0.0.1", "IP:::1")


def root(name: str, common_name: str, role: str = "root") -> Recipe:
    """Return a trust anchor's recipe."""
    return Recipe(name, role, common_name, SELF, ROOT_VALIDITY, is_ca=True)


def intermediate(name: str, issuer: str = "validation-root", **fault: Any) -> Recipe:
    """Return a good intermediate, for leaves only, but for the keyword that is its fault.

    Of role `faulty`, which nobody imports and which may be issued again, unless said otherwise.
    """
    good: dict[str, Any] = {
        "role": "faulty",
        "common_name": f"mTLS Lab {name}",
        "issuer": issuer,
        "validity": INTERMEDIATE_VALIDITY,
        "is_ca": True,
        "path_length": 0,
    }
    return Recipe(name, **(good | fault))


def authority(name: str, common_name: str, issuer: str) -> Recipe:
    """Return an intermediate that people import."""
    return intermediate(name, issuer, role="intermediate", common_name=common_name)


# The trust anchors first, then what they sign: an issuer stands before its leaves.
AUTHORITIES = (
    root("public-root", "mTLS Lab Public Root"),
    authority("public-intermediate", "mTLS Lab Public Intermediate", "public-root"),
    root("validation-root", "mTLS Lab Validation Root"),
    authority("validation-intermediate", "mTLS Lab Validation Intermediate", "validation-root"),
    root("untrusted-root", "Somebody Else's Root"),
    authority("untrusted-intermediate", "Somebody Else's Intermediate", "untrusted-root"),
)


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


def below(name: str, *intermediates: Recipe) -> tuple[Recipe, ...]:
    """Return a good client leaf whose one fault is above it: the last of these intermediates issued it."""
    return (*intermediates, client_leaf(name, issuer=intermediates[-1].name))


def healthcheck() -> Recipe:
    """Return the leaf with which the server's health check knocks; it is entitled to nothing."""
    return client_leaf("healthcheck", role="healthcheck")


def proxy() -> Recipe:
    """Return the leaf by which the server knows the proxy in front of it, which tells it who calls."""
    return client_leaf("proxy", role="proxy", sans=("DNS:proxy.mtls-lab.test",))


def pebble() -> Recipe:
    """Return the leaf of the ACME server's own HTTPS, which has nothing to do with what it signs."""
    return server_leaf("pebble", (), role="acme", common_name="pebble", sans=("DNS:pebble",))


def server_leaf(name: str, extra_sans: tuple[str, ...], **fault: Any) -> Recipe:
    """Return a good server leaf of the public PKI, for the lab's names and those a user adds, but for its fault."""
    good: dict[str, Any] = {
        "role": "server",
        "common_name": "localhost",
        "issuer": "public-intermediate",
        "sans": tuple(dict.fromkeys(SERVER_NAMES + extra_sans)),
        "eku": (SERVER_AUTH,),
    }
    return Recipe(name, **(good | fault))


CLIENTS: dict[str, Callable[[], Recipes]] = {}
SERVERS: dict[str, Callable[[tuple[str, ...]], Recipes]] = {}


def client(make: Callable[[], Recipes]) -> Callable[[], Recipes]:
    """Register a function as the client credential of its name: `client_good` makes `client-good`."""
    CLIENTS[make.__name__.replace("_", "-")] = make
    return make


def server(make: Callable[[tuple[str, ...]], Recipes]) -> Callable[[tuple[str, ...]], Recipes]:
    """Register a function as the server credential of its name; it is given the names that a user adds."""
    SERVERS[make.__name__.replace("_", "-")] = make
    return make


def recipes(name: str, extra_sans: tuple[str, ...] = ()) -> tuple[Recipe, ...]:
    """Return the recipes of a credential, in the order of issue: the credential last.

    Raises:
        KeyError: nothing makes it.
    """
    made = SERVERS[name](extra_sans) if name in SERVERS else CLIENTS[name]()
    return made if isinstance(made, tuple) else (made,)
