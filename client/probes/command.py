"""Running a tool as a child process, in an environment that changes no verdict."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace

from client.observe import TIMEOUT_S, Observed, http_answer

_GRACE_S = 5.0
_RESPONSE = re.compile(rb"(HTTP/1\.1 (\d{3})[^\r\n]*)\r\n(.*?)\r\n\r\n(.*)", re.S)
_MEDIA_TYPE = re.compile(rb"^content-type: (\S+?)\s*$", re.M | re.I)


@dataclass(frozen=True)
class Ran:
    """A finished command. `status` None: it was stopped because it took too long."""

    status: int | None
    stdout: bytes
    stderr: str

    def told(self, observed: Observed) -> Observed:
        """Return an observation with all that the tool said, its answer last."""
        output = self.stderr + self.stdout.decode(errors="replace")
        return replace(observed, output=output, exit_status=self.status)


def run(argv: list[str], stdin: bytes = b"", **environ: str) -> Ran:
    """Run a tool; it sees neither the user's proxies, CA bundles nor configuration files.

    Its standard input stays open until it ends: some tools take its end for a wish to hang up.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent"} | environ
    reading, writing = os.pipe()
    try:
        os.write(writing, stdin)  # a request, which fits into a pipe
        done = subprocess.run(argv, stdin=reading, capture_output=True, timeout=TIMEOUT_S + _GRACE_S, env=environment)
    except subprocess.TimeoutExpired as late:
        return Ran(None, late.stdout or b"", (late.stderr or b"").decode(errors="replace"))
    finally:
        os.close(reading)
        os.close(writing)
    return Ran(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


@functools.cache
def output(*argv: str) -> str | None:
    """Return what a command prints, or None if it is not installed."""
    if not shutil.which(argv[0]):
        return None
    done = run(list(argv))
    return done.stdout.decode(errors="replace") + done.stderr


def raw_response(said: bytes) -> Observed | None:
    """Read the HTTP response in what a tool printed that speaks no HTTP itself, or None if there is none."""
    response = _RESPONSE.search(said)
    if not response:
        return None
    media_type = _MEDIA_TYPE.search(response[3])
    body = response[4][: max(response[4].rfind(b"}"), response[4].rfind(b">")) + 1]  # gnutls-cli says more behind it
    return http_answer(int(response[2]), body, response[1].decode(), media_type[1].decode() if media_type else None)
