"""Vectors of features: rows of features, which are constants, times a table that is trained.

Each row of a field is described by a few of m features with weights. The vector of a row is the
weighted sum of the rows of a table (m, d), as in LightFM (Kula, CBRecSys 2015). Rows have length 1,
so that many tags say as much as a single category, and no row moves its vector further than others.
"""

from __future__ import annotations

from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from sif.spaces.interaction.pair_products import csr, sparse_product, starts


class FeatureSums:
    """Features of the rows of a field, which sum up vectors of features.

    They are constants: copies of what holds them share them.

    Args:
        start: (n + 1,) int64 CSR pointers.
        columns: (k,) int64 numbers of features.
        values: (k,) their weights.
        features: M, the number of features.
    """

    def __init__(self, start: Tensor, columns: Tensor, values: Tensor, features: int) -> None:
        self.shape = (len(start) - 1, features)
        self._start, self._columns, self._values = start, columns, values
        rows = torch.repeat_interleave(start.diff())
        order = torch.argsort(columns, stable=True)
        turned = starts(columns, features), rows[order], values[order]
        self._matrix = csr(start, columns, values, self.shape)
        self._transposed = csr(*turned, (features, len(start) - 1))

    @classmethod
    def of(cls, rows: sp.csr_matrix, like: Tensor) -> FeatureSums:
        """Those of a CSR matrix (n, m), as a tensor of some dtype and device has them."""
        start = torch.as_tensor(rows.indptr, device=like.device).long()
        columns = torch.as_tensor(rows.indices, device=like.device).long()
        return cls(start, columns, torch.as_tensor(rows.data).to(like), rows.shape[1])

    def vectors(self, table: Tensor) -> Tensor:
        """Weighted sums (n, d) of a table (m, d), differentiable once by the table."""
        return sparse_product(table, self._matrix, self._transposed)

    def within(self, rows: Tensor) -> FeatureSums:
        """The features of some rows (b,) int64, which count from 0."""
        first, lengths = self._start[rows], self._start.diff()[rows]
        ends = lengths.cumsum(0)
        shift = torch.repeat_interleave(first - ends + lengths, lengths)
        places = torch.arange(len(shift), device=rows.device) + shift
        start = torch.cat([ends.new_zeros(1), ends])
        return FeatureSums(start, self._columns[places], self._values[places], self.shape[1])

    def counts(self, rows: Tensor) -> Tensor:
        """Train pairs (m,) of whatever has each feature, from those of each row (n,)."""
        pairs = torch.repeat_interleave(rows, self._start.diff())
        return rows.new_zeros(self.shape[1]).index_add_(0, self._columns, pairs)

    def __deepcopy__(self, memo: Any) -> FeatureSums:
        """Itself."""
        return self
