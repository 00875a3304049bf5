"""The normal equations of what follows on decayed histories, without the histories' matrix.

Row k of a user has as input, for each scale s, x_k[a] = sum over earlier places i of item a within
the window of exp(s_i - s_(k-1)), and as target the item at k. The clock of a scale, s_i, goes on by
rank, by time or by both. X^T X would multiply millions of long rows. A pair of places i <= j enters
all rows after j, and the sum of their products, i under scale s and j under t, is

    exp(s_i - s_j) * sum over k > j of w_k exp(s_j + t_j - s_(k-1) - t_(k-1)),

whose second factor is one backward recurrence over a user's places. So the cost is the number of
pairs within the longer window, not its square. Where the target holds further items as well, each
by `ahead` times the one before, X^T Y adds for the pair of place i and a later place m the sum over
k = i + 1..m of row k's weight, its x_k and ahead^(m - k), by a forward recurrence over m.

Where several processes share the work, each adds up what some of the places give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.spaces.linear.sequences import Decay, Ids, Numbers, Sequences
from sif.utils.ranks import sharing

NEGLIGIBLE = 1e-4
"""Weight at which a decay without a window is cut, relative to the latest item's."""
FAINT = 1e-3
"""Weight at which a further item of the target is left out, relative to the next one's."""
CHUNK = 1 << 17
"""Pairs of places that are made and added at once, at most twice as many (20 MB)."""
SPARSE = 1 << 22
"""The same where they are added to a sparse matrix, which merges all of it."""
ROWS = 256
"""Rows of a matrix that are worked on at once."""

Entries = Iterator[tuple[Ids, Ids, Numbers]]
"""Places of the row, places of the column, what is added there."""


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations: (gram + l2) B = cross.

    Attributes:
        gram: (s * m, s * m), X^T W X of m items in s scales side by side.
        cross: (s * m, n_items), X^T W Y.
    """

    gram: Tensor
    cross: Tensor


class Products:
    """Blocks of normal equations, each computed once.

    Args:
        sequences: Of the train part.
        weights: (n,) weight of the row whose target is the item of each place; None: 1.
        dtype: Of the blocks.
        items: (m,), ascending, that inputs are of; all items are targets; None: all.
    """

    def __init__(
        self, sequences: Sequences, weights: Numbers | None = None,
        dtype: torch.dtype = torch.float64, items: Ids | None = None,
    ) -> None:  # fmt: skip
        self.sequences, self.dtype = sequences, dtype
        self.n_inputs = sequences.n_items if items is None else len(items)
        self._rows = np.ones(len(sequences.items)) if weights is None else weights
        self._kept: dict[tuple[Decay | float, ...], Tensor] = {}
        self._alone: dict[tuple[Decay, float], tuple[sp.csr_matrix, Numbers]] = {}
        numbers = np.full(sequences.n_items, -1)
        numbers[slice(None) if items is None else items] = np.arange(self.n_inputs)
        self._inputs: Ids = numbers[sequences.items]

    def normal(self, decays: Sequence[Decay], keep: bool = False, ahead: float = 0.0) -> Normal:
        """The normal equations of scales side by side.

        Args:
            decays: The scales.
            keep: Whether blocks are kept for further calls.
            ahead: Weight of each further item in the target, relative to the one before; below 1.
        """
        n, s = self.n_inputs, len(decays)
        gram = torch.zeros(s * n, s * n, dtype=self.dtype)
        cross = torch.zeros(s * n, self.sequences.n_items, dtype=self.dtype)
        for a, first in enumerate(decays):
            rows = slice(a * n, (a + 1) * n)
            self._fill(cross[rows], keep, first, ahead)
            for b, second in enumerate(decays[: a + 1]):
                columns = slice(b * n, (b + 1) * n)
                self._fill(gram[rows, columns], keep, first, second)
                if b < a:
                    gram[columns, rows] = gram[rows, columns].T
        return Normal(gram, cross)

    def _fill(self, block: Tensor, keep: bool, first: Decay, second: Decay | float) -> None:
        """Writes the products of a decay with another, or with targets, into zeros."""
        known = self._kept.get((first, second))
        if known is not None:
            block.copy_(known)
            return
        if isinstance(second, Decay):
            self._add_pairs(block, first, second)
        else:
            found = _targets(self.sequences, first, second, self._rows)
            self._add(block, found, self.sequences.items)
        sharing().add(block)
        if keep:
            self._kept[first, second] = block.clone()
            if isinstance(second, Decay):
                self._kept[second, first] = self._kept[first, second].T

    def _add_pairs(self, block: Tensor, first: Decay, second: Decay) -> None:
        pairs = _Pairs(self.sequences, first, second, self._rows)
        if first == second:
            self._add(block, pairs.earlier(1), self._inputs)
            _add_transposed(block)
        else:
            swapped = _Pairs(self.sequences, second, first, self._rows)
            self._add(block.T, swapped.earlier(1), self._inputs)
        self._add(block, pairs.earlier(0, 1 if first == second else None), self._inputs)

    def _add(self, block: Tensor, entries: Entries, to: Ids) -> None:
        """Adds entries at the items of their places to a block, maybe a part of a matrix.

        Args:
            block: (m, any).
            entries: From inputs.
            to: Column of every place; -1: none.
        """
        down, right = block.stride()
        span = (len(block) - 1) * down + (block.shape[1] - 1) * right + 1
        flat = block.as_strided((span,), (1,), block.storage_offset())  # nothing is copied
        for rows, columns, values in _together(entries, CHUNK):
            row, column, value = self._inputs[rows], to[columns], values
            if self.n_inputs < self.sequences.n_items:
                inside = (row >= 0) & (column >= 0)
                row, column, value = row[inside], column[inside], values[inside]
            at = torch.from_numpy(row * down + column * right)
            flat.scatter_add_(0, at, torch.from_numpy(value).to(self.dtype))

    def rest(
        self, decays: Sequence[Decay], l2: float, ahead: float = 0.0, keep: bool = False
    ) -> sp.csr_matrix:
        """Weights from the items that the blocks leave out, each as if it stood alone.

        Args:
            decays: The scales.
            l2: Ridge penalty.
            ahead: See `normal`.
            keep: See `normal`.

        Returns:
            CSR float32 (s * n_items, n_items): product with the target over own square and penalty.
        """
        blocks = []
        for decay in decays:
            found, squares = self._alone.get((decay, ahead)) or self._outside(decay, ahead)
            if keep:
                self._alone[decay, ahead] = found, squares
            blocks.append(sp.diags(1 / (squares + l2)) @ found)
        return sp.csr_matrix(sp.vstack(blocks), dtype=np.float32)

    def _outside(self, decay: Decay, ahead: float) -> tuple[sp.csr_matrix, Numbers]:
        """Products with targets (n_items, n_items), own squares (n_items,), of other inputs."""
        catalog, n = self.sequences.items, self.sequences.n_items
        found = sp.csr_matrix((n, n))
        targets = _targets(self.sequences, decay, ahead, self._rows)
        for rows, columns, values in _together(targets, SPARSE):
            outside = self._inputs[rows] < 0
            at = catalog[rows[outside]], catalog[columns[outside]]
            found = found + sp.csr_matrix((values[outside], at), (n, n))
        squares, ranks = np.zeros(n), sharing()
        for places, _, values in _Pairs(self.sequences, decay, decay, self._rows).earlier(0, 1):
            squares += np.bincount(catalog[places], values, n)
        ranks.add(torch.from_numpy(squares))
        return sum(ranks.gathered(found), sp.csr_matrix((n, n))), squares


def _add_transposed(block: Tensor) -> None:
    """Adds to a square block its transpose, some rows at a time."""
    n = len(block)
    for start in range(0, n, ROWS):
        rows = slice(start, start + ROWS)
        both = block[rows, start:] + block[start:, rows].T
        block[rows, start:] = both
        block[start:, rows] = both.T


def normal_equations(
    sequences: Sequences, decays: Sequence[Decay], weights: Numbers | None = None,
    dtype: torch.dtype = torch.float64, ahead: float = 0.0,
) -> Normal:  # fmt: skip
    """The normal equations of what follows.

    Args:
        sequences: Of the train part.
        decays: The scales side by side.
        weights: (n,) weight of the row whose target is the item of each place; None: 1.
        dtype: Of the result.
        ahead: Weight of each further item in the target, relative to the one before; below 1.
    """
    return Products(sequences, weights, dtype).normal(decays, ahead=ahead)


def _together(entries: Entries, least: int) -> Entries:
    """The same entries in fewer pieces of so many at least."""
    held: list[tuple[NDArray[np.int64], NDArray[np.int64], Numbers]] = []
    size = 0
    for entry in entries:
        held.append(entry)
        size += len(entry[0])
        if size >= least:
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
    if decay.gamma == 1:
        return longest
    return min(longest, int(np.ceil(np.log(NEGLIGIBLE) / np.log(decay.gamma))) + 1)


def _earlier(sequences: Sequences, lags: range, more: int) -> Iterator[tuple[int, Ids]]:
    """Lags, and own places with a later one at that lag and some more; a chunk at a time."""
    for start in sharing().own(range(0, len(sequences.items), CHUNK)):
        left = sequences.left[start : start + CHUNK]
        for lag in lags:
            i = start + np.flatnonzero(left >= lag + more)
            if not len(i):
                break
            yield lag, i


def _targets(sequences: Sequences, decay: Decay, ahead: float, weights: Numbers) -> Entries:
    """Every earlier place within the window, with the places whose items are in the targets."""
    longest = int(sequences.lengths.max(initial=0))
    window = reach(decay, longest - 1)
    more = int(np.ceil(np.log(FAINT) / np.log(ahead))) if ahead else 0
    before = np.zeros(len(sequences.items) if ahead else 0)  # of each place, by the last lag
    for lag, i in _earlier(sequences, range(1, min(window + more, longest - 1) + 1), 0):
        k = i + lag
        value = np.zeros(len(i))
        if lag <= window:
            value = weights[k] * np.exp(-sequences.faded(decay, k - 1, i))
        if ahead:
            value += ahead * before[i]
            before[i] = value
        yield i, k, value


class _Pairs:
    """Pairs of places, the earlier under one decay and the later under another."""

    def __init__(self, sequences: Sequences, first: Decay, second: Decay, weights: Numbers) -> None:
        self.sequences, self.first = sequences, first
        longest = int(sequences.lengths.max(initial=0))
        self.reaches = reach(first, longest), reach(second, longest)
        self.faded = sequences.clock(first) + sequences.clock(second)
        self.after = _sums_after(sequences, self.faded, weights)

    def earlier(self, least: int = 0, most: int | None = None) -> Entries:
        """(earlier place, later place, sum over all rows that hold both) of a range of lags."""
        first, later = self.reaches
        lags = range(least, first if most is None else most)
        for lag, i in _earlier(self.sequences, lags, 1):  # one more, the first target
            j = i + lag
            # Rows k - 1 run from j to where the window of i or of j ends.
            count = np.minimum(np.minimum(first - lag, later), self.sequences.left[j])
            value = self.after[j]
            cut = np.flatnonzero(count < self.sequences.left[j])
            beyond = j[cut] + count[cut]
            value[cut] -= np.exp(self.faded[j[cut]] - self.faded[beyond]) * self.after[beyond]
            yield i, j, value * np.exp(-self.sequences.faded(self.first, j, i))


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
