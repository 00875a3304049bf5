"""Items in whole numbers of a byte, which tell a user's scores up to a bound that is kept.

The table takes a quarter of the memory of float32, and a score a quarter of the loads. What it
leaves out is known for every item: by Cauchy and Schwarz, a score differs from that of the rounded
vectors by no more than the product of the lengths of the user and of what rounding took from the
item. So an item whose upper bound is below the lower bounds of k others is not among the best k.
The few others are scored as they are. The answer is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sif.retrieval.kernels import GROUP, TERMS, bounds, take

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TILE = 256
"""Items that the kernel passes over at once."""
_LARGEST = 127
"""Largest number of a byte."""
_MOST = 512
"""Items that are scored after all: where there are more, all items are."""
_CHUNK = 1 << 14
"""Items whose lengths are measured at once."""
_RANGE = (1e-15, 1e18)
"""Products of lengths in which float32 rounds as the bounds expect, with squares that fit."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """Upper bounds of scores.

    Attributes:
        upper: float32 (1, n_items); minus infinity: not allowed.
        factors: a, b; a score is at least its upper bound less twice a * lost + b * length, what
            rounding took from the item and how long it is.
    """

    upper: Floats
    factors: tuple[float, float]


class ByteTable:
    """Items rounded to whole numbers of a byte, with a scale for each.

    Args:
        items: float32 (n, r), finite.
    """

    def __init__(self, items: Floats) -> None:
        self._n_items, self._size = items.shape
        most = np.abs(items).max(axis=1, initial=0)
        scales = np.where(most > 0, most / np.float32(_LARGEST), np.float32(1)).astype(np.float32)
        whole = np.rint(items / scales[:, None]).clip(-_LARGEST, _LARGEST).astype(np.int8)
        lost = np.empty(len(items))
        lengths = np.empty(len(items))
        for start in range(0, len(items), _CHUNK):
            rows = slice(start, start + _CHUNK)
            kept = whole[rows] * scales[rows, None].astype(np.float64)
            lost[rows] = np.linalg.norm(items[rows] - kept, axis=1)
            lengths[rows] = np.linalg.norm(kept, axis=1) + lost[rows]
        self._longest = float(lengths.max(initial=0))
        lost += 1e-30 * self._longest
        tiles = -(-self._n_items // _TILE)
        missing = (0, tiles * _TILE - self._n_items)
        padded = np.pad(whole, (missing, (0, -self._size % TERMS)))
        by_tile = padded.reshape(tiles, _TILE, padded.shape[1]).transpose(0, 2, 1)
        self._tiles = np.ascontiguousarray(by_tile)
        self._scales = np.pad(scales, missing)
        self._lost, self._lengths = (
            np.pad((part * (1 + 1e-5)).astype(np.float32), missing) for part in (lost, lengths)
        )

    @classmethod
    def of(cls, items: Floats) -> ByteTable | None:
        """The table of items (n, r); None: some numbers are none."""
        return cls(items) if np.isfinite(items).all() else None

    @property
    def nbytes(self) -> int:
        """Bytes that the table takes."""
        parts = (self._tiles, self._scales, self._lost, self._lengths)
        return sum(part.nbytes for part in parts)

    def bounds(self, user: Floats, allowed: Mask) -> Bounds | None:
        """Upper bounds of the scores of a user (r,).

        Args:
            user: His side of the products.
            allowed: bool (n_items,), or empty: all are allowed.

        Returns:
            None where bounds do not hold: of numbers that are none, too large or too small.
        """
        write = bounds()
        assert write is not None  # noqa: S101
        exact = user.astype(np.float64)
        length = math.sqrt(exact @ exact) * self._longest
        if not _RANGE[0] < length < _RANGE[1]:
            return None
        if missing := -self._size % TERMS:
            user = np.append(user, np.zeros(missing, np.float32))
        upper = np.empty((1, len(self._scales)), np.float32)
        factors = write(user, self._tiles, self._scales, self._lost, self._lengths, allowed, upper)
        return Bounds(upper[:, : self._n_items], factors)

    def taken(
        self, bounds: Bounds, chosen: NDArray[np.int64], items: Floats
    ) -> tuple[NDArray[np.int64], Floats] | None:
        """The items that may be better than any of some chosen ones (k,), in their order.

        Args:
            bounds: Of the user.
            chosen: Numbers of items.
            items: float32 (m, r), the vectors.

        Returns:
            Their numbers (c,), and their vectors, some of them again up to a multiple of `GROUP`;
            None: there are too many.
        """
        copy = take()
        assert copy is not None  # noqa: S101
        found = np.empty(_MOST, np.int64)
        rows = np.empty((_MOST, items.shape[1]), np.float32)
        upper = bounds.upper[0]
        count = copy(upper, chosen, self._lost, self._lengths, *bounds.factors, items, found, rows)
        if count >= _MOST:
            return None
        return found[:count], rows[: -(-count // GROUP) * GROUP]
