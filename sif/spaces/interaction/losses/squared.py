"""Squared error of ratings."""

from __future__ import annotations

from torch import Tensor

from sif.spaces.interaction.losses.base import (
    Batch,
    LossKind,
    LossSettings,
    Scored,
    leave_one_out,
    weighted_mean,
)


def squared(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Mean squared error of standardized ratings."""
    if batch.graph is None or not interaction.is_factorized:
        scores, target = interaction.pairs(batch.ids, batch.in_history), batch.target
        ids, age = batch.ids, batch.age
    else:
        scores = leave_one_out(interaction, batch.graph)[1]
        whole = batch.target if batch.graph_target is None else batch.graph_target
        target = whole[batch.graph.order]
        ids = batch.ids if settings.weighting is None else batch.graph.ids()
        age = None if settings.weighting is None else batch.age_on_graph()
    return weighted_mean((scores - target) ** 2, ids, settings, age)


SQUARED = LossKind(squared, ("rating",), graph=True)
