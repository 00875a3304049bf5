"""Hits that popularity alone would not have found."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sif.errors import ShapeError
from sif.evaluation.beyond.lists import Floats, checked
from sif.evaluation.beyond.popularity import Popularity


def serendipity(lists: ArrayLike, hits: ArrayLike, popularity: Popularity) -> Floats:
    """Mean of how much higher each list places its hits than popularity does.

    Serendipity@k(u) = mean over ranks r of L(u) of max(p(r) - q(i), 0) hit(i). There p(r) is (n + 1
    - r) / n of n items, and q(i) is the same of the item's rank by popularity. Equally popular
    items share a rank, and the next ones have the next. An item that nobody has has q = 0. Source:
    RecTools 0.19, `rectools.metrics.Serendipity`.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        hits: bool (n_users, k), whether an item is relevant.
        popularity: Of the interactions before the evaluated ones.

    Returns:
        (n_users,) float64, the higher the more serendipitous; 0 of an empty list.

    Raises:
        ShapeError: Lists and hits of other forms.

    Examples:
        >>> import numpy as np
        >>> from sif.evaluation.beyond import Popularity, serendipity
        >>> popularity = Popularity(np.array([3, 2, 0, 0]), n_users=3)
        >>> serendipity([[0, 1], [2, 1]], [[True, True], [True, False]], popularity).tolist()
        [0.0, 0.5]
    """
    n_items = len(popularity.counts)
    items, hit = checked(lists, n_items), np.asarray(hits)
    if hit.dtype != np.bool_ or hit.shape != items.shape:
        raise ShapeError(
            f"hits: expected bool {items.shape}, as the lists, found {hit.dtype} {hit.shape}"
        )
    if not items.size:
        return np.zeros(len(items))
    place = np.unique(-popularity.counts, return_inverse=True)[1]
    anyhow = np.where(popularity.counts > 0, (n_items - place) / n_items, 0.0)
    own = (n_items - np.arange(items.shape[1])) / n_items
    there = items >= 0
    gains = np.where(hit & there, np.maximum(own - anyhow[items], 0.0), 0.0)
    return np.asarray(gains.sum(axis=1) / np.maximum(there.sum(axis=1), 1), dtype=np.float64)
