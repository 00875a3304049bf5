"""Random search: uniformly drawn selections, each trained from scratch (Bergstra & Bengio, 2012).

Li & Talwalkar (UAI 2019, section 3.1) show that it is the baseline that a search has to beat. No
selection is trained twice: a repeated draw is replaced by another.
"""

from __future__ import annotations

import copy

import torch

from sif.core.gates import Selection
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Evaluated, Sampler


class RandomSampling(Sampler):
    """Drawn selections, each trained from scratch (Bergstra & Bengio, JMLR 2012)."""

    def _restart(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._had: set[Selection] = set()

    def _next(self) -> Selection | None:
        return self.selections.another(self._had, self._generator)

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
