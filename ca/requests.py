"""Read a certificate signing request (RFC 2986), and decide what of it a client certificate may say.

A request is what a stranger wishes. Its signature proves that the sender has the key; everything else is looked at and
at most a wish: CN, OU, e-mail addresses and SPIFFE ids of the lab's domain, which `ca.people` takes only if whoever
signs allows them. The CA bit, key usage and extended key usage are never taken from a request.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from ca.certificates import UNREADABLE
from catalogue import LabError, visible

DOMAIN = "mtls-lab.test"
MIN_RSA_BITS = 2048
MIN_RSA_EXPONENT = 65537
_SMALL_PRIMES = math.factorial(
    751
)  # a product of all primes below 752, by which a modulus is tried (NIST SP 800-89 5.3.3)
_FIELD = 2**255 - 19  # of Ed25519 (RFC 8032 5.1)
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the eight points whose order divides 8: anybody can sign for such a key.
_SMALL_ORDER = (0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8)
MAX_BYTES = 64 * 1024
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_EMAIL = re.compile(rf"[a-z0-9][a-z0-9._+-]{{0,63}}@{re.escape(DOMAIN)}")
_SPIFFE = re.compile(rf"spiffe://{re.escape(DOMAIN)}(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")  # no `.` or `..` segments
_TAKEN = (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
_OTHER_EXTENSIONS: dict[type[x509.ExtensionType], str] = {
    x509.BasicConstraints: "basicConstraints: a person is no CA",
    x509.KeyUsage: "keyUsage: this CA sets digitalSignature",
    x509.ExtendedKeyUsage: "extendedKeyUsage: this CA sets clientAuth",
}
CURE = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout bob.key -subj /CN=bob -out bob.csr"


@dataclass(frozen=True)
class Wish:
    """What of a request goes into a certificate, and in words what does not. `sans` are as recipes write them."""

    common_name: str
    organizational_units: tuple[str, ...]
    sans: tuple[str, ...]
    public_key: CertificatePublicKeyTypes
    ignored: tuple[str, ...]


def read(data: bytes) -> Wish:
    """Read a PEM or DER request and check it.

    Raises:
        LabError: not a request, its signature does not hold, its key is weak or of an unsupported kind, it has no
            common name, or a name has characters that deceive.
    """
    return check(parse(data))


def check(request: x509.CertificateSigningRequest) -> Wish:
    """Return what of a request is taken, if its signature holds.

    Raises:
        LabError: it does not, or something in it is refused.
    """
    try:
        if not request.is_signature_valid:
            raise InvalidSignature
    except (InvalidSignature, *UNREADABLE):
        fact = "its signature is not made with its own key: whoever sent it has not proved to hold the key"
        raise _refused(fact) from None
    return decide(request)


def parse(data: bytes) -> x509.CertificateSigningRequest:
    """Parse a request, whether or not its signature holds.

    Raises:
        LabError: it is none.
    """
    if len(data) > MAX_BYTES:
        raise _refused(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_csr(data)
        return x509.load_der_x509_csr(data)
    except UNREADABLE:
        raise _refused("it is no certificate signing request, neither PEM nor DER" if data else "it is empty") from None


def decide(request: x509.CertificateSigningRequest) -> Wish:
    """Return what of a request is taken, and what is ignored.

    Raises:
        LabError: its key is refused, or its names are.
    """
    try:
        key, extensions = request.public_key(), request.extensions
        with warnings.catch_warnings(action="ignore"):  # of a name's length, which is checked below
            subject = request.subject
    except UNREADABLE as error:
        raise _refused(f"it can't be understood ({visible(str(error))})") from None
    check_key(key)
    ignored: list[str] = []
    sans: tuple[str, ...] = ()
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            sans = _sans(extension.value, ignored)
        else:
            other = f"the extension {extension.oid.dotted_string}"
            ignored.append(_OTHER_EXTENSIONS.get(type(extension.value), other))
    for attribute in subject:
        if attribute.oid not in _TAKEN:
            ignored.append(f"{attribute.rfc4514_attribute_name}={visible(_text(attribute))}: only CN and OU are taken")
    names = [_text(a) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    units = tuple(_text(a) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME))
    if len(names) != 1:
        raise _refused("it has no common name (CN)" if not names else "it has more than one common name (CN)")
    for value in (*names, *units):
        check_text(value)
    return Wish(names[0], units, sans, key, tuple(ignored))


def check_key(key: CertificatePublicKeyTypes) -> None:
    """Refuse a key that is weak or that not every verifier knows.

    Raises:
        LabError: RSA below 2048 bits, with an exponent below 65537 or with a small prime factor, an uncommon curve, an
            Ed25519 point of small order, or another kind than RSA, EC and Ed25519.
    """
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise _refused(f"its RSA key has {key.key_size} bits, and {MIN_RSA_BITS} are the least")
        numbers = key.public_numbers()
        if numbers.e < MIN_RSA_EXPONENT:
            raise _refused(f"its RSA key has the public exponent {numbers.e}, and {MIN_RSA_EXPONENT} is the least")
        if math.gcd(numbers.n, _SMALL_PRIMES) != 1:
            raise _refused("its RSA key has a modulus with a prime factor below 752")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, CURVES):
            raise _refused(f"its curve {key.curve.name} is none of P-256, P-384, P-521")
    elif isinstance(key, ed25519.Ed25519PublicKey):
        y = int.from_bytes(key.public_bytes_raw(), "little") & ~(1 << 255)  # without the sign of x
        if y % _FIELD in _SMALL_ORDER:
            raise _refused("its Ed25519 key has a small order: anybody can sign for it")
    else:
        raise _refused("its key is neither RSA nor EC nor Ed25519")


def check_text(value: str) -> None:
    """Refuse a name that is not what it looks like.

    Raises:
        LabError: empty, longer than 64 bytes of UTF-8 (RFC 5280 A.1: characters), with NULs, control or invisible
            characters, or with a dollar sign or a backtick, in which shells and make find commands.
    """
    if not value.strip() or len(value.encode()) > 64:
        raise _refused(f"the name '{visible(value)}' is empty or longer than 64 bytes")
    if visible(value) != value:
        raise _refused(f"the name '{visible(value)}' has control or invisible characters")
    if {"$", "`"} & set(value):
        raise _refused(f"the name '{value}' has a dollar sign or a backtick, in which shells find commands")


def allowed_email(address: str) -> bool:
    """Tell whether this CA vouches for an e-mail address: those of the lab's domain alone."""
    return bool(_EMAIL.fullmatch(address))


def allowed_uri(uri: str) -> bool:
    """Tell whether this CA vouches for a URI: SPIFFE ids of the lab's trust domain alone."""
    return bool(_SPIFFE.fullmatch(uri))


def _sans(names: x509.SubjectAlternativeName, ignored: list[str]) -> tuple[str, ...]:
    taken = []
    for name in names:
        value = visible(str(name.value))
        if isinstance(name, x509.RFC822Name) and allowed_email(name.value):
            taken.append(f"EMAIL:{name.value}")
        elif isinstance(name, x509.UniformResourceIdentifier) and allowed_uri(name.value):
            taken.append(f"URI:{name.value}")
        elif isinstance(name, (x509.DNSName, x509.IPAddress)):
            ignored.append(f"the name {value}: DNS names and addresses are for servers")
        else:
            ignored.append(f"the name {value}: only e-mail addresses @{DOMAIN} and spiffe://{DOMAIN}/... are taken")
    return tuple(dict.fromkeys(taken))


def _text(attribute: x509.NameAttribute[str | bytes]) -> str:
    return attribute.value if isinstance(attribute.value, str) else attribute.value.hex()


def _refused(fact: str) -> LabError:
    return LabError("could not sign the request", fact, CURE)
