"""The best items of one user at a time, where scores are products of vectors.

Most of the time of a batch of one goes into preparing it. Here one compiled call scores the items
and another one selects. Every item is scored by the same steps, whatever its place and whatever the
number of items. So items with equal vectors have equal scores, and the lowest of them comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sif.errors import ScoreError
from sif.retrieval.bounds import ByteTable
from sif.retrieval.catalogue import Catalogue
from sif.retrieval.kernels import products, scaled, selection

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Selected = tuple[Floats, NDArray[np.int64]]
Write = Callable[[Floats, int, Mask, Floats], None]
"""Writes a user's scores (1, w) of w items from a number on: side, number, allowed, scores."""

BYTES_FROM = 1 << 20
"""Numbers of the items from which a table of bytes tells first which of them may be the best."""
BYTES_AFTER = 100
"""Users that were answered before the table is made: a model that is soon replaced needs none."""
_PIECE = 1 << 16
"""Items that are scored before the best of them are selected: 256 KB of scores stay in cache."""
_CAST_PIECE = 1 << 11
"""The same of float16 items, which become float32 first: of 64 numbers, rows take 512 KB."""
_BLOCK = 64
"""Users whose sides are made together when one of them is first asked for."""
_ALL = np.zeros(0, dtype=np.bool_)
_NONE = np.zeros(0, dtype=np.int64)


class SingleEngine:
    """Best items of one user.

    Args:
        catalogue: Whose scores are products, on the CPU.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        score, select = products(), selection()
        assert score is not None and select is not None  # noqa: S101
        self._score, self._select = score, select
        self._n_items, self._size = catalogue.n_items, catalogue.n_rows
        whole = catalogue.precision == "float32"
        self._items: Floats | None = catalogue.rows(0, self._size).numpy() if whole else None
        self._write, self._piece = self._writer(catalogue)
        self._asked = 0
        self._bytes: ByteTable | None = None

    @classmethod
    def of(cls, catalogue: object) -> SingleEngine | None:
        """The engine of a catalog; None where a batch of one is needed.

        That is so without numba, on other devices, and where scores are no products.
        """
        usable = isinstance(catalogue, Catalogue) and catalogue.is_sum_of_products
        if not usable or products() is None or selection() is None:
            return None
        assert isinstance(catalogue, Catalogue)  # noqa: S101
        return cls(catalogue) if catalogue.device.type == "cpu" else None

    def top(
        self, left: Floats, k: int, hidden: NDArray[Any] | None = None, allowed: Mask | None = None
    ) -> Selected:
        """The best k items of a user, ties to the lowest item.

        Args:
            left: float32 (r,), the user's side of the products (`Users.left`).
            k: From 1 to the number of items.
            hidden: Integers (h,), items that the user does not get; None: none.
            allowed: bool (n_items,), which items may be recommended; None: all.

        Returns:
            Scores (1, k) and items int64 (1, k); minus infinity and -1 where nothing is left.

        Raises:
            ScoreError: A score among which was to be chosen is not a number.
        """
        closed = _NONE if hidden is None else hidden.astype(np.int64)
        among = _ALL if allowed is None else allowed
        self._asked += 1
        items = self._items
        if self._asked == BYTES_AFTER and items is not None and items.size >= BYTES_FROM:
            self._bytes = ByteTable.of(items[: self._n_items])
        if self._bytes is not None:
            best = self._of_few(self._bytes, left, k, closed, among)
            if best is not None:
                return best
        return self._of_all(left, k, closed, among)

    def _of_few(
        self, table: ByteTable, left: Floats, k: int, closed: NDArray[np.int64], among: Mask
    ) -> Selected | None:
        """The best of the items whose bounds are high enough; None: too many are."""
        items, bounds = self._items, table.bounds(left, among)
        if items is None or bounds is None:
            return None
        highest = self._selected(bounds.upper, k, closed)[1][0]
        if highest[-1] < 0:
            return None
        few = table.taken(bounds, highest, items)
        if few is None:
            return None
        numbers, rows = few
        scores = np.empty((1, len(rows)), np.float32)
        self._score(left, rows, 0, _ALL, scores)
        best, places = self._selected(scores[:, : len(numbers)], k, _NONE)
        return best, numbers[places]

    def _selected(self, scores: Floats, k: int, closed: NDArray[np.int64]) -> Selected:
        """The best of scores (1, n), of which those of closed items are overwritten."""
        best, items = _nothing(k)
        ends = np.array([0, len(closed)])
        if self._select(scores, 0, scores.shape[1], ends, closed, best, items) >= 0:
            raise ScoreError(0)
        return best, items

    def _of_all(self, left: Floats, k: int, closed: NDArray[np.int64], among: Mask) -> Selected:
        """The best of all items, piece by piece."""
        best, items = _nothing(k)
        ends = np.array([0, len(closed)])
        size, piece = self._size, self._piece
        scores = np.empty((1, min(size, piece)), np.float32)
        for start in range(0, size, piece):
            some = scores[:, : size - start]
            stop = min(start + piece, self._n_items)
            self._write(left, start, among, some)
            if self._select(some, start, stop, ends, closed, best, items) >= 0:
                raise ScoreError(0)
        return best, items

    def _writer(self, catalogue: Catalogue) -> tuple[Write, int]:
        """Function that writes scores of items from a number on, and of how many at a time."""
        score, items = self._score, self._items
        if items is not None:
            return lambda left, start, among, out: score(left, items, start, among, out), _PIECE
        side, by_scale = catalogue.compact, scaled()
        if side is None or side.vectors.precision != "int8" or by_scale is None:

            def cast(left: Floats, start: int, among: Mask, out: Floats) -> None:
                stop = start + out.shape[1]
                score(left, catalogue.rows(start, stop).numpy(), 0, among[start:stop], out)

            return cast, _CAST_PIECE
        codes, scales = side.vectors.codes.numpy(), side.vectors.scales.numpy()
        offsets, width = side.offsets.numpy(), side.vectors.codes.shape[1]

        def bytewise(left: Floats, start: int, among: Mask, out: Floats) -> None:
            by_scale(left[:width], codes, scales, start, among, out)
            if offsets.shape[1]:
                out += offsets[start : start + out.shape[1]] @ left[width:]

        return bytewise, _PIECE


def _nothing(k: int) -> Selected:
    """Scores and items (1, k) before anything is selected."""
    best, items = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
    best.fill(-np.inf)
    items.fill(-1)
    return best, items


class UserSides:
    """Sides of the products of known users, made and kept once they are asked for.

    Args:
        make: Rows of users int64 (b,) to their sides (b, r).
        n_users: Users.
    """

    def __init__(self, make: Callable[[NDArray[np.int64]], torch.Tensor], n_users: int) -> None:
        self._make, self._n_users = make, n_users
        self._blocks: dict[int, Floats] = {}

    def __getitem__(self, row: int) -> Floats:
        """The side float32 (r,) of a user, who is in the table."""
        block, place = divmod(row, _BLOCK)
        sides = self._blocks.get(block)
        if sides is None:  # two threads may make the same
            start = block * _BLOCK
            rows = np.arange(start, min(start + _BLOCK, self._n_users))
            sides = self._blocks[block] = self._make(rows).contiguous().numpy()
        side: Floats = sides[place]
        return side
