"""Sums of an element-wise operation over all items, added to a matrix of scores.

These are the interactions that are no matrix product. `Maxima` is compiled and needs numba;
`Broadcast` takes any operation and any device, in parts that stay in cache, and needs torch alone.
Neither holds users x items x dimensions at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_ELEMENTS = 1 << 20
"""Users x items x dimensions that `Broadcast` holds at once: 4 MB stays in cache."""
_TILE = 1024
"""Items that the kernel passes over at once: their scores and four rows of 4 KB stay in L1."""
_TERMS = 4
"""Terms per pass over a tile: fewer passes, fewer loads and stores of scores."""


def _add_maxima(users: Any, items: Any, weights: Any, out: Any) -> None:
    """out[u, j] += sum_r weights[r] max(users[u, r], items[r, j]) for all j in 0..m.

    Args:
        users: (b, r) float32, r a multiple of `_TERMS`.
        items: (r, m) float32, so that the inner loop runs over neighbours in memory.
        weights: (r,) float32.
        out: (b, at least m) float32.
    """
    for first in range(0, items.shape[1], _TILE):
        last = min(first + _TILE, items.shape[1])
        for u in range(len(users)):
            row = out[u, first:last]
            for r in range(0, len(weights), _TERMS):
                v0, v1 = items[r, first:last], items[r + 1, first:last]
                v2, v3 = items[r + 2, first:last], items[r + 3, first:last]
                u0, u1, u2, u3 = users[u, r], users[u, r + 1], users[u, r + 2], users[u, r + 3]
                w0, w1, w2, w3 = weights[r], weights[r + 1], weights[r + 2], weights[r + 3]
                for j in range(last - first):
                    x0, x1, x2, x3 = v0[j], v1[j], v2[j], v3[j]
                    row[j] += (w0 * (u0 if u0 > x0 else x0) + w1 * (u1 if u1 > x1 else x1)) + (
                        w2 * (u2 if u2 > x2 else x2) + w3 * (u3 if u3 > x3 else x3)
                    )


@functools.cache
def compiled() -> Callable[..., None] | None:
    """The compiled kernel, which releases the interpreter; None without numba."""
    try:
        import numba
    except ImportError:
        return None
    # Not "nnan": an item's NaN must come through.
    flags = {"contract", "nsz"}
    signature = "void(f4[:,::1], f4[:,::1], f4[::1], f4[:,::1])"
    make = functools.partial(numba.njit, signature, nogil=True, fastmath=flags)
    try:
        kernel = make(cache=True)(_add_maxima)
    except RuntimeError:  # no folder that the compiled code could be kept in
        kernel = make()(_add_maxima)
    result: Callable[..., None] = kernel
    return result


class Maxima:
    """sum_r c_r max(A_ur, B_vr) of users against all items, on the CPU.

    Args:
        items: B (m, r).
        weights: c (r,).
    """

    def __init__(self, items: Tensor, weights: Tensor) -> None:
        # A term of weight 0 between zeros adds nothing.
        self._missing = -len(weights) % _TERMS
        self._items = self._padded(items).T.contiguous().numpy()
        self._weights = self._padded(weights).contiguous().numpy()

    def _padded(self, terms: Tensor) -> Tensor:
        return torch.nn.functional.pad(terms.float(), (0, self._missing))

    def add(self, users: Tensor, out: Tensor) -> None:
        """Adds the sums of users A (b, r) to the first m columns of out (b, at least m) float32."""
        kernel = compiled()
        assert kernel is not None  # noqa: S101
        users = self._padded(users).contiguous()
        kernel(users.numpy(), self._items, self._weights, out.numpy())
        # u > x is false for a user's NaN, which the kernel would lose.
        lost = users.isnan().any(dim=1)
        if lost.any():
            out[lost, : self._items.shape[1]] = torch.nan


class Broadcast:
    """Any operation of users with all items, by broadcasting.

    Args:
        combine: Vectors (b, 1, d) and (1, m, d) to interactions (b, m).
        items: (m, d).
    """

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor], items: Tensor) -> None:
        self._combine, self._items = combine, items

    def add(self, users: Tensor, out: Tensor) -> None:
        """Adds the interactions of users (b, d) to the first m columns of out (b, at least m)."""
        n_items, dimension = self._items.shape
        columns = max(1, min(n_items, _ELEMENTS // max(dimension, 1)))
        rows = max(1, _ELEMENTS // max(columns * dimension, 1))
        for j in range(0, n_items, columns):
            items = self._items[None, j : j + columns]
            for i in range(0, len(users), rows):
                part = self._combine(users[i : i + rows, None], items)
                out[i : i + rows, j : min(j + columns, n_items)] += part
