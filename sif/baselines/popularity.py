"""Popularity: every user gets the items with the most interactions in the train part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sif.baselines.base import Baseline, Params, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import popularity_order


@dataclass(frozen=True, eq=False)
class PopularityScorer:
    """The same scores (n_items,) for every user."""

    item_scores: NDArray[np.float32]

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        return np.broadcast_to(self.item_scores, (len(users), len(self.item_scores)))


def fit_popularity(
    train: Interactions, params: Params, seed: int, threads: int
) -> PopularityScorer:
    """Rank items by the number of users that met them."""
    del params, seed, threads
    return PopularityScorer(popularity_order(train))


POPULARITY = Baseline(
    name="popularity",
    description="most popular items",
    objectives=frozenset({"ranking"}),
    grid=({},),
    fit_grid=one_by_one(fit_popularity),
)
