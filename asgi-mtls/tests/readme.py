"""README's blocks of code and tables, and its example as a running server."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE

from environments import Environment, run, variables

README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"(?:^<!-- (?P<label>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its `label` is the HTML comment in the line above it, or empty."""

    language: str
    label: str
    text: str


def blocks(language: str) -> list[Block]:
    """Return the blocks of a language, in the order in which they stand."""
    found = [Block(one["language"], one["label"] or "", one["text"]) for one in _BLOCK.finditer(README.read_text())]
    return [block for block in found if block.language == language]


def labelled(label: str) -> str:
    """Return the text of the block with a label."""
    [text] = [block.text for language in ("python", "sh") for block in blocks(language) if block.label == label]
    return text


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, without its head."""
    below = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.search(r"(?:^\|.*\n)+", below, re.M)
    assert lines, heading
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[0].splitlines()][2:]


def make_certificates(folder: Path) -> Path:
    """Run README's commands of OpenSSL in a folder, and return it."""
    run("sh", "-ec", next(block.text for block in blocks("sh") if "openssl req" in block.text), cwd=folder)
    return folder


@dataclass(frozen=True)
class Server:
    """README's command as a process; only its port is a free one."""

    process: subprocess.Popen[str]
    port: int
    folder: Path

    def ask(self, client: str | None = None) -> str:
        """Return the answer to a client with one of README's certificates, or none.

        Raises:
            ssl.SSLError: it refused the client.
        """
        context = ssl.create_default_context(cafile=self.folder / "server-ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python does since 3.13
        if client:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        with closing(http.client.HTTPSConnection("localhost", self.port, context=context, timeout=60)) as connection:
            connection.request("GET", "/hello")
            return connection.getresponse().read().decode()

    def log(self) -> list[str]:
        """Stop it, and return the lines that it has written since it began to serve."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[1].splitlines()


@contextmanager
def serving(made: Environment, folder: Path) -> Iterator[Server]:
    """Run README's command until the block ends, in a folder with its certificates and `myapp.py`."""
    command = ["sh", "-c", f"exec {labelled('command').replace('--port 8443', '--port 0')}"]
    own = variables() | {"PATH": f"{made.program('')}:{os.environ['PATH']}"}
    with subprocess.Popen(command, cwd=folder, env=own, stdout=DEVNULL, stderr=PIPE, text=True) as process:
        try:
            assert process.stderr
            said: list[str] = []
            while "Uvicorn running on https://127.0.0.1:" not in "".join(said[-1:]):
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            yield Server(process, int(re.findall(r"127\.0\.0\.1:(\d+)", said[-1])[0]), folder)
        finally:
            process.kill()
