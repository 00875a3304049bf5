"""Random search: uniformly drawn selections, each trained from scratch (Bergstra & Bengio, 2012).

Li & Talwalkar (UAI 2019, section 3.1) show that it is the baseline that a search has to beat. What
was drawn before is drawn again, since training it once more would tell nothing new.
"""

from __future__ import annotations

import torch

from sif.core.selections import LISTED, Row
from sif.methods.sampler import Sampler

REDRAWS = 1000
"""Of a selection that has been had, before what is left is gone through."""


class RandomSampling(Sampler):
    """The method's state; arguments as of `Sampler`."""

    def _restart(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)

    def _next(self) -> Row | None:
        choices, had = self.choices, {told.row for told in self.told}
        if len(had) == choices.count:
            return None
        for _ in range(REDRAWS):
            row = choices.drawn(self._generator)
            if row not in had:
                return row
        if choices.count > LISTED:
            return None
        rest = choices.distinct(choices.count, self._generator)
        return next(row for row in rest if row not in had)
