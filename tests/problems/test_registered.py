"""The space and the loss that a configuration names, of this package or another."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from sif.config import CFConfig
from sif.errors import ConfigError
from sif.problems.registered import check_own_settings, check_registered, loss_of, space_of
from sif.spaces.interaction.losses import LossKind, squared
from sif.spaces.interaction.registry import LOSSES, SPACES
from sif.utils import registry


class Warmth(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(0.5, gt=0)


THEIRS = LossKind(squared, ("rating",), settings=Warmth)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss 'theirs' of another package."""

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        ours = group == "sif.losses" and name in (None, "theirs")
        return [EntryPoint("theirs", "their:LOSS", group)] if ours else []

    monkeypatch.setattr(registry, "entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", lambda point: THEIRS)


def rating(**values: Any) -> CFConfig:
    return CFConfig(objective="rating", **values)


def test_an_objective_has_a_loss_of_its_own() -> None:
    assert loss_of(CFConfig()) == ("whole-data", LOSSES["whole-data"], None)
    assert loss_of(rating()) == ("squared", LOSSES["squared"], None)
    assert space_of(CFConfig(space="staged")) == (SPACES["staged"], None)


@pytest.mark.usefixtures("theirs")
def test_a_loss_of_another_package_has_settings_of_its_own() -> None:
    assert loss_of(rating(loss={"name": "theirs"})) == ("theirs", THEIRS, Warmth())
    warm = {"theirs": {"temperature": 2.0}}
    _, _, settings = loss_of(rating(loss={"name": "theirs"}, losses=warm))
    assert settings == Warmth(temperature=2.0)


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize(
    ("config", "told"),
    [
        (CFConfig(loss={"name": "theirs"}), "contradicts objective 'ranking', which takes whole-d"),
        (rating(loss={"name": "bpr"}), "'bpr' contradicts objective 'rating', which takes squared"),
        (rating(loss={"name": "their"}), "loss.name: .*, squared, theirs, found 'their'; did you"),
        (rating(losses={"theirs": {"temperature": 0}}), "^losses.theirs.temperature: .* than 0, f"),
        (rating(losses={"theirs": {"temprature": 1}}), "did you mean 'temperature'"),
        (rating(losses={"bpr": {"x": 1}}), "losses.bpr: expected no settings, found x"),
        (rating(spaces={"cells": {}}), "spaces: expected one of sif"),
        (rating(space="sfi"), "space: expected one of sif, primitives, staged, found 'sfi'; did"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(config: CFConfig, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as e:
        check_registered(config)
        check_own_settings(config)
    assert "\n" not in str(e.value)
