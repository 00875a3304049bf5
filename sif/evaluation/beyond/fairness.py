"""Gap of a metric between groups of users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.errors import DataError, ShapeError

_LEVEL = 0.95
RESAMPLES = 2_000
"""Resamples of the bootstrap, and shuffles of the test."""
MANY = 1_000
"""Users of a group from which on its resampled mean is drawn from its normal limit."""


@dataclass(frozen=True)
class Gap:
    """The largest difference between means of groups, in the unit of the metric.

    Attributes:
        gap: Highest mean less lowest mean.
        low, high: Ends of the 95 % interval. It never contains 0: `p` says whether there is a gap.
        p: Share of shuffles of the users among the groups with a gap at least as large.
        best, worst: Groups with the highest and the lowest mean.
        means: Group to mean.
    """

    gap: float
    low: float
    high: float
    p: float
    best: str
    worst: str
    means: dict[str, float]


def group_gap(values: ArrayLike, groups: ArrayLike, seed: int, n: int = RESAMPLES) -> Gap:
    """How far a metric differs between groups of users, such as NDCG between age groups.

    Gap = max over groups of mean(values) - min over groups of mean(values). The interval is a
    percentile bootstrap: users are drawn with replacement within each group. Groups of users were
    so compared by Ekstrand et al., *All the cool kids, how do they fit in?*, FAT* 2018.

    Args:
        values: (n_users,) metric of each user.
        groups: (n_users,) group of each user.
        seed: Of the resampling.
        n: Resamples.

    Raises:
        ShapeError: Values and groups of other forms.
        DataError: Fewer than two groups, or a value that is not a number.

    Examples:
        >>> from sif.evaluation.beyond import group_gap
        >>> found = group_gap([0.2, 0.4, 0.6, 0.8], ["old", "old", "young", "young"], seed=0)
        >>> round(found.gap, 3), found.best
        (0.4, 'young')
    """
    value, group = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if value.ndim != 1 or group.shape != value.shape:
        raise ShapeError(f"groups: expected {value.shape}, one per value, found {group.shape}")
    if not np.isfinite(value).all():
        raise DataError("values: expected finite numbers, found NaN or infinity")
    names, place = np.unique(group, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"groups: expected at least two, found {len(names)}")
    sizes = np.bincount(place)
    means = np.bincount(place, value) / sizes
    drawn = np.stack(
        [
            _resampled_means(value[place == g], np.random.default_rng((seed, g)), n)
            for g in range(len(names))
        ]
    )
    low, high = np.quantile(np.ptp(drawn, axis=0), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    gap = float(np.ptp(means))
    best, worst = (str(names[one]) for one in (means.argmax(), means.argmin()))
    told = dict(zip(map(str, names), means.tolist(), strict=True))
    p = _shuffled_share(value, sizes, gap, np.random.default_rng(seed), n)
    return Gap(gap, float(low), float(high), p, best, worst, told)


def _resampled_means(
    values: NDArray[np.float64], rng: np.random.Generator, n: int
) -> NDArray[np.float64]:
    """Means (n,) of resamples with replacement."""
    if len(values) >= MANY:
        error = values.std() / np.sqrt(len(values))
        return np.asarray(values.mean() + error * rng.standard_normal(n))
    places = rng.integers(0, len(values), (n, len(values)), dtype=np.int32)
    return np.asarray(values[places].mean(axis=1))


def _shuffled_share(
    value: NDArray[np.float64], sizes: NDArray[np.int64], gap: float, rng: np.random.Generator,
    n: int,
) -> float:  # fmt: skip
    """P-value of a permutation test; the data themselves are one of the shuffles."""
    if sizes.min() >= MANY:
        drawn = rng.standard_normal((n, len(sizes))) * value.std() / np.sqrt(sizes)
        gaps = np.ptp(drawn - (drawn @ sizes / len(value))[:, None], axis=1)
    else:
        edges = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        gaps = np.array(
            [np.ptp(np.add.reduceat(rng.permutation(value), edges) / sizes) for _ in range(n)]
        )
    return float((1 + (gaps >= gap * (1 - 1e-12)).sum()) / (n + 1))
