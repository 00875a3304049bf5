"""The method `hill-climb`: moves to better neighbors, one switch away, until there is none.

Each selection is trained from scratch, as by every sampler. Where no neighbor is better, the climb
starts again at another selection.

    sif run --task cf --method hill-climb --set methods.hill-climb.patience=4
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from pydantic import Field

from sif.config.sections import Count
from sif.core.gates import Selection
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler
from sif.methods.settings import MethodSettings

DRAWS = 1000
"""Draws of a new start before the space counts as used up."""


class HillClimbSettings(MethodSettings):
    """Settings of the method."""

    patience: Count | None = Field(
        None, description="neighbors tried without a better one before a new start; None: all"
    )


class HillClimb(Sampler):
    """Better neighbors, one switch away, each trained from scratch, until there is none.

    Args:
        space: Gives the blocks.
        seed: Of the starts and of the order of the neighbors.
        settings: Of the method.
    """

    def __init__(self, space: Space, seed: int, settings: HillClimbSettings) -> None:
        self._patience = settings.patience
        super().__init__(space, seed)

    def _restart(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._had: set[Selection] = set()
        self._around: list[Selection] = []
        self._height = math.inf

    def _next(self) -> Selection | None:
        while self._around:
            neighbor = self._around.pop()
            if neighbor not in self._had:
                return neighbor
        self._height = math.inf  # whatever comes next is higher ground
        starts = (self.selections.drawn(self._generator) for _ in range(DRAWS))
        return next((start for start in starts if start not in self._had), None)

    def _learn(self, result: Evaluated) -> None:
        self._had.add(result.selection)
        if result.error < self._height:
            self._height = result.error
            around = list(self._neighbors(result.selection))
            order = torch.randperm(len(around), generator=self._generator).tolist()
            self._around = [around[place] for place in order][: self._patience]

    def _neighbors(self, selection: Selection) -> Iterator[Selection]:
        """Selections that differ in the operation of one kept edge."""
        for block in self.selections.blocks:
            for edge, chosen in enumerate(selection[block.name]):
                for operation in range(len(block.operations)):
                    if operation != chosen >= 0:
                        yield selection.switched(block.name, edge, operation)


HILL_CLIMB = MethodKind(seeded(HillClimb), HillClimbSettings, samples=True)
