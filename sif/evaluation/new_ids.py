"""New items or new users, whom no training has seen: how well a model ranks for them.

In a ranking of the whole catalog new items compete with known ones, of which each user has the best
already; among themselves the question is which of the new ones are for whom. New users get known
items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import Mask, cold_rows
from sif.evaluation.evaluate import CUTOFFS, Evaluation, RankingScorer, rank_all_items


@dataclass(frozen=True, eq=False)
class Among:
    """A ranking scorer that recommends some items alone.

    Attributes:
        scorer: Of all items.
        items: bool (n_items,).
    """

    scorer: RankingScorer
    items: Mask

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items) for users (b,)."""
        return np.where(self.items, self.scorer.scores(users), np.float32(-np.inf))


def new_ids(train: Interactions, truth: Interactions, field: int) -> Mask:
    """Users (field 0) or items (1) of a part that the train part does not have: bool (n_f,)."""
    there = np.zeros(train.sizes[field], np.bool_)
    there[truth.ids[:, field]] = True
    return there & cold_rows(train, field)


def rows_of_new(train: Interactions, truth: Interactions, field: int) -> Interactions:
    """Rows of a part whose user (field 0) or item (1) is new, and the other is not."""
    is_new = new_ids(train, truth, field)[truth.ids[:, field]]
    return truth.select(is_new & ~cold_rows(train, 1 - field)[truth.ids[:, 1 - field]])


def evaluate_new(
    scorer: RankingScorer, train: Interactions, truth: Interactions, field: int,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:  # fmt: skip
    """Ranks the new items of a part among themselves, or known items for the new users of a part.

    Args:
        scorer: Fitted on `train`.
        train: The known rows.
        truth: The part.
        field: 1: new items, for known users who have one of them; 0: new users.
        cutoffs: Of the metrics.

    Raises:
        DataError: The part has no such row.
    """
    items = new_ids(train, truth, 1) if field else ~cold_rows(train, 1)
    return rank_all_items(Among(scorer, items), (), rows_of_new(train, truth, field), cutoffs)
