"""A server process keeps the contract of every endpoint, and answers as the library does."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sif import Recommender

ARROW = "application/vnd.apache.arrow.stream"
Server = Any


@pytest.fixture(scope="module")
def model(shop: Path) -> Recommender:
    return Recommender.load(shop)


@pytest.fixture(scope="module")
def server(start: Callable[..., AbstractContextManager[Server]], shop: Path) -> Iterator[Server]:
    with start(shop, "--max-body", "200000") as running:
        yield running
    assert running.errors == []  # nothing on the way was a fault


def expected(answer: tuple[Any, Any]) -> dict[str, Any]:
    items, scores = answer
    return {
        "items": items.tolist(),
        "scores": pytest.approx(scores.tolist(), rel=1e-5, abs=1e-6),
        "titles": [f"Thing {item[1:]}" for item in items],
    }


def answer(reply: Any) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    found = reply.json
    assert found.pop("version")
    return dict(found)


def test_known_users_get_what_the_library_recommends(server: Server, model: Recommender) -> None:
    for user in ("u0", "u7"):
        found = answer(server.ask("/recommend", {"user": user, "n": 4}))
        assert found == expected(model.recommend(user, 4, as_arrays=True))
    everything = answer(server.ask("/recommend", {"user": "u3", "n": 99, "exclude_seen": False}))
    assert everything == expected(model.recommend("u3", 99, False, as_arrays=True))


def test_histories_get_what_the_library_recommends(server: Server, model: Recommender) -> None:
    for had in (["i1", "i3"], ["i2"], []):
        found = answer(server.ask("/recommend", {"history": had, "n": 3}))
        assert found == expected(model.recommend_new(had, 3, as_arrays=True))


def test_items_are_left_out_or_chosen_among(server: Server, model: Recommender) -> None:
    best = model.recommend("u1", 5, as_arrays=True)[0].tolist()
    without = {"exclude_items": best[:2]}
    among = {"items": [*best[3:], "i0"], "exclude_items": [best[4]]}
    for further in (without, among):
        for asked, call in (
            ({"user": "u1"}, lambda f: model.recommend("u1", 4, as_arrays=True, **f)),
            ({"history": ["i5"]}, lambda f: model.recommend_new(["i5"], 4, as_arrays=True, **f)),
        ):
            found = answer(server.ask("/recommend", {**asked, **further, "n": 4}))
            assert found == expected(call(further))


def test_several_questions_get_an_answer_each(server: Server, model: Recommender) -> None:
    questions = [
        {"user": "u1", "n": 2}, {"history": ["i4"], "n": 3}, {"user": "u2", "exclude_seen": "none"},
        {"user": "u1", "items": ["i3", "i5"]}, {"user": "u4", "exclude_items": ["i8"]},
        {"user": "u4", "rerank": [{"step": "pin", "item": "i14"}], "pool": 10},
    ]  # fmt: skip
    answers = answer(server.ask("/recommend", {"questions": questions}))["answers"]
    assert len(answers) == len(questions)
    for question, found in zip(questions, answers, strict=True):
        alone = answer(server.ask("/recommend", question))
        assert found == {**alone, "scores": pytest.approx(alone["scores"], rel=1e-5, abs=1e-6)}


def test_more_questions_than_a_batch_are_answered_alike(server: Server, model: Recommender) -> None:
    users = [f"u{number % 30}" for number in range(700)]
    questions = [{"user": user, "n": 3} for user in users]
    answers = answer(server.ask("/recommend", {"questions": questions}))["answers"]
    items, _ = model.recommend(users, 3, as_arrays=True)
    assert [one["items"] for one in answers] == [[i for i in row if i] for row in items.tolist()]


def test_neighbors_and_reasons_are_those_of_the_library(server: Server, model: Recommender) -> None:
    found = answer(server.ask("/similar", {"item": "i1", "n": 3}))
    assert found == expected(model.similar_items("i1", 3, as_arrays=True))
    assert answer(server.ask("/similar?item=i1&n=3")) == found
    nearest = found["items"][0]
    others = answer(server.ask("/similar", {"item": "i1", "n": 3, "exclude": [nearest]}))
    assert others == expected(model.similar_items("i1", 3, [nearest], as_arrays=True))
    users, cosines = model.similar_users("u1", 2, as_arrays=True)
    found = answer(server.ask("/similar", {"user": "u1", "n": 2}))
    assert found["users"] == users.tolist()
    assert found["scores"] == pytest.approx(cosines.tolist(), rel=1e-5)
    item = model.recommend("u1", 1, as_arrays=True)[0][0]
    found = answer(server.ask("/explain", {"user": "u1", "item": item, "n": 3}))
    assert found == expected(model.explain("u1", item, 3, as_arrays=True))


def table(rows: int = 2, **columns: Any) -> bytes:
    """A stream with so many rows in each batch."""
    made, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made, max_chunksize=rows)
    return sink.getvalue()


def test_arrow_comes_in_and_goes_out(server: Server, model: Recommender) -> None:
    users = ["u1", "u2", "u5"]
    reply = server.ask("/recommend?n=2", table(user=users), kind=ARROW)
    assert (reply.status, reply.headers["content-type"]) == (200, ARROW)
    found = pa.ipc.open_stream(reply.body).read_all()
    items, scores = model.recommend(users, 2, as_arrays=True)
    assert found.column("user").to_pylist() == [user for user in users for _ in range(2)]
    assert found.column("rank").to_pylist() == [1, 2] * 3
    assert found.column("item").to_pylist() == items.ravel().tolist()
    assert found.column("score").to_pylist() == pytest.approx(scores.ravel().tolist(), rel=1e-5)
    assert found.column("title").to_pylist()[0] == f"Thing {items[0, 0][1:]}"
    assert found.schema.metadata[b"version"]


def test_either_side_may_speak_json(server: Server) -> None:
    rows = table(history=[["i1", "i3"], None], user=[None, "u2"], n=[3, 2])
    both = {"questions": [{"history": ["i1", "i3"], "n": 3}, {"user": "u2", "n": 2}]}
    in_json = answer(server.ask("/recommend", both))
    reply = server.ask("/recommend", rows, kind=ARROW, headers={"Accept": "application/json"})
    assert answer(reply) == in_json
    reply = server.ask("/recommend", both, headers={"Accept": ARROW})
    found = pa.ipc.open_stream(reply.body).read_all()
    items = [item for one in in_json["answers"] for item in one["items"]]
    assert found.column("item").to_pylist() == items
    assert found.column("question").to_pylist() == [0, 0, 0, 1, 1]


def test_arrow_that_could_grow_is_refused(server: Server) -> None:
    made, sink = pa.table({"user": ["u1"] * 1000}), io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, made.schema, options=options) as writer:
        writer.write_table(made)
    reply = server.ask("/recommend", sink.getvalue(), kind=ARROW)
    assert (reply.status, "compression" in reply.error) == (400, True)
    encoded = pa.table({"user": pa.array(["u1", "u2"]).dictionary_encode()})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, encoded.schema) as writer:
        writer.write_table(encoded)
    reply = server.ask("/recommend", sink.getvalue(), kind=ARROW)
    assert (reply.status, "dictionary" in reply.error) == (422, True)
    nothing = server.ask("/recommend", table(10**9, user=pa.nulls(10**9)), kind=ARROW)
    assert (nothing.status, nothing.error.startswith("column 'user'")) == (422, True)
    for name, rows in (("usr", ["u1"]), ("n", ["3"])):
        reply = server.ask("/recommend", table(**{name: rows}), kind=ARROW)
        assert (reply.status, reply.error.startswith(f"column '{name}'")) == (422, True)
    late = server.ask("/recommend", table(user=["u1", "u2", "nobody"]), kind=ARROW)
    assert (late.status, late.error[:19]) == (422, "questions[2]: user:")


def test_the_state_of_the_server_is_told(server: Server, model: Recommender) -> None:
    found = server.ask("/health").json
    assert found["status"] == "ok" and found["expression"] == model.model_.expression
    assert (found["users"], found["items"], found["events"]) == (30, 16, 0)
    assert (found["rows_since_fit"], found["fit_again"]) == (0, False)
    assert found["precision"] == "float32"
    assert found["uptime_seconds"] > 0 and found["last_reload_failure"] is None
    text = server.ask("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    lines = dict(line.rsplit(" ", 1) for line in text.body.decode().splitlines() if line[0] != "#")
    assert float(lines['sif_requests_total{path="/recommend",status="200"}']) > 10
    assert float(lines[f'sif_model{{version="{found["version"]}"}}']) == 1
    assert float(lines['sif_model_size{field="item"}']) == 16
    for name in ("made-up-by-somebody", "made-up-by-another"):
        assert server.ask(f"/{name}").status == 404
    again = server.ask("/metrics").body.decode()
    assert 'sif_requests_total{path="other",status="404"} 2.0' in again
    assert "made-up" not in again


class _Asks(HTMLParser):
    """Addresses that a page has a browser ask for by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            self.found.append(tag)
        self.found += [str(value) for name, value in attributes if name in ("src", "style")]


def test_the_page_of_the_interface_needs_no_other(server: Server) -> None:
    reply = server.ask("/docs")
    page, asks = reply.body.decode(), _Asks()
    asks.feed(page)
    assert asks.found == [] and "default-src 'none'" in reply.headers["content-security-policy"]
    described = server.ask("/openapi.json").json
    assert set(described["paths"]) == {
        "/recommend", "/similar", "/explain", "/events", "/items", "/users", "/reload", "/health",
        "/metrics",
    }  # fmt: skip
    for path in described["paths"]:
        assert f"<code>{path}</code>" in page
    for name in ("exclude_seen", "history", "timestamp", "where"):
        assert f"<code>{name}</code>" in page
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(described)))
    assert named <= set(described["components"]["schemas"])


def test_requests_that_arrive_together_get_their_own_answers(
    server: Server, model: Recommender
) -> None:
    """Eight connections, each with its users, while some of them ask badly."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        own = type(server)(server.process, server.port, "")
        for turn in range(25):
            user = f"u{(number * 25 + turn) % 30}"
            if turn % 10 == 0:
                wrong.extend([1] * (own.ask("/recommend", {"user": f"no{user}"}).status != 422))
            found = own.ask("/recommend", {"user": user, "n": 3}).json["items"]
            if found != model.recommend(user, 3, as_arrays=True)[0].tolist():
                wrong.append((user, found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    text = server.ask("/metrics").body.decode()
    sums = [re.search(rf"sif_batch_requests_{part} (\S+)", text)[1] for part in ("sum", "count")]  # type: ignore[index]
    assert float(sums[0]) > float(sums[1])  # some were answered together


def test_what_is_no_http_gets_a_line_as_well(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GARBAGE\r\n\r\n")
        head, _, body = client.recv(9999).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and list(json.loads(body)) == ["error"]
    assert server.ask("/health").status == 200
