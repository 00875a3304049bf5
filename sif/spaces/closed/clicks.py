"""The clicks of users on items, and what closed forms share: degrees, products, spectra.

A fit scales rows by a power of the users' degrees and columns by one of the items': many candidates
have the same powers, so what follows from them is computed once. Where several processes share the
work, each computes some rows or columns of a result, with the bits that one alone would find.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.spaces.linear.features import FeatureRows
from sif.spaces.linear.inputs import MAX_SIDE, MOST_SCALES
from sif.utils.ranks import sharing

Numbers = NDArray[np.float32]
Value = TypeVar("Value")

EXACT_SIDE = 2_000
"""Users or items, whichever are fewer, up to which a spectrum is exact: a quarter of a second."""
KEPT_SIDE = MAX_SIDE // MOST_SCALES
"""Items up to which products of all pairs are kept (100 MB); of more they are made again."""
MOST_RANK = 512
"""Vectors of a spectrum that are asked for at most, where all of them would take more than that."""
KEPT, KEPT_BYTES = 12, 1 << 27
"""Values of each kind that are kept, the latest ones, and their bytes at most; one in any case."""
MANY_PAIRS, PRODUCT_RATE = 10_000_000, 1e8
"""Pairs from which products of items with items take longer than what is made of them, and
multiplications in a second there, about, by scipy on one core of 2020."""
COLUMNS = 1024
"""Items whose products are made at once."""
OVERSAMPLED, ITERATIONS = 0.5, 6
"""Further directions, over the rank, and power iterations of a randomized spectrum (Halko et al.,
SIAM Review 2011). Spectra of clicks fall slowly: with 16 further ones and 3 iterations a low pass
of rank 32 on Food of the IR-Benchmark has .022 NDCG@10 on validation, with these .026."""
LEAST_RANK = 128
"""Vectors of a randomized spectrum that are made at least; lower ranks are parts of it."""
FAINT = 1e-3
"""Singular value, over the largest, below which float32 cannot tell its vector from noise."""
STEPS = 30
"""Power iterations for the largest eigenvalue; from the degrees, which nearly are its vector."""


class Clicks:
    """A 0/1 matrix of users by items with its shared parts.

    Args:
        pairs: CSR float32 (n_users, n_items) of ones.
        seed: Of randomized spectra.
        features: Of the items; None: there are none.

    Attributes:
        pairs, features: The arguments.
        n_items: Items.
        counts: (n_items,) clicks of each item.
    """

    def __init__(
        self, pairs: sp.csr_matrix, seed: int, features: FeatureRows | None = None
    ) -> None:
        self.pairs, self.n_items, self._seed = pairs, pairs.shape[1], seed
        self.features = features
        self.counts = np.bincount(pairs.indices, minlength=self.n_items)
        self._lengths = np.diff(pairs.indptr)
        self._kept: dict[tuple[Any, ...], Any] = {}

    @property
    def product_seconds(self) -> float:
        """Seconds of X' X where there are many pairs; where there are fewer it is not counted."""
        if self.pairs.nnz <= MANY_PAIRS:
            return 0.0
        return float((self._lengths.astype(np.float64) ** 2).sum()) / PRODUCT_RATE

    def item_power(self, exponent: float) -> Numbers:
        """(n_items,) powers of the items' degrees; an item without clicks counts as one."""
        return np.asarray(np.maximum(self.counts, 1.0) ** exponent, dtype=np.float32)

    def only(self, items: NDArray[np.int64]) -> Clicks:
        """The same users on some items alone."""
        features = None if self.features is None else self.features.of(items)
        return Clicks(sp.csr_matrix(self.pairs[:, items]), self._seed, features)

    def scaled(self, user: float, item: float) -> sp.csr_matrix:
        """Du^-user X Di^-item: CSR float32 (n_users, n_items)."""
        rows = np.maximum(self._lengths, 1.0) ** -user
        data = np.repeat(rows, self._lengths) * self.item_power(-item)[self.pairs.indices]
        parts = data.astype(np.float32), self.pairs.indices, self.pairs.indptr
        return sp.csr_matrix(parts, self.pairs.shape)

    def gram(self, user: float) -> torch.Tensor:
        """X' Du^-2user X of all items: float32 (n_items, n_items), a copy."""
        if self.n_items > KEPT_SIDE:
            return self._products(user)
        return self._once(("gram", user), lambda: self._products(user)).clone()

    def _products(self, user: float) -> torch.Tensor:
        rows, ranks = self.scaled(user, 0.0), sharing()
        make = np.empty if ranks.count == 1 else np.zeros
        found = make((self.n_items, self.n_items), np.float32)
        by_item = sp.csr_matrix(rows.T)
        for start in ranks.own(range(0, self.n_items, COLUMNS)):
            (by_item[start : start + COLUMNS] @ rows).toarray(out=found[start : start + COLUMNS])
        result = torch.from_numpy(found)
        ranks.add(result)
        return result

    @property
    def alike(self) -> sp.csr_matrix:
        """Feature rows whose products say how alike clicked items are; others have zeros."""
        features = self.features
        assert features is not None  # noqa: S101

        def made() -> sp.csr_matrix:
            clicked = self.counts > 0
            rows = features.weighted(clicked)
            return sp.csr_matrix(sp.diags(clicked.astype(np.float32)) @ rows)

        return self._once(("alike",), made)

    def products(self, items: NDArray[np.int64], user: float, item: float) -> sp.csr_matrix:
        """Rows of the scaled products X~' X~: CSR float32 (len(items), n_items)."""
        rows, ranks = self.scaled(user, item), sharing()
        own = np.array_split(items, ranks.count)[ranks.number]
        found = sp.csr_matrix(sp.csr_matrix(rows[:, own].T) @ rows)
        return found if ranks.count == 1 else sp.csr_matrix(sp.vstack(ranks.gathered(found)))

    def largest(self, user: float, item: float) -> float:
        """The largest eigenvalue of X~' X~, at least 1e-12."""

        def found() -> float:
            rows = self.scaled(user, item)
            # Du^1/2 and Di^1/2 are its vectors where both exponents are .5, and the value is 1.
            vector = np.maximum(self.counts, 1.0) ** (1 - item)
            value = 0.0
            for _ in range(STEPS):
                vector = rows.T @ (rows @ vector)
                value = float(np.linalg.norm(vector))
                if not value:
                    return 0.0
                vector = vector / value
            return value

        return max(self._once(("largest", user, item), found), 1e-12)

    def spectrum(self, user: float, item: float, rank: int) -> tuple[Numbers, Numbers]:
        """Largest singular values (r,) and right vectors (n_items, r) of Du^-user X Di^-item.

        Args:
            user: Exponent.
            item: Exponent.
            rank: r at most.
        """
        # Random ones depend on how many there are, so no more are taken because they are there.
        most = self.kept_rank(rank)

        def made() -> tuple[Numbers, Numbers]:
            rows = self.scaled(user, item)
            return _exact(rows, most) if self.exact else _randomized(rows, most, self._seed)

        values, vectors = self._once(("spectrum", user, item, most), made)
        return values[:rank], vectors[:, :rank]

    @property
    def exact(self) -> bool:
        """True if spectra are exact."""
        return bool(min(self.pairs.shape) <= EXACT_SIDE)

    @property
    def whole(self) -> bool:
        """True if spectra are exact and of all ranks, which then cost the same."""
        return self.exact and min(self.pairs.shape) * self.n_items <= KEPT_SIDE**2

    def kept_rank(self, rank: int) -> int:
        """Vectors that are made and kept where a rank is asked for, which others may ask for."""
        fewer = int(min(self.pairs.shape))
        most = fewer if self.whole else MOST_RANK if self.exact else LEAST_RANK
        return min(fewer, max(rank, most))

    def forget(self) -> None:
        """Gives up what is kept."""
        self._kept.clear()

    def _once(self, key: tuple[Any, ...], make: Callable[[], Value]) -> Value:
        """A value that is made once, and kept for a while."""
        if key not in self._kept:
            self._keep(key, make())
        value: Value = self._kept[key]
        return value

    def _keep(self, key: tuple[Any, ...], value: Any) -> None:
        self._kept.pop(key, None)
        alike = [other for other in self._kept if other[0] == key[0]]
        room = min(KEPT, max(1, KEPT_BYTES // max(_bytes(value), 1)))
        for other in alike[: max(0, len(alike) - room + 1)]:
            del self._kept[other]
        self._kept[key] = value


def _bytes(value: Any) -> int:
    """Of a matrix, or of several."""
    parts = value if isinstance(value, tuple) else (value,)
    return sum(getattr(part, "nbytes", 0) for part in parts)


def _exact(rows: sp.csr_matrix, rank: int) -> tuple[Numbers, Numbers]:
    """The largest singular values and right vectors, by the smaller of both products."""
    small = rows if rows.shape[0] <= rows.shape[1] else sp.csr_matrix(rows.T)
    product = torch.from_numpy((small @ small.T).toarray())
    squares, vectors = torch.linalg.eigh(product)
    values = squares.flip(0).clamp(min=0).sqrt().numpy()[:rank]
    found = vectors.flip(1).numpy()[:, :rank]
    if small is rows:
        found = (rows.T @ found) / np.maximum(values, 1e-9)
        found[:, values < FAINT * values[0]] = 0.0
    return values.astype(np.float32), np.ascontiguousarray(found, dtype=np.float32)


def _randomized(rows: sp.csr_matrix, rank: int, seed: int) -> tuple[Numbers, Numbers]:
    """The largest ones, by power iterations of random directions (Halko, Martinsson, Tropp)."""
    width = min(math.ceil((1 + OVERSAMPLED) * rank), *rows.shape)
    draws = np.random.default_rng([seed, 0xC1])
    columns = sp.csr_matrix(rows.T)
    basis = draws.standard_normal((rows.shape[1], width)).astype(np.float32)
    for _ in range(ITERATIONS):
        basis = _orthonormal(_by_columns(lambda some: columns @ (rows @ some), basis))
    # (n_users, width), its own spectrum is that of all in the basis.
    left = _by_columns(lambda some: rows @ some, basis)
    squares, turn = torch.linalg.eigh(torch.from_numpy(left.T @ left).double())
    values = squares.flip(0).clamp(min=0).sqrt().numpy()[:rank]
    vectors = basis @ turn.flip(1).numpy()[:, :rank].astype(np.float32)
    return values.astype(np.float32), np.ascontiguousarray(vectors)


def _by_columns(product: Callable[[Numbers], Numbers], columns: Numbers) -> Numbers:
    """A sparse product with columns, each of which one of the processes at work computes."""
    ranks = sharing()
    if ranks.count == 1:
        return product(columns)
    pieces = np.array_split(np.arange(columns.shape[1]), ranks.count)
    found = ranks.gathered(product(np.ascontiguousarray(columns[:, pieces[ranks.number]])))
    return np.concatenate(found, axis=1)


def _orthonormal(columns: Numbers) -> Numbers:
    return np.asarray(torch.linalg.qr(torch.from_numpy(columns)).Q.numpy())
