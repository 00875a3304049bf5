"""Comparisons of methods over seeds: means, ranks within a seed, paired differences.

A table here has one row per seed and one column per method; a missing result is NaN.
Intervals are Student's t over seeds: a handful of values, and their differences paired by seed are
nearly normal. They are not corrected for the number of methods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: In the unit of the values; NaN without any.
        deviation: Standard deviation (n - 1); NaN with fewer than two.
        low: Lower bound of the 95 % interval of the mean; NaN with fewer than two.
        high: Upper bound.
        n: Seeds.
    """

    mean: float
    deviation: float
    low: float
    high: float
    n: int


def estimate(values: ArrayLike) -> Estimate:
    """Mean, spread and interval of some values; NaN do not count."""
    from scipy import stats

    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    n, nan = len(found), float("nan")
    if n < 2:
        return Estimate(float(found[0]) if n else nan, nan, nan, nan, n)
    mean, deviation = float(found.mean()), float(found.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * deviation / n**0.5
    return Estimate(mean, deviation, mean - half, mean + half, n)


def by_seed(results: pd.DataFrame, column: str) -> pd.DataFrame:
    """Seeds down, methods across, both in the order of the results."""
    table = results.pivot(index="seed", columns="method", values=column)
    order = list(dict.fromkeys(results["method"]))
    return table.reindex(columns=order).astype(float)


def ranks(table: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
    """Ranks within each seed, 1 the best, ties averaged.

    A seed counts only where every method has a value that has any: a rank among fewer would not be
    comparable.
    """
    complete = table.dropna(axis=1, how="all").dropna(axis=0, how="any")
    return complete.rank(axis=1, method="average", ascending=not higher_is_better)
