"""What a certificate is made from. The defaults are a correct one (RFC 5280 profile); a fault is one keyword."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import RelativeDistinguishedName

DAY = timedelta(days=1)
BACKDATED = timedelta(minutes=-1)  # clocks differ: a certificate is valid a minute before it is made

CLIENT_AUTH = "clientAuth"
SERVER_AUTH = "serverAuth"
ANY_EKU = "anyExtendedKeyUsage"
PASS_PHRASE = "mtls-lab"  # noqa: S105  # of the keys that have one: no secret, it is printed in every command
SELF = "self"  # an issuer: signed with its own key


@dataclass(frozen=True)
class Validity:
    """When a certificate is valid: notBefore and notAfter, relative to the time of issue."""

    start: timedelta
    end: timedelta

    def still_holds(self, not_before: datetime, not_after: datetime, now: datetime) -> bool:
        """Tell whether an issued certificate is still what this says, with time to spare.

        One that should be expired must be expired; one from the future must be a third of its lead away; a
        valid one must have more than a third of its lifetime left.
        """
        if self.end <= timedelta():
            return not_after < now
        if self.start > timedelta():
            return not_before - now > self.start / 3
        return not_before <= now and not_after - now > (not_after - not_before) / 3


VALID = Validity(BACKDATED, 90 * DAY)
EXPIRED = Validity(-30 * DAY, -1 * DAY)
NOT_YET_VALID = Validity(365 * DAY, 455 * DAY)
INTERMEDIATE_VALIDITY = Validity(BACKDATED, 2 * 365 * DAY)
ROOT_VALIDITY = Validity(BACKDATED, 3652 * DAY)


class Key(StrEnum):
    """What kind of key a certificate is about."""

    P256 = "EC P-256"
    P384 = "EC P-384"
    RSA_1024 = "RSA 1024"
    RSA_3072 = "RSA 3072"
    ED25519 = "Ed25519"
    ML_DSA_65 = "ML-DSA-65"


class Files(StrEnum):
    """What a credential's files hold: the chain as it should be (RFC 8446 4.4.2), or as people make it."""

    GOOD = "leaf, then intermediates"
    WITH_ROOT = "the root too"
    LEAF_ALONE = "no intermediates"
    REVERSED = "the leaf last"
    WRONG_KEY = "the key of another certificate"


class Signature(StrEnum):
    """How a certificate is signed."""

    GOOD = "SHA-256"
    SHA_1 = "SHA-1"
    BROKEN = "one bit of it flipped"


@dataclass(frozen=True)
class Recipe:
    """One certificate, before it exists.

    `role` is root, intermediate, server, client, healthcheck, proxy or acme. `common_name` None is an empty subject,
    which makes the subject alternative name critical (RFC 5280 4.1.2.6). `organizational_units` are the subject's OU,
    between O and CN; `subject_base` stands in the place of O, where an imported CA permits only subjects that begin so.
    `revoked` is the reason (RFC 5280 5.3.1) for which it is revoked as soon as it is issued. `sans` and `permitted`
    (name constraints, 4.2.1.10) are like `DNS:localhost`, `IP:127.0.0.1`, `EMAIL:a@b`, `URI:spiffe://a/b`.
    `path_length` None is an absent pathLenConstraint (4.2.1.9). `key_usage` holds RFC 5280's names (4.2.1.3); None is
    what suits a CA or a leaf, empty is no such extension.
    """

    name: str
    role: str
    common_name: str | None
    issuer: str
    validity: Validity = VALID
    sans: tuple[str, ...] = ()
    eku: tuple[str, ...] = ()
    is_ca: bool = False
    path_length: int | None = None
    key_usage: tuple[str, ...] | None = None
    key: Key = Key.P256
    signature: Signature = Signature.GOOD
    files: Files = Files.GOOD
    pass_phrase: str | None = None
    permitted: tuple[str, ...] = ()
    unknown_critical: bool = False
    requires_policy: bool = False
    basic_constraints_critical: bool = True
    authority_key_identifier: bool = True
    organizational_units: tuple[str, ...] = ()
    subject_base: tuple[RelativeDistinguishedName, ...] = ()
    revoked: str | None = None

    @property
    def usages(self) -> tuple[str, ...]:
        """The key usage that the certificate has."""
        if self.key_usage is not None:
            return self.key_usage
        return ("keyCertSign", "cRLSign") if self.is_ca else ("digitalSignature",)

    def digest(self) -> str:
        """Return a digest of everything that would be in the certificate: equal means no need to issue again."""
        said = {field: value for field, value in asdict(self).items() if field != "revoked"}
        if not self.subject_base:  # which most have not: what was issued before there was one stays good
            del said["subject_base"]
        return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:16]
