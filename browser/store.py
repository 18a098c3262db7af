"""A browser's certificate store (NSS): the public root in it as trusted, and bundles imported as a person does.

Chromium reads ~/.pki/nssdb, Firefox its profile's folder.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from catalogue import LabError

ROOT_NAME = "mTLS lab public root"


def make(folder: Path, public_root: Path) -> None:
    """Make an empty store without a password, which trusts the root for servers (`C,,`)."""
    folder.mkdir(parents=True)
    run("certutil", "-N", "-d", f"sql:{folder}", "--empty-password")
    run("certutil", "-A", "-d", f"sql:{folder}", "-t", "C,,", "-n", ROOT_NAME, "-i", str(public_root))


def add(folder: Path, bundle: Path, password: str) -> None:
    """Import a PKCS#12 bundle."""
    run("pk12util", "-i", str(bundle), "-d", f"sql:{folder}", "-W", password, "-K", "")


def bundle(credential: Path, target: Path, password: str, *, key: bool = True) -> None:
    """Write a PKCS#12 bundle of a credential's folder, or one of its certificates alone."""
    keys = ("-inkey", str(credential / "privkey.pem")) if key else ("-nokeys",)
    files = ("-in", str(credential / "fullchain.pem"), "-out", str(target))
    run("openssl", "pkcs12", "-export", *keys, *files, "-name", credential.name, "-passout", f"pass:{password}")


def run(*command: str) -> str:
    """Run a tool of the store.

    Raises:
        LabError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise LabError(f"could not prepare the browser with {command[0]}", said[-1], "make up")
    return done.stdout
