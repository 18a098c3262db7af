"""`manifest.json`: what the CA issued (fact), to be joined by name with the catalogue (intent).

The CA writes it last, so its presence means that the set is complete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from catalogue.errors import ManifestError

NAME = "manifest.json"
FORMAT = 2


@dataclass(frozen=True)
class Issued:
    """One issued certificate.

    `subject` and `issuer` are RFC 4514 strings, `serial` and `sha256` (of the DER) lower-case hex,
    `not_before` and `not_after` ISO 8601 in UTC, `sans` like `DNS:localhost`, `files` paths relative to the
    manifest by certbot's names. `recipe` is a digest of everything it was made from, `issuer_sha256` the issuer's
    `sha256`. `pass_phrase` is empty if the key has none. `key` says what kind of key it is, like `EC P-256`.
    """

    role: str
    subject: str
    issuer: str
    serial: str
    sha256: str
    sans: tuple[str, ...]
    eku: tuple[str, ...]
    not_before: str
    not_after: str
    files: dict[str, str]
    recipe: str
    issuer_sha256: str
    pass_phrase: str
    key: str


@dataclass(frozen=True)
class Manifest:
    """Everything that was issued, by name, and the sha256 of the catalogue it was issued for.

    `server_name` is the name in the served certificate, if another CA issued that; else it is empty.
    """

    catalogue_sha256: str
    credentials: dict[str, Issued]
    server_name: str = ""

    def dumps(self) -> bytes:
        """Return the manifest as JSON that is the same for the same content."""
        credentials = {name: vars(issued) for name, issued in self.credentials.items()}  # asdict is ten times as slow
        document = {"format": FORMAT} | vars(self) | {"credentials": credentials}
        return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def load(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: it is missing (nothing issued, or issuing was interrupted) or not one.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ManifestError(f"could not use {path}", f"its format is {document['format']}, not {FORMAT}", "make up")
        credentials = {str(name): _issued(entry) for name, entry in document["credentials"].items()}
        return Manifest(str(document["catalogue_sha256"]), credentials, str(document.get("server_name", "")))
    except FileNotFoundError:
        raise ManifestError(
            f"could not read {path}", "no certificates have been issued, or not all", "make up"
        ) from None
    except OSError as error:
        raise ManifestError(f"could not read {path}", error.strerror or str(error), "make up") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"could not read {path}", f"it is corrupt ({error!r})", "make up") from None


def _issued(entry: dict[str, Any]) -> Issued:
    issued = Issued(**(entry | {"sans": tuple(entry["sans"]), "eku": tuple(entry["eku"])}))
    for field in fields(issued):
        if field.type == "str" and not isinstance(getattr(issued, field.name), str):
            raise TypeError(f"{field.name} is not a text")
    return issued
