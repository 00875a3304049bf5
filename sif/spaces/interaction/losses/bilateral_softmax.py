"""Bilateral softmax (BSL; Wu et al., ICDE 2024, its pseudo code): a temperature for each side.

Positives are divided by one temperature, the catalog by another, and the sum over the catalog is
raised to the ratio of the two. A higher temperature of positives trusts single ones less. At equal
temperatures it is `softmax`.
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


class BilateralSettings(LossModel):
    """Settings of the loss."""

    positive_temperature: Annotated[
        Temperature,
        Field(description="scores of observed pairs are divided by it"),
        Unit("score units"),
    ] = 0.25
    temperature: Annotated[
        Temperature,
        Field(description="scores of the catalog are divided by it"),
        Unit("score units"),
    ] = 0.2


def bilateral_softmax(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Ratio of temperatures times the log of the catalog's sum, less the observed score."""
    own, scores = settings.own, catalog_scores(interaction, batch)
    ratio = own.temperature / own.positive_temperature
    losses = ratio * scores.log_sums(own.temperature) - scores.own / own.positive_temperature
    return weighted_mean(losses, batch.ids, settings, batch.age)


BSL = LossKind(bilateral_softmax, ("ranking",), shared=True, settings=BilateralSettings, l2=L2_UNIT)
