"""Losses of the next item over a catalog: exact, or of drawn items with correction.

Softmax: small catalogs are scored as a whole, some places at a time; each block of scores gives its
share of the gradient before the next one is made, so that it stays in the cache. Of large catalogs
a batch sees its targets and drawn items, whose scores are corrected by the logarithm of how often
they are drawn (Bengio & Senecal, IEEE TNN 2008), so that the sum of exponentials is right in the
mean.

Squared: the error of the whole catalog, where a place's next item is 1 and all others are 0. Scores
that are products need no drawn items, whatever the catalog: the sum of their squares is an inner
product of two small Gram matrices.

Operations that are no product see drawn items, fewer of them: each costs `hidden` times as much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sif.spaces.histories.scoring import PRODUCT, Scoring
from sif.spaces.interaction.losses.catalog import EXACT_ITEMS, FEWER, among
from sif.spaces.interaction.negatives import Drawn, drawn_by, flattened

NONE = -1
"""Target of a place that has none."""
BLOCK_VALUES = 1 << 19
"""Scores of a block: 2 MB in float32, which stay in the second cache."""
LossName = Literal["softmax", "squared"]


@dataclass(frozen=True, eq=False)
class CatalogLoss:
    """Mean loss per target.

    Attributes:
        chances: (items,) chance of each to be drawn.
        samples: Items that are drawn for a batch; None: the whole catalog.
        name: softmax: in nats; squared.
        fewer: Items that are drawn where scores are no products; None: the whole catalog.
    """

    chances: Tensor
    samples: int | None = None
    name: LossName = "softmax"
    fewer: int | None = None

    @classmethod
    def of(
        cls, counts: NDArray[np.int64], samples: int, exact: int = EXACT_ITEMS,
        name: LossName = "softmax",
    ) -> CatalogLoss:  # fmt: skip
        """The loss for a catalog.

        Args:
            counts: (items,) train rows of each.
            samples: Drawn items, where the catalog is large.
            exact: Items up to which the loss is over the whole catalog.
            name: Of the loss.
        """
        chances = flattened(torch.from_numpy(counts + 1.0))
        few = max(1, samples // FEWER)
        return cls(
            chances, samples if len(counts) > exact else None, name,
            few if few < len(counts) else None,
        )  # fmt: skip

    def __call__(
        self, states: Tensor, targets: Tensor, table: Tensor, bias: Tensor, seed: int,
        scoring: Scoring = PRODUCT,
    ) -> Tensor:  # fmt: skip
        """The loss of a batch.

        Args:
            states: (n, hidden) of the places.
            targets: (n,) int64, none missing.
            table: (items, hidden) embeddings.
            bias: (items,).
            seed: Of the drawn items.
            scoring: Of a state and an item.
        """
        if not scoring.is_product:
            drawn = self.drawn(self.fewer, seed, targets.device)
            own = scoring.pairs(states, table[targets]) + bias[targets]
            others = scoring.grid(states, table[drawn.items]) + bias[drawn.items]
            return self.of_scores(own, others, targets, drawn)
        states, table = scoring.factors(states, table)
        if self.name == "squared":
            return catalog_squared_error(states, targets, table, bias)
        if self.samples is None:
            return catalog_cross_entropy(states, targets, table, bias)
        drawn = self.drawn(self.samples, seed, targets.device)
        return sampled_cross_entropy(
            states, targets, table, bias, drawn.items, drawn.often.to(states).log()
        )

    def drawn(self, samples: int | None, seed: int, device: torch.device) -> Drawn:
        """So many drawn items; None: every item once."""
        if samples is None:
            return Drawn.every(torch.ones_like(self.chances, device=device))
        draws = torch.Generator(self.chances.device).manual_seed(seed)
        drawn = drawn_by(self.chances, samples, draws)
        return Drawn(
            drawn.items.to(device, non_blocking=True), drawn.often.to(device, non_blocking=True)
        )

    def of_scores(self, own: Tensor, others: Tensor, targets: Tensor, drawn: Drawn) -> Tensor:
        """The loss of scores that are there.

        Args:
            own: (n,) of the targets.
            others: (n, k) of the drawn items.
            targets: (n,) int64, none missing.
            drawn: The items.
        """
        same, often = targets[:, None] == drawn.items, drawn.often.to(others)
        if self.name == "squared":
            rest = (others.square() / often).masked_fill(same, 0.0).sum(1)
            return ((1 - own).square() + rest).mean()
        return _cross_entropy(own, others - often.log(), same)

    def with_fewer(self) -> CatalogLoss:
        """The same with as few drawn items for products, so that all operations are comparable."""
        return replace(self, samples=self.fewer)


def catalog_squared_error(states: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """Mean squared error of all items' scores, which are 1 for the target and 0 for the others.

    Args:
        states: (n, hidden) of the places.
        targets: (n,) int64, none missing.
        table: (items, hidden).
        bias: (items,).

    Returns:
        A scalar: (1 - s_t)^2 + sum of s_j^2 over the others, in the mean over places.
    """
    rows, items = _with(states, states.new_ones(len(states), 1)), _with(table, bias[:, None])
    squares = ((rows.t() @ rows) * (items.t() @ items)).sum() / len(rows)
    own = (states * table[targets]).sum(1) + bias[targets]
    return squares + 1 - 2 * own.mean()


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
    own = (states * table[targets]).sum(1) + bias[targets]
    others = torch.addmm(bias[drawn] - log_often, states, table[drawn].t())
    return _cross_entropy(own, others, targets[:, None] == drawn)


def _cross_entropy(own: Tensor, others: Tensor, same: Tensor) -> Tensor:
    """Mean nats of own scores (n,) among others (n, k) that are not the `same` item."""
    scores = among(own, others, same)
    return F.cross_entropy(scores, same.new_zeros(len(same), dtype=torch.int64))
