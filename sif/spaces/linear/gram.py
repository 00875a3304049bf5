"""The normal equations of the next item on decayed histories, without the histories' matrix.

Row k of a user has as input, for each scale, x_k[a] = sum over earlier places i of item a within
the window of exp(-rate (T_(k-1) - T_i)), and as target the item at k. X^T X would multiply millions
of long rows. A pair of places i <= j enters all rows after j, and the sum of their products is

    exp(-rate_s (T_j - T_i)) * sum over k > j of w_k exp(-(rate_s + rate_t) (T_(k-1) - T_j)),

whose second factor is one backward recurrence over a user's places. So the cost is the number of
pairs within the longer window, not its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.spaces.linear.sequences import Decay, Ids, Numbers, Sequences

NEGLIGIBLE = 1e-4
"""Weight at which a decay without a window is cut, relative to the latest item's."""
CHUNK = 1 << 22
"""Pairs of places that are added at once (100 MB)."""
TILE = 1024
"""Side of the pieces in which a block is made symmetric."""

Entries = Iterator[tuple[Ids, Ids, Numbers]]
"""Places of the row, places of the column, what is added there."""


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations: (gram + l2) B = cross.

    Attributes:
        gram: (s * n_items, s * n_items), X^T W X of s scales side by side.
        cross: (s * n_items, n_items), X^T W Y.
    """

    gram: Tensor
    cross: Tensor


class Products:
    """Blocks of normal equations, each computed once.

    Args:
        sequences: Of the train part.
        weights: (n,) weight of the row whose target is the item of each place; None: 1.
        dtype: Of the blocks.
    """

    def __init__(
        self, sequences: Sequences, weights: Numbers | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:  # fmt: skip
        self.sequences, self.dtype = sequences, dtype
        self._rows = np.ones(len(sequences.items)) if weights is None else weights
        self._kept: dict[tuple[Decay, ...], Tensor] = {}

    def normal(self, decays: Sequence[Decay], keep: bool = False) -> Normal:
        """The normal equations of scales side by side.

        Args:
            decays: The scales.
            keep: Whether blocks are kept for further calls.
        """
        n, s = self.sequences.n_items, len(decays)
        if s == 1 and not keep:  # blocks are not made beside the whole
            return Normal(self._gram(decays[0], decays[0]), self._cross(decays[0]))
        gram = torch.empty(s * n, s * n, dtype=self.dtype)
        cross = torch.empty(s * n, n, dtype=self.dtype)
        for a, first in enumerate(decays):
            rows = slice(a * n, (a + 1) * n)
            cross[rows] = self._of(keep, first)
            for b, second in enumerate(decays[: a + 1]):
                columns = slice(b * n, (b + 1) * n)
                block = self._of(keep, first, second)
                gram[rows, columns], gram[columns, rows] = block, block.T
        return Normal(gram, cross)

    def _of(self, keep: bool, *decays: Decay) -> Tensor:
        if decays in self._kept:
            return self._kept[decays]
        block = self._cross(*decays) if len(decays) == 1 else self._gram(*decays)
        if keep:
            self._kept[decays] = block
            if len(decays) == 2:
                self._kept[decays[::-1]] = block.T
        return block

    def _cross(self, decay: Decay) -> Tensor:
        return self._sum(_targets(self.sequences, decay, self._rows))

    def _gram(self, first: Decay, second: Decay) -> Tensor:
        pairs = _Pairs(self.sequences, first, second, self._rows)
        if first == second:
            block = _symmetric(self._sum(pairs.earlier(1)))
        else:
            swapped = _Pairs(self.sequences, second, first, self._rows)
            block = self._sum(swapped.earlier(1)).T.contiguous()
        return self._sum(pairs.earlier(0, 1 if first == second else None), block)

    def _sum(self, entries: Entries, block: Tensor | None = None) -> Tensor:
        """Adds entries at the items of their places to a block (n_items, n_items), or to zeros."""
        n, items = self.sequences.n_items, self.sequences.items
        if block is None:
            block = torch.zeros(n, n, dtype=self.dtype)
        flat = block.view(-1)
        for rows, columns, values in _together(entries):
            at = torch.from_numpy(items[rows] * n + items[columns])
            flat.scatter_add_(0, at, torch.from_numpy(values).to(self.dtype))
        return block


def _symmetric(block: Tensor) -> Tensor:
    """A square block plus its transpose, in its own memory."""
    pieces = [slice(start, start + TILE) for start in range(0, len(block), TILE)]
    for a, rows in enumerate(pieces):
        for columns in pieces[: a + 1]:
            both = block[rows, columns] + block[columns, rows].T
            block[rows, columns], block[columns, rows] = both, both.T
    return block


def normal_equations(
    sequences: Sequences, decays: Sequence[Decay], weights: Numbers | None = None,
    dtype: torch.dtype = torch.float64,
) -> Normal:  # fmt: skip
    """The normal equations of the next item.

    Args:
        sequences: Of the train part.
        decays: The scales side by side.
        weights: (n,) weight of the row whose target is the item of each place; None: 1.
        dtype: Of the result.
    """
    return Products(sequences, weights, dtype).normal(decays)


def _together(entries: Entries) -> Entries:
    """The same entries in fewer and larger pieces."""
    held: list[tuple[NDArray[np.int64], NDArray[np.int64], Numbers]] = []
    size = 0
    for entry in entries:
        held.append(entry)
        size += len(entry[0])
        if size >= CHUNK:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


def _joined(held: list[tuple[Ids, Ids, Numbers]]) -> tuple[Ids, Ids, Numbers]:
    rows, columns, values = zip(*held, strict=True)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def reach(decay: Decay, longest: int) -> int:
    """Places back that count under a decay."""
    if decay.window is not None:
        return min(decay.window, longest)
    if decay.unit is not None or decay.gamma == 1:
        return longest
    return min(longest, int(np.ceil(np.log(NEGLIGIBLE) / np.log(decay.gamma))) + 1)


def _targets(sequences: Sequences, decay: Decay, weights: Numbers) -> Entries:
    """Every earlier place within the window, with the place whose item is the target."""
    clock, longest = sequences.clock(decay), int(sequences.lengths.max(initial=0))
    for lag in range(1, reach(decay, longest - 1) + 1):
        i = np.flatnonzero(sequences.left >= lag)
        if not len(i):
            return
        k = i + lag
        yield i, k, weights[k] * np.exp(-decay.rate * (clock[k - 1] - clock[i]))


class _Pairs:
    """Pairs of places, the earlier under one decay and the later under another."""

    def __init__(self, sequences: Sequences, first: Decay, second: Decay, weights: Numbers) -> None:
        self.sequences, self.first = sequences, first
        longest = int(sequences.lengths.max(initial=0))
        self.reaches = reach(first, longest), reach(second, longest)
        self.clocks = sequences.clock(first), sequences.clock(second)
        self.faded = first.rate * self.clocks[0] + second.rate * self.clocks[1]
        self.after = _sums_after(sequences, self.faded, weights)

    def earlier(self, least: int = 0, most: int | None = None) -> Entries:
        """(earlier place, later place, sum over all rows that hold both) of a range of lags."""
        first, later = self.reaches
        for lag in range(least, first if most is None else most):
            i = np.flatnonzero(self.sequences.left > lag)  # and one more, the first target
            if not len(i):
                return
            j = i + lag
            # Rows k - 1 run from j to where the window of i or of j ends.
            count = np.minimum(np.minimum(first - lag, later), self.sequences.left[j])
            value = self.after[j]
            cut = np.flatnonzero(count < self.sequences.left[j])
            beyond = j[cut] + count[cut]
            value[cut] -= np.exp(self.faded[j[cut]] - self.faded[beyond]) * self.after[beyond]
            clock = self.clocks[0]
            yield i, j, value * np.exp(-self.first.rate * (clock[j] - clock[i]))


def _sums_after(sequences: Sequences, faded: Numbers, weights: Numbers) -> Numbers:
    """(n,): of every place j, sum over k > j of weights[k] exp(faded[j] - faded[k - 1])."""
    result = np.zeros(len(sequences.items))
    lengths = sequences.lengths
    users = np.argsort(-lengths, kind="stable")
    ends, left = sequences.starts[1:][users], lengths[users]
    for back in range(2, int(lengths.max(initial=0)) + 1):
        at = ends[: np.searchsorted(-left, -back, side="right")] - back
        result[at] = weights[at + 1] + np.exp(faded[at] - faded[at + 1]) * result[at + 1]
    return result
