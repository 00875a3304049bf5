"""Popularity: every user gets the items with the most interactions in the train part."""

from __future__ import annotations

from sif.baselines.base import Baseline, TableScorer, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.item_orders import POPULARITY_ORDER


def fit_popularity(train: Interactions, *unused: object) -> TableScorer:
    """Ranks items by the number of users that met them."""
    return TableScorer.of(POPULARITY_ORDER, train)


POPULARITY = Baseline(
    name="popularity",
    description="most popular items",
    objectives=frozenset({"ranking"}),
    grid=({},),
    fit_grid=one_by_one(fit_popularity),
)
