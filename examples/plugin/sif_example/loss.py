"""The loss `tempered`: sampled softmax of scores over a temperature, for rankings.

The lower the temperature, the more the hardest of the drawn items count, as in contrastive losses
(van den Oord et al., 2018, equation 4).

    sif run --task cf --set loss.name=tempered losses.tempered.temperature=0.2
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from sif.config.sections import Rate, Section
from sif.spaces.interaction.losses import (
    Batch,
    LossKind,
    LossSettings,
    Scored,
    against,
    weighted_mean,
)


class TemperedSettings(Section):
    """Settings of the loss."""

    temperature: Rate = Field(0.5, description="scores are divided by it")


def tempered(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Cross-entropy of the observed item among itself and the drawn ones, at a temperature."""
    observed, drawn = against(interaction, batch)
    logits = torch.cat([observed[:, None], drawn], dim=1) / settings.own.temperature
    return weighted_mean(torch.logsumexp(logits, dim=1) - logits[:, 0], batch.ids, settings)


TEMPERED = LossKind(tempered, ("ranking",), negatives=True, settings=TemperedSettings)
