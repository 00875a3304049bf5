"""The candidates of some users, in the order that steps give them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sif.retrieval.engine import Top

Places = NDArray[np.int64]
"""Numbers of columns of candidates, -1 for none."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items that may become answers, best first.

    Attributes:
        items: int64 (b, p) numbers of items; -1 behind the last one of a user.
        scores: float32 (b, p) of the model, which answers show.
        weights: float64 (b, p): scores as steps have raised and lowered them.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, best: Top) -> Candidates:
        """Those of an engine."""
        return cls(best.items, best.scores, best.scores.astype(np.float64))

    @property
    def there(self) -> NDArray[np.bool_]:
        """Bool (b, p), False behind the last item."""
        return self.items >= 0

    @property
    def relevance(self) -> NDArray[np.float64]:
        """Weights from 0 to 1 of each user's candidates; 0 where they are equal or not finite."""
        finite = self.there & np.isfinite(self.weights)
        low = np.min(self.weights, axis=1, where=finite, initial=np.inf, keepdims=True)
        high = np.max(self.weights, axis=1, where=finite, initial=-np.inf, keepdims=True)
        spread = np.where(high > low, high - low, 1.0)
        return np.where(finite, (np.where(finite, self.weights, 0.0) - low) / spread, 0.0)

    def ordered(self, order: Places) -> Candidates:
        """The same in another order.

        Args:
            order: (b, p) columns, first to last.
        """
        return Candidates(
            np.take_along_axis(self.items, order, axis=1),
            np.take_along_axis(self.scores, order, axis=1),
            np.take_along_axis(self.weights, order, axis=1),
        )

    def by(self, keys: NDArray[np.float64] | Places | NDArray[np.bool_]) -> Candidates:
        """Sorted by keys (b, p), lowest first; equal ones stay as they are, gaps come last."""
        last = np.where(self.there, keys, np.inf)
        return self.ordered(np.argsort(last, axis=1, kind="stable"))

    def with_first(self, chosen: Places) -> Candidates:
        """Some candidates first, the others behind them in their order.

        Args:
            chosen: (b, k) distinct columns, -1 where fewer are chosen.
        """
        n_chosen, width = chosen.shape[1], self.items.shape[1]
        keys = np.broadcast_to(np.arange(width) + n_chosen, self.items.shape).copy()
        rows, places = np.nonzero(chosen >= 0)
        keys[rows, chosen[rows, places]] = places
        return self.by(keys)

    def without(self, gone: NDArray[np.bool_]) -> Candidates:
        """Those that are not gone (b, p)."""
        return replace(
            self,
            items=np.where(gone, -1, self.items),
            scores=np.where(gone, np.float32(-np.inf), self.scores),
        ).by(np.zeros(self.items.shape))

    def top(self, k: int) -> Top:
        """The first k, (b, k)."""
        short = max(0, k - self.items.shape[1])
        items = np.pad(self.items[:, :k], ((0, 0), (0, short)), constant_values=-1)
        scores = np.pad(self.scores[:, :k], ((0, 0), (0, short)), constant_values=-np.inf)
        return Top(items, scores)


def rows_at_once(elements: int) -> int:
    """Users whose values of so many elements each are held at once: 16 MB of float32."""
    return max(1, (1 << 22) // max(elements, 1))
