"""The search methods by name: those of this package, and those that others register.

A package adds a method by an entry point of the group `sif.methods` whose value is a `MethodKind`;
it is loaded when its name is asked for, and only then. docs/methods.md has an example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import torch

from sif.config import SearchSection, did_you_mean
from sif.config.cells import CellSearchSection
from sif.config.cf import SearchConfig
from sif.core.method import AskTell, Method, Plan
from sif.core.space import Space
from sif.errors import ConfigError
from sif.methods.darts import Darts, DartsSettings
from sif.methods.exhaustive import Exhaustive
from sif.methods.gdas import Gdas
from sif.methods.nasp import Nasp, NaspSettings
from sif.methods.nsga2 import Nsga2
from sif.methods.random_search import RandomSampling
from sif.methods.random_ws import RandomWSSettings, random_ws
from sif.methods.relaxation import AlphaSettings, CoolingSettings
from sif.methods.sampler import Sampler
from sif.methods.snas import Snas
from sif.methods.tpe import Tpe

GROUP = "sif.methods"
"""Of entry points."""
Make = Callable[[Space, SearchSection, Plan, torch.Generator], Any]
"""Space, section of the configuration, length and random numbers to a `Method` or `AskTell`."""


@dataclass(frozen=True)
class MethodKind:
    """A method by its name.

    Attributes:
        make: Makes it for a space; ConfigError for a space that it does not take.
        warms_up: Whether it trains all operations while alpha rests, first of all.
        mixes: Whether its weight steps train mixtures of all operations.
        samples: Whether it is an `AskTell`, whose selections are trained one by one.
        ends: Whether a sampler asks for a bounded number of selections by itself.
        own_weights: Whether it takes blocks in which each combination has weights of its own
            (`Block.own_weights`); samplers always do.
        arch_every: Weight steps per architecture step; None: the section's.
    """

    make: Make
    warms_up: bool = False
    mixes: bool = False
    samples: bool = False
    ends: bool = False
    own_weights: bool = False
    arch_every: int | None = None

    def every(self, section: SearchSection) -> int:
        """Weight steps per architecture step."""
        return section.arch_every if self.arch_every is None else self.arch_every

    def made(
        self, name: str, space: Space, section: SearchSection, plan: Plan, draws: torch.Generator
    ) -> Any:
        """The method for a space.

        Raises:
            ConfigError: A space that it does not take, or a library that it needs.
        """
        if not (self.own_weights or self.samples) and any(
            block.own_weights for block in space.blocks
        ):
            fit = [n for n, kind in METHODS.items() if kind.own_weights or kind.samples]
            raise ConfigError(
                f"method {name}: expected a space whose selections share weights, found "
                f"{space.name!r}, in which each trains its own; use {', '.join(fit)}"
            )
        return self.make(space, section, plan, draws)


def _nasp(space: Space, section: SearchSection, plan: Plan, draws: torch.Generator) -> Method:
    return Nasp(space, nasp_settings(section, plan.warmup), draws)


def nasp_settings(section: SearchSection, warmup: int) -> NaspSettings:
    """Of the section of a task; what it does not have stays as it is."""
    further: dict[str, Any] = {}
    if isinstance(section, SearchConfig):
        further = {"settle_steps": section.settle, "score": section.score}
    elif isinstance(section, CellSearchSection):
        further = {
            "probe_operations": section.probe_operations, "probe_rows": section.probe_rows,
        }  # fmt: skip
    return NaspSettings(
        warmup_steps=warmup, explore=section.explore, optimizer=section.arch_optimizer,
        lr=section.arch_lr, continuous_lr=section.continuous_lr, eta=section.eta,
        box=section.box, **further,
    )  # fmt: skip


def _alpha(section: SearchSection) -> AlphaSettings:
    return AlphaSettings(lr=section.darts_lr, continuous_lr=section.continuous_lr)


def _darts(order: int) -> Make:
    return lambda space, section, plan, draws: Darts(
        space, DartsSettings(order, _alpha(section), unrolled_lr=section.lr), draws
    )


def _snas(space: Space, section: SearchSection, plan: Plan, draws: torch.Generator) -> Method:
    return Snas(space, CoolingSettings(plan.steps, _alpha(section)), draws)


def _gdas(space: Space, section: SearchSection, plan: Plan, draws: torch.Generator) -> Method:
    return Gdas(space, CoolingSettings(plan.steps, _alpha(section)), draws)


def _random_ws(space: Space, section: SearchSection, plan: Plan, draws: torch.Generator) -> Method:
    return random_ws(space, RandomWSSettings(section.candidates, section.continuous_lr), draws)


def _sampler(make: Callable[[Space, int], Sampler]) -> Make:
    return lambda space, section, plan, draws: make(space, draws.initial_seed() % 2**32)


def _nsga2(space: Space, section: SearchSection, plan: Plan, draws: torch.Generator) -> AskTell:
    return Nsga2(space, draws.initial_seed() % 2**32, section.population)


METHODS: dict[str, MethodKind] = {
    "nasp": MethodKind(_nasp, warms_up=True, own_weights=True),
    "darts-1": MethodKind(_darts(1), mixes=True, arch_every=1),
    "darts-2": MethodKind(_darts(2), mixes=True, arch_every=1),
    "snas": MethodKind(_snas, mixes=True, arch_every=1),
    "gdas": MethodKind(_gdas, arch_every=1),
    "random-ws": MethodKind(_random_ws),
    "random": MethodKind(_sampler(RandomSampling), samples=True),
    "tpe": MethodKind(_sampler(Tpe), samples=True),
    "nsga2": MethodKind(_nsga2, samples=True),
    "exhaustive": MethodKind(_sampler(Exhaustive), samples=True, ends=True),
}


def method_names() -> tuple[str, ...]:
    """Of this package's methods, then of registered ones, which are not loaded."""
    return (*METHODS, *(point.name for point in entry_points(group=GROUP)))


def method_named(name: str, key: str = "method") -> MethodKind:
    """The method of a name.

    Args:
        name: Of this package's or a registered one.
        key: Where the name was given, for messages.

    Raises:
        ConfigError: Nobody has the name, or what was registered is no method.
    """
    if name in METHODS:
        return METHODS[name]
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        known = method_names()
        raise ConfigError(
            f"{key}: expected one of {', '.join(known)}, found {name!r}{did_you_mean(name, known)}"
        )
    try:
        kind = points[0].load()
    except Exception as error:  # whatever a foreign package does when it is imported
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{key}: {name}: {points[0].value} cannot be loaded: {told}") from error
    if not isinstance(kind, MethodKind):
        raise ConfigError(
            f"{key}: {name}: {points[0].value}: expected a MethodKind, found {type(kind).__name__}"
        )
    return kind
