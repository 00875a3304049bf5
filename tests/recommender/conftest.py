"""A served model that answers as the scorer that was fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sif import Recommender
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
