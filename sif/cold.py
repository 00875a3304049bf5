"""What a model says of users and items that it never met: rows without a train interaction.

Their embeddings carry no information: they stay near their random start, or are shrunk towards
zero, so that such a user would get an arbitrary list and such an item an arbitrary place. One rule
for every model, ours and the baselines, mends that:

- ranking: a cold user gets the items by popularity, a cold item is never recommended;
- rating: a cold row is zero, bias included, which is where the L2 penalty alone would take it.

Because all models give a cold user the same list, a comparison is decided by the users they know.
The choice was made on validation; see docs/protocols.md.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sif.data.interactions import Interactions
from sif.evaluate import RankingScorer, Scorer, pair_matrix
from sif.spaces.interaction import InteractionNetwork

Mask = NDArray[np.bool_]


def cold_rows(train: Interactions, field: int) -> Mask:
    """Which ids of a field have no train interaction: bool (n_f,)."""
    count = np.bincount(train.ids[:, field], minlength=train.sizes[field])
    return np.asarray(count == 0, dtype=np.bool_)


def popularity_order(train: Interactions) -> NDArray[np.float32]:
    """Minus the place of every item by its number of train users: (n_items,), the first has 0.

    Places instead of counts: equal counts are common, and a tie would count against the ranking.
    """
    count = np.asarray(pair_matrix(train).sum(axis=0)).ravel()
    place = np.empty(len(count), dtype=np.float32)
    place[np.argsort(-count, kind="stable")] = np.arange(len(count))
    return -place


@dataclass(frozen=True, eq=False)
class Fallback:
    """The ranking rule for cold users and items.

    Attributes:
        order: float32 (n_items,), what a cold user's items score; minus infinity at cold items.
        cold_users: bool (n_users,).
    """

    order: NDArray[np.float32]
    cold_users: Mask

    @classmethod
    def of(cls, train: Interactions) -> Fallback:
        """The rule for models that are fitted on this train part."""
        order = np.where(cold_rows(train, 1), np.float32(-np.inf), popularity_order(train))
        return cls(order, cold_rows(train, 0))

    def applied(self, scores: NDArray[np.float32], users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) of users (b,) with the rule applied; the argument is left alone."""
        never = np.isneginf(self.order)
        cold = self.cold_users[users]
        if not never.any() and not cold.any():
            return scores
        result = np.where(never, np.float32(-np.inf), scores)
        result[cold] = self.order
        return result


@dataclass(frozen=True, eq=False)
class WithFallback:
    """A ranking scorer under the rule."""

    scorer: RankingScorer
    fallback: Fallback

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        return self.fallback.applied(self.scorer.scores(users), users)


def with_fallback(scorer: Scorer, fallback: Fallback) -> Scorer:
    """A ranking scorer under the rule, a rating scorer as it is."""
    return WithFallback(scorer, fallback) if isinstance(scorer, RankingScorer) else scorer


def with_zero_rows(network: InteractionNetwork, train: Interactions) -> InteractionNetwork:
    """The network with every cold row, embedding and bias, at zero.

    Args:
        network: Trained on the train part; left alone.
        train: Tells which rows are cold.

    Returns:
        A copy, or the network itself where no row is cold.
    """
    cold = [torch.from_numpy(cold_rows(train, f)) for f in range(len(train.sizes))]
    if not any(rows.any() for rows in cold):
        return network
    filled = copy.deepcopy(network)
    tables = [*zip(filled.tables.embeddings, cold, strict=True)]
    tables += zip(filled.tables.biases, cold, strict=False)  # there may be no biases
    with torch.no_grad():
        for table, rows in tables:
            table[rows.to(table.device)] = 0.0
    return filled
