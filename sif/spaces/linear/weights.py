"""Weights from histories to items: dense from the frequent items, sparse from the rare ones.

Where a catalog is too large for a solution of all (`sif.spaces.linear.inputs`), what a rare item
says for another is what ridge regression gives if nothing else stands beside it in a history: its
product with the target, divided by its own square and the penalty.

Models that nothing searched may have sparse weights alone, and numbers of the items themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ItemWeights:
    """Weights of an item-item model.

    Attributes:
        dense: float32 (s * m, n_items): from m items to all, s scales one below the other.
        n_items: Size of the catalog.
        items: (m,), ascending: which items these are; None: all.
        rest: CSR float32 (s * n_items, n_items), from all other items; None: there are none.
        offsets: float32 (n_items,), what every item gets whatever the history; None: nothing.
    """

    dense: Scores
    n_items: int
    items: Ids | None = None
    rest: sp.csr_matrix | None = None
    offsets: Scores | None = None

    @classmethod
    def sparse(cls, rest: sp.csr_matrix, offsets: Scores) -> ItemWeights:
        """Sparse weights CSR (n_items, n_items) alone, and what every item gets (n_items,)."""
        none, items = np.zeros((0, rest.shape[1]), np.float32), np.zeros(0, np.int64)
        own = np.array(offsets, dtype=np.float32)  # writable, for torch
        return cls(none, rest.shape[1], items, rest.astype(np.float32), own)

    @property
    def scales(self) -> int:
        """Number of matrices side by side."""
        return len(self.dense) // max(self._solved, 1)

    @property
    def _solved(self) -> int:
        """Number of items that the dense weights are from."""
        return self.n_items if self.items is None else len(self.items)

    @property
    def size(self) -> int:
        """Number of weights between items."""
        rest: int = 0 if self.rest is None else self.rest.nnz
        return self.dense.size + rest

    @cached_property
    def _columns(self) -> Ids:
        """(s * m,) entries of a history that the dense weights read."""
        assert self.items is not None  # noqa: S101
        return np.concatenate([scale * self.n_items + self.items for scale in range(self.scales)])

    @cached_property
    def _places(self) -> Ids:
        """(n_items,) place of each item among the dense ones; -1: none."""
        places = np.full(self.n_items, -1)
        places[self.items] = np.arange(self._solved)
        return places

    def table(self) -> Scores:
        """All weights (s * n_items, n_items), dense; not a copy where they are so."""
        if self.rest is None:
            return self.dense
        found = np.asarray(self.rest.toarray(), dtype=np.float32)
        if len(self.dense):
            found[self._columns] = self.dense
        return found

    def scores(self, histories: sp.csr_matrix) -> Scores:
        """Scores of all items: histories (b, s * n_items) to (b, n_items) float32."""
        found = self._from(histories)
        if self.offsets is not None:
            found += self.offsets
        return found

    def _from(self, histories: sp.csr_matrix) -> Scores:
        """The same without what every item gets."""
        if self.rest is None:
            return np.asarray(histories @ self.dense, dtype=np.float32)
        found = np.asarray((histories @ self.rest).toarray(), dtype=np.float32)
        if len(self.dense):
            found += histories[:, self._columns] @ self.dense
        return found

    def between(self, entries: Ids, items: Ids) -> Scores:
        """Weights (k,) from entries of a history (k,), in s * n_items, to items (k,)."""
        if not len(entries):  # scipy gives no array for no entries
            return np.zeros(0, np.float32)
        if self.rest is None:
            return np.asarray(self.dense[entries, items])
        scale, item = np.divmod(entries, self.n_items)
        row = self._places[item]
        inside = row >= 0
        found = np.asarray(self.rest[entries, items], dtype=np.float32).ravel()
        if len(self.dense):
            at = scale[inside] * self._solved + row[inside]
            found[inside] = self.dense[at, items[inside]]
        return found

    def scale_items(self, factors: Scores) -> None:
        """Multiplies what every item gets by its factor (n_items,), in place."""
        self.dense[:] *= factors
        if self.rest is not None:
            self.rest.data *= factors[self.rest.indices]
        if self.offsets is not None:
            self.offsets[:] *= factors
