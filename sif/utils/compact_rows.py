"""Rows of numbers in a half or a quarter of the memory that float32 takes.

Every row has a scale of its own, which its largest number sets. So a row of small numbers keeps as
many digits as one of large numbers, and none is too large for float16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

Precision = Literal["float32", "float16", "int8"]
"""Type of the numbers of a table."""
DTYPES = {"float16": torch.float16, "int8": torch.int8}
"""Types of `CompactRows.codes`, by precision."""
_LARGEST = {torch.float16: 1.0, torch.int8: 127.0}
"""Size of the largest code of a row."""
_CHUNK = 1 << 14
"""Rows that are rounded at once."""


@dataclass(frozen=True, eq=False)
class CompactRows:
    """A table of rounded numbers: row i is codes[i] * scales[i].

    Attributes:
        codes: float16 or int8 (n, r).
        scales: float32 (n,), above 0.

    Examples:
        >>> import torch
        >>> from sif.utils.compact_rows import CompactRows
        >>> rows = CompactRows.of(torch.tensor([[254.0, -1.0], [0.0, 0.5]]), "int8")
        >>> rows.codes.tolist(), rows.whole()[0].tolist()
        ([[127, 0], [0, 127]], [254.0, 0.0])
    """

    codes: Tensor
    scales: Tensor

    @classmethod
    def of(cls, table: Tensor, precision: Precision) -> Self:
        """Rounds a float32 table (n, r) to "float16" or "int8".

        Raises:
            ValueError: Numbers that are not finite.
        """
        dtype = DTYPES[precision]
        codes = torch.empty(table.shape, dtype=dtype)
        scales = torch.ones(len(table))
        for start in range(0, len(table) if table.shape[1] else 0, _CHUNK):
            some = table[start : start + _CHUNK].detach().float()
            if not bool(some.isfinite().all()):
                raise ValueError("expected finite numbers")
            scale = some.abs().amax(dim=1) / _LARGEST[dtype]
            scale[scale == 0] = 1.0  # of zeros, or of what is too small for float32
            scaled = some / scale[:, None]
            if dtype == torch.int8:
                scaled = scaled.round().clamp(-127, 127)
            codes[start : start + _CHUNK] = scaled.to(dtype)
            scales[start : start + _CHUNK] = scale
        return cls(codes, scales)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def precision(self) -> Precision:
        """The type of the codes."""
        return "int8" if self.codes.dtype == torch.int8 else "float16"

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take."""
        return self.codes.nbytes + self.scales.nbytes

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start..stop as float32 (stop - start, r), which are made anew each time."""
        return self.codes[start:stop].float().mul_(self.scales[start:stop, None])

    def taken(self, at: Tensor) -> Tensor:
        """Rows int64 (...) as float32 (..., r)."""
        return self.codes[at].float().mul_(self.scales[at][..., None])

    def whole(self) -> Tensor:
        """All rows as float32 (n, r)."""
        return self.rows(0, len(self))

    def put(self, at: Tensor, size: int, table: Tensor) -> CompactRows:
        """A table of `size` rows, at least as many as here, with others at some places int64 (m,).

        Args:
            at: The places.
            size: Rows of the new table; those that nobody gives are zeros.
            table: float32 (m, r), which are rounded.

        Raises:
            ValueError: Numbers that are not finite.
        """
        new = CompactRows.of(table, self.precision)
        codes = self.codes.new_zeros(size, *self.codes.shape[1:])
        scales = self.scales.new_ones(size)
        codes[: len(self)], scales[: len(self)] = self.codes, self.scales
        codes[at], scales[at] = new.codes, new.scales
        return CompactRows(codes, scales)
