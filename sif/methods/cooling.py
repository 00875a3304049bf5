"""Relaxations whose draws get sharper: a temperature falls over the weight steps of the search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch

from sif.core.space import Space
from sif.methods.relaxed import AlphaSettings, Relaxed


@dataclass(frozen=True)
class CoolingSettings:
    """Numbers of such a method.

    Attributes:
        steps: Weight steps of the search, over which the temperature falls.
        alpha: Of the step of alpha; GDAS, section 4.2, has the defaults as well.
    """

    steps: int
    alpha: AlphaSettings = field(default_factory=AlphaSettings)


class Cooling(Relaxed, ABC):
    """The method's state; arguments as of `Relaxed`."""

    def __init__(self, space: Space, settings: CoolingSettings, generator: torch.Generator) -> None:
        super().__init__(space, settings.alpha, generator)
        self.settings = settings
        self._step = 0

    @abstractmethod
    def _cooled(self, done: float) -> float:
        """The temperature when that share of the steps is done."""

    def temperature(self) -> float:
        """Of the weight step that was asked for last."""
        return self._cooled(min(self._step / max(self.settings.steps - 1, 1), 1.0))

    def state_dict(self) -> dict[str, Any]:
        """Also how far the temperature is."""
        return {**super().state_dict(), "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        super().load_state_dict(state)
        self._step = state["step"]
