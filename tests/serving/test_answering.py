"""Answers of models of every kind are those of the library, in a batch and alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sif import Recommender
from sif.data.interactions.vocabulary import Vocabulary
from sif.serving.answering import Answer, Answering
from sif.serving.questions import RecommendQuestion as Question
from sif.serving.questions import Refused, SimilarQuestion


def answering(model: Recommender, unknown: str = "error") -> Answering:
    return Answering(model.fitted_model(), unknown, "v")


def ids(result: Any) -> list[str]:
    assert isinstance(result, Answer), result.line
    return result.ids


def refusal(result: Any) -> str:
    assert isinstance(result, Refused)
    return result.line


def test_items_are_filtered_by_their_features(orders: pd.DataFrame) -> None:
    features = pd.DataFrame({"item": [f"i{i}" for i in range(16)]})
    features["half"] = ["low" if i < 8 else "high" for i in range(16)]
    features["tags"] = [f"t{i % 3}|t{i % 4}" for i in range(16)]
    model = Recommender(threads=1, budget="1s", dimension=4).fit(orders, item_features=features)
    server = answering(model)
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
