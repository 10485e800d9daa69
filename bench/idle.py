"""Connections that were used once and then stay open: the smallest HTTP/2 client that can call gRPC.

It exists because load generators close what they opened. Source: RFC 9113 (HTTP/2), 4.1, 3.4, 6.2 and 8.3;
RFC 7541 (HPACK), 6.2.2: each header is a literal without indexing.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.generators import Ask

__all__ = ["opened"]

TIMEOUT_S = 30.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_HEAD_BYTES, _FRAME_BYTES = 9, 16_384


@contextmanager
def opened(ask: Ask, count: int) -> Iterator[None]:
    """Open so many connections, call once over each, and keep them open while the block lasts.

    Args:
        ask: What is called.
        count: How many.

    Raises:
        BenchFailed: If a connection is refused or ends before its answer.
    """
    with ExitStack() as stack:
        for _ in range(count):
            try:
                _call(stack.enter_context(_connected(ask)), ask)
            except OSError as error:
                raise BenchFailed(f"a connection failed: {error}") from None
        yield


def _connected(ask: Ask) -> socket.socket:
    url = urlsplit(ask.url)
    return socket.create_connection((url.hostname, url.port), TIMEOUT_S)


def _call(connection: socket.socket, ask: Ask) -> None:
    url = urlsplit(ask.url)
    message = ask.bodies[0]
    body = b"\0" + len(message).to_bytes(4, "big") + message
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": url.path,
        ":authority": url.netloc,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    connection.sendall(_PREFACE + _frame(_SETTINGS) + _frame(_SETTINGS, _ACK))
    connection.sendall(_frame(_HEADERS, _END_HEADERS, 1, _packed(headers)))
    for start in range(0, len(body), _FRAME_BYTES):
        part = body[start : start + _FRAME_BYTES]
        connection.sendall(_frame(_DATA, _END_STREAM if start + len(part) == len(body) else 0, 1, part))
    with connection.makefile("rb") as stream:
        while True:
            head = stream.read(_HEAD_BYTES)
            if len(head) < _HEAD_BYTES:
                raise BenchFailed("a connection ended before its answer")
            stream.read(int.from_bytes(head[:3], "big"))
            if head[3] == _HEADERS and head[4] & _END_STREAM:
                return


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _packed(headers: Mapping[str, str]) -> bytes:
    """Return headers as literals; names and values shorter than 127 bytes need one byte for their length."""
    texts = [text.encode() for pair in headers.items() for text in pair]
    literals = [bytes([len(text)]) + text for text in texts]
    return b"".join(b"\0" + name + value for name, value in zip(literals[::2], literals[1::2], strict=True))
