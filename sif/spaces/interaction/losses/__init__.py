"""Training losses of scored pairs, a file each, and the batches that they need."""

from sif.spaces.interaction.losses.base import (
    Batch,
    Loss,
    LossKind,
    LossModel,
    LossSettings,
    Scored,
    against,
    weighted_mean,
)
from sif.spaces.interaction.losses.squared import squared
from sif.spaces.interaction.losses.weighting import WEIGHTINGS, Weighting
from sif.spaces.interaction.losses.whole_data import whole_data

__all__ = [
    "WEIGHTINGS",
    "Batch",
    "Loss",
    "LossKind",
    "LossModel",
    "LossSettings",
    "Scored",
    "Weighting",
    "against",
    "squared",
    "weighted_mean",
    "whole_data",
]
