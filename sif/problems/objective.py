"""The training objective of an interaction function: its loss, and the L2 penalty of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sif.spaces.interaction.block_loss import network_loss
from sif.spaces.interaction.embeddings import Tables
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.losses import Batch, Weighting
from sif.spaces.interaction.space_kind import NamedLoss
from sif.utils.ranks import sharing

POWER = {"plain": 0.0, "sqrt": 0.5, "linear": 1.0}
"""The setting `loss.l2_scaling` to the power of a row's pairs by which its L2 strength grows."""


def strengths_of(
    counts: Sequence[Tensor], rows: int, l2: float, scaling: str
) -> tuple[Tensor, ...]:  # fmt: skip
    """L2 strength of every row of the tables per observed train row.

    Args:
        counts: (n_rows,) train rows of each row, by field.
        rows: All train rows.
        l2: The total strength.
        scaling: A key of `POWER`.
    """
    return tuple(l2 * count.clamp(min=1) ** POWER[scaling] / rows for count in counts)


def shares_of(strengths: tuple[Tensor, ...], batch: Batch, pairs: int) -> tuple[Tensor, ...]:
    """The strengths for a batch: those of a block's users once a pass, all others always.

    What a user's row weighs in the whole loss, per pair, is carried by the pairs of its block.

    Args:
        strengths: Of every row, by field.
        batch: The batch.
        pairs: Pairs of the train part.
    """
    if batch.rows is None:
        return strengths
    first, *others = strengths
    of_block = max(len(batch.ids), 1) / (batch.share or 1.0)
    return (first[batch.rows] * (pairs / of_block), *others)


@dataclass(frozen=True, eq=False)
class Objective:
    """Loss and penalty of a batch, as a design weighs its pairs.

    Attributes:
        net: The network in training.
        design: Of the network.
        loss: The training loss.
        weighting: Of its pairs; None: all alike.
        strengths: Of every row, see `strengths_of`.
        pairs: Pairs of the train part.
    """

    net: InteractionNetwork
    design: Design
    loss: NamedLoss
    weighting: Weighting | None
    strengths: tuple[Tensor, ...]
    pairs: int

    def __call__(self, batch: Batch) -> Tensor:
        """The objective of a batch, a scalar."""
        settings = replace(self.loss.settings, weighting=self.weighting)
        tables, data = network_loss(self.net, batch, self.loss.kind, settings)
        if self.design.unit:  # there is no length to penalize
            return data
        shares = shares_of(self.strengths, batch, self.pairs)
        norm = tables.squared_norm(shares)
        return data + (norm if batch.share is None else norm + _norm_of_others(tables, shares))


def _norm_of_others(tables: Tables, strengths: tuple[Tensor, ...]) -> Tensor:
    """The norm of the rows that other processes train: a number, whose gradient is theirs."""
    with torch.no_grad():
        mine = tables.norm_of_users(strengths)
        total = mine.clone()
        sharing().add(total)
        return total - mine
