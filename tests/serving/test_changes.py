"""A server's model changes while it answers: interactions, reloads, versions, broken files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.errors import CheckpointError, ConfigError
from sif.recommender.drift import drift_of
from sif.recommender.item_precision import precision_of
from sif.recommender.model import FILE, ServedModel
from sif.recommender.versions import roll_back
from sif.serving.changes import Changes, grown
from sif.serving.journal import Journal
from sif.serving.metrics import Metrics
from sif.serving.questions import Event, EventsBody, parsed
from sif.serving.source import found

Server = Any
Start = Callable[..., AbstractContextManager[Server]]


def put(made: Path, folder: Path) -> None:
    """A model in the place of a folder's, by one rename."""
    shutil.copyfile(made / FILE, folder / "next")
    os.replace(folder / "next", folder / FILE)


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def asked_all_the_time(server: Server, user: str) -> Iterator[list[tuple[int, str, Any]]]:
    """Three connections ask on within the block: status, version and items of each reply."""
    replies: list[tuple[int, str, Any]] = []
    ends = threading.Event()

    def work() -> None:
        own = type(server)(server.process, server.port, "")
        while not ends.is_set():
            reply = own.ask("/recommend", {"user": user, "n": 4})
            replies.append((reply.status, reply.json["version"], tuple(reply.json["items"])))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        ends.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
def test_events_and_reloads_are_swapped_in_while_it_answers(
    start: Start, shop: Path, other_shop: Path, tmp_path: Path
) -> None:
    """One server lives through all of it, as each start takes seconds."""
    folder = tmp_path / "model"
    folder.mkdir()
    put(shop, folder)
    model = Recommender.load(shop)
    with start(folder, "--watch", "0.2") as server:
        first = server.ask("/health").json["version"]
        with asked_all_the_time(server, "u1") as replies:
            # Interactions: from the reply on, answers know of them.
            had = model.recommend("u1", 1, as_arrays=True)[0][0]
            events = [{"user": "u1", "item": had}, {"user": "guest", "item": "brand new"}]
            taken = server.ask("/events", {"events": events}).json
            assert taken == {"events": 2, "version": f"{first}+1"}
            assert had not in server.ask("/recommend", {"user": "u1", "n": 16}).json["items"]
            known = server.ask("/health").json
            assert (known["users"], known["items"], known["events"]) == (31, 17, 2)
            assert server.ask("/recommend", {"user": "guest", "n": 2}).status == 200
            # Another model in the folder: noticed without being told.
            put(other_shop, folder)
            until(lambda: server.ask("/health").json["users"] == 29)
            second = server.ask("/health").json["version"]
            assert server.ask("/health").json["events"] == 0
            # A broken one: the one before goes on, and that is told.
            (folder / "next").write_bytes(b"no model")
            os.replace(folder / "next", folder / FILE)
            until(lambda: bool(server.ask("/health").json["last_reload_failure"]))
            refused = server.ask("/reload", b"")
            assert refused.status == 409 and FILE in refused.error
            assert server.ask("/health").json["version"] == second
            # Put right again, by a signal and by a request.
            put(shop, folder)
            server.signal(signal.SIGHUP)
            until(lambda: server.ask("/health").json["users"] == 30)
            assert server.ask("/health").json["last_reload_failure"] is None
            assert server.ask("/reload", b"").json["version"] != second
        statuses = {status for status, _, _ in replies}
        assert statuses == {200}
        # An answer is of one model: each version has one list of items.
        lists: dict[str, set[Any]] = {}
        for _, version, items in replies:
            lists.setdefault(version, set()).add(items)
        assert all(len(some) == 1 for some in lists.values())
        assert {first, second} <= set(lists)
        text = server.ask("/metrics").body.decode()
        assert "sif_events_total 2.0" in text and "sif_reload_failures_total 1.0" in text
    assert [line.split(":")[0] for line in server.errors if "reload failed" in line] == [
        "reload failed"
    ]


@pytest.mark.slow
def test_the_journal_survives_the_server(start: Start, shop: Path, tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    with start(shop, "--journal", journal) as server:
        events = [{"user": "guest", "item": "i1"}, {"user": "guest", "item": 3}]
        assert server.ask("/events", {"events": events[:1]}).status == 200
        assert server.ask("/events", {"events": [{"user": "x", "item": " "}]}).status == 422
        assert server.ask("/events", {"events": events[1:]}).status == 200
        before = server.ask("/recommend", {"user": "guest"}).json["items"]
        server.process.kill()
        server.ended()
        server.process.returncode = 0  # it was killed on purpose
    assert [json.loads(line) for line in journal.read_text().splitlines()] == events
    with journal.open("a") as file:
        file.write('{"user": "torn')
    with start(shop, "--journal", journal) as server:
        assert server.ask("/health").json["events"] == 2
        assert server.ask("/recommend", {"user": "guest"}).json["items"] == before
        # After a reload it knows what it knows after a start.
        assert server.ask("/reload", b"").json["version"].endswith("+1")
        assert server.ask("/recommend", {"user": "guest"}).json["items"] == before
    assert journal.read_text().count("\n") == 2


def test_a_journal_is_read_in_runs_of_the_same_fields(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    plain, timed = Event(user="a", item=1), Event(user="b", item="2", timestamp=3.5)
    for events in ([plain, plain], [plain], [timed], [plain]):
        journal.append(events)
    assert list(journal.batches()) == [[plain] * 3, [timed], [plain]]
    with journal.path.open("a") as file:
        file.write('{"user": "a"}\n')
    with pytest.raises(CheckpointError, match="line 6: expected an event"):
        list(journal.batches())
    with pytest.raises(CheckpointError, match="journal: "):
        Journal(tmp_path / "absent" / "events.jsonl")


def test_a_failed_write_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    journal.append([Event(user="a", item="1")])
    whole = journal.path.read_bytes()

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        journal.append([Event(user="b", item="2")])
    assert journal.path.read_bytes() == whole


def test_events_are_taken_in_as_partial_fit_does(shop: Path, stars: Path) -> None:
    for folder, columns in ((shop, ["user", "item"]), (stars, ["user", "item", "rating"])):
        rows = pd.DataFrame([("new", "i1", 5.0), ("u1", "i4", 2.0)], columns=[*columns, "x"][:3])
        rows = rows[columns]
        expected = Recommender.load(folder).partial_fit(rows)
        model = grown(ServedModel.load(folder), [Event(**row) for row in rows.to_dict("records")])
        before, after = expected.model_.folding, model.folding
        assert (after.rows, len(after.first)) == (2, len(before.first)) == (before.rows, 1)
        np.testing.assert_array_equal(after.first, before.first)
        items, scores = expected.recommend("new", 5, as_arrays=True)
        following = Recommender.load(folder)
        following.model_ = model
        again = following.recommend("new", 5, as_arrays=True)
        assert again[0].tolist() == items.tolist()
        assert again[1] == pytest.approx(scores)


def test_times_of_events_are_read_as_those_of_files() -> None:
    cases: dict[float, list[Any]] = {
        1704103200.0: ["2024-01-01T10:00:00Z", "2024-01-01 11:00:00+01:00", 1704103200,
                       1704103200000, "1704103200"],
        1704067200.0: ["2024-01-01", 20240101, 1704067200.9],
    }  # fmt: skip
    for seconds, times in cases.items():
        for said in times:
            body = json.dumps({"events": [{"user": "u", "item": "i", "timestamp": said}] * 2})
            events = parsed(EventsBody, body.encode()).events
            assert [event.timestamp for event in events] == [seconds] * 2


def test_drift_counts_what_came_over_http_also_after_a_start(shop: Path, tmp_path: Path) -> None:
    events = [Event(user="u1", item="i4"), Event(user="new", item="i2")]
    model = grown(grown(ServedModel.load(shop), events[:1]), events[1:])
    assert drift_of(model).rows == 2
    journal = Journal(tmp_path / "events.jsonl")
    journal.append(events)
    metrics = Metrics()
    changes = Changes(shop, "error", metrics, journal)
    assert changes.answering.drift.rows == changes.answering.model.folding.rows == 2
    assert "sif_rows_since_fit 2.0" in metrics.text(0).decode()


def test_a_server_rounds_the_items_of_every_model(shop: Path, tmp_path: Path) -> None:
    changes = Changes(shop, "error", Metrics(), precision="int8")
    model = changes.answering.model
    assert model.item_precision is not None and model.item_precision.recall[10] > 0.8
    grown_model = grown(model, [Event(user="new", item="i2")])
    assert precision_of(grown_model.trained) == "int8"
    Recommender.load(shop).save(tmp_path, precision="float16")
    with pytest.raises(ConfigError, match="expected float16, which the items"):
        Changes(tmp_path, "error", Metrics(), precision="int8")


def test_a_folder_of_versions_has_a_current_one(
    shop: Path, other_shop: Path, tmp_path: Path
) -> None:
    stamps = []
    for name, made, users in (("one", shop, 30), ("two", other_shop, 29)):
        Recommender.load(made).save(tmp_path, version=name)
        now = found(tmp_path)
        assert now.version == name and len(now.load().vocabularies[0]) == users
        stamps.append(now.stamp)
    roll_back(tmp_path, "one")
    assert found(tmp_path).stamp == stamps[0] != stamps[1]
    for bad in ("", "../../etc", "three", ".hidden", "x" * 999, "a/b"):
        (tmp_path / "CURRENT").write_text(bad)
        with pytest.raises(CheckpointError):
            found(tmp_path)
    assert found(shop).version.endswith("Z")
    with pytest.raises(CheckpointError, match="expected a model, found none"):
        found(tmp_path / "nowhere")


def test_a_server_follows_the_current_version(shop: Path, tmp_path: Path) -> None:
    """Without a process: the thread of changes is the one that looks."""
    model = Recommender.load(shop)
    model.save(tmp_path, version="one")
    changes = Changes(tmp_path, "error", Metrics(), watch=0.05)
    changes.start()
    try:
        assert changes.answering.version == "one"
        model.save(tmp_path, version="two")
        until(lambda: changes.answering.version == "two")
        (tmp_path / "CURRENT").write_text("gone")
        until(lambda: "gone" in changes.last_failure)
        assert changes.answering.version == "two"
        roll_back(tmp_path, "one")
        until(lambda: changes.answering.version == "one" and not changes.last_failure)
    finally:
        changes.stop()
