"""Configurations of jobs, with the settings of their methods checked and completed.

`sif.config` knows no method and loads the settings of methods unchecked. Here each method's own
model checks them, so that methods of other packages are treated alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from sif.config import CommonConfig, SearchSection, load_config
from sif.config.loading import Origins
from sif.config.messages import NO_ORIGINS, validated
from sif.core.method import Plan
from sif.core.space import Space
from sif.errors import ConfigError
from sif.methods.kind import MethodKind
from sif.methods.registry import METHODS
from sif.methods.settings import MethodSettings

Config = TypeVar("Config", bound=CommonConfig)
MethodValues = Mapping[str, Mapping[str, Any]]
"""Name of a method to its given, unchecked settings (`CommonConfig.methods`)."""


@dataclass(frozen=True)
class ConfiguredMethod:
    """A method with settings, of which one can be made for a space.

    Attributes:
        name: Of the method.
        kind: Its registered kind.
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


def configured(
    name: str,
    methods: MethodValues,
    kind: MethodKind | None = None,
    origins: Origins = NO_ORIGINS,
) -> ConfiguredMethod:
    """A method with the settings of a configuration.

    Args:
        name: Of the method.
        methods: Settings of methods as they were given.
        kind: The method, where no name of the table or of an entry point leads to it.
        origins: Origins of values, for messages.

    Raises:
        ConfigError: Settings that the method does not have or take, or an unknown name.
    """
    kind = kind or METHODS.named(name)
    settings = validated(kind.settings, methods.get(name, {}), ("methods", name), origins)
    return ConfiguredMethod(name, kind, settings)


def resolved(config: Config, origins: Origins = NO_ORIGINS) -> Config:
    """The configuration with all settings of this package's methods, and of others that it names.

    Args:
        config: Of a job.
        origins: Origins of its values, for messages.

    Raises:
        ConfigError: An unknown method, or a setting that its method does not have or take.
    """
    problems: list[str] = []
    methods: dict[str, dict[str, Any]] = {}
    configured_methods = config.method_values()
    others = {config.method, *getattr(config, "baselines", ())} & set(METHODS.names())
    for name in dict.fromkeys((*METHODS, *configured_methods, *others)):
        try:
            METHODS.named(name, _place(name, origins))
            settings = configured(name, configured_methods, origins=origins).settings
        except ConfigError as error:
            problems.append(str(error))
            continue
        if values := settings.model_dump(mode="json"):
            methods[name] = values
    if problems:
        raise ConfigError("; ".join(problems))
    return config.model_copy(update={"methods": methods})


def _place(name: str, origins: Origins) -> str:
    """The place where settings of a method were given, for messages."""
    start = ("methods", name)
    origin = next((o for path, o in origins.items() if path[: len(start)] == start), "")
    return f"{origin}: methods" if origin else "methods"


load_job_config = partial(load_config, complete=resolved)
"""`sif.config.load_config`, with the settings of methods checked and filled in."""
