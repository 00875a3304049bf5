"""New items, which no training has seen: how well a model ranks them among themselves.

In a ranking of the whole catalog new items compete with known ones, of which each user has the best
already; among themselves the question is which of the new ones are for whom.
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


def new_items(train: Interactions, truth: Interactions) -> Mask:
    """Items of a part that the train part does not have: bool (n_items,)."""
    there = np.zeros(train.sizes[1], np.bool_)
    there[truth.ids[:, 1]] = True
    return there & cold_rows(train, 1)


def rows_of_new(train: Interactions, truth: Interactions) -> Interactions:
    """Rows of a part whose item is new, and whose user is not."""
    is_new = new_items(train, truth)[truth.ids[:, 1]]
    return truth.select(is_new & ~cold_rows(train, 0)[truth.ids[:, 0]])


def evaluate_new(
    scorer: RankingScorer, train: Interactions, truth: Interactions,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:  # fmt: skip
    """Ranks the new items of a part among themselves, for known users who have one of them.

    Args:
        scorer: Fitted on `train`.
        train: The known rows.
        truth: The part.
        cutoffs: Of the metrics.

    Raises:
        DataError: The part has no such row.
    """
    among = Among(scorer, new_items(train, truth))
    return rank_all_items(among, (), rows_of_new(train, truth), cutoffs)
