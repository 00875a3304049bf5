"""SLIM: sparse weights between items that are not negative (Ning and Karypis, ICDM 2011).

Minimizes 1/2 |X - X B|^2 + l2/2 |B|^2 + l1 |B|_1 over B >= 0 with a zero diagonal, all columns at
once by the alternating direction method of multipliers (ADMM-SLIM: Steck et al., WSDM 2020,
section 3): a ridge regression in closed form in turn with a cut at 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, Serving
from sif.baselines.ease import REPEATS
from sif.baselines.item_item import ItemItemScorer, item_network
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError
from sif.evaluation.evaluate import Scorer, pair_matrix
from sif.spaces.linear.weights import ItemWeights
from sif.utils.device import torch_threads

MAX_ITEMS = 5_000
"""A fit takes 10 products of matrices of this side, 250 billion operations each."""
ITERATIONS = 8
"""On ML-100K the objective is then within .5 % of the lowest; validation has .2646, and .2634 and
.2629 after 12 and 20."""
RELAXATION = 1.6
"""1.5 to 1.8 is usual (Boyd et al., 2011, section 3.4.3)."""
POWER_STEPS = 20
"""Steps to the largest eigenvalue, of which the size suffices."""
MEASURED = 1024
"""Side of a matrix whose product tells the seconds of larger ones."""


def fit_slim(train: Interactions, grid: Sequence[Params], *unused: object) -> Iterator[Scorer]:
    """One model per setting of `l2` and `l1`, in interactions.

    Raises:
        DataError: The items are too many.
    """
    n_items = _usable(train.sizes[1])
    pairs = pair_matrix(train)
    gram = torch.from_numpy((pairs.T @ pairs).toarray())
    for params in grid:
        weights = slim_weights(gram, float(params["l2"]), float(params["l1"]))
        yield ItemItemScorer(pairs, ItemWeights(weights.numpy(), n_items))


def _usable(n_items: int) -> int:
    """A number of items, refused where it is too large."""
    if n_items > MAX_ITEMS:
        raise DataError(f"baseline slim: expected at most {MAX_ITEMS} items, found {n_items}")
    return n_items


def slim_weights(
    gram: torch.Tensor, l2: float, l1: float, iterations: int = ITERATIONS
) -> torch.Tensor:
    """B (n, n), not negative, with a zero diagonal.

    Args:
        gram: X^T X (n, n), symmetric.
        l2: Ridge penalty, above 0.
        l1: Penalty of the weights' size, 0 or more.
        iterations: Of the alternation.

    Example:
        >>> gram = torch.tensor([[4.0, 2.0], [2.0, 4.0]])
        >>> slim_weights(gram, l2=1.0, l1=0.5, iterations=50)  # (2 - .5) / (4 + 1)
        tensor([[0.0000, 0.3000],
                [0.3000, 0.0000]])
    """
    step = _step(gram, l2)
    inverse = gram.clone()
    inverse.diagonal().add_(l2 + step)
    torch.linalg.cholesky(inverse, out=inverse)
    torch.cholesky_inverse(inverse, out=inverse)
    ridge = inverse * -(l2 + step)  # P G = I - (l2 + step) P
    ridge.diagonal().add_(1.0)
    found, dual = torch.zeros_like(gram), torch.zeros_like(gram)
    for _ in range(iterations):
        free = torch.addmm(ridge, inverse, found - dual, alpha=step)
        free -= inverse * (free.diagonal() / inverse.diagonal())
        dual += free.mul_(RELAXATION).add_(found, alpha=1 - RELAXATION)
        torch.clamp(dual - l1 / step, min=0.0, out=found)
        dual -= found
    return found.fill_diagonal_(0.0)


def _step(gram: torch.Tensor, l2: float) -> float:
    """sqrt(a b), with a and b the smallest and the largest curvature.

    It converges fastest (Ghadimi et al., IEEE Transactions on Automatic Control 2015, theorem 4).
    """
    vector = torch.ones(len(gram), dtype=gram.dtype)
    for _ in range(POWER_STEPS):
        vector = gram @ vector
        vector /= vector.norm().clamp_min(1e-12)
    largest = float(vector @ (gram @ vector))
    return float((l2 * (l2 + largest)) ** 0.5)


def fit_seconds(train: Interactions, grid: Sequence[Params]) -> list[float]:
    """Seconds of each fit, by a product of smaller matrices, the fastest of a few.

    It is measured on one thread, as `sif.baselines.ease.inversion_seconds` is.

    Raises:
        DataError: The items are too many.
    """
    n_items, threads, seconds = _usable(train.sizes[1]), torch.get_num_threads(), []
    side = min(n_items, MEASURED)
    matrix = torch.ones(side, side)
    with torch_threads(1):
        for _ in range(REPEATS):
            begin = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - begin)
    product = min(seconds) * (n_items / side) ** 3 / threads
    return [(ITERATIONS + 2) * product] * len(grid)


def matrices(n_users: int, n_items: int) -> int:
    """Floats of the Gram matrix, of a fit at work and of the best weights so far."""
    return 8 * n_items**2 if n_items <= MAX_ITEMS else 0


# An l1 of 0, 1 and 3 has .2634, .2633 on ML-100K, and .0798, .0801, .0777 on Amazon Health.
SLIM = Baseline(
    name="slim",
    description="SLIM, sparse item-item model without negative weights",
    objectives=frozenset({"ranking"}),
    grid=tuple({"l2": l2, "l1": 1.0} for l2 in (50.0, 100.0, 200.0)),
    fit_grid=fit_slim,
    axes={"l2": Axis(factor=2.0)},
    fit_seconds=fit_seconds,
    matrices=matrices,
    serving=Serving(item_network, most_items=MAX_ITEMS),
)
