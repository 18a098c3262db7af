"""What must happen in a browser, in each mode: which certificates it has, where it goes, what is answered and seen.

A session is a fresh home and a fresh browser, because a browser remembers what was answered until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalogue import Mode

BROWSERS = {"chromium": ".pki/nssdb", "firefox": "profile"}  # and where in its home each has its certificates
GOOD, OTHER_CA = "client-good", "client-untrusted-root"
SERVER_EKU, EXPIRED = "client-server-eku", "client-expired"
ANONYMOUS = "anonymous"
# What the error page says if the server wants a certificate and none was sent, and if it knows none of its issuers.
NOT_SENT = {"chromium": "ERR_BAD_SSL_CLIENT_AUTH_CERT", "firefox": "SSL_ERROR_RX_CERTIFICATE_REQUIRED_ALERT"}
UNKNOWN_CA = {"chromium": "ERR_BAD_SSL_CLIENT_AUTH_CERT", "firefox": "SSL_ERROR_UNKNOWN_CA_ALERT"}


@dataclass(frozen=True)
class Check:
    """One look at the page.

    `answer` is what is done in the dialog, `accept` or `cancel`, or None where no dialog may appear. `ends` is who the
    application says is calling, or what the error page says by browser. Firefox tells what its dialog offers: `offers`.
    """

    id: str
    says: str
    ends: str | dict[str, str]
    answer: str | None = None
    offers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Session:
    """Checks in one browser process.

    `holds` are the credentials that are imported, and `keyless` those whose certificate is, without the key. `names`
    goes to the server that sends the names of its CAs. `asked` tells whether the server asks for a certificate, and
    `sent` how many certificates go with each answer to it (Chromium's net-log tells both).
    """

    mode: Mode
    holds: tuple[str, ...]
    checks: tuple[Check, ...]
    asked: bool = True
    sent: int = 0
    keyless: tuple[str, ...] = ()
    names: bool = False
    browsers: tuple[str, ...] = tuple(BROWSERS)


def _not_shown(id_: str, says: str, *holds: str, keyless: tuple[str, ...] = ()) -> Session:
    # Chromium's list of certificates can't be read: each is tried alone. Firefox's is read in `required-accept`.
    checks = (Check(id_, says, NOT_SENT),)
    return Session(Mode.REQUIRED, holds, checks, keyless=keyless, browsers=("chromium",))


SESSIONS = (
    Session(Mode.OFF, (GOOD,), (Check("off", "no question: the page, anonymous", ANONYMOUS),), asked=False),
    Session(
        Mode.OPTIONAL,
        (GOOD,),
        (
            Check("optional-cancel", "a question, cancelled: the page, anonymous", ANONYMOUS, "cancel", (GOOD,)),
            Check("cancelled-before", "cancelled before: no question, still anonymous", ANONYMOUS),
        ),
    ),
    Session(
        Mode.OPTIONAL,
        (GOOD,),
        (Check("optional-accept", "a question, accepted: the page, client-good", GOOD, "accept", (GOOD,)),),
        sent=1,
    ),
    Session(
        Mode.REQUIRED,
        (GOOD,),
        (Check("required-cancel", "a question, cancelled: the error page", NOT_SENT, "cancel", (GOOD,)),),
    ),
    Session(
        Mode.REQUIRED,
        (GOOD, SERVER_EKU, EXPIRED),
        (Check("required-accept", "four held, one is offered, accepted: client-good", GOOD, "accept", (GOOD,)),),
        sent=1,
        keyless=("client-rsa",),
    ),
    _not_shown("keyless", "a bundle without its key: no question, the error page", keyless=(GOOD,)),
    _not_shown("server-eku", "a server's certificate: no question, the error page", SERVER_EKU),
    _not_shown("expired", "an expired certificate: no question, the error page", EXPIRED),
    Session(
        Mode.REQUIRED,
        (OTHER_CA,),
        (Check("other-ca", "another CA's: a question all the same, then refused", UNKNOWN_CA, "accept", (OTHER_CA,)),),
        sent=1,
    ),
    Session(
        Mode.REQUIRED,
        (OTHER_CA,),
        (Check("other-ca-named", "another CA's, the server names its CAs: no question", ANONYMOUS),),
        names=True,
        browsers=("chromium",),
    ),
    Session(
        Mode.REQUIRED,
        (GOOD, OTHER_CA),
        (Check("good-named", "both, the server names its CAs: one is offered", GOOD, "accept", (GOOD,)),),
        sent=1,
        names=True,
    ),
)
