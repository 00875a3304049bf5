"""Lists of recommended items by number, as all metrics of this package take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.errors import ShapeError

Floats = NDArray[np.float64]
Items = NDArray[np.int64]


def checked(lists: ArrayLike, n_items: int) -> Items:
    """The lists as numbers of items.

    Args:
        lists: (n_users, k) numbers of items, best first; -1 where a list is shorter.
        n_items: Size of the catalog.

    Raises:
        ShapeError: Another shape, other values than whole numbers, or a number beyond the catalog.
    """
    found = np.asarray(lists)
    if found.ndim != 2 or found.dtype.kind not in "iu":
        raise ShapeError(
            f"lists: expected whole numbers (n_users, k), found {found.dtype} {found.shape}"
        )
    if found.size and not -1 <= found.min() <= found.max() < n_items:
        raise ShapeError(
            f"lists: expected numbers from -1 to {n_items - 1}, found {found.min()} to "
            f"{found.max()}"
        )
    return found.astype(np.int64, copy=False)


def list_means(values: Floats, lists: Items) -> Floats:
    """Means (n_users,) of items' values (n_items,) over lists (n_users, k); 0 of an empty list."""
    if not len(values):
        return np.zeros(len(lists))
    there = lists >= 0
    total = np.where(there, values[lists], 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(there.sum(axis=1), 1), dtype=np.float64)
