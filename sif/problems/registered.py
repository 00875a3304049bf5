"""The space and the loss that a configuration names, with settings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sif.config import CFConfig
from sif.config.messages import NO_ORIGINS, Origins, section_place, validated
from sif.errors import ConfigError
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.spaces.interaction.space_kind import SpaceKind
from sif.utils.registry import Registry

DEFAULT_LOSS = {"ranking": "whole-data", "rating": "squared"}


def check_registered(config: CFConfig) -> None:
    """Raises ConfigError for a space or a loss that cannot be used."""
    space_of(config)
    loss_of(config)


def check_own_settings(config: CFConfig, origins: Origins = NO_ORIGINS) -> None:
    """Refuses settings of spaces and losses, also of those that the job does not use.

    Args:
        config: Of a job.
        origins: Where its values came from, for messages.

    Raises:
        ConfigError: A name that nobody has, or settings that it does not have or take.
    """
    for section, registry in (("spaces", SPACES), ("losses", LOSSES)):
        for name, given in getattr(config, section).items():
            _own_settings(section, registry, name, given, origins)


def space_of(config: CFConfig) -> tuple[SpaceKind, Any]:
    """The configured space and its settings.

    Raises:
        ConfigError: None of that name, or settings that it does not have or take.
    """
    kind = SPACES.named(config.space)
    return kind, _own_settings("spaces", SPACES, config.space, config.spaces.get(config.space, {}))


def loss_of(config: CFConfig, name: str | None = None) -> tuple[str, LossKind, Any]:
    """A loss with its name and its settings; the objective's own where none is named.

    Args:
        config: Of the job.
        name: Of the loss; None: the configured one.

    Raises:
        ConfigError: None of that name, one of another objective, or settings that it does not have
            or take.
    """
    name = name or config.loss.name or DEFAULT_LOSS[config.objective]
    kind = LOSSES.named(name, "loss.name")
    if config.objective not in kind.objectives:
        fit = [own for own in LOSSES if config.objective in LOSSES[own].objectives]
        raise ConfigError(
            f"loss.name {name!r} contradicts objective {config.objective!r}, which takes "
            f"{', '.join(fit)}"
        )
    return name, kind, _own_settings("losses", LOSSES, name, config.losses.get(name, {}))


def _own_settings(
    section: str,
    registry: Registry[Any],
    name: str,
    given: Mapping[str, Any],
    origins: Origins = NO_ORIGINS,
) -> BaseModel | None:
    place = section_place(section, name, origins)
    model: type[BaseModel] | None = registry.named(name, place).settings
    if model is not None:
        return validated(model, given, (section, name), origins)
    if given:
        raise ConfigError(f"{place}.{name}: expected no settings, found {', '.join(given)}")
    return None
