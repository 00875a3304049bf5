"""Softmax loss at K (SL@K; Yang et al., KDD 2025): softmax weighted by the top K.

A pair weighs sigmoid((s - b) / t_w): b is the K-th best score of its user, so that pairs which are,
or nearly are, among the first K count most. With K of the whole catalog every weight is 1.

Weights take no gradient. In the authors' code b takes none, but s does: that part of the gradient
pushes pairs out of the first K, and cost a third of NDCG@10 on validation (docs/results/losses.md).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from sif.spaces.interaction.losses.base import (
    Batch,
    LossKind,
    LossModel,
    LossSettings,
    Scored,
    Temperature,
    weighted_mean,
)
from sif.spaces.interaction.losses.catalog import L2_UNIT, catalog_scores
from sif.utils.units import Unit


class SoftmaxAtKSettings(LossModel):
    """Settings of the loss."""

    k: Annotated[int, Field(ge=1, description="length of the list that counts"), Unit("items")] = 20
    temperature: Annotated[
        Temperature, Field(description="scores are divided by it"), Unit("score units")
    ] = 0.2
    weight_temperature: Annotated[
        Temperature,
        Field(description="distances to the K-th best score are divided by it"),
        Unit("score units"),
    ] = 1.0


def softmax_at_k(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Cross-entropy among the catalog, weighted by the nearness to the user's first K items."""
    own, scores = settings.own, catalog_scores(interaction, batch)
    above = scores.own.detach() - scores.thresholds(own.k)
    weights = torch.sigmoid(above / own.weight_temperature)
    losses = weights * (scores.log_sums(own.temperature) - scores.own / own.temperature)
    return weighted_mean(losses, batch.ids, settings, batch.age)


SOFTMAX_AT_K = LossKind(
    softmax_at_k, ("ranking",), shared=True, settings=SoftmaxAtKSettings, l2=L2_UNIT
)
