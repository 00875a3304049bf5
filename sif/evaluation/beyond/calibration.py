"""How far the categories of lists are from those of histories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from sif.errors import DataError, ShapeError
from sif.evaluation.beyond.lists import Floats, checked

ALPHA = 0.01
"""Share of the history's distribution in the list's, so that no category is missing (Steck)."""


def category_shares(matrix: Any) -> sparse.csr_array:
    """Distributions p(g | i) of items over categories.

    Args:
        matrix: (n_items, n_categories) weights of at least 0, dense or sparse: 1 for each category
            of an item. An item without any has a row of zeros.

    Returns:
        Float64 CSR (n_items, n_categories), rows with a sum of 1 or without an entry.

    Raises:
        ShapeError: Another number of dimensions.
        DataError: A weight below 0, or one that is not finite.

    Examples:
        >>> from sif.evaluation.beyond import category_shares
        >>> category_shares([[1, 1], [0, 1]]).toarray().tolist()
        [[0.5, 0.5], [0.0, 1.0]]
    """
    rows = sparse.csr_array(matrix, dtype=np.float64)
    if rows.ndim != 2:
        raise ShapeError(f"categories: expected (n_items, n_categories), found {rows.shape}")
    if not (np.isfinite(rows.data).all() and (rows.data >= 0).all()):
        raise DataError("categories: expected finite weights of at least 0, found others")
    rows.eliminate_zeros()
    totals = np.asarray(rows.sum(axis=1)).ravel()
    scale = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
    return sparse.csr_array(sparse.diags_array(scale) @ rows)


def distributions(pairs: sparse.csr_array, shares: sparse.csr_array) -> Floats:
    """Distributions p(g | u) of users over categories: means of those of their items.

    Args:
        pairs: (n_users, n_items), what each user has; values do not count.
        shares: (n_items, n_categories), see `category_shares`. Items without one do not count.

    Returns:
        (n_users, n_categories); zeros of a user without categories.
    """
    ones = (np.ones(pairs.nnz), pairs.indices, pairs.indptr)
    sums = np.asarray((sparse.csr_array(ones, shape=pairs.shape) @ shares).toarray())
    return normalized(sums)


def normalized(sums: Floats) -> Floats:
    """Rows (..., n) over their sums; zeros stay."""
    totals = sums.sum(axis=-1, keepdims=True)
    found: Floats = np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)
    return found


def divergence(wanted: Floats, found: Floats, alpha: float = ALPHA) -> Floats:
    """KL(p || (1 - alpha) q + alpha p), in nats, along the last axis.

    Args:
        wanted: p, (..., n_categories).
        found: q, an array that fits it.
        alpha: Above 0, below 1.

    Raises:
        DataError: Another alpha.
    """
    if not 0 < alpha < 1:
        raise DataError(f"alpha: expected a number above 0 and below 1, found {alpha}")
    smooth = (1 - alpha) * found + alpha * wanted
    ratio = np.divide(
        wanted, smooth, out=np.ones(np.broadcast(wanted, smooth).shape), where=wanted > 0
    )
    return np.asarray((wanted * np.log(ratio)).sum(axis=-1), dtype=np.float64)


def calibration(
    lists: ArrayLike, histories: sparse.csr_array, shares: sparse.csr_array, alpha: float = ALPHA
) -> Floats:
    """Divergence of the categories of each list from those of the user's history, in nats.

    KL(p || q~) = sum over g of p(g | u) log(p(g | u) / q~(g | u)), where q~ = (1 - alpha) q + alpha
    p. There p is the mean of p(g | i) over the history, and q that over the list. Source: Steck,
    *Calibrated recommendations*, RecSys 2018, with equal weights of all items.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        histories: (n_users, n_items), what each user has.
        shares: (n_items, n_categories), see `category_shares`.
        alpha: See `ALPHA`.

    Returns:
        (n_users,) float64, 0 where both are the same and at most -log(alpha); 0 of a user without
        categories.

    Raises:
        ShapeError: Lists, histories or categories of other forms.
        DataError: An alpha outside of 0 to 1.

    Examples:
        >>> from scipy.sparse import csr_array
        >>> from sif.evaluation.beyond import calibration, category_shares
        >>> genres, had = category_shares([[1, 0], [1, 0], [0, 1]]), csr_array([[1, 0, 1]])
        >>> calibration([[0, 2]], had, genres).tolist()
        [0.0]
        >>> calibration([[0, 1]], had, genres).round(3).tolist()
        [1.959]
    """
    items = checked(lists, shares.shape[0])
    if histories.shape != (len(items), shares.shape[0]):
        raise ShapeError(
            f"histories: expected {(len(items), shares.shape[0])}, found {histories.shape}"
        )
    there = items >= 0
    edges = np.concatenate([[0], there.sum(axis=1).cumsum()])
    shown = sparse.csr_array(
        (np.ones(int(edges[-1])), items[there], edges), shape=histories.shape
    )  # fmt: skip
    wanted = distributions(sparse.csr_array(histories), shares)
    return divergence(wanted, distributions(shown, shares), alpha)
