"""What a CA signs that was imported, an enterprise's for example: good clients' leaves, and nothing else.

The lab's server has to refuse the faulty credentials, and the lab hands out their keys. Other servers may trust the
imported CA: below it, faulty credentials would be dangerous. So the lab's own validation intermediate signs them. This
module lists what a recipe of a good client may say, and what its certificate may contain. It refuses everything else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import name_constraints
from ca.certificates import ORGANIZATION, Credential, authority_key_identifier, general_name, subject_of
from ca.credentials import client_leaf
from ca.recipe import BACKDATED, Key, Recipe
from ca.requests import allowed_email, allowed_uri, check_key
from catalogue import LabError, visible

# In these, and in no other, a recipe may differ from that of a good client.
_FREE = ("role", "common_name", "organizational_units", "subject_base", "sans", "validity", "key", "pass_phrase")
_KEYS = (Key.P256, Key.P384, Key.RSA_3072, Key.ED25519)
# Words of Latin letters and digits with single spaces: no look-alikes of them, nothing that can't be seen, and nothing
# that separates the parts of a name where it is written as a text (RFC 4514 2.4).
_WORD = r"[0-9A-Za-zÀ-ÖØ-öø-ž.'&()_-]+"
_TEXT = re.compile(rf"(?=.{{1,64}}$){_WORD}( {_WORD})*")
_SOON = timedelta(minutes=5)


class NotPermittedError(Exception):
    """What an imported CA does not permit, in words."""


@dataclass(frozen=True)
class Imported(Credential):
    """An imported CA, with its key and what is above it. It signs what `fault` and `forbidden` find nothing about."""

    @property
    def name(self) -> str:
        return visible(self.certificate.subject.rfc4514_string())

    @property
    def constraints(self) -> tuple[x509.NameConstraints, ...]:
        """The name constraints that what it signs is subject to: its own, and those of the CAs above it."""
        return name_constraints.of((self.certificate, *self.above))

    def fitted(self, recipe: Recipe, optional: tuple[str, ...]) -> tuple[Recipe, tuple[str, ...]]:
        """Return a good recipe as this CA's name constraints have it, and the names that are left out.

        Args:
            optional: the alternative names (as in recipes) that may be left out if they are not permitted.

        Raises:
            NotPermittedError: the subject or another name is not permitted.
        """
        constraints = self.constraints
        base = name_constraints.subject_base(constraints)
        if base is None or any(attribute.oid == NameOID.COMMON_NAME for rdn in base for attribute in rdn):
            raise NotPermittedError("any subject that the lab can make")
        names = {san: general_name(san) for san in recipe.sans}
        out = tuple(s for s, name in names.items() if s in optional and not name_constraints.permits(constraints, name))
        wanted = replace(recipe, subject_base=base, sans=tuple(san for san in names if san not in out))
        if forbidden := name_constraints.forbidden(constraints, subject_of(wanted), [names[s] for s in wanted.sans]):
            raise NotPermittedError(", ".join(map(visible, forbidden)))
        return wanted, out

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse a recipe that is not a good client's. The code that chooses the issuer has checked it before.

        Raises:
            LabError: the recipe is not a good client's. This is a bug of the lab.
        """
        self._refuse(recipe, fault(recipe))

    def check_leaf(self, recipe: Recipe, builder: x509.CertificateBuilder) -> None:
        """Refuse a complete certificate that is not a good client's. For example, its key is weak.

        Raises:
            LabError: the certificate is not a good client's. This is a bug of the lab.
        """
        self._refuse(recipe, self._fault_of(builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())))

    def last_moment(self, wanted: datetime) -> datetime:
        """Return the notAfter of a certificate that this CA signs: what is wanted, or the CA's own if sooner."""
        return min(wanted, self.certificate.not_valid_after_utc)

    def _refuse(self, recipe: Recipe, problem: str) -> None:
        if problem:
            fact = f"{problem}, and an imported CA signs good clients only: this is a bug of the lab"
            cure = "make up LAB_VALIDATION_CA_CERT=none, and report these lines"
            raise LabError(f"could not sign {recipe.name} below {self.name}", fact, cure)

    def _fault_of(self, leaf: x509.Certificate) -> str:
        """Return how a certificate, its signature aside, differs from a good client's below this CA, or nothing."""
        now, public = datetime.now(UTC), leaf.public_key()
        try:
            check_key(public)
        except LabError as error:
            return error.fact
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        usage = x509.KeyUsage(True, *[False] * 8)  # digitalSignature
        extensions = {
            (x509.BasicConstraints(False, None), True),
            (usage, True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (identifier, False),
            (authority_key_identifier(self.certificate), False),
        }
        sans = [e.value for e in leaf.extensions if isinstance(e.value, x509.SubjectAlternativeName) and not e.critical]
        if {(e.value, e.critical) for e in leaf.extensions} != extensions | {(names, False) for names in sans}:
            return "its extensions are not those of a good client"
        if not now - _SOON <= leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
            return "it is not valid from now on"
        if leaf.not_valid_after_utc > self.certificate.not_valid_after_utc:
            return "it would outlive its issuer"
        base = name_constraints.subject_base(self.constraints) or ORGANIZATION
        rest = [attribute for rdn in leaf.subject.rdns[len(base) :] for attribute in rdn]
        kinds = [NameOID.ORGANIZATIONAL_UNIT_NAME] * (len(rest) - 1) + [NameOID.COMMON_NAME]
        texts = all(_TEXT.fullmatch(str(attribute.value)) for attribute in rest)
        if tuple(leaf.subject.rdns[: len(base)]) != base or [a.oid for a in rest] != kinds or not texts:
            return f"its subject {visible(leaf.subject.rfc4514_string())} is not that of a good client"
        names = [name for one in sans for name in one]
        forbidden = name_constraints.forbidden(self.constraints, leaf.subject, names)
        return f"{forbidden[0]} is not permitted" if forbidden else ""


def fault(recipe: Recipe) -> str:
    """Return how a recipe differs from a good client's, or nothing."""
    good = client_leaf(recipe.name, **{field: getattr(recipe, field) for field in _FREE})
    for field in fields(Recipe):
        if field.name != "issuer" and getattr(recipe, field.name) != getattr(good, field.name):
            return f"its {field.name.replace('_', ' ')} is not that of a good client"
    if recipe.key not in _KEYS:
        return f"its key is {recipe.key}"
    if recipe.validity.start != BACKDATED or recipe.validity.end <= timedelta():
        return "it is not valid from now on"
    for text in (recipe.common_name or "", *recipe.organizational_units):
        if not _TEXT.fullmatch(text):
            return f"the name '{visible(text)}' has other characters than Latin letters, digits, spaces and .'&()_-"
    for kind, _, value in (san.partition(":") for san in recipe.sans):
        if not (allowed_email(value) if kind == "EMAIL" else kind == "URI" and allowed_uri(value)):
            return f"the name {kind}:{visible(value)} is not one that the lab vouches for"
    return ""
