"""Random search: uniformly drawn selections, each trained from scratch (Bergstra & Bengio, 2012).

Li & Talwalkar (UAI 2019, section 3.1) show that it is the baseline that a search has to beat. What
was drawn before is drawn again, since training it once more would tell nothing new.
"""

from __future__ import annotations

import torch

from sif.methods.sampler import Sampler
from sif.methods.selections import Row

REDRAWS = 1000
"""Of a selection that has been had, before the space counts as used up."""


class RandomSampling(Sampler):
    """The method's state; arguments as of `Sampler`."""

    def _restart(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def _next(self) -> Row | None:
        had = {told.row for told in self.told}
        for _ in range(REDRAWS if len(had) < self.choices.count else 0):
            row = tuple(
                int(torch.randint(size, (), generator=self._generator))
                for size in self.choices.sizes
            )
            if row not in had:
                return row
        return None
