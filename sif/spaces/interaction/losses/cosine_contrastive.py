"""Cosine contrastive loss (CCL of SimpleX; Mao et al., CIKM 2021).

An observed pair loses its distance to 1, and items that the user has not had lose what they score
above a margin, in the mean over them and times a weight. Made for `similarity` cosine; scores that
are products may be above 1, which costs nothing. Margin and weight were the best of three pairs on
a validation part (docs/results/losses.md).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from sif.spaces.interaction.losses.base import (
    Batch,
    LossKind,
    LossModel,
    LossSettings,
    Scored,
    weighted_mean,
)
from sif.spaces.interaction.losses.catalog import catalog_scores
from sif.utils.units import Unit


class CosineContrastiveSettings(LossModel):
    """Settings of the loss."""

    margin: Annotated[
        float,
        Field(ge=-1, le=1, description="score above which unobserved items cost"),
        Unit("score units"),
    ] = 0.8
    negative_weight: Annotated[
        float, Field(gt=0, description="weight of the mean over unobserved items"), Unit("weight")
    ] = 20.0


def cosine_contrastive(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """max(0, 1 - s) of a pair, and weight x mean of max(0, s - margin) of other items."""
    own, scores = settings.own, catalog_scores(interaction, batch)
    others = scores.mean_of_others((scores.grid - own.margin).relu())
    losses = (1 - scores.own).relu() + own.negative_weight * others
    return weighted_mean(losses, batch.ids, settings, batch.age)


COSINE_CONTRASTIVE = LossKind(
    cosine_contrastive, ("ranking",), shared=True, settings=CosineContrastiveSettings
)
