"""A served model that answers as the scorer that was fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sif import Recommender
from sif.adapters.export import export
from sif.adapters.history_scores import history_sequences, user_sequences
from sif.errors import UnknownIdError
from sif.testing import RecommenderCase

ServedCase = Callable[[Any, Recommender, pd.DataFrame], RecommenderCase]
"""Scorer, recommender and the interactions that it knows to a case of the suite of promises."""


class _Served(RecommenderCase):
    unseen = UnknownIdError

    def __init__(self, scorer: Any, recommender: Recommender, known: pd.DataFrame) -> None:
        self.scorer, self.recommender, self.known = scorer, recommender, known

    def users(self) -> list[str]:
        return self.recommender.model_.vocabularies[0].ids.tolist()

    def items(self) -> list[str]:
        return self.recommender.model_.vocabularies[1].ids.tolist()

    def liked(self, user: str) -> set[str]:
        return set(self.known.item[self.known.user == user])

    def expected(self, user: str) -> dict[str, float]:
        row = self.recommender.model_.vocabularies[0].index([user])
        return dict(zip(self.items(), self.scorer.scores(row)[0].tolist(), strict=True))

    def top(self, user: str, n: int, filtered: bool = True) -> list[str]:
        return self.recommender.recommend(user, n, filtered, as_arrays=True)[0].tolist()

    def batch(self, users: list[str], n: int) -> list[list[str]]:
        items, _ = self.recommender.recommend(users, n, as_arrays=True)
        return [[i for i in row if i] for row in items.tolist()]

    def scores(self, user: str) -> dict[str, float]:
        items, scores = self.recommender.recommend(user, 10_000, False, as_arrays=True)
        return dict(zip(items.tolist(), scores.tolist(), strict=True))

    def again(self, folder: Path) -> _Served:
        self.recommender.save(folder)
        return _Served(self.scorer, Recommender.load(folder), self.known)


@pytest.fixture(scope="session")
def served_case() -> ServedCase:
    return _Served


GraphCheck = Callable[[Recommender, Path], None]


@pytest.fixture(scope="session")
def check_graph() -> GraphCheck:
    """Asserts that onnxruntime answers as an item-item model does."""

    def checked(model: Recommender, folder: Path) -> None:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(export(model, "onnx", folder / "model.onnx"))
        history = next(told for told in session.get_inputs() if told.name == "history")
        assert history.shape == ["users", "length"]
        users, items = (vocabulary.ids for vocabulary in model.model_.vocabularies)
        found = session.run(["scores"], user_sequences(model, users[:5]))[0]
        expected = model.server().scores(np.arange(5))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        new = [items[[3, 1, 2]].tolist(), items[:6].tolist(), []]
        scores = session.run(["scores"], history_sequences(model, new))[0]
        for row, mine in zip(scores, new, strict=True):
            ids, best = model.recommend_new(mine, 10, exclude_seen=False, as_arrays=True)
            own = dict(zip(items.tolist(), row.tolist(), strict=True))
            np.testing.assert_allclose([own[item] for item in ids], best, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(np.sort(row)[::-1][: len(best)], best, rtol=1e-4, atol=1e-6)

    return checked
