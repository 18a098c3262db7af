"""A request head, and what frames a body, is read as strictly with h11 as with httptools.

A proxy that is less strict forwards as one field, or as one body, what a lenient server takes for two: a client could
send the header in which the proxy tells who it is, or a request of its own on the connection that others use too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import pytest
from uvicorn.server import ServerState

from asgi_mtls.http_protocols import PROTOCOLS
from asgi_mtls.settings import Settings
from asgi_mtls.uvicorn_config import MtlsConfig

BOTH = pytest.mark.parametrize("parser", ["h11", "httptools"])
GET = b"GET /first HTTP/1.1\r\nHost: localhost\r\n"
POST = GET.replace(b"GET", b"POST")
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
FORGED = b"Client-Cert: :AAAA:"
SECOND = b"GET /second HTTP/1.1\r\nHost: localhost\r\n" + FORGED + b"\r\n\r\n"

HEADS = {
    "LF in a field": GET + b"X: a\n" + FORGED + b"\r\n\r\n",
    "LF after the request line": GET.replace(b"\r\n", b"\n", 1) + FORGED + b"\r\n\r\n",
    "LF after the last field": GET + FORGED + b"\n\r\n",
    "nothing but LF": GET.replace(b"\r\n", b"\n") + FORGED + b"\n\n",
    "LF LF ends the head": GET + b"X: a\n\n" + SECOND,
    "LF CRLF ends the head": GET + b"X: a\n\r\n" + SECOND,
    "CRLF LF ends the head": GET + b"X: a\r\n\n" + SECOND,
    "CR in a field": GET + b"X: a\r" + FORGED + b"\r\n\r\n",
    "CR CR LF": GET + b"X: a\r\r\n" + FORGED + b"\r\n\r\n",
    "CR CR ends the head": GET + b"X: a\r\r" + SECOND,
    "CR before a field": GET + b"\r" + FORGED + b"\r\n\r\n",
    "CR in the request line": GET.replace(b" HTTP", b"\r HTTP") + b"\r\n",
    "a folded field": GET + b"X: a\r\n " + FORGED + b"\r\n\r\n",
    "a field folded with a tab": GET + b"X: a\r\n\t" + FORGED + b"\r\n\r\n",
    "a field folded after LF": GET + b"X: a\n " + FORGED + b"\r\n\r\n",
    "the forged field folded": GET + b"Client-Cert:\r\n :AAAA:\r\n\r\n",
    "a space before the first field": GET.replace(b"Host", b" " + FORGED + b"\r\nHost") + b"\r\n",
    "a space before the colon": GET + b"Client-Cert : :AAAA:\r\n\r\n",
    "a tab before the colon": GET + b"Client-Cert\t: :AAAA:\r\n\r\n",
    "a NUL in a field": GET + b"X: a\0" + FORGED + b"\r\n\r\n",
    "a NUL in a name": GET + b"Client-Cert\0: :AAAA:\r\n\r\n",
    "a NUL before CRLF": GET + b"X: a\0\r\n" + FORGED + b"\r\n\r\n",
    "a vertical tab": GET + b"X: a\x0b" + FORGED + b"\r\n\r\n",
    "a form feed": GET + b"X: a\x0c" + FORGED + b"\r\n\r\n",
    "a control character": GET + b"X: a\x01" + FORGED + b"\r\n\r\n",
    "a delete character": GET + b"X: a\x7f" + FORGED + b"\r\n\r\n",
    "a line without colon": GET + b"Client-Cert\r\n\r\n",
    "a length and chunks": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks and a length": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a length in other letters and chunks": CHUNKED + b"cONTENT-lENGTH: 0\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks in a folded field": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks, and coded": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks after a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunks in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + SECOND,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SECOND,
    "two lengths in a field": POST + b"Content-Length: 0, 5\r\n\r\n" + SECOND,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + SECOND,
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n" + SECOND,
    "a length in hex": POST + b"Content-Length: 0x0\r\n\r\n" + SECOND,
}
BODIES = {
    "LF after a size": CHUNKED + b"\r\n4\nabcd\r\n0\r\n\r\n" + SECOND,
    "LF in an extension": CHUNKED + b"\r\n2;\nxx\r\n4b\r\n0\r\n\r\n" + SECOND,
    "LF in the last chunk's extension": CHUNKED + b"\r\n0;\n\r\n\r\n" + SECOND,
    "CR in an extension": CHUNKED + b"\r\n4;a\rb\r\nabcd\r\n0\r\n\r\n" + SECOND,
    "a NUL in an extension": CHUNKED + b"\r\n4;a\0b\r\nabcd\r\n0\r\n\r\n" + SECOND,
    "CR after a size": CHUNKED + b"\r\n4\rabcd\r\n0\r\n\r\n" + SECOND,
    "a space after a size": CHUNKED + b"\r\n4 \r\nabcd\r\n0\r\n\r\n" + SECOND,
    "a space before a size": CHUNKED + b"\r\n 4\r\nabcd\r\n0\r\n\r\n" + SECOND,
    "a size with 0x": CHUNKED + b"\r\n0x4\r\nabcd\r\n0\r\n\r\n" + SECOND,
    "a size with a sign": CHUNKED + b"\r\n+4\r\nabcd\r\n0\r\n\r\n" + SECOND,
    "a size with an underscore": CHUNKED + b"\r\n1_0\r\nabcdabcdabcdabcd\r\n0\r\n\r\n" + SECOND,
    "no size": CHUNKED + b"\r\n\r\nabcd\r\n0\r\n\r\n" + SECOND,
    "LF after a chunk": CHUNKED + b"\r\n4\r\nabcd\n0\r\n\r\n" + SECOND,
    "CR after a chunk": CHUNKED + b"\r\n4\r\nabcd\r0\r\n\r\n" + SECOND,
    "nothing after a chunk": CHUNKED + b"\r\n4\r\nabcd0\r\n\r\n" + SECOND,
    "LF in a trailer": CHUNKED + b"\r\n0\r\nX: a\nY: b\r\n\r\n" + SECOND,
    "LF LF ends the trailers": CHUNKED + b"\r\n0\r\nX: a\n\n" + SECOND,
    "LF ends the trailers": CHUNKED + b"\r\n0\r\n\n" + SECOND,
    "CR in a trailer": CHUNKED + b"\r\n0\r\nX: a\rY: b\r\n\r\n" + SECOND,
    "a folded trailer": CHUNKED + b"\r\n0\r\nX: a\r\n b\r\n\r\n" + SECOND,
}
LINES = b"\n\na\nClient-Cert: :AAAA:\r\n\n\r\r\n\0"
GOOD = {
    "no body": (GET + b"\r\n", b""),
    "what a field may have": (GET + b"X:\t a \t\x80\xff!~ \t\r\nEmpty:\r\nClient_Cert: x\r\n\r\n", b""),
    "lines in a body": (POST + b"Content-Length: %d\r\n\r\n" % len(LINES) + LINES, LINES),
    "lines in chunks": (CHUNKED + b"\r\n%x\r\n%s\r\n1\r\n\n\r\n0\r\n\r\n" % (len(LINES), LINES), LINES + b"\n"),
    "an extension": (CHUNKED + b'\r\n4;a="b c";d\r\nabcd\r\n0\r\n\r\n', b"abcd"),
    "a size in capitals, with zeros": (CHUNKED + b"\r\n000A\r\nabcdefghij\r\n00\r\n\r\n", b"abcdefghij"),
    "a trailer": (CHUNKED + b"\r\n0\r\n" + FORGED + b"\r\nX: a\r\n\r\n", b""),
    "chunks in other letters": (POST + b"transfer-encoding: Chunked\r\n\r\n0\r\n\r\n", b""),
}


class Transport:
    """What a protocol writes to."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False
        self.protocol: Any = None

    def get_extra_info(self, name: str) -> Any:
        return None

    def write(self, data: bytes) -> None:
        self.written += b"" if self.closed else data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_protocol(self) -> Any:
        return self.protocol

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def answers(self) -> list[int]:
        return [int(status) for status in re.findall(rb"^HTTP/1.1 (\d+)", self.written, re.MULTILINE)]


def serve(parser: str, pieces: Iterable[bytes]) -> tuple[Transport, list[tuple[str, dict[bytes, bytes], bytes]]]:
    """Give a protocol what a peer sends, piece by piece; return what it did and the requests that were read whole."""
    requests = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["path"] != "/at-once"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        requests.append((scope["path"], dict(scope["headers"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def connection() -> Transport:
        config = MtlsConfig(application, Settings(plain_http=True), http=parser, lifespan="off")
        config.load()
        protocol: Any = PROTOCOLS[parser](config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
        transport = Transport()
        transport.protocol = protocol
        protocol.connection_made(transport)
        for piece in pieces:
            if not transport.closed:
                protocol.data_received(piece)
                for _ in range(5):
                    await asyncio.sleep(0)
        closed = transport.closed
        protocol.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
        transport.closed = closed
        return transport

    return asyncio.run(connection()), requests


def pieces_of(data: bytes) -> dict[str, list[bytes]]:
    """As one piece, byte by byte, and cut before and behind each LF."""
    return {
        "whole": [data],
        "bytes": [data[n : n + 1] for n in range(len(data))],
        "before LF": re.findall(rb"\n?[^\n]+|\n", data),
        "after LF": re.findall(rb"[^\n]*\n|[^\n]+", data),
    }


@BOTH
@pytest.mark.parametrize("sent", HEADS.values(), ids=HEADS)
def test_a_head_that_others_may_read_differently_is_refused(parser: str, sent: bytes) -> None:
    for pieces in pieces_of(sent).values():
        transport, requests = serve(parser, pieces)
        assert (transport.answers, transport.closed, requests) == ([400], True, [])


@BOTH
@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_a_body_that_others_may_end_elsewhere_is_refused(parser: str, sent: bytes) -> None:
    for pieces in pieces_of(sent).values():
        transport, requests = serve(parser, pieces)
        assert (transport.answers, transport.closed, requests) == ([400], True, [])


@BOTH
@pytest.mark.parametrize("sent", (HEADS | BODIES).values(), ids=HEADS | BODIES)
def test_nor_is_it_as_a_later_request_of_a_connection(parser: str, sent: bytes) -> None:
    """A proxy's connection is used by many clients; their requests may come in one piece."""
    first, body = GOOD["lines in chunks"]
    for pieces in ([first, sent], [first, *pieces_of(sent)["bytes"]]):
        transport, requests = serve(parser, pieces)
        assert (transport.answers, transport.closed) == ([200, 400], True)
        assert [request[2] for request in requests] == [body]
    transport, requests = serve(parser, [first + sent])  # httptools reads both before the first is answered
    assert transport.answers in ([200, 400], [400])
    assert transport.closed
    assert [request[2] for request in requests] in ([body], [])


@BOTH
@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_the_connection_is_closed_where_the_answer_came_before(parser: str, sent: bytes) -> None:
    head, body = sent.replace(b"/first", b"/at-once").split(b"\r\n\r\n", 1)
    transport, requests = serve(parser, [head + b"\r\n\r\n", body])
    assert transport.answers[0] == 200
    assert transport.closed
    assert [request[0] for request in requests] == ["/at-once"]


@BOTH
@pytest.mark.parametrize(("sent", "body"), GOOD.values(), ids=GOOD)
def test_a_good_request_is_served_however_it_arrives(parser: str, sent: bytes, body: bytes) -> None:
    for data, count in ((sent, 1), (sent + sent, 2)):
        for pieces in pieces_of(data).values():
            transport, requests = serve(parser, pieces)
            assert (transport.answers, transport.closed) == ([200] * count, False)
            assert [(path, read) for path, _, read in requests] == [("/first", body)] * count
            assert all(b"client-cert" not in headers for _, headers, _ in requests)


@BOTH
def test_a_large_body_of_lines_is_served(parser: str) -> None:
    body = b"\n \r\n" * 500_000
    parts = [body[n : n + 65536] for n in range(0, len(body), 65536)]
    for head, pieces in (
        (POST + b"Content-Length: %d\r\n\r\n" % len(body), parts),
        (CHUNKED + b"\r\n", [*(b"%x\r\n%s\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]),
    ):
        transport, requests = serve(parser, [head, *pieces])
        assert transport.answers == [200]
        assert requests[0][2] == body
