"""EASE: a linear item-item model with a zero diagonal, in closed form (Steck, WWW 2019).

With X the 0/1 matrix of users by items and P = (X^T X + lambda I)^-1, the weights are
B = I - P diag(P)^-1 and the scores X B. Where users are fewer than items, X P follows from the
smaller Gram matrix X X^T instead. The Gram matrix is shared by the whole grid.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import scipy.sparse as sp
import torch

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, Serving, TableScorer
from sif.baselines.item_item import ItemItemScorer, item_network
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError
from sif.evaluation.evaluate import Scorer, pair_matrix
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.ridge import set_weights
from sif.spaces.linear.sequences import Sequences
from sif.spaces.linear.weights import ItemWeights
from sif.utils.device import torch_threads

# A Gram matrix of this side takes 1.6 GB in float32 and its Cholesky factorization about a minute.
MAX_SIDE = 20_000
MAX_SCORES = 1 << 29
SERVED_ITEMS = 15_000
"""Of the item-item matrix that is served; scores of some users' own rows need none."""
MEASURED = 2048
"""Side of a matrix whose factorization takes a quarter of a second; of smaller ones large ones
are told twice as slow as they are."""

REPEATS = 3
"""Measurements, since other processes may hold one up."""
SHARED = 0.9
"""Power of the number of threads by which a factorization is faster than on one."""


def fit_ease(train: Interactions, grid: Sequence[Params], *unused: object) -> Iterator[Scorer]:
    """One model per `l2` of the grid, the ridge penalty lambda in interactions.

    Raises:
        DataError: Both users and items are too many for a dense solution.
    """
    pairs = pair_matrix(train)
    n_users, n_items = pairs.shape
    by_user = n_users < n_items
    if min(pairs.shape) > MAX_SIDE or (by_user and n_users * n_items > MAX_SCORES):
        raise DataError(
            f"baseline ease: expected at most {MAX_SIDE} users or items (and {MAX_SCORES} scores), "
            f"found {n_users} users and {n_items} items"
        )
    gram = sp.csr_matrix(pairs @ pairs.T if by_user else pairs.T @ pairs)
    for params in grid:
        yield _solved(pairs, gram, float(params["l2"]), by_user)


def _solved(pairs: sp.csr_matrix, gram: sp.csr_matrix, l2: float, by_user: bool) -> Scorer:
    """One model: its square matrix is made, factorized and inverted in one place in memory."""
    factor = torch.from_numpy(gram.toarray()).mT  # symmetric; in LAPACK's order nothing is copied
    factor.diagonal().add_(l2)
    torch.linalg.cholesky(factor, out=factor)
    return _from_users(pairs, factor, l2) if by_user else _from_items(pairs, factor)


def _from_users(pairs: sp.csr_matrix, factor: torch.Tensor, l2: float) -> TableScorer:
    """X B from the Cholesky factor of X X^T + l2 I.

    X P = (X X^T + l2 I)^-1 X and diag(P) = (1 - colsum(X * X P)) / l2: P itself is never formed.
    """
    x = torch.from_numpy(pairs.toarray())
    xp = torch.cholesky_solve(x, factor)
    diagonal = (1.0 - (x * xp).sum(dim=0)) / l2
    return TableScorer((x - xp / diagonal).numpy())


def _from_items(pairs: sp.csr_matrix, factor: torch.Tensor) -> ItemItemScorer:
    """B from the Cholesky factor of X^T X + l2 I, which is overwritten."""
    weights = torch.cholesky_inverse(factor, out=factor).mT
    diagonal = weights.diagonal().clone()
    weights.neg_().div_(diagonal).fill_diagonal_(0.0)
    return ItemItemScorer(pairs, ItemWeights(weights.numpy(), len(weights)))


def ease_network(
    scorer: ItemItemScorer | TableScorer, train: Interactions, params: Params
) -> OrderNetwork:
    """The item-item model of B; where users were fewer than items, B is solved for now."""
    if isinstance(scorer, ItemItemScorer):
        return item_network(scorer, train)
    n_items = train.sizes[1]
    users, items = train.ids[:, :2].T
    sequences = Sequences.of(users, items, (train.sizes[0], n_items))
    weights = set_weights(sequences, params["l2"]).numpy()
    return OrderNetwork(given_genotype(()), n_items).take(ItemWeights(weights, n_items))


def fit_seconds(train: Interactions, grid: Sequence[Params]) -> list[float]:
    """Seconds of each fit."""
    n_users, n_items = train.sizes[:2]
    side = min(n_users, n_items)
    seconds = inversion_seconds(side)
    return [seconds * (1 + 2 * n_items / side) if n_users < n_items else seconds] * len(grid)


def inversion_seconds(side: int) -> float:
    """Seconds of the inversion of a matrix, by that of a smaller one, the fastest of a few.

    It is measured on one thread: beside other processes the threads of a small matrix wait for each
    other up to twenty times as long as they compute.
    """
    small, threads = min(side, MEASURED), torch.get_num_threads()
    matrix = torch.eye(small) + 1.0 / small
    seconds = []
    with torch_threads(1):
        torch.linalg.cholesky(matrix)  # the first call of a process loads its library
        for _ in range(REPEATS):
            begin = time.perf_counter()
            torch.cholesky_inverse(torch.linalg.cholesky(matrix))
            seconds.append(time.perf_counter() - begin)
    return float(min(seconds) * (side / small) ** 3 / threads**SHARED)


def matrices(n_users: int, n_items: int) -> int:
    """Floats of the best weights so far and of a fit at work; the Gram matrix is sparse."""
    return 2 * min(n_users, n_items) ** 2 + (4 * n_users * n_items if n_users < n_items else 0)


EASE = Baseline(
    name="ease",
    description="EASE, linear item-item model",
    objectives=frozenset({"ranking"}),
    grid=tuple({"l2": l2} for l2 in (100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)),
    fit_grid=fit_ease,
    axes={"l2": Axis(factor=2.0)},
    fit_seconds=fit_seconds,
    matrices=matrices,
    serving=Serving(ease_network, most_items=SERVED_ITEMS),
)
