"""Softmax over the catalog: cross-entropy of an observed item among all items.

As the softmax loss of Wu et al., "On the effectiveness of sampled softmax loss for item
recommendation" (TOIS 2024), with a temperature. Small catalogs are scored as a whole; of large
ones, and where scores are no product, drawn items stand for the rest (see `catalog`).
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
    Temperature,
    weighted_mean,
)
from sif.spaces.interaction.losses.catalog import L2_UNIT, catalog_scores
from sif.utils.units import Unit


class SoftmaxSettings(LossModel):
    """Settings of the loss."""

    temperature: Annotated[
        Temperature, Field(description="scores are divided by it"), Unit("score units")
    ] = 0.2


def softmax(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Cross-entropy of the observed item among the catalog, at a temperature."""
    temperature = settings.own.temperature
    scores = catalog_scores(interaction, batch)
    losses = scores.log_sums(temperature) - scores.own / temperature
    return weighted_mean(losses, batch.ids, settings, batch.age)


SOFTMAX = LossKind(softmax, ("ranking",), shared=True, settings=SoftmaxSettings, l2=L2_UNIT)
