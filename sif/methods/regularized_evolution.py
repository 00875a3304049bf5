"""Regularized evolution (Real et al., AAAI 2019, Algorithm 1): the oldest dies, not the worst.

The first selections are drawn. Then each new one is the mutant of a parent, the best of a few that
are drawn from the population with replacement, and takes the place of the oldest. A mutation gives
another operation to one edge, or lets a node keep another edge with the same operation. Both kinds
are equally likely, as in the paper, where a space has both.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated

import torch
from pydantic import Field

from sif.core.gates import Selection
from sif.core.space import Space
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler
from sif.methods.settings import MethodSettings
from sif.utils.units import Unit


class RegularizedEvolutionSettings(MethodSettings):
    """Settings of regularized evolution."""

    population: Annotated[int, Field(ge=2), Unit("selections")] = Field(
        16,
        description="selections that live at a time; as for nsga2; the paper has 100, for 20,000 "
        "candidates (Real et al., AAAI 2019, methods)",
    )
    rivals: Annotated[int, Field(ge=1), Unit("selections")] = Field(
        4,
        description="draws from the population, the best of which is the parent; a quarter of it, "
        "as the 25 of the paper (Real et al., AAAI 2019, methods)",
    )


class RegularizedEvolution(Sampler):
    """An evolution whose oldest selection dies, each trained from scratch (Real et al., AAAI 2019).

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
        settings: Of the method.
    """

    Settings = RegularizedEvolutionSettings

    def __init__(self, space: Space, seed: int, settings: RegularizedEvolutionSettings) -> None:
        self._settings = settings
        super().__init__(space, seed)

    def _restart(self) -> None:
        self._draws = torch.Generator().manual_seed(self.seed)
        self._first = self.selections.distinct(self._settings.population, self._draws)
        self._had: set[Selection] = set()
        self.population: deque[Evaluated] = deque(maxlen=self._settings.population)

    def _next(self) -> Selection | None:
        if len(self.results) < len(self._first):
            return self._first[len(self.results)]
        if len(self._had) == self.selections.count:
            return None
        return self._mutant(self._parent().selection)

    def _learn(self, result: Evaluated) -> None:
        self._had.add(result.selection)
        self.population.append(result)  # a full one loses its oldest

    def ahead(self, most: int) -> list[Selection]:
        """The rest of the drawn selections, see `sif.core.method.AsksAhead`; then the next one."""
        drawn = self._first[len(self.results) :][:most]
        following = self.ask()
        return drawn or ([] if following is None else [following])

    def _parent(self) -> Evaluated:
        drawn = [self._number(len(self.population)) for _ in range(self._settings.rivals)]
        return min((self.population[number] for number in drawn), key=lambda t: t.error)

    def _mutant(self, parent: Selection) -> Selection:
        every = self.selections
        kinds = [k for k in (every.other_operations(parent), every.other_edges(parent)) if k]
        mutants = kinds[self._number(len(kinds))]
        return mutants[self._number(len(mutants))]

    def _number(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._draws))


REGULARIZED_EVOLUTION = MethodKind(
    seeded(RegularizedEvolution), RegularizedEvolution.Settings, samples=True
)
