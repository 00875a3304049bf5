"""Configurations of jobs with the settings of their methods checked and filled in.

`sif.config` knows no method. What it loads holds the settings of methods as they were given; here
each method's own model takes them, so that a job says the same whoever wrote the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from sif.config import CommonConfig, SearchSection
from sif.config.messages import NO_ORIGINS, Origins, section_place, validated
from sif.core.method import AskTell, Method, Plan
from sif.core.space import Space
from sif.errors import ConfigError
from sif.methods.kind import MethodKind
from sif.methods.registry import METHODS
from sif.methods.settings import MethodSettings

Config = TypeVar("Config", bound=CommonConfig)
MethodValues = Mapping[str, Mapping[str, Any]]
"""Name of a method to settings as they were given (`CommonConfig.methods`)."""


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

    def make(self, space: Space, plan: Plan, draws: torch.Generator) -> Any:
        """The method for a space.

        Raises:
            ConfigError: A space that it does not take, a library that it needs, or a method of
                another package that fails or is none.
        """
        kind = self.kind
        if not (kind.own_weights or kind.samples) and any(b.own_weights for b in space.blocks):
            fit = [n for n, kind in METHODS.items() if kind.own_weights or kind.samples]
            raise ConfigError(
                f"method: expected one of {', '.join(fit)} in the space {space.name}, whose "
                f"functions share no weights, found {self.name}; or choose another space"
            )
        protocol = AskTell if kind.samples else Method
        return METHODS.call(self.name, protocol, kind.make, space, self.settings, plan, draws)


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
    kind = kind or METHODS.named(name)
    settings = validated(kind.settings, methods.get(name, {}), ("methods", name), origins)
    return ConfiguredMethod(name, kind, settings)


def resolved(config: Config, origins: Origins = NO_ORIGINS) -> Config:
    """The configuration with all settings of this package's methods, and of others that it names.

    Args:
        config: Of a job.
        origins: Where its values came from, for messages.

    Raises:
        ConfigError: A method that nobody has, or a setting that its method does not have or take.
    """
    problems: list[str] = []
    methods: dict[str, dict[str, Any]] = {}
    given = config.method_values()
    others = {config.method, *getattr(config, "baselines", ())} & set(METHODS.names())
    for name in dict.fromkeys((*METHODS, *given, *others)):
        try:
            METHODS.named(name, section_place("methods", name, origins))
            settings = configured(name, given, origins=origins).settings
        except ConfigError as error:
            problems.append(str(error))
            continue
        if values := settings.model_dump(mode="json"):
            methods[name] = values
    if problems:
        raise ConfigError("; ".join(problems))
    return config.model_copy(update={"methods": methods})
