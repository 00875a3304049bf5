"""Whatever is sent, the reply is a 4xx with one line, or an answer; the server stays."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sif.serving.arrow import questions as questions_of
from sif.serving.forms import Refused
from sif.serving.questions import RecommendQuestion

ARROW = "application/vnd.apache.arrow.stream"
Server = Any


@pytest.fixture(scope="module")
def server(start: Callable[..., AbstractContextManager[Server]], shop: Path) -> Iterator[Server]:
    with start(shop, "--max-body", "300000") as running:
        yield running
        assert running.ask("/recommend", {"user": "u1"}).status == 200
    assert running.errors == []


CASES: list[tuple[str, Any, int, str]] = [
    ("/recommend", b"", 400, "body: expected JSON in UTF-8, found EOF"),
    ("/recommend", b"{", 400, "body: expected JSON"),
    ("/recommend", b'{"user": "\xff\xfe"}', 400, "body: expected JSON in UTF-8, found invalid"),
    ("/recommend", b"[" * 100_000, 400, "body: expected JSON in UTF-8, found recursion limit"),
    ("/recommend", b'{"where":' * 20_000, 400, "body: expected JSON"),
    ("/recommend", b'{"n": ' + b"9" * 5000 + b"}", 400, "body: expected JSON"),
    ("/recommend", [], 422, "body: expected an object, found a list"),
    ("/recommend", {}, 422, "expected either user or history, found neither"),
    ("/recommend", {"user": "u1", "history": []}, 422, "expected either user or history, found b"),
    ("/recommend", {"user": "u1", "usr": 1}, 422, "usr: unknown field; did you mean 'user'?"),
    ("/recommend", {"user": "u1", "k" * 10**5: 1}, 422, "kkk"),
    ("/recommend", {"user": 1.5}, 422, "user: expected a text"),
    ("/recommend", {"user": True}, 422, "user: expected a text"),
    ("/recommend", {"user": ["u1"]}, 422, "user: expected a text of 1 to 512 characters"),
    ("/recommend", {"user": ""}, 422, "user: expected a text of 1 to 512"),
    ("/recommend", {"user": "  "}, 422, "user: expected an id, found nothing"),
    ("/recommend", {"user": "a\0b"}, 422, "user: expected an id without NUL"),
    ("/recommend", {"user": "u" * 513}, 422, "user: expected a text of 1 to 512"),
    ("/recommend", {"user": "nobody"}, 422, "user: expected one of 30 known ids (the first"),
    ("/recommend", {"user": 2**70}, 422, "user: expected a text"),
    ("/recommend", {"user": "u1", "n": 0}, 422, "n: expected at least 1, found 0"),
    ("/recommend", {"user": "u1", "n": 10**12}, 422, "n: expected at most 10000, found 1"),
    ("/recommend", {"user": "u1", "n": "3"}, 422, "n: expected a whole number, found '3'"),
    ("/recommend", {"user": "u1", "exclude_seen": "some"}, 422, "exclude_seen: expected true"),
    ("/recommend", {"user": "u1", "items": ["i0", "absent"]}, 422, "items: expected one of 16"),
    ("/recommend", {"user": "u1", "exclude_items": [None]}, 422, "exclude_items[0]: expected a"),
    ("/recommend", {"user": "u1", "ratings": [1.0]}, 422, "ratings: expected with a history"),
    ("/recommend", {"user": "u1", "where": {"genre": ["Drama"]}}, 422, "where: expected a model w"),
    ("/recommend", {"user": "u1", "rerank": {}}, 422, "rerank: expected a list, found an object"),
    ("/recommend", {"user": "u1", "rerank": [{}]}, 422, "rerank[0].step: expected one of pin, b"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "p"}]}, 422, "rerank[0].step: expected one"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "mmr", "strength": 2}]}, 422,
     "rerank[0].mmr.strength: expected at most 1.0, found 2"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "mmr", "stregth": 1}]}, 422,
     "rerank[0].mmr.stregth: unknown field; did you mean 'strength'?"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "mmr", "features": {"i1": {}}}]}, 422,
     "rerank[0].mmr.features: expected the name of a column, or an object of 1 to 10,000"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "mmr", "features": "genre"}]}, 422,
     "features: expected a model that was fitted with item features"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "at_most", "count": 1, "categories":
     {f"i{n}": "c" for n in range(10_001)}}]}, 422, "rerank[0].at_most.categories: expected th"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "bury", "items": ["x"]}]}, 422, "Bury: item"),
    ("/recommend", {"user": "u1", "rerank": [{"step": "mmr"}] * 21}, 422, "rerank: expected at mo"),
    ("/recommend", {"questions": [{"user": "u1", "rerank": [{"step": "mmr"}]}] * 1_001}, 422,
     "expected at most 1,000 questions with rerank, found 1,001"),
    ("/recommend", {"user": "u1", "pool": 9}, 422, "pool: expected with rerank, found without"),
    ("/recommend", {"history": "i1"}, 422, "history: expected a list, found 'i1'"),
    ("/recommend", {"history": ["absent"]}, 422, "history: expected one of 16 known ids"),
    ("/recommend", {"history": ["i1"], "ratings": [1.0]}, 422, "ratings: expected none for a mo"),
    ("/recommend", {"history": ["i1"], "times": [1.0, 2.0]}, 422, "times: expected 1, one per"),
    ("/recommend", b'{"history": ["i1"], "times": [NaN]}', 422, "times[0]: expected a finite"),
    ("/recommend", b'{"history": ["i1"], "times": [1e999]}', 422, "times[0]: expected a finite"),
    ("/recommend", {"history": [1] * 20_000}, 422, "history: expected at most 10,000 of them"),
    ("/recommend", {"history": [1] * 10**6}, 413, "body: expected at most 300,000 bytes"),
    ("/recommend", {"questions": []}, 422, "questions: expected at least 1 of them"),
    ("/recommend", {"questions": [{}] * 10_001}, 422, "questions: expected at most 10,000"),
    ("/recommend", {"questions": [{"user": "u1"}], "n": 3}, 422, "n: expected in each of the qu"),
    ("/recommend", {"questions": [{"user": "u1"}, {"user": 0.5}]}, 422, "questions[1].user: exp"),
    ("/recommend", {"questions": [{"user": "u1"}, {"user": "x"}]}, 422, "questions[1]: user: exp"),
    ("/recommend", {"questions": [{"questions": []}]}, 422, "questions[0].questions: unknown"),
    ("/recommend?n=3", {"user": "u1"}, 422, "address: expected none, found the parameter 'n'"),
    ("/similar", {"item": "absent"}, 422, "item: expected one of 16 known ids"),
    ("/similar", {}, 422, "expected either item or user, found neither"),
    ("/similar", {"item": "i1", "user": "u1"}, 422, "expected either item or user, found both"),
    ("/similar?item=i1&n=x", None, 422, "n: expected a whole number, found 'x'"),
    ("/similar?item=i1&item=i2", None, 422, "address: expected one of item, user, n, once"),
    ("/similar?%ff=%fe", None, 422, "address: "),
    ("/explain", {"user": "u1"}, 422, "item: expected a value, found none"),
    ("/explain", {"user": "nobody", "item": "i1"}, 422, "user: expected one of 30 known ids"),
    ("/events", {"events": []}, 422, "events: expected at least 1 of them"),
    ("/events", {"events": [{"user": "u1"}]}, 422, "events[0].item: expected a value"),
    ("/events", {"events": [{"user": "u1", "item": "i1"}, {"user": "u1", "item": "i2",
     "timestamp": 3.0}]}, 422, "events[1]: expected the fields of the first event (user, item)"),
    ("/events", {"events": [{"user": " ", "item": "i1"}]}, 422, ""),
    ("/events", b'{"events": [{"user": "u1", "item": "i1", "timestamp": NaN}]}', 422, "events[0]"),
    ("/events", {"events": [{"user": "u1", "item": "i1", "timestamp": []}]}, 422,
     "events[0].timestamp: expected seconds since 1970 or an ISO date, found a list"),
    ("/events", {"events": [{"user": "u1", "item": "i1", "timestamp": "2024-13-01"}]}, 422,
     "events[0].timestamp: expected seconds since 1970 or an ISO date, found '2024-13-01'"),
    ("/events", {"events": [{"user": "u1", "item": "i1", "timestamp": t}
     for t in ("2024-01-01", "2024-01-02", 5)]}, 422,
     "events[2].timestamp: expected a date as in most rows, found '5'"),
    ("/events", [{"user": "u1", "item": "i1"}], 422, "body: expected an object, found a list"),
    ("/nothing", {}, 404, "/nothing: Not Found; GET /docs lists the endpoints"),
    ("/recommend", None, 405, "/recommend: Method Not Allowed"),
    ("/health", {}, 405, "/health: Method Not Allowed"),
    ("/recommend/", {"user": "u1"}, 404, "/recommend/: Not Found"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "line"), CASES, ids=range(len(CASES)))
def test_every_mistake_has_its_line(
    server: Server, path: str, body: Any, status: int, line: str
) -> None:
    reply = server.ask(path, body)
    assert reply.status == status, reply.body
    assert reply.error.startswith(line)
    assert len(reply.error) <= 300 and reply.error.isprintable()


@pytest.mark.parametrize("path", ["/recommend", "/similar", "/explain", "/events"])
def test_only_declared_contents_are_read(server: Server, path: str) -> None:
    """A page of another site cannot send them without asking first."""
    body = b'{"user": "u1", "item": "i1"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = server.ask(path, body, kind=kind)
        assert reply.status == 415
        assert reply.error.startswith("Content-Type: expected application/json")


def raw(server: Server, *parts: bytes, reads: bool = True) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        for part in parts:
            client.sendall(part)
        return client.recv(65536) if reads else b""


HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_body_without_its_length_is_bounded_as_well(server: Server) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    found = raw(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 6)
    assert found.startswith(b"HTTP/1.1 413 ") and b'{"error":"body: expected at most' in found
    announced = raw(server, HEAD + b"Content-Length: 99999999999999999999\r\n\r\n")
    assert announced[9:12] in (b"413", b"400")


def test_a_head_without_end_is_not_kept(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ")
        with contextlib.suppress(ConnectionError):  # it need not read to the end
            for _ in range(200):
                client.sendall(b"a" * 10_000)
            assert client.recv(999).startswith(b"HTTP/1.1 400 ")
    assert server.ask("/health").status == 200


def test_who_leaves_early_harms_nobody(server: Server) -> None:
    for sent in (HEAD, HEAD + b"Content-Length: 100\r\n\r\n{", HEAD + b"Content-Le", b"\0" * 99):
        raw(server, sent, reads=False)
    whole = HEAD + b'Content-Length: 13\r\n\r\n{"user":"u1"}'
    for _ in range(20):
        raw(server, whole, reads=False)
    assert raw(server, whole + whole).startswith(b"HTTP/1.1 200 ")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["u1", "i1", "all", "none", 3, 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["user", "item", "history", "times", "ratings", "n", "exclude_seen", "exclude_items", "items",
     "where", "questions", "events", "exclude", "x"]
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["/recommend", "/similar", "/explain"]), st.dictionaries(FIELDS, VALUES))
@example("/recommend", {"user": "u1", "n": 10_000, "exclude_seen": False})
def test_any_json_gets_an_answer_or_a_line(server: Server, path: str, body: dict[str, Any]) -> None:
    reply = server.ask(path, json.dumps(body).encode())
    assert reply.status in (200, 400, 422), reply.body
    assert reply.status == 200 or reply.error


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["application/json", ARROW]))
def test_any_bytes_get_a_line(server: Server, body: bytes, kind: str) -> None:
    reply = server.ask("/recommend", body, kind=kind)
    assert reply.status in (400, 422) and reply.error


def stream() -> bytes:
    pa = pytest.importorskip("pyarrow")
    rows = pa.table({"user": ["u1", None], "history": [None, ["i1", "i2"]], "n": [1, 2]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue().to_pybytes())


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_stream_of_arrow_is_read_or_refused(data: st.DataObject) -> None:
    """In this process: a crash would end the tests."""
    whole = bytearray(stream())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        asked = questions_of(bytes(whole[:cut] if cut % 3 == 0 else whole), RecommendQuestion())
    except Refused as refused:
        assert refused.status in (400, 422) and refused.line
    else:
        assert 1 <= len(asked) <= 10_000
