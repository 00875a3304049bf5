"""The record of what a model took in since its fit, kept in its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

JUDGED = 500
"""Judgments that are kept of the first after a fit, and as many of the latest."""
RECENT = 10_000
"""Pairs that are kept of those folded in, the latest."""


def _none() -> NDArray[np.float32]:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Folding:
    """Counts and judgments since a fit.

    Attributes:
        rows: Interactions that were folded in.
        first: Figures of the first new interactions, each predicted before it was learned: NDCG@10
            of a user, or the squared error of a rating.
        latest: The same of those that came last.
        recent: (n, 2) user and item of the latest pairs, by number.
    """

    rows: int = 0
    first: NDArray[np.float32] = field(default_factory=_none)
    latest: NDArray[np.float32] = field(default_factory=_none)
    recent: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))

    def after(
        self, rows: int, judged: NDArray[np.float32], pairs: NDArray[np.int64]
    ) -> Folding:  # fmt: skip
        """The record with further rows, their judgments and pairs (m, 2)."""
        space = JUDGED - len(self.first)
        first = np.concatenate([self.first, judged[:space]])
        latest = np.concatenate([self.latest, judged[space:]])[-JUDGED:]
        recent = np.concatenate([self.recent, pairs])[-RECENT:]
        return Folding(self.rows + rows, first, latest, recent)

    def state(self) -> list[Any]:
        """The record in the form that a file holds."""
        return [self.rows, self.first, self.latest, self.recent]

    @classmethod
    def restored(cls, state: Sequence[Any] | None, sizes: Sequence[int]) -> Folding:
        """Of a file; those of earlier versions have none.

        Raises:
            ValueError: It contradicts the model's sizes.
        """
        if state is None:
            return cls()
        rows, first, latest, recent = state
        if type(rows) is not int or rows < 0:
            raise ValueError(f"expected a number of folded rows, found {rows!r}")
        if recent.ndim != 2 or ((recent < 0) | (recent >= np.asarray(sizes[:2]))).any():
            raise ValueError(f"expected folded pairs below {tuple(sizes[:2])}")
        return cls(rows, first, latest, recent)
