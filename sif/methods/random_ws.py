"""Random search with weight sharing (Li & Talwalkar, UAI 2019, section 3.2), the method to beat.

Weight steps train uniformly drawn selections and nothing else is learned. At the end some
different selections, drawn at the start, are judged on the whole validation part, and the best is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from sif.config.sections import Count
from sif.core.exploration import round_robin_gates
from sif.core.gates import Block, Gates, Selection
from sif.core.method import ArchParameters, ArchReport, Plan
from sif.core.proximal import project
from sif.core.selections import Selections
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.settings import MethodSettings
from sif.utils.units import Unit


class RandomWSSettings(MethodSettings):
    """Settings of random search with weight sharing."""

    candidates: Annotated[Count, Unit("selections")] = Field(
        16, description="different selections that are judged at the end, if the space has so many"
    )


class RandomWS:
    """The method's state; arguments as for `sif.methods.nasp.Nasp`."""

    Settings = RandomWSSettings

    def __init__(
        self, space: Space, settings: RandomWSSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        self._blocks: Sequence[Block] = space.blocks
        self._generator = generator
        self._drawn = Selections(space.blocks).distinct(settings.candidates, generator)
        self._ranked = list(range(len(self._drawn)))
        self._continuous = ArchParameters(space, plan.continuous_lr)

    @property
    def candidates(self) -> int:
        """The number of errors that `choose` asks for."""
        return len(self._drawn)

    def weight_gates(self, step: int) -> Gates:
        """A uniform selection in which operations take turns; those without weights are drawn."""
        drawn = {
            b.name: torch.rand(b.shape, generator=self._generator)
            for b in self._blocks
            if not b.weighted
        }
        return round_robin_gates(drawn, self._blocks, step, self._generator)

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Ranks the candidates by their errors, equal ones in the order of their draws."""
        errors = [error(selection.to_gates(self._blocks)) for selection in self._drawn]
        errors = [e if math.isfinite(e) else math.inf for e in errors]
        self._ranked = sorted(range(len(errors)), key=lambda number: errors[number])

    def proposals(self, most: int) -> list[Selection]:
        """The candidates by their errors; before the choice, in the order of their draws."""
        return [self._drawn[number] for number in self._ranked[:most]]

    def best_gates(self) -> Gates:
        """The chosen candidate; before the choice, the first one drawn."""
        return self._drawn[self._ranked[0]].to_gates(self._blocks)

    def alpha(self) -> dict[str, Tensor]:
        """The gates of the selection."""
        return dict(self.best_gates().weights)

    def state_dict(self) -> dict[str, Any]:
        """Draws, ranks and random state."""
        return {
            "drawn": [selection.to_lists() for selection in self._drawn],
            "ranked": list(self._ranked),
            "generator": self._generator.get_state(),
            "continuous": self._continuous.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._drawn = [Selection(operations) for operations in state["drawn"]]
        self._ranked = list(state.get("ranked", self._ranked))  # none in earlier versions
        self._generator.set_state(state["generator"])
        self._continuous.load_state_dict(state["continuous"])


class LearningRandomWS(RandomWS):
    """The same where a space has continuous parameters, such as P and Q: they alone are learned."""

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One step of them on a validation batch, at a uniformly drawn selection."""
        drawn = {b.name: torch.rand(b.shape, generator=self._generator) for b in self._blocks}
        gates = project(drawn, self._blocks)
        return ArchReport(self._continuous.step(space, valid, gates))


def random_ws(
    space: Space, settings: RandomWSSettings, plan: Plan, generator: torch.Generator
) -> RandomWS:
    """Drawn selections that share weights, the best by validation (Li & Talwalkar, UAI 2019)."""
    kind = LearningRandomWS if space.arch_parameters() else RandomWS
    return kind(space, settings, plan, generator)


RANDOM_WS = MethodKind(random_ws, RandomWS.Settings)
