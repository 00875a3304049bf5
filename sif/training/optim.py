"""Optimizers and step size schedules of the loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

MakeOptimizer = Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]
"""Parameters and step size to an optimizer."""
Schedule = Callable[[int, int], float]
"""Epochs done and epochs in all to a factor of the step size; a function of these alone, so that a
resumed loop needs no state for it."""

ADAM_BETAS = (0.9, 0.99)
SETTLING = 0.5
"""Steps with a falling step size at the end of a second fit, over those that repeat the first: on
validation of ML-100K and Health as good as a cosine over all, and never left in a bad epoch."""


def adam(parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam with a shorter memory of squares than usual, for runs of a few thousand steps."""
    return torch.optim.Adam(parameters, lr=lr, betas=ADAM_BETAS)


def momentum(weight_decay: float, share: float = 0.9) -> MakeOptimizer:
    """Stochastic gradient descent; parameters without a gradient neither move nor decay."""
    make = partial(torch.optim.SGD, momentum=share, weight_decay=weight_decay)
    return lambda parameters, lr: make(parameters, lr=lr)


def constant(done: int, epochs: int) -> float:
    """The same step size throughout."""
    return 1.0


def cosine(end: float = 0.0) -> Schedule:
    """From 1 to `end` along half a cosine, reached after the last epoch (Loshchilov & Hutter)."""
    return lambda done, epochs: end + (1 - end) * (1 + math.cos(math.pi * done / epochs)) / 2


def settled(former: Schedule, of: int, after: int) -> Schedule:
    """Another schedule for some epochs, then along half a cosine to 0, which no epoch is left for.

    Args:
        former: The other one.
        of: Epochs in all that it was made for.
        after: Epochs that follow it.
    """
    falling = cosine()

    def factor(done: int, epochs: int) -> float:
        if done < after:
            return former(done, of)
        return former(after, of) * falling(done - after + 1, epochs - after + 1)

    return factor


def exponential(share: float) -> Schedule:
    """Times `share` after every epoch."""
    return lambda done, epochs: share**done


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the step size of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
