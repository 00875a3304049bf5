"""Items that nobody has touched come in by their features, and survive by the journal."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.serving.answering import Answer
from sif.serving.changes import Changes
from sif.serving.forms import Refused
from sif.serving.journal import Journal
from sif.serving.metrics import Metrics
from sif.serving.questions import Event, NewItem, RecommendQuestion
from sif.utils.compact_rows import Precision
from tests.serving.conftest import QUICK, run_apart, running

pytestmark = pytest.mark.slow
KINDS = 3


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draws = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}")
        for user in range(45)
        for item in draws.permutation(30)[:15]
        if item % KINDS == user % KINDS or draws.random() < 0.1
    ]
    kinds = pd.DataFrame({"item": [f"i{n}" for n in range(30)]})
    kinds["kind"] = [f"k{n % KINDS}" for n in range(30)]
    orders = pd.DataFrame(rows, columns=["user", "item"])
    pairs = {
        "search.stages": ["operation", "features"],
        "search.choices": {"operation": ["multiply"], "features": ["added"]},
    }
    model = Recommender(threads=1, baselines=[], settings={**QUICK, **pairs})
    model.fit(orders, item_features=kinds)
    return model.save(tmp_path_factory.mktemp("featured")).parent


def test_new_items_answer_at_once_and_after_a_start(featured: Path, tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    added = [{"item": f"n{kind}", "features": {"kind": f"k{kind}"}} for kind in range(KINDS)]
    names = [one["item"] for one in added]
    asked = {"questions": [{"user": f"u{n}", "items": names, "n": 1} for n in range(6)]}
    with running(featured, "--journal", journal) as server:
        assert "known ids" in server.ask("/recommend", asked).error
        reply = server.ask("/items", {"items": added})
        assert (reply.status, reply.json["events"]) == (200, KINDS)
        found = server.ask("/recommend", asked).json
        assert server.ask("/events", {"events": [{"user": "guest", "item": "i1"}]}).status == 200
    first = [one["items"][0] for one in found["answers"]]
    assert sum(item == f"n{n % KINDS}" for n, item in enumerate(first)) >= 4  # hardly trained
    with running(featured, "--journal", journal) as server:
        assert server.ask("/recommend", asked).json["answers"] == found["answers"]
        assert server.ask("/health").json["events"] == KINDS + 1


def test_an_item_that_comes_again_is_as_it_came_last(featured: Path, tmp_path: Path) -> None:
    """The journal replays both rows at once, and still starts."""
    journal = tmp_path / "events.jsonl"
    asked = {"questions": [{"user": "u1", "items": ["n", "i2", "i4"], "n": 3}]}
    with running(featured, "--journal", journal) as server:
        for kind in ("k0", "k1"):
            body = {"items": [{"item": "n", "features": {"kind": kind}}]}
            assert server.ask("/items", body).status == 200
        found = server.ask("/recommend", asked).json["answers"]
    with running(featured, "--journal", journal) as server:
        assert server.ask("/recommend", asked).json["answers"] == found


def test_rules_and_filters_know_new_items_also_after_a_swap(featured: Path, tmp_path: Path) -> None:
    """Without a process: the thread of changes takes items in, and loads other versions."""
    folder, journal = tmp_path / "live", Journal(tmp_path / "events.jsonl")
    model = Recommender.load(featured)
    model.save(folder, version="one")
    table = pd.DataFrame({"item": ["n1", "n2"], "kind": ["k1", "k2"]})
    rules = [{"step": "at_most", "count": 1, "categories": "kind"}, {"step": "pin", "item": "n2"}]
    asked = [
        RecommendQuestion(user="u1", n=9, where={"kind": ["k1"]}),
        RecommendQuestion(user="u1", n=3, rerank=rules),
        RecommendQuestion(history=["n1"], n=3, rerank=rules),
    ]

    def found(changes: Changes) -> list[list[str]]:
        answers = changes.answering.recommend(asked)
        assert all(isinstance(one, Answer) for one in answers), answers
        return [one.ids for one in answers if isinstance(one, Answer)]

    with changing(folder, journal, None) as changes:
        rows = zip(table["item"], table["kind"], strict=True)
        items = [NewItem(item=name, features={"kind": kind}) for name, kind in rows]
        run_apart(changes.take_in(items))
        run_apart(changes.take_in([Event(user="u1", item="n1")]))
        before = found(changes)
        assert "n1" not in before[0] and before[1][0] == before[2][0] == "n2"
        kinds = {"n2": 2} | {f"i{n}": n % KINDS for n in range(30)}
        assert sorted(kinds[item] for item in before[1]) == list(range(KINDS))
        expected = copy.copy(model).add_items(table)
        expected.partial_fit(pd.DataFrame({"user": ["u1"], "item": ["n1"]}))
        again = expected.recommend("u1", n=9, where={"kind": "k1"})
        assert before[0] == again["item"].tolist()
        model.save(folder, version="two")
        assert run_apart(changes.reload())["version"] == "two+1"
        assert found(changes) == before
    with changing(folder, journal, "int8") as changes:  # a start of a server that rounds
        assert [one[0] for one in found(changes)[1:]] == ["n2", "n2"]
        bare = Recommender()
        bare._serve(replace(model.fitted_model(), item_features=None))
        bare.save(folder, version="three")
        with pytest.raises(Refused, match="a journal that the model can take in, found: add_i"):
            run_apart(changes.reload())
        assert changes.answering.version == "two+1"


@contextlib.contextmanager
def changing(folder: Path, journal: Journal, precision: Precision | None) -> Iterator[Changes]:
    """What changes the model of a server, within the block."""
    changes = Changes(folder, "error", Metrics(), journal, watch=0, precision=precision)
    changes.start()
    try:
        yield changes
    finally:
        changes.stop()


def test_bad_items_are_refused_in_one_line(featured: Path) -> None:
    with running(featured) as server:
        for body, told in (
            ({"items": []}, "items: expected at least 1 of them"),
            ({"items": [{"item": "n"}]}, "items[0].features: expected a value, found none"),
            ({"items": [{"item": "n", "features": {"knd": "k1"}}]}, "expected some of kind"),
            ({"items": [{"item": "n", "features": {"kind": {"a": 1}}}]}, "features.kind"),
            ({"items": [{"item": "n", "features": {"kind": "k1"}}] * 2},
             "items: expected one entry for each id, found 'n' again"),
            ({"items": [{"item": "n", "features": {}}]}, "expected at least 1 of them"),
        ):  # fmt: skip
            reply = server.ask("/items", body)
            assert (reply.status, told in reply.error) == (422, True), reply.error
        assert server.ask("/health").json["events"] == 0
