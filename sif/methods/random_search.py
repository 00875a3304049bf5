"""Random search: uniformly drawn selections, each trained from scratch (Bergstra & Bengio, 2012).

Li & Talwalkar (UAI 2019, section 3.1) show that it is the baseline that a search has to beat. No
selection is trained twice: a repeated draw is replaced by another.
"""

from __future__ import annotations

import copy

import torch

from sif.core.gates import Selection
from sif.core.selections import LISTED
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler

REDRAWS = 1000
"""Draws that may repeat known selections; after them the remaining ones are enumerated."""


class RandomSampling(Sampler):
    """Drawn selections, each trained from scratch (Bergstra & Bengio, JMLR 2012)."""

    def _restart(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._had: set[Selection] = set()

    def _next(self) -> Selection | None:
        every, had = self.selections, self._had
        if len(had) == every.count:
            return None
        for _ in range(REDRAWS):
            selection = every.drawn(self._generator)
            if selection not in had:
                return selection
        if every.count > LISTED:
            return None
        rest = every.distinct(every.count, self._generator)
        return next(selection for selection in rest if selection not in had)

    def ahead(self, most: int) -> list[Selection]:
        """Draws that depend on earlier ones alone, see `sif.core.method.AsksAhead`."""
        twin = copy.copy(self)
        twin._generator = torch.Generator()
        twin._generator.set_state(self._generator.get_state())
        twin._had, twin.results = set(self._had), list(self.results)
        found: list[Selection] = []
        while len(found) < most and (selection := twin.ask()) is not None:
            found.append(selection)
            twin.tell(selection, 0.0, 0.0)
        return found

    def _learn(self, result: Evaluated) -> None:
        self._had.add(result.selection)


RANDOM = MethodKind(seeded(RandomSampling), samples=True)
