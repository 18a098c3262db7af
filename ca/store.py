"""The folders that separate who may read what, and how files get into them.

Every file is written under a temporary name, synced and renamed, so nobody ever reads half of one. Keys are
0600 from their first byte. The manifest is written last and removed first.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm

from ca.certificates import Credential, load
from ca.imported import Imported
from ca.recipe import SELF, Recipe
from catalogue import LabError, word

AUTHORITY = ("root", "intermediate")
ADOPTED = "validation-adopted"  # the name of an intermediate that was imported
RETIRED = "retired"  # the role of an authority that was rotated, and still vouches for what it signed
PERSON = "person"  # the role of a certificate that a person asked for
ACME = "acme"  # the role of the ACME server's own certificate
SUPERSEDED = "superseded"  # the role of a client's certificate that another took the place of, and that is still valid
CARRIED = (RETIRED, PERSON, ACME, SUPERSEDED)  # what the ledger keeps although no recipe makes it
LEDGER = "ledger.json"
CERT, CHAIN, FULLCHAIN, KEY = "cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"
_TEMPORARY = ".writing-"


class Store:
    """`ca-private` (the CA alone), and what a server, a client and a proxy read: `server-tls` and so on."""

    def __init__(self, state: Path) -> None:
        self.private = state / "ca-private"
        self.server = state / "server-tls"
        self.client = state / "client-tls"
        self.proxy = state / "proxy-tls"
        self._all = (self.private, self.server, self.client, self.proxy)
        self.acme = state / "acme-tls"  # there only if an ACME server is asked for

    def folder(self, role: str, name: str) -> Path:
        """Return the folder of a credential by its role."""
        if role in (*AUTHORITY, "faulty"):
            return self.private / name
        if role == RETIRED:
            return self.private / RETIRED / name
        if role == PERSON:
            return self.private / "people" / name
        if role == "proxy":
            return self.proxy
        if role == ACME:
            return self.acme / name
        return self.server / name if role in ("server", "healthcheck") else self.client / "clients" / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store alone: a second issue waits for the first. Clears what a killed one left behind."""
        try:
            for folder in self._all:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.private / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise _unwritable(error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for folder in (*self._all, self.acme):
                for leftover in folder.rglob(f"{_TEMPORARY}*"):
                    leftover.unlink()
            yield
        except OSError as error:
            raise _unwritable(error) from None
        finally:
            os.close(lock)

    def read(self, recipe: Recipe, issuer: Credential | None) -> Credential | None:
        """Load a recipe's credential, or None if it is not there whole: then it is to be issued again.

        Raises:
            LabError: it is there and may not be read.
        """
        folder = self.folder(recipe.role, recipe.name)
        try:
            cert, chain, fullchain, key = ((folder / name).read_bytes() for name in (CERT, CHAIN, FULLCHAIN, KEY))
            if fullchain not in (cert + chain, chain + cert):
                return None
            (folder / KEY).chmod(0o600)
            return load(recipe, issuer, cert, key)
        except (FileNotFoundError, ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: a key with a pass phrase
            return None
        except OSError as error:
            cure = f"chown -R {os.getuid()} {word(str(folder.parent), '.lab')}"
            raise LabError(f"could not read {error.filename}", error.strerror or str(error), cure) from None

    def signer(self, role: str, name: str) -> Credential:
        """Load an authority that signs, whatever recipe made it, without what is above it.

        Raises:
            LabError: its files are missing or damaged.
        """
        folder, recipe = self.folder(role, name), Recipe(name, role, None, SELF)
        try:
            held = load(recipe, None, (folder / CERT).read_bytes(), (folder / KEY).read_bytes())
            return Imported(held.certificate, held.key) if name == ADOPTED else held
        except (OSError, ValueError, TypeError) as error:
            fact = f"its files are missing or damaged ({error})"
            raise LabError(f"could not sign with {name}", fact, "make up") from None

    def holds(self, folder: Path, credential: Credential) -> bool:
        """Tell whether a credential's files, which could be read, hold the chain that it should have."""
        wanted = ((CHAIN, credential.chain_pem()), (FULLCHAIN, credential.fullchain_pem()))
        return all((folder / name).read_bytes() == data for name, data in wanted)

    def write(self, folder: Path, credential: Credential) -> None:
        """Write a credential's four files, the key first."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(folder / KEY, credential.key_pem(), 0o600)
        write_file(folder / CHAIN, credential.chain_pem())
        write_file(folder / FULLCHAIN, credential.fullchain_pem())
        write_file(folder / CERT, credential.cert_pem())


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file as a whole, or create it; readers see the old content or the new."""
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    os.replace(temporary, path)


def write_changed(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file unless it says the same already: what nobody changed keeps its time."""
    if not path.exists() or path.read_bytes() != data:
        write_file(path, data, mode)


def digest(folder: Path) -> str:
    """Return a digest, 12 hexadecimal digits, of the names and the contents of all files in a folder."""
    seen = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        seen.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode() + path.read_bytes())
    return seen.hexdigest()[:12]


def _unwritable(error: OSError) -> LabError:
    where = error.filename or "the certificates"
    cure = "df -h ." if error.errno == errno.ENOSPC else f"ls -ld {word(str(Path(where).parent), '.lab')}"
    return LabError(f"could not write {where}", error.strerror or str(error), cure)
