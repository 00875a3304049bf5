"""Compiled code for serving, and its replacement where numba is not installed.

`Maxima` and `Broadcast` add interactions that are no matrix product to a matrix of scores. `Maxima`
is compiled; `Broadcast` takes any operation and any device, in parts that stay in cache, and needs
torch alone. Neither holds users x items x dimensions at once. `selection` finds the best items of
rows that come piece by piece; its replacement is `sif.retrieval.topk`. `products` scores items for
one user, without a matrix product's preparations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ELEMENTS = 1 << 20
"""Users x items x dimensions that `Broadcast` holds at once: 4 MB stays in cache."""
_TILE = 1024
"""Items that the kernel passes over at once: their scores and four rows of 4 KB stay in L1."""
TERMS = 4
"""Terms per pass over a tile: fewer passes, fewer loads and stores of scores."""
_BLOCK = 64
"""Items that the selection looks at together: 256 bytes."""
_SAMPLE = 1 << 12
"""Items by whose scores the selection begins to tell what is good."""
FINEST = 64
"""Largest whole number of a user's side, so that four products with bytes fit into 16 bits."""
GROUP = 4
"""Items that the products of one user are computed for at once."""


def _add_maxima(users: Any, items: Any, weights: Any, start: int, stop: int, out: Any) -> None:
    """out[u, j - start] += sum_r weights[r] max(users[u, r], items[r, j]) for j in start..stop.

    All float32: users (b, r), r a multiple of `TERMS`; items (r, m), so that the inner loop runs
    over neighbors in memory; weights (r,); out (b, at least stop - start).
    """
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        for u in range(len(users)):
            row = out[u, first - start : last - start]
            for r in range(0, len(weights), TERMS):
                v0, v1 = items[r, first:last], items[r + 1, first:last]
                v2, v3 = items[r + 2, first:last], items[r + 3, first:last]
                u0, u1, u2, u3 = users[u, r], users[u, r + 1], users[u, r + 2], users[u, r + 3]
                w0, w1, w2, w3 = weights[r], weights[r + 1], weights[r + 2], weights[r + 3]
                for j in range(last - first):
                    x0, x1, x2, x3 = v0[j], v1[j], v2[j], v3[j]
                    row[j] += (w0 * (u0 if u0 > x0 else x0) + w1 * (u1 if u1 > x1 else x1)) + (
                        w2 * (u2 if u2 > x2 else x2) + w3 * (u3 if u3 > x3 else x3)
                    )


def _select(  # noqa: PLR0912 (compiled as one)
    scores: Any, start: int, stop: int, edges: Any, excluded: Any, best: Any, items: Any
) -> int:
    """Continues a selection of the best k with the scores of items start..stop.

    Scores (b, at least stop - start) are float32; those of excluded items, int64 by user from
    `edges` (b + 1,), are overwritten. So are `best`, float32 (b, k) in order with minus infinity
    where nothing was found, and its `items`, int64 (b, k).

    Returns:
        -1, or the first row with a score that is not a number.
    """
    last = best.shape[1] - 1
    lanes, highest = np.empty(_BLOCK, dtype=np.float32), np.empty_like(best[0])
    for u in range(len(best)):
        row = scores[u, : stop - start]
        for at in range(edges[u], edges[u + 1]):
            if start <= excluded[at] < stop:
                row[excluded[at] - start] = -np.inf
        bound = np.float32(-np.inf)
        if best[u, last] == bound:
            # The best of every 64th score are scores of different items: the least of the highest k
            # of them is a bound that few scores reach.
            lanes[:] = -np.inf
            for first in range(0, min(len(row), _SAMPLE), _BLOCK):
                block = row[first : first + _BLOCK]
                for j in range(len(block)):  # no branch inside: many at a time
                    lanes[j] = block[j] if block[j] > lanes[j] else lanes[j]
            highest[:] = best[u]
            for j in range(_BLOCK):
                x, place = lanes[j], last
                if x > highest[last]:
                    while place > 0 and highest[place - 1] < x:
                        highest[place] = highest[place - 1]
                        place -= 1
                    highest[place] = x
            bound = np.nextafter(highest[last], bound)  # which equal scores exceed
        for first in range(0, len(row), _BLOCK):
            block = row[first : first + _BLOCK]
            least, news = best[u, last], False
            if least < bound:  # noqa: PLR1730 (max would be slower)
                least = bound
            for j in range(len(block)):
                news |= not (block[j] <= least)
            if not news:
                continue
            for j in range(len(block)):
                x = block[j]
                if np.isnan(x):
                    return u
                if x > least and x > best[u, last]:  # an equal one that came before stays
                    place = last
                    while place > 0 and best[u, place - 1] < x:
                        best[u, place], items[u, place] = best[u, place - 1], items[u, place - 1]
                        place -= 1
                    best[u, place], items[u, place] = x, start + first + j
    return -1


def _write_products(user: Any, items: Any, start: int, allowed: Any, out: Any) -> None:
    """out[0, j] = user . items[start + j], minus infinity where allowed[start + j] is false.

    All float32: user (r,); items (m, r); out (1, w), w a multiple of `GROUP` with start + w <= m.
    `allowed` is bool (at most m,), and may be empty: all are allowed. Every item goes through the
    same steps, so that equal vectors have equal scores.
    """
    row = out[0]
    for j in range(0, len(row), GROUP):
        i = start + j
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for r in range(len(user)):
            x = user[r]
            s0 += x * items[i, r]
            s1 += x * items[i + 1, r]
            s2 += x * items[i + 2, r]
            s3 += x * items[i + 3, r]
        row[j], row[j + 1], row[j + 2], row[j + 3] = s0, s1, s2, s3
    for j in range(min(len(row), len(allowed) - start)):
        if not allowed[start + j]:
            row[j] = -np.inf


def _write_scaled(
    user: Any, codes: Any, scales: Any, start: int, allowed: Any, out: Any
) -> None:  # fmt: skip
    """out[0, j] = scales[start + j] user . codes[start + j]; see `_write_products`.

    Codes are int8 (m, r), scales float32 (m,), and become numbers in registers alone.
    """
    row = out[0]
    for j in range(0, len(row), GROUP):
        i = start + j
        s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for r in range(len(user)):
            x = user[r]
            s0 += x * np.float32(codes[i, r])
            s1 += x * np.float32(codes[i + 1, r])
            s2 += x * np.float32(codes[i + 2, r])
            s3 += x * np.float32(codes[i + 3, r])
        row[j], row[j + 1] = s0 * scales[i], s1 * scales[i + 1]
        row[j + 2], row[j + 3] = s2 * scales[i + 2], s3 * scales[i + 3]
    for j in range(min(len(row), len(allowed) - start)):
        if not allowed[start + j]:
            row[j] = -np.inf


def _write_bounds(
    user: Any, tiles: Any, scales: Any, lost: Any, lengths: Any, allowed: Any, out: Any
) -> tuple[float, float]:
    """Upper bounds of a user's scores, from whole numbers of a byte (`sif.retrieval.bounds`).

    out[0, i] = a score of rounded vectors + margin of item i, minus infinity where allowed[i] is
    false. The user is float32 (r,) and not zero, r a multiple of `TERMS`; items int8 (t, r, w), a
    tile of w items after the other, so that the inner loop runs over neighbors in memory; scales,
    lost and lengths float32 (t * w,); out float32 (1, t * w). `allowed` is bool (at most t * w,),
    and may be empty: all are allowed.

    Returns:
        Factors a, b of the margins: a * lost + b * lengths.
    """
    most = np.float32(0)
    for r in range(len(user)):
        most = max(most, abs(user[r]))
    unit = most / np.float32(FINEST)
    whole = np.empty(len(user), dtype=np.int16)
    squares, missed = 0.0, 0.0
    for r in range(len(user)):
        whole[r] = np.int16(np.rint(user[r] / unit))
        squares += np.float64(user[r]) ** 2
        missed += (np.float64(user[r]) - np.float64(unit) * whole[r]) ** 2
    a = np.sqrt(squares) * (1 + 1e-5)
    b = np.sqrt(missed) * (1 + 1e-5) + np.sqrt(squares) * (len(user) + 16) * 2.0**-23
    width = tiles.shape[2]
    sums = np.empty(width, dtype=np.int32)
    for t in range(len(tiles)):
        tile = tiles[t]
        sums[:] = 0
        for r in range(0, len(user), TERMS):
            u0, u1, u2, u3 = whole[r], whole[r + 1], whole[r + 2], whole[r + 3]
            v0, v1, v2, v3 = tile[r], tile[r + 1], tile[r + 2], tile[r + 3]
            for j in range(width):  # four products fit into 16 bits: many at a time
                x = np.int16(np.int16(u0 * np.int16(v0[j])) + np.int16(u1 * np.int16(v1[j])))
                y = np.int16(np.int16(u2 * np.int16(v2[j])) + np.int16(u3 * np.int16(v3[j])))
                sums[j] = np.int32(sums[j] + np.int32(np.int16(x + y)))
        start, stop = t * width, (t + 1) * width
        row, scale = out[0, start:stop], scales[start:stop]
        less, length = lost[start:stop], lengths[start:stop]
        slope, bias = np.float32(a), np.float32(b)
        for j in range(width):
            score = unit * scale[j] * np.float32(sums[j])
            row[j] = score + (slope * less[j] + bias * length[j])
    for i in range(len(allowed)):
        if not allowed[i]:
            out[0, i] = -np.inf
    return a, b


def _take(
    upper: Any, chosen: Any, lost: Any, lengths: Any, a: float, b: float, items: Any, found: Any,
    rows: Any,
) -> int:  # fmt: skip
    """Copies the items whose upper bound is not below the lower bounds of some chosen ones.

    `upper` is float32 (n,), with margins a * lost + b * lengths; `chosen` int64 (k,). Numbers of
    the items go to `found`, int64 (c,), in their order, their vectors from items (m, r) to rows
    (c, r), and rows of the last item fill the last group up.

    Returns:
        Number of items; c or more: there are too many.
    """
    bound = np.inf
    for i in chosen:
        bound = min(bound, upper[i] - 2 * (a * lost[i] + b * lengths[i]))
    least, count = np.float32(bound), 0
    for first in range(0, len(upper), _BLOCK):
        block = upper[first : first + _BLOCK]
        news = False
        for j in range(len(block)):
            news |= block[j] >= least
        if not news:
            continue
        for j in range(len(block)):
            if block[j] >= least:
                if count >= len(found) - GROUP:
                    return len(found)
                found[count] = first + j
                rows[count] = items[first + j]
                count += 1
    for extra in range(-count % GROUP):
        rows[count + extra] = rows[count - 1]
    return count


def _compiled(
    function: Callable[..., Any], signature: str, *further: str
) -> Callable[..., Any] | None:
    """The function, which releases the interpreter while it runs; None without numba.

    `further` names what the compiler may do with float arithmetic beside the usual.
    """
    try:
        import numba
    except ImportError:
        return None
    # Not "nnan": what is not a number must come through.
    allowed = {"contract", "nsz", *further}
    make = functools.partial(numba.njit, signature, nogil=True, fastmath=allowed)
    try:
        result: Callable[..., Any] = make(cache=True)(function)
    except RuntimeError:  # no folder that the compiled code could be kept in
        result = make()(function)
    return result


@functools.cache
def compiled() -> Callable[..., None] | None:
    """`_add_maxima`, compiled; None without numba."""
    return _compiled(_add_maxima, "void(f4[:,::1], f4[:,::1], f4[::1], i8, i8, f4[:,::1])")


@functools.cache
def selection() -> Callable[..., int] | None:
    """`_select`, compiled; None without numba."""
    types = "i8(f4[:,::1], i8, i8, i8[::1], i8[::1], f4[:,::1], i8[:,::1])"
    return _compiled(_select, types)


@functools.cache
def products() -> Callable[..., None] | None:
    """`_write_products`, compiled; None without numba."""
    types = "void(f4[::1], f4[:,::1], i8, b1[::1], f4[:,::1])"
    return _compiled(_write_products, types, "reassoc")


@functools.cache
def scaled() -> Callable[..., None] | None:
    """`_write_scaled`, compiled; None without numba."""
    types = "void(f4[::1], i1[:,::1], f4[::1], i8, b1[::1], f4[:,::1])"
    return _compiled(_write_scaled, types, "reassoc")


@functools.cache
def bounds() -> Callable[..., tuple[float, float]] | None:
    """`_write_bounds`, compiled; None without numba."""
    types = "UniTuple(f8, 2)(f4[::1], i1[:,:,::1], f4[::1], f4[::1], f4[::1], b1[::1], f4[:,::1])"
    return _compiled(_write_bounds, types)


@functools.cache
def take() -> Callable[..., int] | None:
    """`_take`, compiled; None without numba."""
    vectors = "f4[::1], i8[::1], f4[::1], f4[::1]"
    return _compiled(_take, f"i8({vectors}, f8, f8, f4[:,::1], i8[::1], f4[:,::1])")


class Maxima:
    """sum_r c_r max(A_ur, B_vr) of users with all items, on the CPU.

    Args:
        maxima: Makes A, B and c of users' and items' vectors and the readout (`Operation.maxima`).
        items: (m, d).
        readout: (d,).
    """

    def __init__(
        self, maxima: Callable[[Tensor, Tensor, Tensor], Any], items: Tensor, readout: Tensor
    ) -> None:
        self._of_users = lambda p: maxima(p, items[:0], readout)[0]
        _, right, weights = maxima(items[:0], items, readout)
        # A term of weight 0 between zeros adds nothing.
        self._missing = -len(weights) % TERMS
        self._items = self._padded(right).T.contiguous().numpy()
        self._weights = self._padded(weights).contiguous().numpy()

    def _padded(self, terms: Tensor) -> Tensor:
        return torch.nn.functional.pad(terms.float(), (0, self._missing))

    def side(self, users: Tensor) -> Tensor:
        """A (b, r) of users' transformed vectors (b, d), for `add`."""
        return self._padded(self._of_users(users)).contiguous()

    def add(self, users: Tensor, start: int, stop: int, out: Tensor) -> None:
        """Adds the sums of users' side and items start..stop to the first columns of out."""
        kernel = compiled()
        assert kernel is not None  # noqa: S101
        kernel(users.numpy(), self._items, self._weights, start, stop, out.numpy())
        # u > x is false for a user's NaN, which the kernel would lose.
        has_nan = users.isnan().any(dim=1)
        if has_nan.any():
            out[has_nan, : stop - start] = torch.nan


class Broadcast:
    """Any operation of users with all items (m, d), by broadcasting.

    It combines vectors (b, 1, d) and (1, m, d) to interactions (b, m).
    """

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor], items: Tensor) -> None:
        self._combine, self._items = combine, items

    def side(self, users: Tensor) -> Tensor:
        """The vectors as they are."""
        return users

    def add(self, users: Tensor, start: int, stop: int, out: Tensor) -> None:
        """Adds the interactions of users (b, d) and items start..stop to out's first columns."""
        dimension = self._items.shape[1]
        columns = max(1, min(stop - start, _ELEMENTS // max(dimension, 1)))
        rows = max(1, _ELEMENTS // max(columns * dimension, 1))
        for first in range(start, stop, columns):
            last = min(first + columns, stop)
            items = self._items[None, first:last]
            for i in range(0, len(users), rows):
                part = self._combine(users[i : i + rows, None], items)
                out[i : i + rows, first - start : last - start] += part
