"""HTTP as uvicorn parses it in C, with refusals in JSON and one write per reply."""

from __future__ import annotations

import asyncio
from typing import Any, cast

_NO_HTTP = b'{"error":"request: expected HTTP/1.1 with a head of less than 64 KiB"}'
_LONGEST = 1 << 16
"""Bytes of a head, about: the parser itself would keep any number."""


def http_protocol() -> Any:
    """The protocol for uvicorn: httptools' where it is installed, otherwise that of h11.

    What is no HTTP gets the same line from both.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:  # no wheel for this platform
        return _h11_protocol()

    class Protocol(HttpToolsProtocol):
        """A connection."""

        _head = -1  # bytes of a head that is not whole; -1: there is none

        def data_received(self, data: bytes) -> None:
            if self._head >= 0:
                self._head += len(data)
                if self._head > _LONGEST:
                    self.send_400_response("")
                    return
            super().data_received(data)

        def on_message_begin(self) -> None:
            self._head = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._head = -1
            super().on_headers_complete()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            joined = _OneWrite(cast(asyncio.Transport, transport))
            super().connection_made(cast(asyncio.Transport, joined))

        def on_response_complete(self) -> None:
            cast(_OneWrite, self.transport).flush()  # of a reply without a body
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            _refuse(self.transport)

    return Protocol


def _h11_protocol() -> Any:
    """The protocol of h11, which bounds heads itself."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        """A connection."""

        def send_400_response(self, msg: str) -> None:
            _refuse(self.transport)

    return Protocol


def _refuse(transport: asyncio.Transport) -> None:
    """Answers what is no HTTP, and closes the connection."""
    head = (
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
        f"content-length: {len(_NO_HTTP)}\r\nconnection: close\r\n\r\n"
    )
    transport.write(head.encode() + _NO_HTTP)
    transport.close()


class _OneWrite:
    """A transport that keeps the head of a reply until its body is there.

    uvicorn writes both apart, and every write is a call of the system: it costs as much as a small
    answer, and lets the thread of the answers take the interpreter in between.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._head = transport, b""

    def write(self, data: bytes) -> None:
        """Writes, or keeps a head."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Writes a head that is kept."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Closes once all is written."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
