"""Scores of items by the state behind a history: an operation of interaction functions on top.

All that is searched on top is an operation of a state and an item, so that ranking stays a function
of two vectors. Operations that are products in another form (`Operation.factors`) score a catalog
by one matrix product; the others go through pairs, some at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sif.spaces.interaction.operations import OPERATIONS, Factors, Operation

BLOCK_VALUES = 1 << 18
"""States x items x width that an operation without factors works on at once: 1 MB in float32."""


@dataclass(frozen=True, eq=False)
class Scoring:
    """The function w^T O(state, item), without the item's bias.

    Attributes:
        operation: Of two vectors.
        readout: (width,) w; None: ones.
    """

    operation: Operation
    readout: Tensor | None = None

    @property
    def is_product(self) -> bool:
        """True if scores are inner products of something of the state and something of the item."""
        return self.operation.factors is not None

    def factors(self, states: Tensor, items: Tensor) -> Factors:
        """States (n, r) and items (m, r) whose products are the scores of all pairs."""
        assert self.operation.factors is not None  # noqa: S101
        if self.readout is None:
            return states, items
        return self.operation.factors(states, items, self.readout)

    def pairs(self, states: Tensor, items: Tensor) -> Tensor:
        """Scores (...,) of vectors (..., hidden) that broadcast."""
        combined = self.operation.combine([states, items])
        return combined.sum(-1) if self.readout is None else combined @ self.readout

    def grid(self, states: Tensor, items: Tensor) -> Tensor:
        """Scores (n, m) of states (n, hidden) and items (m, hidden)."""
        if self.is_product:
            left, right = self.factors(states, items)
            return left @ right.t()
        size = max(1, BLOCK_VALUES // max(1, items.numel()))
        return torch.cat([self.pairs(part[:, None], items) for part in states.split(size)])


PRODUCT = Scoring(OPERATIONS["multiply"])
"""The plain inner product."""


def first_readout(operation: Operation, hidden: int) -> Tensor:
    """Where a readout (width,) starts: ones of a product, else +1 and -1 in turn.

    Of a sum of maxima with equal signs every item of large vectors would be best for everybody.
    """
    readout = torch.ones(hidden * operation.width(2))
    if operation.name != "multiply":
        readout[1::2] = -1
    return readout
