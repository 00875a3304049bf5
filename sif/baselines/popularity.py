"""Popularity: every user gets the items with the most interactions in the train part."""

from __future__ import annotations

import numpy as np

from sif.baselines.base import Baseline, TableScorer, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import popularity_order


def fit_popularity(train: Interactions, *unused: object) -> TableScorer:
    """Ranks items by the number of users that met them."""
    return TableScorer(np.broadcast_to(popularity_order(train), train.sizes[:2]))


POPULARITY = Baseline(
    name="popularity",
    description="most popular items",
    objectives=frozenset({"ranking"}),
    grid=({},),
    fit_grid=one_by_one(fit_popularity),
)
