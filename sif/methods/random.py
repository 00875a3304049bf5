"""Random search with shared weights (Li & Talwalkar, UAI 2019), the method to beat.

Weight steps train uniformly drawn selections. Architecture steps judge, one at a time and in turn,
a fixed number of selections drawn at the start; the best by its mean validation loss leads, and
`judge` chooses among all of them at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.draws import in_turn
from sif.methods.base import ArchReport
from sif.prox import Alpha, Batch, Block, Gates, project
from sif.spaces.base import Space


@dataclass(frozen=True)
class RandomSettings:
    """Numbers of the method.

    Attributes:
        candidates: Selections that are judged.
        memory: Share of an earlier mean loss that a new one leaves: weights still change.
    """

    candidates: int = 16
    memory: float = 0.5


class RandomSearch:
    """The method's state.

    Args:
        space: Gives the blocks.
        settings: Numbers of the method.
        generator: On the CPU.
    """

    def __init__(self, space: Space, settings: RandomSettings, generator: torch.Generator) -> None:
        self.settings = settings
        self._blocks: Sequence[Block] = space.blocks
        self._generator = generator
        self._drawn: list[Alpha] = [
            {b.name: torch.rand(b.shape, generator=generator) for b in space.blocks}
            for _ in range(settings.candidates)
        ]
        self._losses = torch.full((settings.candidates,), torch.inf, dtype=torch.float64)
        self._turn = 0

    def weight_gates(self, step: int) -> Gates:
        """A uniform selection in which operations take turns."""
        return in_turn(self._drawn[0], self._blocks, step, self._generator)

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """Judges the next candidate on a validation batch."""
        place = self._turn % len(self._drawn)
        with torch.no_grad():
            loss = float(space.loss(valid, project(self._drawn[place], self._blocks)))
        before = float(self._losses[place])
        memory = self.settings.memory if before < torch.inf else 0.0
        self._losses[place] = (memory * before if memory else 0.0) + (1 - memory) * loss
        self._turn += 1
        return ArchReport(loss)

    def judge(self, loss: Callable[[Gates], float]) -> None:
        """Judges all candidates afresh, once the weights are final.

        Args:
            loss: Of a selection on the whole validation part.
        """
        found = [loss(project(drawn, self._blocks)) for drawn in self._drawn]
        self._losses = torch.tensor(found, dtype=torch.float64)

    def selection(self) -> Gates:
        """The candidate with the lowest mean loss, the first one before any was judged."""
        return project(self._drawn[int(self._losses.argmin())], self._blocks)

    def alpha(self) -> dict[str, Tensor]:
        """The draws behind the selection."""
        return dict(self._drawn[int(self._losses.argmin())])

    def state_dict(self) -> dict[str, Any]:
        """Draws, losses, turn and random state."""
        return {
            "drawn": [dict(alpha) for alpha in self._drawn],
            "losses": self._losses.clone(),
            "turn": self._turn,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._drawn = [dict(alpha) for alpha in state["drawn"]]
        self._losses, self._turn = state["losses"], state["turn"]
        self._generator.set_state(state["generator"])
