"""Scores of observed pairs among the whole catalog, or among items that stand for it.

A batch brings users with all of their pairs. Where scores are products and the catalog is not too
large, one product of a batch's users with all items gives every score; each observed pair is then
scored without its own part, as everywhere. Elsewhere the batch's drawn items stand for the catalog:
their exponentials are divided by how often they are expected to be drawn (Bengio & Senecal, IEEE
TNN 2008), so that the sum is right in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sif.spaces.interaction.negatives import Drawn

if TYPE_CHECKING:
    from sif.spaces.interaction.losses.base import Batch, Scored

EXACT_ITEMS = 20_000
"""Items up to which a loss is over the whole catalog."""
L2_UNIT = 0.1
"""Unit of L2 strengths of softmax losses: on products of histories .1 had NDCG@10 .0693 on
validation, 1 had .0668 (docs/results/losses.md)."""
ROUNDING = 1e-5
"""Relative error of a sum of weights, at most."""
FEWER = 8
"""How many times fewer items are drawn for operations that are no product."""


def among(own: Tensor, others: Tensor, same: Tensor) -> Tensor:
    """Own scores (n,) before others (n, k), those of the `same` item at -inf: (n, 1 + k)."""
    return torch.cat([own[:, None], others.masked_fill(same, -torch.inf)], dim=1)


@dataclass(frozen=True, eq=False)
class CatalogScores:
    """Scores of observed pairs and of what stands for the catalog.

    Attributes:
        own: (n,) of the observed pairs, each without its own part.
        place: (n,) row of each pair in `grid`.
        grid: (u, k) of the batch's users with items.
        items: (n,) observed item of each pair.
        drawn: Items of the columns; None: every item in order, observed pairs as in `own`.
    """

    own: Tensor
    place: Tensor
    grid: Tensor
    items: Tensor
    drawn: Drawn | None = None

    def log_sums(self, temperature: float) -> Tensor:
        """Log of the sum of exp(score / temperature) over the catalog, for each pair: (n,)."""
        if self.drawn is None:
            return torch.logsumexp(self.grid / temperature, dim=1)[self.place]
        corrected = self.grid / temperature - self.drawn.often.log()
        scores = among(self.own / temperature, corrected[self.place], self._same())
        return torch.logsumexp(scores, dim=1)

    def thresholds(self, k: int) -> Tensor:
        """The k-th best score of each pair's user (n,), of the catalog.

        Among drawn items each stands for as many as it is drawn more seldom than once: the
        threshold is the score at which those from the best one on stand for k. -inf where there
        are no more than k items.
        """
        found = self.grid.detach()
        if self.drawn is None:
            if k >= found.shape[1]:
                return torch.full_like(self.own, -torch.inf)
            return found.topk(k, dim=1).values[:, -1][self.place]
        weights, wanted = 1 / self.drawn.often, k * (1 - ROUNDING)
        # However they are ranked, so many stand for k.
        enough = int((weights.sort().values.cumsum(0) < wanted).sum()) + 1
        if enough > len(weights) or k >= float(weights.sum()) * (1 - ROUNDING):
            return torch.full_like(self.own, -torch.inf)
        best = found.topk(enough, dim=1)
        short = (weights[best.indices].cumsum(1) < wanted).sum(1, keepdim=True)
        return best.values.gather(1, short.clamp(max=enough - 1))[self.place, 0]

    def mean_of_others(self, values: Tensor) -> Tensor:
        """Mean over items that are not observed of values (u, k) of the grid, for each pair: (n,).

        Among drawn items the pair's own is left out.
        """
        if self.drawn is None:
            unobserved = torch.ones_like(values).index_put(
                (self.place, self.items), values.new_zeros(())
            )
            sums = (values * unobserved).sum(1) / unobserved.sum(1).clamp(min=1)
            return sums[self.place]
        weight = (~self._same()) / self.drawn.often
        return (values[self.place] * weight).sum(1) / weight.sum(1).clamp(min=1e-12)

    def _same(self) -> Tensor:
        assert self.drawn is not None  # noqa: S101
        return self.items[:, None] == self.drawn.items


def catalog_scores(interaction: Scored, batch: Batch) -> CatalogScores:
    """The scores of a batch that brings `Batch.shared`.

    Args:
        interaction: Scores pairs, or gives factors.
        batch: With users and all of their pairs.
    """
    assert batch.shared is not None  # noqa: S101
    rows, place = _rows(batch.ids)
    users, items = rows[:, 0], batch.ids[:, 1]
    factors = interaction.factors()
    own = interaction.pairs(batch.ids, batch.in_history)
    if factors is not None and len(factors[1]) <= EXACT_ITEMS:
        grid = factors[0][users] @ factors[1].T
        return _whole(interaction, batch, CatalogScores(own, place, grid, items))
    if factors is not None:
        drawn = batch.shared
        grid = factors[0][users] @ factors[1][drawn.items].T
    else:
        drawn = batch.shared.first(max(1, len(batch.shared.items) // FEWER))
        ids = rows.repeat_interleave(len(drawn.items), dim=0)
        ids[:, 1] = drawn.items.repeat(len(rows))
        grid = interaction.pairs(ids).view(len(rows), -1)
    if drawn.complete:
        return _whole(interaction, batch, CatalogScores(own, place, grid, items))
    return CatalogScores(own, place, grid, items, drawn)


def _whole(interaction: Scored, batch: Batch, scores: CatalogScores) -> CatalogScores:
    """Scores of every item, those of observed pairs without their own part."""
    if not (interaction.uses_history and batch.in_history):
        return scores
    grid = scores.grid.index_put((scores.place, scores.items), scores.own)
    return replace(scores, grid=grid)


def _rows(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows (u, k) of ids (n, k) but for the item, which is 0, and the place of each."""
    if ids.shape[1] > 2:  # further fields are the user's, as it were
        others = ids.clone()
        others[:, 1] = 0
        found, place = torch.unique(others, dim=0, return_inverse=True)
        return found, place
    users, place = torch.unique(ids[:, 0], return_inverse=True)
    return torch.stack([users, torch.zeros_like(users)], dim=1), place
