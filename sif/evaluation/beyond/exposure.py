"""How the lists of all users share out the catalog."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.evaluation.beyond.lists import checked


def exposures(lists: ArrayLike, n_items: int) -> NDArray[np.int64]:
    """Number of lists (n_items,) that each item is in.

    Args:
        lists: (n_users, k) numbers of items, each once in a list; -1 where a list is shorter.
        n_items: Size of the catalog.

    Raises:
        ShapeError: Lists of another form.
    """
    items = checked(lists, n_items)
    return np.bincount(items[items >= 0], minlength=n_items)


def coverage(lists: ArrayLike, n_items: int) -> float:
    """Share of the catalog that is in somebody's list.

    Coverage@k = |union of all L(u)| / n_items. Source: Ge et al., *Beyond accuracy:
    evaluating recommender systems by coverage and serendipity*, RecSys 2010.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        n_items: Size of the catalog.

    Returns:
        From 0 to 1.

    Raises:
        ShapeError: Lists of another form.

    Examples:
        >>> from sif.evaluation.beyond import coverage
        >>> coverage([[0, 1], [1, 0]], n_items=4)
        0.5
    """
    return float((exposures(lists, n_items) > 0).sum() / max(n_items, 1))


def gini(lists: ArrayLike, n_items: int) -> float:
    """Gini coefficient of the numbers of lists that the items are in.

    Gini@k = sum over i of (2 r(i) - n - 1) x(i) / (n sum of x). There x(i) is the number of lists
    that item i is in, and r(i) its rank, the fewest first. Items in no list count. Source: Fleder,
    Hosanagar, *Blockbuster culture's next rise or fall*, Management Science 2009. LensKit calls it
    ListGini.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        n_items: Size of the catalog.

    Returns:
        0 where all items are in equally many lists, toward 1 where one is in all; 0 without lists.

    Raises:
        ShapeError: Lists of another form.

    Examples:
        >>> from sif.evaluation.beyond import gini
        >>> gini([[0], [0]], n_items=2), gini([[0], [1]], n_items=2)
        (0.5, 0.0)
    """
    shown = np.sort(exposures(lists, n_items))
    total = shown.sum()
    if not total:
        return 0.0
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(weights @ shown / (n_items * total))
