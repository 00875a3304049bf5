"""Item-item weights in closed form: one Cholesky factorization, of the next item or of any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sif.errors import DivergedError
from sif.spaces.linear.gram import Normal, reach
from sif.spaces.linear.sequences import Decay, Sequences

COLUMNS = 1024
"""Targets that are solved for at once."""
PAIRS = 3 << 20
"""Numbers for pairs of places at work, and for freed memory that stays with the process."""
TOLERANCE = 1e-2
"""Largest relative residual of a solution in float32; more would move places in a ranking."""


def solve(normal: Normal, l2: float) -> Tensor:
    """Weights B of (gram + l2 I) B = cross.

    Args:
        normal: Overwritten: its memory holds the factor and the result.
        l2: Ridge penalty, in rows.

    Returns:
        (s * n_items, n_items).

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


def solving_bytes(n_items: int, scales: int, size: int = 4) -> int:
    """Bytes of the normal equations and their solution.

    Args:
        n_items: Size of the catalog.
        scales: Number of decays side by side.
        size: Bytes of a number.
    """
    side = n_items * scales
    return size * (side * side + side * n_items + side * min(COLUMNS, n_items) + PAIRS)


def grid_bytes(n_items: int, scales: int, kept: bool, size: int = 4) -> int:
    """Bytes of one solution after the other, of which the best weights so far stay.

    Args:
        n_items: Size of the catalog.
        scales: Number of decays side by side.
        kept: Whether products stay for the next penalty.
        size: Bytes of a number.
    """
    blocks = scales + (scales + scales * (scales + 1) // 2 if kept else 0)
    return solving_bytes(n_items, scales, size) + size * blocks * n_items**2


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
