"""Local search (White et al., UAI 2021, Algorithm 1): from a selection to its best neighbor.

A neighbor is one choice away: another operation on an edge, or another edge into a node. All
neighbors of a drawn selection are trained in random order. The search moves to the best of them
while that is better, and begins anew at a drawn selection when it is not. What was trained before
is compared, and not trained again.
"""

from __future__ import annotations

import torch
from pydantic import Field

from sif.core.gates import Selection
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler
from sif.methods.settings import MethodSettings


class LocalSearchSettings(MethodSettings):
    """Settings of local search."""

    first_improvement: bool = Field(
        False,
        description="whether it moves to the first better neighbor; false: it trains all "
        "neighbors and moves to the best (White et al., UAI 2021, Algorithm 1; the former is a "
        "variant for large spaces there)",
    )


class LocalSearch(Sampler):
    """Moves to better neighbors, each selection trained from scratch (White et al., UAI 2021).

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.

    Attributes:
        center: The selection whose neighbors are trained; None: a new one is to be drawn.
    """

    Settings = LocalSearchSettings

    def __init__(self, space: Space, seed: int, settings: LocalSearchSettings) -> None:
        self._hurries = settings.first_improvement
        super().__init__(space, seed)

    def _restart(self) -> None:
        self._draws = torch.Generator().manual_seed(self.seed)
        self._errors: dict[Selection, float] = {}
        self._queue: list[Selection] = []
        self.center: Selection | None = None

    def _next(self) -> Selection | None:
        if self.center is None:
            return self.selections.another(self._errors, self._draws)
        return self._queue[0]

    def ahead(self, most: int) -> list[Selection]:
        """Neighbors that are trained in any case, see `sif.core.method.AsksAhead`."""
        following = self.ask()
        if following is None:
            return []
        return [following] if self.center is None or self._hurries else self._queue[:most]

    def _learn(self, result: Evaluated) -> None:
        self._errors[result.selection] = result.error
        if self.center is None:
            self._move(result.selection)
        else:
            self._queue.remove(result.selection)
            if self._hurries and result.error < self._errors[self.center]:
                self._move(result.selection)
        while self.center is not None and not self._queue:
            near = self.selections.neighbors(self.center)
            best = min(near, key=self._errors.__getitem__, default=self.center)
            if self._errors[best] < self._errors[self.center]:
                self._move(best)
            else:
                self.center = None

    def _move(self, to: Selection) -> None:
        near = self.selections.neighbors(to)
        order = torch.randperm(len(near), generator=self._draws).tolist()
        self.center = to
        self._queue = [near[number] for number in order if near[number] not in self._errors]


LOCAL_SEARCH = MethodKind(seeded(LocalSearch), LocalSearch.Settings, samples=True)
