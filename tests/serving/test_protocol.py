"""The protocol where httptools is not installed."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
import uvicorn

from sif.serving.protocol import http_protocol
from tests.serving.conftest import run_apart


async def _app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nothing that is no HTTP gets here")


def test_h11_refuses_what_is_no_http_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, "uvicorn.protocols.http.httptools_impl", raising=False)
    protocol = http_protocol()
    assert protocol.__mro__[1].__name__ == "H11Protocol"

    async def told() -> bytes:
        config = uvicorn.Config(_app, http=protocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        config.load()
        listener = await asyncio.get_running_loop().create_server(
            lambda: protocol(config=config, server_state=server.server_state, app_state={}),
            "127.0.0.1", 0,
        )  # fmt: skip
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GARBAGE\r\n\r\n")
            reply = await asyncio.wait_for(reader.read(), 10)
            writer.close()
        return reply

    reply = run_apart(told())
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
    assert list(json.loads(body)) == ["error"]
