"""Weights of a filter: sparse products and factors, never all pairs of items.

Scores of a history x are (x e) f(P) l + (x A) B', with P = X~' X~ of the scaled clicks X~, scales e
and l of the items that enter and leave, and factors A and B of an ideal low pass or a shrunk
spectrum.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
Ids = NDArray[np.int64]
Times = Callable[[Numbers], Numbers]
"""Multiplies columns (n_items, b) by P."""

BLOCK = 1 << 24
"""Numbers of a block of users at work: 64 MB, three or four of which are alive at once."""


class Polynomial(Protocol):
    """A function of P, as sums of products with it."""

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Numbers that it can be made of again."""
        ...

    def applied(self, times: Times, columns: Numbers) -> Numbers:
        """f(P) times columns (n_items, b)."""
        ...


@dataclass(frozen=True)
class Powers:
    """c1 P/t + c2 (P/t)^2 + ..., by Horner's rule.

    Attributes:
        top: t, the largest eigenvalue of P.
        factors: c1, c2 and so on; none: the function is 0.
    """

    top: float
    factors: tuple[float, ...]

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The largest eigenvalue, then the factors."""
        return (self.top, *self.factors)

    def applied(self, times: Times, columns: Numbers) -> Numbers:
        """f(P) times columns, in products with P."""
        *lower, last = self.factors
        found = times(columns) * np.float32(last / self.top)
        for factor in reversed(lower):
            found = times(columns * np.float32(factor) + found)
            found *= np.float32(1 / self.top)
        return found


@dataclass(frozen=True)
class Chebyshev:
    """Sum over k of c_k T_k(2 P/t - 1), by the recurrence of Chebyshev's polynomials.

    Attributes:
        top: t, the largest eigenvalue of P.
        factors: c_0 and so on, two at least.
    """

    top: float
    factors: tuple[float, ...]

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The largest eigenvalue, then the factors."""
        return (self.top, *self.factors)

    def applied(self, times: Times, columns: Numbers) -> Numbers:
        """f(P) times columns, in products with P."""

        def shifted(one: Numbers) -> Numbers:
            found = times(one)
            found *= np.float32(2 / self.top)
            found -= one
            return found

        before, last = columns, shifted(columns)
        total = columns * np.float32(self.factors[0]) + last * np.float32(self.factors[1])
        for factor in self.factors[2:]:
            following = shifted(last)
            following *= 2
            following -= before
            before, last = last, following
            total += last * np.float32(factor)
        return total


@dataclass(frozen=True, eq=False)
class FilterWeights:
    """Weights from items of a history to all items, as an operator.

    Attributes:
        n_items: Size of the catalog.
        rows: CSR float32 (n_users, n_items), the scaled clicks X~; None: there are only factors.
        polynomial: Of P.
        enters: (n_items,) scale of an item in a history.
        leaves: (n_items,) scale of an item that is scored.
        sides: A and B (n_items, r) each; r may be 0.
    """

    n_items: int
    rows: sp.csr_matrix | None
    polynomial: Polynomial | None
    enters: Numbers
    leaves: Numbers
    sides: tuple[Numbers, Numbers]

    offsets = None
    """Added to the scores of every item, whatever the history: nothing."""

    @property
    def size(self) -> int:
        """Numbers of the model."""
        clicks: int = 0 if self.rows is None else self.rows.nnz
        return clicks + sum(side.size for side in self.sides)

    @cached_property
    def _columns(self) -> sp.csr_matrix:
        assert self.rows is not None  # noqa: S101
        return sp.csr_matrix(self.rows.T)

    def _times(self, columns: Numbers) -> Numbers:
        """P times columns (n_items, b), dense."""
        assert self.rows is not None  # noqa: S101
        found: Numbers = self._columns @ (self.rows @ columns)
        return found

    def scores(self, histories: sp.csr_matrix) -> Numbers:
        """Scores of all items: histories (b, n_items) to (b, n_items) float32.

        Blocks of users run side by side, since scipy's products take one thread each.
        """
        n, threads = histories.shape[0], torch.get_num_threads()
        most = BLOCK // max(self.n_items, 1 if self.rows is None else self.rows.shape[0])
        step = max(1, min(most, -(-n // threads)))
        found = np.empty((n, self.n_items), np.float32)

        def fill(start: int) -> None:
            found[start : start + step] = self._block(histories[start : start + step])

        if threads == 1 or n <= step:
            for start in range(0, n, step):
                fill(start)
            return found
        if self.rows is not None:
            _ = self._columns  # made once, before the threads ask for it
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(0, n, step)))
        return found

    def _block(self, histories: sp.csr_matrix) -> Numbers:
        sides = self.sides
        # By torch, whose threads are those that were asked for.
        inside = torch.from_numpy(np.ascontiguousarray(histories @ sides[0]))
        found: Numbers = (inside @ torch.from_numpy(sides[1]).T).numpy()
        if self.rows is not None and self.polynomial is not None:
            entering = sp.csr_matrix(histories.multiply(self.enters)).astype(np.float32)
            columns = np.ascontiguousarray(entering.toarray().T)
            passed = self.polynomial.applied(self._times, columns)
            found = found + passed.T * self.leaves
        return np.asarray(found, dtype=np.float32)

    def to(self, items: Ids) -> Numbers:
        """Weights of all items in a history for some items: (n_items, k)."""
        found = self.sides[0] @ self.sides[1][items].T
        if self.rows is not None and self.polynomial is not None:
            units = np.zeros((self.n_items, len(items)), np.float32)
            units[items, np.arange(len(items))] = self.leaves[items]
            passed = self.polynomial.applied(self._times, units)  # P is symmetric
            found = found + passed * self.enters[:, None]
        return np.asarray(found, dtype=np.float32)

    def between(self, entries: Ids, items: Ids) -> Numbers:
        """Weights (k,) from items of a history (k,) to items (k,)."""
        found = np.zeros(len(entries), np.float32)
        order = np.argsort(items, kind="stable")
        each, starts = np.unique(items[order], return_index=True)
        ends = np.append(starts[1:], len(order))
        step = max(1, BLOCK // max(self.n_items, 1))
        for start in range(0, len(each), step):
            block = self.to(each[start : start + step])
            for column, place in enumerate(range(start, min(start + step, len(each)))):
                at = order[starts[place] : ends[place]]
                found[at] = block[entries[at], column]
        return found

    def table(self) -> Numbers:
        """All weights (n_items, n_items), dense."""
        found = np.empty((self.n_items, self.n_items), np.float32)
        step = max(1, BLOCK // max(self.n_items, 1))
        for start in range(0, self.n_items, step):
            items = np.arange(start, min(start + step, self.n_items))
            found[:, items] = self.to(items)
        return found
