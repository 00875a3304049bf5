"""Biased matrix factorization (Koren et al., 2009): mean + b_u + b_i + <p_u, q_i>.

Ratings are standardized by the train part. The L2 penalty of a row grows with the square root of
its count. Full-batch Adam runs until the penalized loss has converged, so that the penalty alone
decides and no epoch has to be chosen. The gradient is two sparse products, on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.evaluate import ratings

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BiasedScorer:
    """Tables (n_users, d + 2) = (p, b, 1), (n_items, d + 2) = (q, 1, b); standardized ratings."""

    mean: float
    deviation: float
    users: Floats
    items: Floats

    def predict(self, ids: NDArray[np.int64]) -> Floats:
        """Predictions (b,) in rating units for ids (b, n_fields)."""
        product = np.einsum("bd,bd->b", self.users[ids[:, 0]], self.items[ids[:, 1]])
        return np.asarray(self.mean + self.deviation * product, dtype=np.float32)


def fit_biased_mf(train: Interactions, params: Params, seed: int, *unused: object) -> BiasedScorer:
    """Minimizes squared error + sum over rows of sqrt(count) (l2 |factor|^2 + bias_l2 bias^2).

    `epochs` counts full-batch steps.
    """
    rating = ratings(train)
    mean, deviation = float(rating.mean()), float(rating.std()) or 1.0
    order = np.lexsort((train.ids[:, 1], train.ids[:, 0]))
    user, item = train.ids[order, 0], train.ids[order, 1]
    target = ((rating[order] - mean) / deviation).astype(np.float32)
    counts = [np.bincount(c, minlength=n) for c, n in zip((user, item), train.sizes, strict=False)]
    # Rows are in user order already, so that a new error only replaces the data of the matrix.
    ends = np.concatenate([[0], np.cumsum(counts[0])])
    error = sp.csr_matrix((target, item, ends), shape=train.sizes[:2])
    rng = np.random.default_rng(seed)
    dimension, rate = int(params["dimension"]), float(params["learning_rate"])
    users = _start(rng, counts[0], dimension, bias_column=-2)
    items = _start(rng, counts[1], dimension, bias_column=-1)
    user_l2 = _penalty(counts[0], params, bias_column=-2)
    item_l2 = _penalty(counts[1], params, bias_column=-1)
    move_users, move_items = _adam(users, -1, rate), _adam(items, -2, rate)
    for _ in range(int(params["epochs"])):
        error.data = np.einsum("nd,nd->n", users[user], items[item]) - target
        user_gradient = error @ items + user_l2 * users
        item_gradient = error.T @ users + item_l2 * items
        move_users(user_gradient)
        move_items(item_gradient)
    return BiasedScorer(mean, deviation, users, items)


def _start(
    rng: np.random.Generator, count: NDArray[np.int64], dimension: int, bias_column: int
) -> Floats:
    """Small factors, zero biases and the constant 1 that meets the other side's bias."""
    table = np.ones((len(count), dimension + 2), dtype=np.float32)
    table[:, :-2] = rng.normal(0.0, 0.1 / dimension**0.5, (len(count), dimension))
    # A row that was never rated has no gradient: zeros make it predict the mean.
    table[count == 0, :-2] = 0.0
    table[:, bias_column] = 0.0
    return table


def _penalty(count: NDArray[np.int64], params: Params, bias_column: int) -> Floats:
    weight = np.full(int(params["dimension"]) + 2, params["l2"], dtype=np.float32)
    weight[bias_column] = params["bias_l2"]
    return np.sqrt(count, dtype=np.float32)[:, None] * weight


def _adam(table: Floats, constant_column: int, rate: float) -> Callable[[Floats], None]:
    """A step of Adam (Kingma & Ba, 2015, their constants) on the table, all but one column."""
    first, second, steps = np.zeros_like(table), np.zeros_like(table), 0

    def move(gradient: Floats) -> None:
        nonlocal steps
        steps += 1
        gradient[:, constant_column] = 0.0
        first[...] = 0.9 * first + 0.1 * gradient
        second[...] = 0.999 * second + 0.001 * gradient**2
        size = rate * np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
        table[...] -= np.float32(size) * first / (np.sqrt(second) + np.float32(1e-8))

    return move


BIASED_MF = Baseline(
    name="biased-mf",
    description="biased matrix factorization",
    objectives=frozenset({"rating"}),
    grid=tuple(
        {"dimension": size, "l2": l2, "bias_l2": bias_l2, "learning_rate": 0.05, "epochs": 75}
        for size, l2, bias_l2 in (
            (8, 0.3, 0.3),
            (8, 0.5, 0.4),
            (32, 0.8, 0.5),
            (64, 1.0, 0.5),
            (64, 1.2, 0.5),
            (64, 1.2, 0.8),
            (64, 1.5, 0.8),
            (128, 1.1, 0.8),
        )
    ),
    fit_grid=one_by_one(fit_biased_mf),
    axes={"l2": Axis(factor=1.25), "bias_l2": Axis(factor=1.6)},
)
