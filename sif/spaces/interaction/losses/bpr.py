"""Bayesian personalized ranking (Rendle et al., UAI 2009, section 4.1)."""

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


def bpr(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Bayesian personalized ranking: -log sigmoid(observed - drawn), averaged."""
    observed, negatives = against(interaction, batch)
    losses = F.softplus(negatives - observed[:, None]).mean(dim=1)
    return weighted_mean(losses, batch.ids, settings, batch.age)


BPR = LossKind(bpr, ("ranking",), negatives=True)
