"""Popularity: every user gets the items with the most interactions in the train part."""

from __future__ import annotations

import numpy as np

from sif.baselines.base import Baseline, Params, TableScorer, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import popularity_order


def fit_popularity(train: Interactions, params: Params, seed: int, threads: int) -> TableScorer:
    """Rank items by the number of users that met them."""
    del params, seed, threads
    return TableScorer(np.broadcast_to(popularity_order(train), train.sizes[:2]))


POPULARITY = Baseline(
    name="popularity",
    description="most popular items",
    objectives=frozenset({"ranking"}),
    grid=({},),
    fit_grid=one_by_one(fit_popularity),
)
