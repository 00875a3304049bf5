"""Rating baselines without an interaction: the global mean, and user and item biases.

The biases carry a ridge penalty each, so that a rarely rated item stays near the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sif.baselines.axes import Axis
from sif.baselines.base import Baseline, Params, one_by_one
from sif.data.interactions.interactions import Interactions
from sif.evaluation.evaluate import ratings

_MAX_SWEEPS = 200
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class BiasScorer:
    """mean + user bias + item bias, in rating units; biases (n_users,) and (n_items,)."""

    mean: float
    user_bias: NDArray[np.float64]
    item_bias: NDArray[np.float64]

    def predict(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Predictions (b,) for ids (b, n_fields)."""
        value = self.mean + self.user_bias[ids[:, 0]] + self.item_bias[ids[:, 1]]
        return np.asarray(value, dtype=np.float32)


def fit_mean(train: Interactions, *unused: object) -> BiasScorer:
    """Predicts the mean of the train ratings."""
    mean = float(ratings(train).mean())
    return BiasScorer(mean, np.zeros(train.sizes[0]), np.zeros(train.sizes[1]))


def fit_bias(train: Interactions, params: Params, *unused: object) -> BiasScorer:
    """Minimizes sum (r - mean - b_u - b_i)^2 + user_l2 |b_u|^2 + item_l2 |b_i|^2, exactly.

    Each side has a closed form given the other; the two alternate until no bias moves.
    """
    rating = ratings(train)
    mean = rating.mean()
    residual = rating - mean
    users, items = train.ids[:, 0], train.ids[:, 1]
    n_users, n_items = train.sizes[:2]
    user_weight = np.bincount(users, minlength=n_users) + float(params["user_l2"])
    item_weight = np.bincount(items, minlength=n_items) + float(params["item_l2"])
    user_bias, item_bias = np.zeros(n_users), np.zeros(n_items)
    for _ in range(_MAX_SWEEPS):
        item_bias = np.bincount(items, residual - user_bias[users], n_items) / item_weight
        former = user_bias
        user_bias = np.bincount(users, residual - item_bias[items], n_users) / user_weight
        if np.abs(user_bias - former).max() < _TOLERANCE:
            break
    return BiasScorer(float(mean), user_bias, item_bias)


GLOBAL_MEAN = Baseline(
    name="global-mean",
    description="mean of the train ratings",
    objectives=frozenset({"rating"}),
    grid=({},),
    fit_grid=one_by_one(fit_mean),
)

BIAS_ONLY = Baseline(
    name="bias-only",
    description="user and item biases",
    objectives=frozenset({"rating"}),
    grid=tuple(
        {"user_l2": user_l2, "item_l2": item_l2}
        for user_l2 in (1.0, 4.0, 7.0, 20.0)
        for item_l2 in (0.5, 1.0, 2.0, 4.0, 10.0)
    ),
    fit_grid=one_by_one(fit_bias),
    axes={"user_l2": Axis(factor=2.0), "item_l2": Axis(factor=2.0)},
)
