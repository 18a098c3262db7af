"""The load: keep-alive requests, and new mTLS handshakes, from raw TLS sockets that cost less than the server does.

Nothing is verified about the server: its certificate is other programs' business, and time spent on it here would hide
what the server costs. That the client is let in is seen before anything is counted.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from catalogue import LabError

TIMEOUT_S = 10.0
_CONNECTIONS = 8
_IN_FLIGHT = 4  # handshakes at the same time: one server core never waits for the client's
_BUFFER_BYTES = 65536


@dataclass(frozen=True)
class Amount:
    """Something done `count` times in `seconds`."""

    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """How often a second."""
        return self.count / self.seconds


def client_context(credential: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return the context of a client with a credential's folder (fullchain.pem, privkey.pem) and one TLS version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(credential / "fullchain.pem", credential / "privkey.pem")
    return context


def requests(port: int, context: ssl.SSLContext, path: str, seconds: float) -> Amount:
    """Send GET requests over keep-alive connections, so many that the server always has one waiting.

    Raises:
        LabError: the server refused the connection or answered with anything but 2xx.
    """
    connections = []
    try:
        connections = [_Connection(port, context, path) for _ in range(_CONNECTIONS)]
        count, start = 0, time.perf_counter()
        for connection in connections:
            connection.send()
        while time.perf_counter() - start < seconds:
            for connection in connections:
                connection.receive()
                connection.send()
            count += len(connections)
        for connection in connections:
            connection.receive()
        return Amount(count + len(connections), time.perf_counter() - start)
    except OSError as error:
        raise _lost(f"GET {path}", error) from None
    finally:
        for connection in connections:
            connection.socket.close()


class _Connection:
    """A keep-alive connection, whose responses all have the length of the first."""

    def __init__(self, port: int, context: ssl.SSLContext, path: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._buffer = bytearray(_BUFFER_BYTES)
        self.socket = _connect(port, context)
        try:
            self.send()
            self._length = self._first_response()
        except BaseException:
            self.socket.close()
            raise

    def send(self) -> None:
        self.socket.sendall(self._request)

    def receive(self) -> None:
        length = 0
        while length < self._length:
            got = self.socket.recv_into(self._buffer)
            if not got:
                raise ConnectionResetError("the server closed a keep-alive connection")
            if not length and self._buffer[9] != ord("2"):
                raise ConnectionError(self._buffer[:got].decode("latin1").splitlines()[0])
            length += got

    def _first_response(self) -> int:
        response = b""
        while b"\r\n\r\n" not in response:
            got = self.socket.recv(_BUFFER_BYTES)
            if not got:
                raise ConnectionResetError("the server closed the connection before it answered")
            response += got
        head, _, body = response.partition(b"\r\n\r\n")
        if head[9:10] != b"2":
            raise ConnectionError(head.decode("latin1").splitlines()[0])
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        length = int(lengths[0]) if lengths else 0
        missing = length - len(body)
        while missing > 0:
            missing -= len(self.socket.recv(missing)) or missing
        return len(head) + 4 + length


def handshakes(port: int, context: ssl.SSLContext, seconds: float) -> Amount:
    """Make new connections: a full mTLS handshake each, ended when the server has answered the client's close_notify.

    Raises:
        LabError: the server refused one, or closed it without a word.
    """
    try:
        # OpenSSL takes a fatal alert that comes after our close_notify for the peer's: see once that none comes.
        _Connection(port, context, "/healthz").socket.close()
    except OSError as error:
        raise _lost("a handshake", error) from None
    counts, failures = [0] * _IN_FLIGHT, list[OSError]()
    start = time.perf_counter()

    def repeat(index: int) -> None:
        try:
            while time.perf_counter() - start < seconds and not failures:
                _handshake(port, context)
                counts[index] += 1
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(_IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise _lost("a handshake", failures[0])
    return Amount(sum(counts), time.perf_counter() - start)


def _handshake(port: int, context: ssl.SSLContext) -> None:
    # TLS 1.3 lets a client finish before the server has judged it; the server's close_notify comes after it has.
    connection = _connect(port, context)
    try:
        connection.unwrap()
    finally:
        connection.close()


def _connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    # As HTTP clients do. Without it Nagle holds the close_notify for the 40 ms that a server without session tickets,
    # which has nothing to send after a TLS 1.3 handshake, delays its ACK: 89 handshakes a second instead of 700.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return context.wrap_socket(connection, server_hostname="localhost")
    except BaseException:
        connection.close()
        raise


def _lost(what: str, error: OSError) -> LabError:
    return LabError("could not measure", f"{what} failed: {error}", "make bench, with nothing else running")
