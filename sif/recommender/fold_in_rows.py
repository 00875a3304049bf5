"""Ridge regressions of many rows at once: what they share is computed once, the rest in chunks.

Each row has its own matrix, so that the cost is that of the products of its pairs' vectors. These
run in BLAS row by row; everything around them is computed for all rows of a chunk together.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor

CHUNK = 1 << 21
"""Numbers of the pairs' vectors that are at work at once, 8 MB: they stay in cache."""


def chunks(counts: NDArray[np.int64], width: int) -> Iterator[slice]:
    """Consecutive rows whose pairs' vectors stay within `CHUNK`, at least one row each.

    Args:
        counts: (b,) pairs of each row.
        width: Numbers of a pair.
    """
    most, ends, begin = max(CHUNK // max(width, 1), 1), np.cumsum(counts), 0
    while begin < len(counts):
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + most, side="right")), begin + 1)
        # A row's matrix takes as much as `width` pairs.
        end = min(end, begin + max(most // max(width, 1), 1))
        yield slice(begin, end)
        begin = end


def solutions(
    near: Tensor, weights: Tensor, starts: NDArray[np.int64], shared: Tensor | None,
    factors: Tensor, ridge: Tensor, right: Tensor,
) -> Tensor:  # fmt: skip
    """Solves (f (shared + N' diag(w) N) + diag(ridge)) x = f right for each row.

    Args:
        near: (n, q) vectors N of all pairs, row after row.
        weights: (n,) their weights w.
        starts: (b + 1,) first pair of each row.
        shared: (q, q) what all rows have; None: nothing.
        factors: (b,) f.
        ridge: (b, q).
        right: (b, q).

    Returns:
        (b, q) x.
    """
    vectors, weight = near.cpu().numpy(), weights.cpu().numpy()
    same = bool((weight >= 0).all())  # then the product is of a matrix with itself, half the work
    scaled = vectors * (np.sqrt(weight) if same else weight)[:, None]
    base = None if shared is None else shared.cpu().numpy()
    penalty, target = ridge.cpu().numpy(), right.cpu().numpy()
    found = np.zeros_like(target)
    solve = lapack.dposv if target.dtype == np.float64 else lapack.sposv
    bounds, diagonal = starts.tolist(), np.arange(target.shape[1])
    for row, factor in enumerate(factors.tolist()):
        pairs = scaled[bounds[row] : bounds[row + 1]]
        left = pairs.T @ (pairs if same else vectors[bounds[row] : bounds[row + 1]])
        if base is not None:
            left += base
        left *= factor
        left[diagonal, diagonal] += penalty[row]
        _, found[row], failed = solve(left.T, factor * target[row], lower=1)
        if failed:
            matrix, goal = torch.from_numpy(left), torch.from_numpy(factor * target[row])
            found[row] = torch.linalg.solve(matrix, goal).numpy()
    return torch.from_numpy(found).to(right.device)
