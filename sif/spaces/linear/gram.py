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


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations: (gram + l2) B = cross.

    Attributes:
        gram: (s * n_items, s * n_items), X^T W X of s scales side by side.
        cross: (s * n_items, n_items), X^T W Y.
    """

    gram: Tensor
    cross: Tensor


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
    n, s = sequences.n_items, len(decays)
    rows = np.ones(len(sequences.items)) if weights is None else weights
    gram = torch.zeros(s * n, s * n, dtype=dtype)
    cross = torch.zeros(s * n, n, dtype=dtype)
    for a, first in enumerate(decays):
        _add(cross, a * n, 0, sequences, _targets(sequences, first, rows))
        for b, second in enumerate(decays[: a + 1]):
            both = _Pairs(sequences, first, second, rows)
            _add(gram, a * n, b * n, sequences, both.earlier())
            if a == b:
                _add(gram, a * n, b * n, sequences, both.flipped(both.earlier(1)))
            else:
                swapped = _Pairs(sequences, second, first, rows)
                _add(gram, a * n, b * n, sequences, swapped.flipped(swapped.earlier(1)))
        done = slice(a * n, (a + 1) * n)
        gram[: a * n, done] = gram[done, : a * n].T
    return Normal(gram, cross)


Entries = Iterator[tuple[Ids, Ids, Numbers]]
"""Places of the row, places of the column, what is added there."""


def _add(matrix: Tensor, row: int, column: int, sequences: Sequences, entries: Entries) -> None:
    """Adds entries at the items of their places, from a corner of a matrix on."""
    flat, width = matrix.view(-1), matrix.shape[1]
    for rows, columns, values in _together(entries):
        at = (sequences.items[rows] + row) * width + (sequences.items[columns] + column)
        flat.scatter_add_(0, torch.from_numpy(at), torch.from_numpy(values).to(matrix.dtype))


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

    def earlier(self, least: int = 0) -> Entries:
        """(earlier place, later place, sum over all rows that hold both), from a lag on."""
        first, later = self.reaches
        for lag in range(least, first):
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

    def flipped(self, entries: Entries) -> Entries:
        """The same with the later place as row."""
        for i, j, value in entries:
            yield j, i, value


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
