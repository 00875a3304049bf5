"""Items that nobody has touched come in by their features, and survive by the journal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from tests.serving.conftest import QUICK, running

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
    model = Recommender(threads=1, baselines=[], settings=QUICK).fit(orders, item_features=kinds)
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
