"""The share of one row in any loss, for losses without a closed form of folding in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sif.recommender.fold_in_terms import Objective
from sif.spaces.interaction.losses import Batch, LossKind, LossSettings, Weighting
from sif.spaces.interaction.negatives import Drawn
from sif.spaces.interaction.pair_products import PairGraph


class RowScores:
    """Scores of one row with rows of the other field, as a loss reads them (`Scored`).

    Args:
        near: (n,) scores of its pairs, each without its contribution to the row's vector.
        score: Numbers of rows of the other field (k,) to scores (k,).
        others: (n,) the pairs' rows.
        count: Rows of the other field.
        uses_history: Whether pairs contribute to the row's vector.
    """

    is_factorized = False

    def __init__(
        self, near: Tensor, score: Callable[[Tensor], Tensor], others: Tensor, count: int,
        uses_history: bool,
    ) -> None:  # fmt: skip
        self.uses_history = uses_history
        self._near, self._score = near, score
        self._place = torch.zeros(count, dtype=torch.int64, device=others.device)
        self._place[others] = torch.arange(len(others), device=others.device)

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, 2), of which the second column counts."""
        if observed:
            return self._near[self._place[ids[:, 1]]]
        rows, place = torch.unique(ids[:, 1], return_inverse=True)
        return self._score(rows)[place]

    def factors(self) -> None:
        """None for every function."""

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs."""
        return self.pairs(graph.ids())

    def own_on_graph(self, graph: PairGraph) -> None:
        """Nothing: batches of one row have no graph."""


def row_loss(
    kind: LossKind, objective: Objective, scores: RowScores, others: Tensor, target: Tensor,
    drawn: Tensor | None,
) -> Tensor:  # fmt: skip
    """The loss of one row, summed over its pairs.

    Args:
        kind: The loss.
        objective: Its numbers.
        scores: Of the row.
        others: (n,) rows of the other field that it has pairs with.
        target: (n,) targets of the pairs.
        drawn: (t, m) rows that it has no pair with, of which every pair meets each of the t;
            None: the loss takes none.
    """
    rounds = 1 if drawn is None else len(drawn)
    ids = _pairs(others.repeat_interleave(rounds))
    everything = torch.arange(len(objective.even) if kind.background else 0, device=others.device)
    negatives = ids[:, :0] if drawn is None else drawn.repeat(len(others), 1)
    weight = torch.full_like(everything, 1 / len(ids), dtype=target.dtype)
    batch = Batch(
        ids, target.repeat_interleave(rounds), negatives, _pairs(everything), weight,
        shared=Drawn.every(torch.ones_like(objective.even)) if kind.shared else None,
    )  # fmt: skip
    even = objective.even
    weighting = Weighting(torch.ones_like(even[:1]), even, even)
    extra = objective.extra / even if objective.apart else objective.extra
    numbers = LossSettings(
        float(extra[0]), objective.negatives, weighting,
        None if kind.settings is None else kind.settings.model_validate(objective.own),
    )  # fmt: skip
    return len(others) * kind.function(scores, batch, numbers)


def _pairs(others: Tensor) -> Tensor:
    """(n, 2): the one row with others (n,)."""
    return torch.stack([torch.zeros_like(others), others], dim=1)
