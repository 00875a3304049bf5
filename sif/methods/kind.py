"""The registered form of a search method: its factory, its settings and its needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sif.core.method import AskTell, Plan
from sif.core.space import Space
from sif.methods.settings import MethodSettings
from sif.utils.registry import check_fields

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
        bounded: Whether it keeps `Plan.bounds`; samplers need not.
        arch_every: Weight steps per architecture step; None: the section's.

    Raises:
        ConfigError: `make` does not take its arguments, or `settings` is no such class.
    """

    make: Make
    settings: type[MethodSettings] = MethodSettings
    mixes: bool = False
    samples: bool = False
    ends: bool = False
    own_weights: bool = False
    bounded: bool = False
    arch_every: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, {"make": "space, settings, plan, draws"}, MethodSettings)


def seeded(make: Callable[..., AskTell]) -> Make:
    """A sampler, such as `Sampler`, from a space, a seed and its settings, if it has any."""

    def seeded_make(space: Space, settings: Any, plan: Plan, draws: torch.Generator) -> AskTell:
        own = (settings,) if type(settings).model_fields else ()
        return make(space, draws.initial_seed() % 2**32, *own)

    seeded_make.__doc__ = make.__doc__
    return seeded_make
