"""Every selection of a small space, each trained from scratch: the reference for all searches.

The seed draws the order, so that an interrupted search has seen a fair sample.
"""

from __future__ import annotations

import torch

from sif.core.gates import Selection
from sif.core.selections import LISTED
from sif.errors import ConfigError
from sif.methods.kind import MethodKind, seeded
from sif.methods.sampler import Sampler


class Exhaustive(Sampler):
    """Every selection of a small space, each trained from scratch.

    Raises:
        ConfigError: The space has more than `LISTED` selections.
    """

    def _restart(self) -> None:
        count = self.selections.count
        if count > LISTED:
            total = f"{count:,}" if count < 1e9 else f"~{count:.0e}".replace("+", "")
            raise ConfigError(
                f"method exhaustive: expected a finite space of at most {LISTED:,} selections, "
                f"found {total}"
            )
        draws = torch.Generator().manual_seed(self.seed)
        self._order = torch.randperm(count, generator=draws).tolist()

    def _next(self) -> Selection | None:
        count = len(self.results)
        return self.selections.numbered(self._order[count]) if count < len(self._order) else None

    def ahead(self, most: int) -> list[Selection]:
        """The order is known from the beginning, see `sif.core.method.AsksAhead`."""
        done = len(self.results)
        return [self.selections.numbered(number) for number in self._order[done : done + most]]


EXHAUSTIVE = MethodKind(seeded(Exhaustive), samples=True, ends=True)
