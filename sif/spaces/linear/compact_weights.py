"""Weights of a served item-item model that are rounded numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch

from sif.spaces.linear.weights import Ids, ItemWeights, Scores
from sif.utils.compact_rows import CompactRows

_CHUNK_BYTES = 1 << 22
"""Bytes of weights that are float32 at a time: 4 MB stay in cache."""


@dataclass(frozen=True, eq=False)
class CompactWeights:
    """The same as `ItemWeights`, the dense ones rounded; each row has a scale of its own.

    Attributes:
        dense: Rounded (s * m, n_items), see `ItemWeights.dense`.
        n_items, items, rest, offsets: See `ItemWeights`.
    """

    dense: CompactRows
    n_items: int
    items: Ids | None = None
    rest: sp.csr_matrix | None = None
    offsets: Scores | None = None

    def full(self) -> ItemWeights:
        """The same in float32, made anew."""
        dense = self.dense.whole().numpy()
        return ItemWeights(dense, self.n_items, self.items, self.rest, self.offsets)

    @property
    def _solved(self) -> int:
        return self.n_items if self.items is None else len(self.items)

    @property
    def size(self) -> int:
        """Number of weights between items."""
        rest: int = 0 if self.rest is None else self.rest.nnz
        return self.dense.codes.numel() + rest

    @cached_property
    def _rows(self) -> Ids:
        """(s * n_items,) row of each entry of a history; -1: the rest has it."""
        scales = len(self.dense) // max(self._solved, 1)
        rows = np.full((scales, self.n_items), -1)
        own = np.arange(len(self.dense)).reshape(scales, self._solved)
        rows[:, slice(None) if self.items is None else self.items] = own
        return rows.ravel()

    def table(self) -> Scores:
        """All weights (s * n_items, n_items) in float32, made anew."""
        return self.full().table()

    def scores(self, histories: sp.csr_matrix) -> Scores:
        """Scores of all items: histories (b, s * n_items) to (b, n_items) float32."""
        if self.rest is None:
            found = np.zeros((histories.shape[0], self.n_items), np.float32)
        else:
            found = np.asarray((histories @ self.rest).toarray(), dtype=np.float32)
        used = np.unique(histories.indices)
        used = used[self._rows[used] >= 0] if len(self.dense) else used[:0]
        columns = sp.csc_matrix(histories[:, used])
        step = max(1, _CHUNK_BYTES // (4 * max(self.n_items, 1)))
        for start in range(0, len(used), step):
            some = slice(start, start + step)
            rows = self.dense.taken(torch.from_numpy(self._rows[used[some]]))
            found += columns[:, some] @ rows.numpy()
        if self.offsets is not None:
            found += self.offsets
        return found

    def between(self, entries: Ids, items: Ids) -> Scores:
        """Weights (k,) from entries of a history (k,), in s * n_items, to items (k,)."""
        if not len(entries):  # scipy gives no array for no entries
            return np.zeros(0, np.float32)
        found = np.zeros(len(entries), np.float32)
        if self.rest is not None:
            found = np.asarray(self.rest[entries, items], dtype=np.float32).ravel()
        rows = self._rows[entries] if len(self.dense) else np.full(len(entries), -1)
        inside = rows >= 0
        at = torch.from_numpy(rows[inside])
        codes = self.dense.codes[at, torch.from_numpy(items[inside])].float()
        found[inside] = (codes * self.dense.scales[at]).numpy()
        return found
