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
from sif.retrieval.catalogue import Catalogue
from sif.retrieval.kernels import products, selection

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Selected = tuple[Floats, NDArray[np.int64]]

_PIECE = 1 << 16
"""Items that are scored before the best of them are selected: 256 KB of scores stay in cache."""
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
        self._n_items, self._items = catalogue.n_items, catalogue.padded.numpy()

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
        ends = np.array([0, len(closed)])
        among = _ALL if allowed is None else allowed
        best, items = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
        best.fill(-np.inf)
        items.fill(-1)
        size = len(self._items)
        scores = np.empty((1, min(size, _PIECE)), np.float32)
        for start in range(0, size, _PIECE):
            some = scores[:, : size - start]
            stop = min(start + _PIECE, self._n_items)
            self._score(left, self._items, start, among, some)
            if self._select(some, start, stop, ends, closed, best, items) >= 0:
                raise ScoreError(0)
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
