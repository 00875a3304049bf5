"""The search methods by name: those of this package, and those that others register.

A package adds a method by an entry point of the group `sif.methods` whose value is a `MethodKind`;
it is loaded when its name is asked for, and only then. docs/methods.md has an example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from pydantic import ValidationError

from sif.config import SearchSection, did_you_mean
from sif.config.loading import Origins
from sif.config.messages import describe
from sif.core.method import Plan
from sif.core.space import Space
from sif.errors import ConfigError
from sif.methods.darts import Darts
from sif.methods.exhaustive import Exhaustive
from sif.methods.gdas import Gdas
from sif.methods.nasp import Nasp
from sif.methods.nsga2 import Nsga2
from sif.methods.outside import GROUP, loaded, outside_names
from sif.methods.random_search import RandomSampling
from sif.methods.random_ws import RandomWS, random_ws
from sif.methods.sampler import Sampler
from sif.methods.settings import MethodSettings
from sif.methods.snas import Snas
from sif.methods.tpe import Tpe

__all__ = [
    "GROUP",
    "METHODS",
    "ConfiguredMethod",
    "MethodKind",
    "configured",
    "method_named",
    "method_names",
]

Make = Callable[[Space, Any, Plan, torch.Generator], Any]
"""Space, settings of the method, plan and random numbers to a `Method` or `AskTell`."""
MethodValues = Mapping[str, Mapping[str, Any]]
"""Name of a method to settings as they were given (`CommonConfig.methods`)."""
NO_ORIGINS: Origins = MappingProxyType({})


@dataclass(frozen=True)
class MethodKind:
    """A method by its name.

    Attributes:
        make: Makes it for a space; ConfigError for a space that it does not take.
        settings: Model of its settings, which `make` gets.
        mixes: Whether its weight steps train mixtures of all operations.
        samples: Whether it is an `AskTell`, whose selections are trained one by one.
        ends: Whether a sampler asks for a bounded number of selections by itself.
        own_weights: Whether it takes blocks in which each combination has weights of its own
            (`Block.own_weights`); samplers always do.
        arch_every: Weight steps per architecture step; None: the section's.
    """

    make: Make
    settings: type[MethodSettings] = MethodSettings
    mixes: bool = False
    samples: bool = False
    ends: bool = False
    own_weights: bool = False
    arch_every: int | None = None


@dataclass(frozen=True)
class ConfiguredMethod:
    """A method with settings, of which one can be made for a space.

    Attributes:
        name: Of the method.
        kind: What it is.
        settings: Of its own model.
    """

    name: str
    kind: MethodKind
    settings: MethodSettings

    def every(self, section: SearchSection) -> int:
        """Weight steps per architecture step."""
        return section.arch_every if self.kind.arch_every is None else self.kind.arch_every

    def made(self, space: Space, plan: Plan, draws: torch.Generator) -> Any:
        """The method for a space.

        Raises:
            ConfigError: A space that it does not take, or a library that it needs.
        """
        kind = self.kind
        if not (kind.own_weights or kind.samples) and any(b.own_weights for b in space.blocks):
            fit = [n for n, kind in METHODS.items() if kind.own_weights or kind.samples]
            raise ConfigError(
                f"method {self.name}: expected a space whose selections share weights, found "
                f"{space.name!r}, in which each trains its own; use {', '.join(fit)}"
            )
        return kind.make(space, self.settings, plan, draws)


def _sampler(make: Callable[[Space, int], Sampler]) -> Make:
    return lambda space, settings, plan, draws: make(space, draws.initial_seed() % 2**32)


def _nsga2(space: Space, settings: Any, plan: Plan, draws: torch.Generator) -> Nsga2:
    return Nsga2(space, draws.initial_seed() % 2**32, settings)


METHODS: dict[str, MethodKind] = {
    "nasp": MethodKind(Nasp, Nasp.Settings, own_weights=True),
    "darts-1": MethodKind(partial(Darts, order=1), Darts.Settings, mixes=True, arch_every=1),
    "darts-2": MethodKind(partial(Darts, order=2), Darts.Settings, mixes=True, arch_every=1),
    "snas": MethodKind(Snas, Snas.Settings, mixes=True, arch_every=1),
    "gdas": MethodKind(Gdas, Gdas.Settings, arch_every=1),
    "random-ws": MethodKind(random_ws, RandomWS.Settings),
    "random": MethodKind(_sampler(RandomSampling), samples=True),
    "tpe": MethodKind(_sampler(Tpe), samples=True),
    "nsga2": MethodKind(_nsga2, Nsga2.Settings, samples=True),
    "exhaustive": MethodKind(_sampler(Exhaustive), samples=True, ends=True),
}


def method_names() -> tuple[str, ...]:
    """Of this package's methods, then of registered ones, which are not loaded."""
    return (*METHODS, *outside_names())


def method_named(name: str, key: str = "method") -> MethodKind:
    """The method of a name.

    Args:
        name: Of this package's or a registered one.
        key: Where the name was given, for messages.

    Raises:
        ConfigError: Nobody has the name, or what was registered is no method.
    """
    kind = METHODS.get(name) or loaded(name, MethodKind, key)
    if kind is None:
        known = method_names()
        raise ConfigError(
            f"{key}: expected one of {', '.join(known)}, found {name!r}{did_you_mean(name, known)}"
        )
    found: MethodKind = kind
    return found


def configured(
    name: str,
    methods: MethodValues,
    kind: MethodKind | None = None,
    origins: Origins = NO_ORIGINS,
) -> ConfiguredMethod:
    """A method with what a configuration says of it.

    Args:
        name: Of the method.
        methods: Settings of methods as they were given.
        kind: The method, where no name of the table or of an entry point leads to it.
        origins: Where values came from, for messages.

    Raises:
        ConfigError: Settings that the method does not have or take, or a name that nobody has.
    """
    kind = kind or method_named(name)
    try:
        settings = kind.settings.model_validate(methods.get(name, {}))
    except ValidationError as error:
        message = describe(error, kind.settings, origins, ("methods", name))
        raise ConfigError(message) from None
    return ConfiguredMethod(name, kind, settings)
