"""What a certificate is made from. The defaults are a correct one (RFC 5280 profile); a fault is one keyword."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

DAY = timedelta(days=1)
BACKDATED = timedelta(minutes=-1)  # clocks differ: a certificate is valid a minute before it is made

CLIENT_AUTH = "clientAuth"
SERVER_AUTH = "serverAuth"
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


@dataclass(frozen=True)
class Recipe:
    """One certificate, before it exists.

    `role` is root, intermediate, server, client or healthcheck. `sans` are like `DNS:localhost`,
    `IP:127.0.0.1`, `EMAIL:a@b`. `path_length` None is an absent pathLenConstraint (RFC 5280 4.2.1.9).
    """

    name: str
    role: str
    common_name: str
    issuer: str
    validity: Validity = VALID
    sans: tuple[str, ...] = ()
    eku: tuple[str, ...] = field(default=())
    is_ca: bool = False
    path_length: int | None = None

    def digest(self) -> str:
        """Return a digest of everything that would be in the certificate: equal means no need to issue again."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:16]
