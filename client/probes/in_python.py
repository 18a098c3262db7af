"""What the probes that run in this Python share: the context, the credential, and how they show what they do."""

from __future__ import annotations

import json
import shlex
import ssl

from catalogue import Tls
from client.lab import Attempt
from client.observe import openssl_version

TLS_VERSIONS = {Tls.V12: ssl.TLSVersion.TLSv1_2, Tls.V13: ssl.TLSVersion.TLSv1_3}


class InPython:
    """A probe on Python's `ssl`."""

    def openssl(self) -> tuple[int, ...] | None:
        return openssl_version(ssl.OPENSSL_VERSION)

    def lacks(self, attempt: Attempt) -> str | None:
        return None

    def command(self, attempt: Attempt) -> str:
        return f"{attempt.view.python} -c {shlex.quote(self.program(attempt))}"

    def program(self, attempt: Attempt) -> str:
        """Return the Python program, in one line, that makes the attempt."""
        raise NotImplementedError


def in_words(error: BaseException) -> str:
    """Return what a traceback's last line says of an error."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}: {error}"


def json_tuple(*words: str | None) -> str:
    """Return a Python tuple of texts in double quotes, for a program in single ones."""
    return f"({', '.join(map(json.dumps, words))})"


def client_context(attempt: Attempt) -> ssl.SSLContext:
    """Return a context that believes the public root alone and speaks one TLS version.

    Not `create_default_context`, which reads the environment (SSLKEYLOGFILE), but as strict as it is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(attempt.view.public_root)
    context.minimum_version = context.maximum_version = TLS_VERSIONS[attempt.tls]
    return context


def load_credential(context: ssl.SSLContext, attempt: Attempt) -> None:
    """Load what an attempt presents.

    Raises:
        ssl.SSLError: OpenSSL refuses it.
        OSError: a file can't be read.
    """
    if attempt.cert:
        context.load_cert_chain(attempt.cert, attempt.key, attempt.pass_phrase)


def load_statement(attempt: Attempt) -> str:
    """Return the Python statement that does the same with a context `c`."""
    pass_phrase = (attempt.pass_phrase,) if attempt.pass_phrase else ()
    words = json_tuple(attempt.cert, attempt.key, *pass_phrase)
    return f"c.load_cert_chain{words}; " if attempt.cert else ""
