"""What tests of the CA look at: all that is in a folder, and what `openssl verify` says of a client."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def content(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def verify_error(lab: Path, client: Path, *options: str) -> int:
    """Return 0, or the verify error of OpenSSL for a client's folder with the lab's trust file."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", *options]
    command += ["-CAfile", str(lab / "server-tls/validation_fullchain.pem"), "-untrusted", str(client / "chain.pem")]
    done = subprocess.run([*command, str(client / "cert.pem")], capture_output=True, text=True)
    code = re.search(r"error (\d+) at", done.stdout + done.stderr)
    assert (done.returncode == 0) == (code is None), done.stderr
    return int(code[1]) if code else 0
