"""Metrics of rating and ranking: numpy arrays in, floats or one value per user out.

`evaluate` alone decides which items are masked and how ties are broken. The bootstrap resamples
users, not interactions: interactions of one user are not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.errors import DataError, ShapeError

Floats = NDArray[np.float64]

LOWER_IS_BETTER = frozenset(
    {"rmse", "rmse_std", "mae", "error", "perplexity", "nats", "gini", "arp", "calibration"}
)
"""Names of metrics, without their cut-offs."""

RANKING = ("ndcg", "recall", "hit", "mrr", "map", "precision")
"""Names of the metrics of `ranking_metrics`, which stand before their cut-off."""

# Elements drawn at once by the bootstrap: 2^22 indices and their counts stay below 100 MB.
_BOOTSTRAP_ELEMENTS = 1 << 22
_LEVEL = 0.95  # share of the resamples inside the interval


@dataclass(frozen=True)
class Interval:
    """A mean and the percentile bootstrap interval around it, in the unit of the metric.

    Attributes:
        mean: Of all users.
        low, high: Ends of the 95 % interval.
        p: Two-sided p-value of a mean of 0, twice the smaller share of resamples on either side.
    """

    mean: float
    low: float
    high: float
    p: float = 1.0


def higher_is_better(metric: str) -> bool:
    """True if a larger value of the metric is better (`ndcg@10`: yes, `rmse`: no)."""
    return metric.partition("@")[0] not in LOWER_IS_BETTER


def merit(metric: str, value: float) -> float:
    """A value of the metric, turned so that more is better; NaN is worse than any number."""
    if math.isnan(value):
        return -math.inf
    return value if higher_is_better(metric) else -value


def rmse(prediction: ArrayLike, target: ArrayLike) -> float:
    """Root mean squared error of two equally shaped arrays, in the unit of the ratings."""
    return float(np.sqrt(np.mean(_difference(prediction, target) ** 2)))


def mae(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error of two equally shaped arrays, in the unit of the ratings."""
    return float(np.mean(np.abs(_difference(prediction, target))))


def ranking_metrics(hits: ArrayLike, n_relevant: ArrayLike) -> dict[str, Floats]:
    """Ranking metrics at cut-off K, each float64 (n_users,): `ndcg@K`, `recall@K`, `hit@K`, ...

    NDCG is binary with the ideal over min(K, relevant); MAP divides by the same number; recall
    divides by all relevant items, precision by K; MRR is the reciprocal rank of the first hit, 0
    without one.

    Args:
        hits: bool, (n_users, K); `hits[u, r]` says whether the item at rank r + 1 is relevant.
        n_relevant: integers, (n_users,); relevant items of each user, at least 1.

    Raises:
        ShapeError: The arrays do not fit each other.
        DataError: A user has no relevant item, or more hits than relevant items.
    """
    hit = np.asarray(hits)
    relevant = np.asarray(n_relevant)
    if (
        hit.ndim != 2
        or hit.shape[1] == 0
        or hit.dtype != np.bool_
        or relevant.shape != hit.shape[:1]
    ):
        raise ShapeError(
            f"ranking_metrics: expected bool hits (n_users, K >= 1) and n_relevant (n_users,), "
            f"found {hit.dtype} {hit.shape} and {relevant.shape}"
        )
    n_hits = hit.sum(axis=1)
    if np.any(relevant < np.maximum(n_hits, 1)):
        row = int(np.argmax(relevant < np.maximum(n_hits, 1)))
        raise DataError(
            f"ranking_metrics row {row}: n_relevant: expected at least max(1, {n_hits[row]} hits), "
            f"found {relevant[row]}"
        )
    k = hit.shape[1]
    rank = np.arange(1, k + 1)
    discount = 1.0 / np.log2(rank + 1.0)
    attainable = np.minimum(relevant, k)
    precision_at = np.cumsum(hit, axis=1) / rank
    values = {
        "ndcg": hit @ discount / np.cumsum(discount)[attainable - 1],
        "recall": n_hits / relevant,
        "hit": (n_hits > 0).astype(np.float64),
        "mrr": np.max(hit / rank, axis=1),
        "map": np.sum(precision_at * hit, axis=1) / attainable,
        "precision": n_hits / k,
    }
    return {f"{name}@{k}": value for name, value in values.items()}


def paired_bootstrap(a: ArrayLike, b: ArrayLike, seed: int, *, n: int = 10_000) -> Interval:
    """Percentile bootstrap of mean(a - b) over users.

    Args:
        a: (n_users,) metric of the first model.
        b: (n_users,) metric of the second model for the same users.
        seed: Of the resampling.
        n: Resamples.

    Returns:
        The mean difference and its interval; an infinite one where a single user carries the mean.
    """
    gap = _difference(a, b)
    sums = resampled_sums(gap[:, None], seed, n)
    return _interval(float(gap.mean()), sums[:, 0] / gap.size, gap.size)


def paired_ratio_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    count: ArrayLike,
    *,
    seed: int,
    n: int = 10_000,
    root: bool = False,
) -> Interval:
    """Cluster bootstrap over users of sum(a) / sum(count) - sum(b) / sum(count).

    Args:
        a: error sums of the first model, one per user, (n_users,).
        b: error sums of the second model for the same users, (n_users,).
        count: ratings behind each sum, (n_users,), positive.
        seed: seed of the resampling.
        n: number of resamples.
        root: take the square root of each ratio first (for root mean squared errors).
    """
    _difference(a, b)
    columns = np.stack([np.asarray(x, dtype=np.float64) for x in (a, b, count)], axis=1)

    def statistic(sums: Floats) -> Floats:
        first, second = sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2]
        return np.sqrt(first) - np.sqrt(second) if root else first - second

    mean = float(statistic(columns.sum(axis=0, keepdims=True))[0])
    return _interval(mean, statistic(resampled_sums(columns, seed, n)), len(columns))


def _difference(a: ArrayLike, b: ArrayLike) -> Floats:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or first.size == 0:
        raise ShapeError(
            f"expected two arrays of one shape (n,), n >= 1, found {first.shape} and {second.shape}"
        )
    return first - second


def resampled_sums(columns: Floats, seed: int, n: int) -> Floats:
    """Column sums (n, n_columns) over n resamples with replacement of the rows of `columns`."""
    rng = np.random.default_rng(seed)
    rows = len(columns)
    sums = np.empty((n, columns.shape[1]))
    step = max(1, _BOOTSTRAP_ELEMENTS // rows)
    for start in range(0, n, step):
        size = min(step, n - start)
        # One flat count of (resample, row) cells turns any number of columns into one product.
        drawn = rng.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        sums[start : start + size] = times.astype(np.float64) @ columns
    return sums


def _interval(mean: float, resampled: Floats, n_users: int) -> Interval:
    if n_users < 2:
        return Interval(mean, -np.inf, np.inf)
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    below, above = (float(np.mean(side)) for side in (resampled <= 0, resampled >= 0))
    return Interval(mean, float(low), float(high), min(1.0, 2 * min(below, above)))
