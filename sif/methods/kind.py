"""The registered form of a search method: its factory, its settings and its needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sif.core.method import AskTell, Plan
from sif.core.space import Space
from sif.methods.settings import MethodSettings

Make = Callable[[Space, Any, Plan, torch.Generator], Any]
"""Space, settings of the method, plan and random numbers to a `Method` or `AskTell`."""


@dataclass(frozen=True)
class MethodKind:
    """A method by its name.

    Attributes:
        make: Makes it for a space; ConfigError for a space that it does not take.
        settings: Model of its settings, which `make` gets.
        mixes: Whether its weight steps train mixtures of all operations.
        samples: Whether it is an `AskTell`, whose selections are trained one by one.
        ends: Whether a sampler asks for a bounded number of selections by itself.
        own_weights: Whether it also works on blocks with `Block.own_weights`, where weights belong
            to whole combinations; samplers always do.
        arch_every: Weight steps per architecture step; None: the section's.
    """

    make: Make
    settings: type[MethodSettings] = MethodSettings
    mixes: bool = False
    samples: bool = False
    ends: bool = False
    own_weights: bool = False
    arch_every: int | None = None


def seeded(make: Callable[[Space, int], AskTell]) -> Make:
    """A sampler without settings, such as `Sampler`, from a space and a seed."""
    return lambda space, settings, plan, draws: make(space, draws.initial_seed() % 2**32)
