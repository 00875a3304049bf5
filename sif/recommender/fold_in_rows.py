"""Ridge regressions of many rows at once: what they share is computed once, the rest in chunks.

Each row has its own matrix, so that the cost is that of the products of its pairs' vectors. These
run in BLAS row by row; everything around them is computed for all rows of a chunk together.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

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
    table: NDArray[np.floating], signs: NDArray[np.floating] | None, pairs: sparse.csr_array,
    shared: NDArray[np.floating], factors: tuple[NDArray[np.floating], NDArray[np.floating]],
    ridge: NDArray[np.floating], right: NDArray[np.floating],
) -> NDArray[np.floating]:  # fmt: skip
    """Solves (f shared + g N' S N + diag(ridge)) x = right for each row, N of its pairs' vectors.

    Args:
        table: (n_other, q) vectors.
        signs: (n_other,) diagonal of S for each vector, +1 or -1; None: all are +1.
        pairs: CSR (b, n_other) whose entries are the pairs.
        shared: (q, q) what all rows have.
        factors: f and g, (b,) each.
        ridge: (b, q).
        right: (b, q).

    Returns:
        (b, q) x.
    """
    found = np.zeros_like(right)
    solve = lapack.dposv if right.dtype == np.float64 else lapack.sposv
    starts, diagonal = pairs.indptr.tolist(), np.arange(right.shape[1])
    of_shared, of_pairs = (factor.tolist() for factor in factors)
    for row in range(len(right)):
        others = pairs.indices[starts[row] : starts[row + 1]]
        near = table.take(others, axis=0)
        # Of a matrix with itself BLAS does half of the work.
        left = near.T @ (near if signs is None else signs[others, None] * near)
        left *= of_pairs[row]
        left += of_shared[row] * shared
        left[diagonal, diagonal] += ridge[row]
        _, found[row], failed = solve(left.T, right[row], lower=1)
        if failed:  # not positive definite, as without any penalty
            matrix, target = torch.from_numpy(left), torch.from_numpy(right[row])
            found[row] = torch.linalg.solve(matrix, target).numpy()
    return found
