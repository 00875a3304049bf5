"""Answers of models of every kind are those of the library, in a batch and alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sif import Recommender
from sif.data.interactions.vocabulary import Vocabulary
from sif.recommender.reranking import (
    AtMost,
    Boost,
    Bury,
    Calibrated,
    MeanPopularity,
    Mmr,
    Never,
    Pin,
    TailShare,
)
from sif.serving.answering import Answer, Answering
from sif.serving.forms import Refused
from sif.serving.questions import RecommendQuestion as Question
from sif.serving.questions import SimilarQuestion
from tests.serving.conftest import QUICK


def answering(model: Recommender, unknown: str = "error") -> Answering:
    return Answering(model.fitted_model(), unknown, "v")


def ids(result: Any) -> list[str]:
    assert isinstance(result, Answer), result.line
    return result.ids


def refusal(result: Any) -> str:
    assert isinstance(result, Refused)
    return result.line


@pytest.fixture(scope="module")
def featured(orders: pd.DataFrame) -> Recommender:
    features = pd.DataFrame({"item": [f"i{i}" for i in range(16)]})
    features["half"] = ["low" if i < 8 else "high" for i in range(16)]
    features["tags"] = [f"t{i % 3}|t{i % 4}" for i in range(16)]
    quick = {**QUICK, "search.stages": ["operation"], "search.epochs": 1, "train.epochs": 5}
    model = Recommender(threads=1, baselines=[], settings=quick)
    return model.fit(orders, item_features=features)


def test_items_are_filtered_by_their_features(featured: Recommender) -> None:
    model, server = featured, answering(featured)
    low, high, both, mixed = server.recommend(
        [
            Question(user="u1", n=16, where={"half": ["low"]}),
            Question(user="u1", n=16, where={"half": ["high"]}, exclude_seen=False),
            Question(history=["i3"], n=16, where={"half": ["low", "high"]}),
            Question(user="u2", n=16, where={"half": ["low"], "tags": ["t2"]}, exclude_seen=False),
        ]
    )
    some = [f"i{i}" for i in range(8)]
    assert ids(low) == model.recommend("u1", 16, items=some, as_arrays=True)[0].tolist()
    assert set(ids(high)) == {f"i{i}" for i in range(8, 16)}
    assert len(ids(both)) == 15
    assert set(ids(mixed)) == {f"i{i}" for i in range(8) if i % 3 == 2 or i % 4 == 2}
    wrong = server.recommend([Question(user="u1", where={"half": ["none"]})] * 2)
    assert [refusal(one)[:14] for one in wrong] == ["features: half"] * 2
    assert "colour" in refusal(server.recommend([Question(user="u1", where={"colour": ["x"]})])[0])


LABELS = {f"i{i}": ["odd", "even"][i % 2 == 0] for i in range(16)}
RULES: list[tuple[list[dict[str, Any]], list[Any]]] = [
    ([{"step": "pin", "item": "i4", "place": 2}], [Pin("i4", 2)]),
    ([{"step": "boost", "items": ["i3", "i4"], "factor": 2, "offset": 0.5}],
     [Boost(["i3", "i4"], 2, 0.5)]),
    ([{"step": "mmr", "strength": 0.8, "features": "tags"}], [Mmr(0.8, "tags")]),
    ([{"step": "mmr"}], [Mmr()]),
    ([{"step": "calibrated", "categories": LABELS, "strength": 0.9}], [Calibrated(LABELS, 0.9)]),
    ([{"step": "tail_share", "least": 0.7, "head": 0.5}], [TailShare(0.7, 0.5)]),
    ([{"step": "mean_popularity", "most": 0.2}], [MeanPopularity(0.2)]),
    ([{"step": "at_most", "count": 1, "categories": "half"}, {"step": "bury", "items": ["i2"]},
      {"step": "never", "items": ["i6", "i7"]}],
     [AtMost(1, "half"), Bury(["i2"]), Never(["i6", "i7"])]),
]  # fmt: skip


def test_rules_are_those_of_the_library(featured: Recommender) -> None:
    """Of known users, histories and unknown users, in one batch with questions without rules."""
    server, changed = answering(featured, "popular"), 0
    less = {"exclude_items": ["i9"], "where": {"half": ["low", "high"], "tags": ["t0", "t1"]}}
    for rules, steps in RULES:
        asked = [
            {"user": "u1"}, {"user": "u1", "rerank": rules}, {"user": "u2", "rerank": rules},
            {"history": ["i1", "i4"], "rerank": rules}, {"user": "who", "rerank": rules},
            {"user": "u1", "rerank": rules, "pool": 4, **less, "exclude_seen": False},
        ]  # fmt: skip
        found = server.recommend([Question(n=4, **one) for one in asked])
        every = {"n": 4, "rerank": steps, "as_arrays": True}
        expected = [
            featured.recommend("u1", 4, as_arrays=True), featured.recommend("u1", **every),
            featured.recommend("u2", **every), featured.recommend_new(["i1", "i4"], **every),
            featured.recommend_new([], **every),
            featured.recommend("u1", exclude_seen=False, pool=4, **less, **every),
        ]  # fmt: skip
        for one, (items, scores) in zip(found, expected, strict=True):
            assert ids(one) == items.tolist(), rules
            assert isinstance(one, Answer) and one.scores == pytest.approx(scores.tolist(), 1e-5)
        changed += ids(found[0]) != ids(found[1])
    assert changed >= 4  # most rules say something here


def test_rules_that_cost_too_much_or_contradict_are_refused(featured: Recommender) -> None:
    server = answering(featured)
    mmr = {"step": "mmr", "features": "tags"}
    for asked, told in (
        ({"rerank": [mmr], "n": 500}, "pool: expected at most 1,000 candidates with rerank, found"),
        ({"rerank": [mmr], "n": 5, "pool": 4}, "pool: expected at least n (5) candidates, found 4"),
        ({"pool": 4}, "pool: expected with rerank, found without"),
        ({"rerank": [mmr, {"step": "boost", "items": ["i1"]}]}, "expected Boost before Mmr"),
        ({"rerank": [{"step": "pin", "item": "x"}]}, "Pin: item: expected one of 16 known ids"),
        ({"rerank": [{"step": "mmr", "features": "tag"}]}, "features: expected one of half, tags"),
        ({"rerank": [{"step": "bury", "items": []}]}, "Bury: item: expected at least one id"),
    ):  # fmt: skip
        fine, refused = server.recommend([Question(user="u1"), Question(user="u1", **asked)])
        assert len(ids(fine)) > 1
        assert told in refusal(refused)
    wide = {f"i{i}": [f"c{n}" for n in range(100 * i, 100 * i + 100)] for i in range(16)}
    rules = [{"step": "calibrated", "categories": wide}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sif.serving.rules.MOST_WORK", 10 * 16 * 1599)
        told = refusal(server.recommend([Question(user="u1", rerank=rules)])[0])
    assert "n times pool times categories" in told and "10 x 16 x 1,600" in told


def test_ratings_fold_in_and_are_needed(stars: Path) -> None:
    model = Recommender.load(stars)
    server = answering(model)
    right, none, no_history = server.recommend(
        [
            Question(history=["i1", "i3"], ratings=[5.0, 1.0], n=4),
            Question(history=["i1"]),
            Question(history=[]),
        ]
    )
    expected = model.recommend_new(["i1", "i3"], 4, [5.0, 1.0], as_arrays=True)
    assert ids(right) == expected[0].tolist()
    assert isinstance(right, Answer) and right.scores == pytest.approx(
        expected[1].tolist(), rel=1e-5
    )
    assert refusal(none) == "ratings: expected one per item of the history, found none"
    assert ids(no_history) == model.recommend_new([], 10, as_arrays=True)[0].tolist()


def test_times_order_a_history() -> None:
    """Everybody walks around one of two circles of eight: the last item tells the next one."""
    rows = [
        (f"u{u}", f"i{8 * (u % 2) + (u + step) % 8}", 10**6 + 60 * step + u)
        for u in range(60)
        for step in range(5)
    ]
    walks = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    quick = {"train.epochs": 2, "search.epochs": 2, "train.l2": [0.1]}
    model = Recommender(threads=1, baselines=(), settings=quick).fit(walks)
    assert model.fitted_model().reads_order
    server = answering(model)
    forward, told, backward = server.recommend(
        [
            Question(history=["i1", "i2", "i3"], n=5),
            Question(history=["i3", "i1", "i2"], times=[2000.0, 100.0, 1000.0], n=5),
            Question(history=["i3", "i2", "i1"], n=5),
        ]
    )
    assert ids(forward)[0] == ids(told)[0] == "i4"
    assert isinstance(forward, Answer) and isinstance(backward, Answer)
    assert forward.scores != backward.scores
    assert ids(server.recommend([Question(user="u0", n=1)])[0]) == ["i5"]


def test_unknown_users_get_what_the_server_is_told(shop: Path) -> None:
    model = Recommender.load(shop, unknown="popular")
    refuses, recommends = answering(model), answering(model, "popular")
    asked = [Question(user="nobody", n=3), Question(user="u1", n=3), Question(user=" u1 ", n=3)]
    assert refusal(refuses.recommend(asked)[0]).startswith("user: expected one of 30 known ids")
    popular, known, spaced = recommends.recommend(asked)
    assert ids(popular) == model.recommend("nobody", 3, as_arrays=True)[0].tolist()
    assert ids(known) == ids(spaced) == model.recommend("u1", 3, as_arrays=True)[0].tolist()


def test_one_by_one_and_together_are_the_same(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = answering(Recommender.load(shop))
    questions = [Question(user=f"u{u}", n=n) for u in range(30) for n in (3, 70)]
    alone = server.recommend(questions)
    monkeypatch.setattr("sif.serving.answering.ONE_BY_ONE", 0)
    for one, other in zip(alone, server.recommend(questions), strict=True):
        assert ids(one) == ids(other)
        assert isinstance(one, Answer) and isinstance(other, Answer)
        assert one.scores == pytest.approx(other.scores, rel=1e-5, abs=1e-6)


def test_a_bad_question_spoils_no_other(shop: Path) -> None:
    server = answering(Recommender.load(shop))
    found = server.similar(
        [
            SimilarQuestion(item="i1", n=2),
            SimilarQuestion(item="absent"),
            SimilarQuestion(item="i2"),
        ]
    )
    assert [type(one) for one in found] == [Answer, Refused, Answer]
    assert ids(found[0]) == ids(server.similar([SimilarQuestion(item="i1", n=2)])[0])


def test_a_longer_vocabulary_finds_both_of_its_halves() -> None:
    longer = Vocabulary(["a", "b"]).extended(["c", "d"]).extended(["e"])
    assert [longer.number(text) for text in "abcdef"] == [0, 1, 2, 3, 4, -1]
