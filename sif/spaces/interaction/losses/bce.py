"""Binary cross-entropy against drawn items (He et al., Neural CF, WWW 2017, equation 7)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sif.spaces.interaction.losses.base import (
    Batch,
    LossKind,
    LossSettings,
    Scored,
    against,
    weighted_mean,
)


def cross_entropy(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Binary cross-entropy, observed rows against drawn ones."""
    observed, negatives = against(interaction, batch)
    losses = F.softplus(-observed) + F.softplus(negatives).sum(dim=1)
    return weighted_mean(losses, batch.ids, settings, batch.age)


BCE = LossKind(cross_entropy, ("ranking",), negatives=True)
