"""The items whose weights are solved for together; what others say in a history stands alone.

A solution of m items in s time scales takes a matrix of (s m)^2 numbers and another of s m by all
items. A rare item has few rows, so that the penalty outweighs what it shares with others, and it
may as well stand alone. What is said for it, by items that are solved for, stays exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 15_000
"""Rows of a matrix that is factorized, and root of the most weights: 0.9 GB in float32."""
MOST_SCALES = 3
"""Time scales side by side in a design."""
FREQUENT = 50
"""Rows of an item that is worth solving for, where nothing else is chosen: on validation of Beauty
and of grocery better than 20 or all (docs/results/order.md)."""
Ids = NDArray[np.int64]


def all_solved(n_items: int) -> bool:
    """True for a catalog that is small enough to solve for all items."""
    return MOST_SCALES * n_items <= MAX_SIDE


def solved_items(counts: Ids, scales: int, frequent: float = FREQUENT) -> Ids | None:
    """The items (m,), ascending, that are solved for; None: all.

    Args:
        counts: (n_items,) train rows of each item.
        scales: Number of decays side by side.
        frequent: Rows of an item that is solved for where not all are.
    """
    n_items = len(counts)
    if all_solved(n_items):
        return None
    most = min(int((counts >= frequent).sum()), most_solved(n_items, scales))
    found = np.argsort(-counts, kind="stable")[: max(1, most)]
    return None if len(found) == n_items else np.sort(found)


def most_scales(counts: Ids) -> int:
    """Time scales that leave room for half of the frequent items at least; from 1."""
    n_items, frequent = len(counts), int((counts >= FREQUENT).sum())
    fitting = [s for s in range(1, MOST_SCALES + 1) if 2 * most_solved(n_items, s) >= frequent]
    return max(fitting, default=1)


def most_solved(n_items: int, scales: int) -> int:
    """Items of a catalog that can be solved for in so many scales, at most."""
    if all_solved(n_items):
        return n_items
    side = min(MAX_SIDE, MAX_SIDE**2 // n_items)
    return min(n_items, side // scales)
