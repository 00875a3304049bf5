"""The rule for cold users and items: rows without a train interaction.

Their embeddings carry no information: they stay near their random start, or are shrunk toward
zero. Such a user would get an arbitrary list, and such an item an arbitrary place. One rule for
every model, ours and the baselines, avoids that:

- ranking: every cold user gets the items in one order, that of their popularity or another one that
  validation prefers (`sif.evaluation.cold_start_choice`), and a cold item is never recommended; the
  same holds for rows folded in from cold rows alone (`ColdStartRule.without_known_pairs`);
- rating: a cold row is zero, bias included, as the L2 penalty alone would make it.

docs/results/protocols.md has the figures behind it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from sif.data.interactions.interactions import Interactions
from sif.evaluation.evaluate import RankingScorer, Scorer
from sif.evaluation.histories import HistoryReader
from sif.evaluation.item_orders import POPULARITY_ORDER, ItemOrder
from sif.retrieval.engine import Top
from sif.spaces.interaction.function import InteractionNetwork

Mask = NDArray[np.bool_]


def cold_rows(train: Interactions, field: int) -> Mask:
    """Mask (n_f,) of the ids of a field without train interactions."""
    count = np.bincount(train.ids[:, field], minlength=train.sizes[field])
    return np.asarray(count == 0, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class ColdStartRule:
    """The ranking rule for cold users and items, which every ranking obeys.

    Attributes:
        order: float32 (n_items,), an item's score for cold users; minus infinity at cold items.
        cold_users: bool (n_users,).
        name: Of the order, for people.
    """

    order: NDArray[np.float32]
    cold_users: Mask
    name: str = POPULARITY_ORDER.name

    @classmethod
    def of(cls, train: Interactions, order: ItemOrder = POPULARITY_ORDER) -> ColdStartRule:
        """The rule for models that are fitted on this train part, by an order of the items."""
        scores = np.where(cold_rows(train, 1), np.float32(-np.inf), order.scores(train))
        return cls(scores, cold_rows(train, 0), order.name)

    @cached_property
    def never_recommended(self) -> Mask:
        """Items that are never recommended, since nothing trained them: bool (n_items,)."""
        return np.asarray(np.isneginf(self.order), dtype=np.bool_)

    def untrained(self, field: int) -> Mask:
        """Rows of a field, 0 for users and 1 for items, that nothing trained: bool (n_f,)."""
        return self.never_recommended if field else self.cold_users

    def without_known_pairs(self, pairs: sparse.csr_array, field: int = 0) -> Mask:
        """Mask (b,) of a field's rows whose pairs, CSR (b, n_other), hold no trained row."""
        is_trained = ~self.untrained(1 - field)[pairs.indices]
        count = np.append(0, np.cumsum(is_trained))[pairs.indptr]
        return np.asarray(np.diff(count) == 0, dtype=np.bool_)

    @property
    def finite_order(self) -> NDArray[np.float32]:
        """`order` (n_items,), with the items that are never recommended behind all others."""
        return np.where(self.never_recommended, self.last, self.order)

    @property
    def last(self) -> np.float32:
        """The score, for a cold user, of an item behind all others."""
        return -np.float32(len(self.order) + 1)

    def applied(self, scores: NDArray[np.float32], cold: Mask) -> NDArray[np.float32]:
        """Scores (b, n_items) with the rule applied, where `cold` (b,) tells which users are cold.

        The scores are left alone, and returned themselves where the rule changes nothing.
        """
        if not self.never_recommended.any() and not cold.any():
            return scores
        result = np.where(self.never_recommended, np.float32(-np.inf), scores)
        result[cold] = self.order
        return result

    def of_pairs(
        self, scores: NDArray[np.float32], users: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Scores (n,) of pairs with the rule applied, users and items (n,) by number."""
        ruled = self.cold_users[users] | self.never_recommended[items]
        return np.where(ruled, self.order[items], scores)

    def servable(self, allowed: Mask | None = None) -> Mask:
        """Items that may be recommended: bool (n_items,), within the allowed ones (None: all)."""
        return ~self.never_recommended if allowed is None else ~self.never_recommended & allowed

    def popular(self, allowed: Mask | None = None) -> NDArray[np.int64]:
        """Servable items in their order: int64 (m,), m of the allowed ones (None: of all)."""
        items = np.flatnonzero(self.servable(allowed))
        return items[np.argsort(-self.order[items], kind="stable")]

    def with_popular(
        self, top: Top, cold: Mask, excluded: sparse.csr_array | None = None,
        allowed: Mask | None = None,
    ) -> Top:  # fmt: skip
        """The best items (b, k) of some users, those of cold ones replaced by the popular.

        Items that the CSR `excluded` (b, n_items) stores are not recommended to that row, and to
        no row those outside `allowed`, bool (n_items,); `cold` is bool (b,).
        """
        if not cold.any():
            return top
        popular, k = self.popular(allowed), top.items.shape[1]
        items, scores = top.items.copy(), top.scores.copy()
        items[cold], scores[cold] = -1, -np.inf
        for row in np.flatnonzero(cold):
            had = excluded[[row]].indices if excluded is not None else ()
            some = popular[: k + len(had)]
            left = some[~np.isin(some, had)][:k]
            items[row, : len(left)], scores[row, : len(left)] = left, self.order[left]
        return Top(items, scores)

    def with_users(self, size: int, folded: NDArray[np.int64]) -> ColdStartRule:
        """The rule for `size` users: those folded in (b,) are not cold, other new ones are."""
        cold = np.ones(size, dtype=np.bool_)
        cold[: len(self.cold_users)] = self.cold_users
        cold[folded] = False
        return replace(self, cold_users=cold)

    def with_items(self, size: int, folded: NDArray[np.int64]) -> ColdStartRule:
        """The rule for `size` items: those folded in (b,) come last, other new ones never."""
        order = np.full(size, -np.inf, dtype=np.float32)
        order[: len(self.order)] = self.order
        order[folded] = np.maximum(order[folded], -np.float32(size))
        return replace(self, order=order)


@dataclass(frozen=True, eq=False)
class WithColdStartRule:
    """A ranking scorer under the rule."""

    scorer: RankingScorer
    cold_start: ColdStartRule

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        return self.cold_start.applied(self.scorer.scores(users), self.cold_start.cold_users[users])

    def knowing(self, rows: Interactions) -> WithColdStartRule:
        """The same where users have these rows alone; who was not trained stays cold."""
        if not isinstance(self.scorer, HistoryReader):
            return self
        return replace(self, scorer=self.scorer.knowing(rows))


def with_cold_start(scorer: Scorer, cold_start: ColdStartRule) -> Scorer:
    """A ranking scorer under the rule, a rating scorer as it is."""
    return WithColdStartRule(scorer, cold_start) if isinstance(scorer, RankingScorer) else scorer


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
