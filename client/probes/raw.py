"""The standard library's `ssl`, over a MemoryBIO. Its alert is the reason of record.

A plain client that writes its request first can lose the alert to a reset. This one ignores failed writes and always
reads what is left, which got 200 of 200 alerts even from a server that closes at once.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import replace

from catalogue import Outcome, Tool
from client.lab import Attempt
from client.observe import TIMEOUT_S, Observed, alert_of_reason, http_answer, refused
from client.probes.in_python import TLS_VERSIONS, InPython, client_context, in_words, load_credential, load_statement

_BUFFER = 65536

_PROGRAM = """\
import socket, ssl; \
c = ssl.create_default_context(cafile={root}); \
{load}c.minimum_version = c.maximum_version = ssl.TLSVersion.{version}; \
s = c.wrap_socket(socket.create_connection(({address}, {port}), {timeout}), server_hostname={host}); \
s.sendall({request}.encode()); \
print(s.makefile().read())"""


class Raw(InPython):
    """Python's `ssl` and nothing else."""

    name = Tool.RAW

    def version(self) -> str | None:
        return f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}"

    def program(self, attempt: Attempt) -> str:
        view = attempt.view
        return _PROGRAM.format(
            root=json.dumps(view.public_root),
            load=load_statement(attempt),
            version=TLS_VERSIONS[attempt.tls].name,
            host=json.dumps(view.host),
            address=json.dumps(view.connect_to),
            port=view.port,
            timeout=TIMEOUT_S,
            request=json.dumps(attempt.http_request),
        )

    def run(self, attempt: Attempt) -> Observed:
        try:
            context = client_context(attempt)
            load_credential(context, attempt)
        except (ssl.SSLError, OSError) as error:
            return Observed(Outcome.NOT_PRESENTED, detail=in_words(error))
        try:
            connection = socket.create_connection((attempt.view.connect_to, attempt.view.port), TIMEOUT_S)
        except TimeoutError as error:
            return Observed(Outcome.TIMEOUT, detail=str(error))
        except OSError as error:
            return Observed(Outcome.UNREACHABLE, detail=str(error))
        with connection:
            observed = _Conversation(connection, context, attempt).hold()
            return replace(observed, local_port=connection.getsockname()[1])


class _Conversation:
    """One TLS connection with one HTTP request."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, attempt: Attempt) -> None:
        self.connection, self.request = connection, attempt.http_request.encode()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=attempt.view.host)
        self.response = b""

    def hold(self) -> Observed:
        try:
            self.shake_hands()
            self.tls.write(self.request)
            self.read()
        except TimeoutError as error:
            return Observed(Outcome.TIMEOUT, detail=str(error))
        except ssl.SSLCertVerificationError as error:
            self.flush()
            return Observed(Outcome.REFUSED_BY_CLIENT, verify_code=error.verify_code, detail=in_words(error))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            if not self.response:
                return self.ended(in_words(error))
        except ssl.SSLError as error:
            alert = alert_of_reason(error.reason)
            return refused(alert, in_words(error)) if alert else Observed(Outcome.PROBE_ERROR, detail=in_words(error))
        except OSError as error:
            return Observed(Outcome.PROBE_ERROR, detail=str(error))
        return _http_answer(self.response)

    def ended(self, detail: str) -> Observed:
        """Judge a connection that ended with neither an answer nor an alert."""
        if self.tls.cipher() is not None:  # chosen by the ServerHello
            return refused(None, detail)
        return Observed(Outcome.UNREACHABLE, detail="the connection was closed before the server said anything")

    def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self.flush()
                self.receive()

    def read(self) -> None:
        while True:
            self.flush()
            try:
                data = self.tls.read(_BUFFER)
            except ssl.SSLWantReadError:
                self.receive()
                continue
            if not data:
                raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "closed")
            self.response += data

    def flush(self) -> None:
        data = self.outgoing.read()
        with suppress(ConnectionError):  # closed already: what it said before can still be read
            self.connection.sendall(data)

    def receive(self) -> None:
        try:
            data = self.connection.recv(_BUFFER)
        except ConnectionError:
            data = b""
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()


class _Bytes:
    """Just enough of a socket for http.client to parse a response that is already here."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self.data)


def _http_answer(data: bytes) -> Observed:
    try:
        response = http.client.HTTPResponse(_Bytes(data))  # type: ignore[arg-type]
        response.begin()
        body = response.read()
    except http.client.HTTPException as error:
        return Observed(Outcome.PROBE_ERROR, detail=f"no HTTP response: {error!r}")
    status_line = f"HTTP/1.1 {response.status} {response.reason}"
    observed = http_answer(response.status, body, status_line, response.getheader("content-type"))
    return replace(observed, via=response.getheader("via") or "")
