"""The server as a command: how it starts, refuses to, and ends."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

Server = Any
Start = Callable[..., AbstractContextManager[Server]]
Command = Callable[..., Any]


@pytest.mark.slow
def test_what_was_accepted_is_answered_before_it_ends(start: Start, shop: Path) -> None:
    """Clients ask all the time; every reply is whole, then connections are refused."""
    broken: list[object] = []
    counts = [0] * 6

    with start(shop) as server:

        def work(place: int) -> None:
            questions = {"questions": [{"user": f"u{n % 30}"} for n in range(400)]}
            own = type(server)(server.process, server.port, "")
            while True:
                fresh = own.connection is None
                try:
                    reply = own.ask("/recommend", questions if place % 2 else {"user": "u1"})
                except OSError as error:
                    # Refused, or still in the queue of the system when that was closed.
                    if not fresh:
                        broken.append(error)
                    return
                counts[place] += 1
                if reply.status != 200 or (place % 2 and len(reply.json["answers"]) != 400):
                    broken.append(reply)
                if reply.headers.get("connection") == "close":
                    own.connection = None

        threads = [threading.Thread(target=work, args=(place,)) for place in range(6)]
        for thread in threads:
            thread.start()
        while min(counts) < 2:
            time.sleep(0.05)
        server.signal(signal.SIGTERM)
        assert server.ended(30) == 0
        for thread in threads:
            thread.join()
    assert broken == [] and server.errors == []


@pytest.mark.slow
def test_a_server_under_strain(start: Start, shop: Path) -> None:
    """More than can wait are told to come again; a client that stalls does not keep it alive."""
    seen: list[Any] = []
    with start(shop, "--queue", "1", "--grace", "1", "--host", "127.0.0.1") as server:

        def work() -> None:
            own = type(server)(server.process, server.port, "")
            questions = {"questions": [{"user": f"u{n % 30}"} for n in range(2000)]}
            for _ in range(4):
                seen.append(own.ask("/recommend", questions))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {reply.status for reply in seen} == {200, 503}
        busy = next(reply for reply in seen if reply.status == 503)
        assert busy.headers["retry-after"] == "1" and busy.error.startswith("busy: ")
        stalled = socket.create_connection(("127.0.0.1", server.port))
        stalled.sendall(b"POST /recommend HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert server.ask("/recommend", {"user": "u1"}).status == 200
        begun = time.monotonic()
        server.signal(signal.SIGINT)
        assert server.ended(30) == 0
        assert time.monotonic() - begun < 25  # the body would be waited for longer
        stalled.close()
    assert server.line.startswith("serving ")
    assert not [line for line in server.errors if "Traceback" in line]


def test_starts_that_cannot_be_are_one_line(
    sif: Command, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object) -> str:
        done = sif("serve", *words)
        assert (done.code, done.out, len(done.err)) == (2, "", 1)
        return str(done.err[0])

    assert "absent: expected the folder of a run or a model" in refused(tmp_path / "absent")
    assert "expected a model, found none" in refused(tmp_path, "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: expected a free address" in refused(shop, "--port", port)
    assert "expected a free address" in refused(shop, "--host", "256.1.1.1")
    assert "--port: expected at most 65535" in refused(shop, "--port", "70000")
    assert "--queue: expected at least 1" in refused(shop, "--queue", "0")
    missing = refused(shop, "--port", "0", "--journal", tmp_path / "absent" / "journal")
    assert "journal: No such file" in missing
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    assert "line 1: expected an event" in refused(shop, "--port", "0", "--journal", bad)
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert "expected uvicorn, found none; pip install 'sif[serve]'" in refused(shop)


def test_reloading_needs_a_client_of_this_machine(shop: Path) -> None:
    from starlette.requests import Request

    from sif.serving.endpoints import _is_local
    from sif.serving.server import is_loopback

    def request(host: str, *headers: tuple[bytes, bytes]) -> Request:
        return Request({"type": "http", "client": (host, 1), "headers": list(headers)})

    for host in ("127.0.0.1", "::1", "127.8.8.8", "::ffff:127.0.0.1"):
        assert _is_local(request(host))
        assert not _is_local(request(host, (b"x-forwarded-for", b"127.0.0.1")))
    for host in ("10.0.0.1", "::ffff:10.0.0.1", "8.8.8.8", "unix"):
        assert not _is_local(request(host))
    assert is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")
