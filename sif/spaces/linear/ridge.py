"""Item-item weights in closed form: one Cholesky factorization, of the next item or of any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.errors import DivergedError
from sif.spaces.linear.features import FeatureRows, add_products
from sif.spaces.linear.gram import Normal, Products, reach
from sif.spaces.linear.inputs import FREQUENT, MAX_SIDE, solved_items
from sif.spaces.linear.sequences import Decay, Sequences
from sif.spaces.linear.weights import ItemWeights

COLUMNS = 1024
"""Targets that are solved for at once."""
PAIRS = 3 << 20
"""Numbers for pairs of places at work, and for freed memory that stays with the process."""
RARE_BYTES = 800
"""Of a place of a history with rare items: 16 to 69 sparse weights of 12 bytes."""
JUDGED_BYTES = 4 << 25
"""Of what validation holds at once: four arrays like the 32 MB of scores."""
TOLERANCE = 1e-2
"""Largest relative residual of a solution in float32; more would move places in a ranking."""


def solve(normal: Normal, l2: float) -> Tensor:
    """Weights B of (gram + l2 I) B = cross.

    Args:
        normal: Overwritten: its memory holds the factor and the result.
        l2: Ridge penalty, in rows.

    Returns:
        (s * m, n_items), as `Normal` has them.

    Raises:
        DivergedError: The matrix is too close to singular for its number type.
    """
    weights = normal.cross
    factor = normal.gram.mT  # symmetric; in LAPACK's order nothing is copied
    factor.diagonal().add_(l2)
    probe = torch.randn(len(factor), 1, generator=torch.Generator().manual_seed(0)).to(factor)
    product, expected = factor @ probe, weights.mT @ probe
    _, failed = torch.linalg.cholesky_ex(
        factor, out=(factor, torch.empty((), dtype=torch.int32, device=factor.device))
    )
    if int(failed):
        raise _singular(l2)
    _solve_columns(factor, weights)
    # The probe's image under L L^T says whether the factor is right, and that of B the solution.
    found = factor @ (factor.mT @ probe)
    back = weights.mT @ product
    for one, other in ((found, product), (back, expected)):
        if not float((one - other).norm()) <= TOLERANCE * float(other.norm()):
            raise _singular(l2)
    return weights


def _solve_columns(factor: Tensor, weights: Tensor) -> None:
    """Overwrites B (n, m) with the solution X of L L^T X = B, by the factor L (n, n)."""
    room = factor.new_empty(min(COLUMNS, weights.shape[1]), len(factor))
    for block in weights.split(COLUMNS, dim=1):
        columns = room[: block.shape[1]].mT.copy_(block)
        # As cholesky_solve does it, which copies the factor each time.
        torch.linalg.solve_triangular(factor, columns, upper=False, out=columns)
        torch.linalg.solve_triangular(factor.mT, columns, upper=True, out=columns)
        block.copy_(columns)


def _singular(l2: float) -> DivergedError:
    return DivergedError(f"ridge: l2 {l2:g} is too small for histories that are so alike")


@dataclass(frozen=True)
class Sizes:
    """Sizes of normal equations.

    Attributes:
        inputs: Items that are solved for.
        scales: Number of decays side by side.
        n_items: Size of the catalog.
    """

    inputs: int
    scales: int
    n_items: int

    @property
    def side(self) -> int:
        """Rows of the matrix."""
        return self.inputs * self.scales

    @property
    def operations(self) -> float:
        """Of a solution: (s m)^3 / 3 for the factor, 2 (s m)^2 for each of the targets."""
        return self.side**3 / 3 + 2.0 * self.side**2 * self.n_items

    @property
    def products(self) -> int:
        """Numbers of the products that make up the equations."""
        pairs = self.scales * (self.scales + 1) // 2
        return self.side * self.n_items + pairs * self.inputs**2

    @property
    def kept(self) -> bool:
        """True where products stay for the next penalty: they are no more than the most weights."""
        return self.products <= MAX_SIDE**2

    def solving_bytes(self, size: int = 4) -> int:
        """Bytes of the normal equations and their solution, numbers of so many bytes."""
        n, side = self.n_items, self.side
        return size * (side * side + side * n + side * min(COLUMNS, n) + PAIRS)

    def grid_bytes(self, size: int = 4) -> int:
        """Bytes of one solution after the other, of which the best weights so far stay."""
        kept = self.products if self.kept else 0
        return self.solving_bytes(size) + size * (self.side * self.n_items + kept)


def solution_sizes(counts: NDArray[np.int64], scales: int) -> Sizes:
    """Sizes of the normal equations for items with so many train rows each (n_items,)."""
    items = solved_items(counts, scales)
    return Sizes(len(counts) if items is None else len(items), scales, len(counts))


def grid_bytes(counts: NDArray[np.int64], scales: int) -> int:
    """Bytes of the fits over a grid and of their judgments.

    Args:
        counts: (n_items,) train rows of each item.
        scales: Number of decays side by side.
    """
    sizes = solution_sizes(counts, scales)
    rare = RARE_BYTES * int(counts.sum()) if sizes.inputs < sizes.n_items else 0
    return sizes.grid_bytes() + rare + JUDGED_BYTES


class HistorySolver:
    """Weights from decayed histories to the next item.

    Args:
        sequences: Of the train part.
        decays: Time scales.
        tried: Whether several penalties are asked for, so that products may stay.
        features: Of the items; None: there are none.

    Attributes:
        items: That were solved for last (`solved_items`); others stand alone. None: all.
    """

    def __init__(
        self, sequences: Sequences, decays: Sequence[Decay], tried: bool = True,
        features: FeatureRows | None = None,
    ) -> None:  # fmt: skip
        self._features = features
        self._sequences, self._decays, self._tried = sequences, decays, tried
        self._counts = np.bincount(sequences.items, minlength=sequences.n_items)
        self._n_items, self._frequent = sequences.n_items, -1.0  # none are solved for yet
        self.items: NDArray[np.int64] | None = None

    def weights(
        self, l2: float, ahead: float = 0.0, frequent: float = FREQUENT, features: float = 0.0
    ) -> ItemWeights:
        """The weights under a penalty.

        Args:
            l2: Ridge penalty, in rows.
            ahead: See `Products.normal`.
            frequent: See `solved_items`.
            features: Weight of a feature, in mean squares of an input: each is a further row whose
                history is, at every scale, the items that have it, and whose target is any other
                one of these.

        Raises:
            DivergedError: The penalty is too small.
        """
        if frequent != self._frequent:
            self._solve_for(frequent)
        normal = self._products.normal(self._decays, self._keep, ahead)
        if features:
            self._add_features(normal, features)
        dense = solve(normal, l2).numpy()
        if self.items is None:
            return ItemWeights(dense, self._n_items)
        rest = self._products.rest(self._decays, l2, ahead, self._keep)
        return ItemWeights(dense, self._n_items, self.items, rest)

    @cached_property
    def alike(self) -> sp.csr_matrix:
        """Feature rows of all items, of which those without a train row have zeros."""
        assert self._features is not None  # noqa: S101
        trained = self._counts > 0
        rows = self._features.weighted(trained)
        return sp.csr_matrix(sp.diags(trained.astype(np.float32)) @ rows)

    def _add_features(self, normal: Normal, features: float) -> None:
        squares = normal.gram.diagonal()
        weight = features * float(squares[squares > 0].mean())
        items = np.arange(self._n_items) if self.items is None else self.items
        inputs, n = self.alike[items], len(items)
        blocks = [slice(scale * n, (scale + 1) * n) for scale in range(len(self._decays))]
        for rows in blocks:
            add_products(normal.cross[rows], inputs, self.alike, weight, own=items)
            for columns in blocks:
                add_products(normal.gram[rows, columns], inputs, inputs, weight)

    def _solve_for(self, frequent: float) -> None:
        """Forgets the products of other items."""
        scales = len(self._decays)
        self.items, self._frequent = solved_items(self._counts, scales, frequent), frequent
        solved = self._n_items if self.items is None else len(self.items)
        self._keep = self._tried and Sizes(solved, scales, self._n_items).kept
        self._products = Products(self._sequences, dtype=torch.float32, items=self.items)


def histories(sequences: Sequences, decays: Sequence[Decay]) -> sp.csr_matrix:
    """The decayed history of each user at the end of his sequence.

    Args:
        sequences: Of all users.
        decays: The scales side by side.

    Returns:
        (n_users, s * n_items) float32.
    """
    longest = int(sequences.lengths.max(initial=0))
    shape = (sequences.n_users, sequences.n_items)
    blocks = []
    for decay in decays:
        at = np.flatnonzero(sequences.left < reach(decay, longest))
        ends = sequences.starts[1:][sequences.users[at]] - 1
        values = np.exp(-sequences.faded(decay, ends, at)).astype(np.float32)
        blocks.append(sp.csr_matrix((values, (sequences.users[at], sequences.items[at])), shape))
    return sp.csr_matrix(sp.hstack(blocks))


def seen(sequences: Sequences) -> sp.csr_matrix:
    """The items of every user as a set: CSR (n_users, n_items) of ones."""
    ones = np.ones(len(sequences.items), dtype=np.float32)
    shape = (sequences.n_users, sequences.n_items)
    found = sp.csr_matrix((ones, (sequences.users, sequences.items)), shape)
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def set_weights(sequences: Sequences, l2: float) -> Tensor:
    """Weights of any item from all others: EASE (Steck, WWW 2019), a zero diagonal."""
    pairs = seen(sequences)
    gram = torch.from_numpy((pairs.T @ pairs).toarray()).mT
    gram.diagonal().add_(l2)
    torch.linalg.cholesky(gram, out=gram)
    weights = torch.cholesky_inverse(gram, out=gram).mT
    diagonal = weights.diagonal().clone()
    weights.neg_().div_(diagonal).fill_diagonal_(0.0)
    return weights
