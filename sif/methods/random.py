"""Random search with shared weights (Li & Talwalkar, UAI 2019), the method to beat.

Weight steps train uniformly drawn selections and nothing else is learned. At the end some
selections, drawn at the start, are judged on the whole validation part, and the best is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.draws import in_turn
from sif.prox import Alpha, Block, Gates, project
from sif.spaces.base import Space


@dataclass(frozen=True)
class RandomSettings:
    """Numbers of the method.

    Attributes:
        candidates: Selections that are judged.
    """

    candidates: int = 16


class RandomSearch:
    """The method's state.

    Args:
        space: Gives the blocks.
        settings: Numbers of the method.
        generator: On the CPU.
    """

    def __init__(self, space: Space, settings: RandomSettings, generator: torch.Generator) -> None:
        self._blocks: Sequence[Block] = space.blocks
        self._generator = generator
        self._drawn: list[Alpha] = [
            {b.name: torch.rand(b.shape, generator=generator) for b in space.blocks}
            for _ in range(settings.candidates)
        ]
        self._best = 0

    def weight_gates(self, step: int) -> Gates:
        """A uniform selection in which operations take turns."""
        return in_turn(self._drawn[0], self._blocks, step, self._generator)

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Keeps the candidate with the lowest error, the first of equals."""
        errors = [error(project(drawn, self._blocks)) for drawn in self._drawn]
        self._best = errors.index(min(errors))

    def selection(self) -> Gates:
        """The chosen candidate; before the choice, the first one drawn."""
        return project(self._drawn[self._best], self._blocks)

    def alpha(self) -> dict[str, Tensor]:
        """The draws behind the selection."""
        return dict(self._drawn[self._best])

    def state_dict(self) -> dict[str, Any]:
        """Draws, choice and random state."""
        return {
            "drawn": [dict(alpha) for alpha in self._drawn],
            "best": self._best,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._drawn = [dict(alpha) for alpha in state["drawn"]]
        self._best = state["best"]
        self._generator.set_state(state["generator"])
