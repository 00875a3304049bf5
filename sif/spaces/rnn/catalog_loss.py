"""Softmax losses of the next item over a catalog: exact, or of drawn items with correction.

Small catalogs are scored as a whole, some places at a time; each block of scores gives its share of
the gradient before the next one is made, so that it stays in the cache. Of large catalogs a batch
sees its targets and drawn items, whose scores are corrected by the logarithm of how often they are
drawn (Bengio & Senecal, IEEE TNN 2008), so that the sum of exponentials is right in the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NONE = -1
"""Target of a place that has none."""
EXACT_ITEMS = 20_000
"""Items up to which the loss is over the whole catalog."""
BLOCK_VALUES = 1 << 19
"""Scores of a block: 2 MB in float32, which stay in the second cache."""
FLATTENING = 0.75
"""Power of popularity by which items are drawn (word2vec; Mikolov et al., NIPS 2013)."""


@dataclass(frozen=True, eq=False)
class CatalogLoss:
    """Mean nats per target.

    Attributes:
        chances: (items,) chance of each to be drawn.
        samples: Items that are drawn for a batch; None: the whole catalog.
    """

    chances: Tensor
    samples: int | None = None

    @classmethod
    def of(cls, counts: NDArray[np.int64], samples: int, exact: int = EXACT_ITEMS) -> CatalogLoss:
        """The loss for a catalog.

        Args:
            counts: (items,) train rows of each.
            samples: Drawn items, where the catalog is large.
            exact: Items up to which the loss is over the whole catalog.
        """
        weights = torch.from_numpy(counts + 1.0) ** FLATTENING
        return cls(weights / weights.sum(), samples if len(counts) > exact else None)

    def __call__(
        self, states: Tensor, targets: Tensor, table: Tensor, bias: Tensor, seed: int
    ) -> Tensor:
        """The loss of a batch.

        Args:
            states: (steps, batch, hidden).
            targets: (steps, batch) int64; `NONE` where there is none.
            table: (items, hidden) embeddings.
            bias: (items,).
            seed: Of the drawn items.
        """
        known = targets != NONE
        states, targets = states[known], targets[known]
        if self.samples is None:
            return catalog_cross_entropy(states, targets, table, bias)
        draws = torch.Generator(self.chances.device).manual_seed(seed)
        drawn = torch.multinomial(self.chances, self.samples, replacement=True, generator=draws)
        often = (self.samples * self.chances[drawn]).to(states)
        return sampled_cross_entropy(
            states, targets, table, bias, drawn.to(targets.device), often.log()
        )


def catalog_cross_entropy(states: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """Mean nats of targets (n,) among all items, by the products of states (n, hidden) with them.

    Args:
        states: Of the places.
        targets: int64, none missing.
        table: (items, hidden).
        bias: (items,).

    Returns:
        A scalar, differentiable once.
    """
    wanted = torch.is_grad_enabled()
    return cast(Tensor, _CatalogCrossEntropy.apply(states, targets, table, bias, wanted))


class _CatalogCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, targets: Tensor, table: Tensor, bias: Tensor, wanted: bool
    ) -> Tensor:
        n, width = states.shape
        rows, items = _with(states, states.new_ones(n, 1)), _with(table, bias[:, None])
        by_rows, by_items = torch.empty_like(rows), torch.zeros_like(items)
        total = -(rows * items[targets]).sum()
        size = max(1, BLOCK_VALUES // len(table))
        for block, by_block in zip(rows.split(size), by_rows.split(size), strict=True):
            scores = block @ items.t()
            top = scores.amax(1, keepdim=True)
            shares = scores.sub_(top).exp_()
            sums = shares.sum(1, keepdim=True)
            total += (sums.log() + top).sum()
            if wanted:  # shares are divided by their sums in the smaller factor
                torch.mm(shares, items, out=by_block).div_(sums)
                by_items.addmm_(shares.t(), block / sums)
        by_rows -= items[targets]
        by_items.index_add_(0, targets, rows, alpha=-1)
        ctx.save_for_backward(
            by_rows[:, :width] / n, by_items[:, :width] / n, by_items[:, width] / n
        )
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor | None, ...]:
        by_states, by_table, by_bias = ctx.saved_tensors
        return by_loss * by_states, None, by_loss * by_table, by_loss * by_bias, None


def _with(vectors: Tensor, column: Tensor) -> Tensor:
    """One factor with another column: the product of two then holds the bias."""
    return torch.cat([vectors, column], dim=1)


def sampled_cross_entropy(
    states: Tensor, targets: Tensor, table: Tensor, bias: Tensor, drawn: Tensor, log_often: Tensor
) -> Tensor:
    """Mean nats of targets among themselves and drawn items, corrected.

    A target is not drawn, so its own score is not corrected; where it was drawn as well, that draw
    does not count.

    Args:
        states: (n, hidden) of the places.
        targets: (n,) int64, none missing.
        table: (items, hidden).
        bias: (items,).
        drawn: (k,) int64 items, with replacement.
        log_often: (k,) logarithm of the expected number of draws of each.

    Returns:
        A scalar.
    """
    own = (states * table[targets]).sum(1, keepdim=True) + bias[targets, None]
    others = torch.addmm(bias[drawn] - log_often, states, table[drawn].t())
    others = others.masked_fill(targets[:, None] == drawn, -torch.inf)
    scores = torch.cat([own, others], dim=1)
    return F.cross_entropy(scores, torch.zeros_like(targets))
