"""Popularity: every user gets the items with the most interactions in the train part."""

from __future__ import annotations

import scipy.sparse as sp

from sif.baselines.base import Baseline, Serving, TableScorer, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.item_orders import POPULARITY_ORDER
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights


def fit_popularity(train: Interactions, *unused: object) -> TableScorer:
    """Ranks items by the number of users that met them."""
    return TableScorer.of(POPULARITY_ORDER, train)


def one_order(scorer: TableScorer, train: Interactions, *unused: object) -> OrderNetwork:
    """The item-item model without a weight between items: what every item gets is its place."""
    n_items = train.sizes[1]
    weights = ItemWeights.sparse(sp.csr_matrix((n_items, n_items)), scorer.table[0])
    return OrderNetwork(given_genotype(()), n_items).take(weights)


SERVED_ORDER = Serving(one_order)

POPULARITY = Baseline(
    name="popularity",
    description="most popular items",
    objectives=frozenset({"ranking"}),
    grid=({},),
    fit_grid=one_by_one(fit_popularity),
    serving=SERVED_ORDER,
)
