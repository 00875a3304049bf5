"""The space and the loss that a configuration names, with settings of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sif.config import CFConfig
from sif.config.messages import validated
from sif.errors import ConfigError
from sif.spaces.interaction.losses import LossKind
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.spaces.interaction.space_kind import SpaceKind
from sif.utils.registry import Registry

DEFAULT_LOSS = {"ranking": "whole-data", "rating": "squared"}


def check_registered(config: CFConfig) -> None:
    """Raises ConfigError for a space or loss, or settings of one, that cannot be used."""
    space_of(config)
    loss_of(config)
    for section, registry in (("spaces", SPACES), ("losses", LOSSES)):
        for name, values in getattr(config, section).items():
            _own_settings(section, registry, name, values)


def space_of(config: CFConfig) -> tuple[SpaceKind, Any]:
    """The configured space and its settings.

    Raises:
        ConfigError: None of that name, or settings that it does not have or take.
    """
    kind = SPACES.named(config.space)
    return kind, _own_settings("spaces", SPACES, config.space, config.spaces.get(config.space, {}))


def loss_of(config: CFConfig) -> tuple[str, LossKind, Any]:
    """The loss with its name and its settings; the objective's own where none is named.

    Raises:
        ConfigError: None of that name, one of another objective, or settings that it does not have
            or take.
    """
    name = config.loss.name or DEFAULT_LOSS[config.objective]
    kind = LOSSES.named(name, "loss.name")
    if config.objective not in kind.objectives:
        fit = [own for own in LOSSES if config.objective in LOSSES[own].objectives]
        raise ConfigError(
            f"loss.name {name!r} contradicts objective {config.objective!r}, which takes "
            f"{', '.join(fit)}"
        )
    return name, kind, _own_settings("losses", LOSSES, name, config.losses.get(name, {}))


def _own_settings(
    section: str, registry: Registry[Any], name: str, values: Mapping[str, Any]
) -> BaseModel | None:
    model: type[BaseModel] | None = registry.named(name, section).settings
    if model is not None:
        return validated(model, values, (section, name))
    if values:
        raise ConfigError(f"{section}.{name}: expected no settings, found {', '.join(values)}")
    return None
