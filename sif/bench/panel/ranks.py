"""Ranks of models over data sets: who differs from whom, in the manner of Demšar.

J. Demšar, *Statistical Comparisons of Classifiers over Multiple Data Sets*, JMLR 7 (2006). A data
set counts once, by the means over its seeds. Ranks are averaged over data sets, and two models
differ if their average ranks are further apart than Nemenyi's critical difference (section 3.2.2).
Under `FEWEST` data sets that difference is nearly as large as ranks can differ at all. There the
intervals are those of a bootstrap over the users of each data set instead. They answer another
question: whether the order on *these* data sets would stand with other users, and not whether it
would on other data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sif.bench.statistics import LEVEL, ranks
from sif.errors import DataError
from sif.evaluation.metrics import resampled_sums

FEWEST = 5
"""Data sets for Nemenyi's test. With 4 of them and 8 models it would take 5.2 of the 7 ranks by
which models can differ at most."""
RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankedModel:
    """A model in the figure.

    Attributes:
        name: Its name.
        ranks: (n,) one per data set, 1 the best, ties averaged.
        mean: Their mean.
        low: Lower end of the interval; NaN: there is none.
        high: Upper end.
    """

    name: str
    ranks: tuple[float, ...]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """Models over data sets.

    Attributes:
        models: The best first.
        data: Names of the data sets.
        meaning: Of the intervals, in words.
        left_out: Models that some data set lacks.
    """

    models: tuple[RankedModel, ...]
    data: tuple[str, ...]
    meaning: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class UserSums:
    """Numbers that the users of a data set add to the metric of each model, in one seed.

    The metric is a ratio of sums over users, or grows with one: a mean has ones below, a root mean
    squared error has squared errors above and ratings below.

    Attributes:
        users: (n,) numbers of the users, the same ones in all seeds.
        above: (n, models), turned so that more is better.
        below: (n,), positive.
    """

    users: NDArray[np.int64]
    above: Floats
    below: Floats


def critical_difference(models: int, data: int, level: float = LEVEL) -> float:
    """Nemenyi's critical difference of two average ranks: q sqrt(k (k + 1) / (6 N)).

    q is the quantile of the studentized range with infinitely many degrees of freedom, divided by
    the root of 2 (Demšar 2006, section 3.2.2 and table 5 a).

    Args:
        models: k, at least 2.
        data: N, at least 1.
        level: One less the chance that among equal models any two are told apart.

    Examples:
        >>> round(critical_difference(4, 14), 2)  # the example of the paper has 1.25
        1.25
    """
    from scipy import stats

    q = float(stats.studentized_range.ppf(level, models, np.inf)) / 2**0.5
    return q * float(np.sqrt(models * (models + 1) / (6 * data)))


def friedman(table: ArrayLike) -> float:
    """The chance of average ranks that differ as much among equal models (Iman, Davenport).

    Args:
        table: (N, k) ranks of k models within each of N data sets; both at least 2.

    Returns:
        p of F = (N - 1) chi2 / (N (k - 1) - chi2) with k - 1 and (k - 1)(N - 1) degrees of freedom
        (Demšar 2006, section 3.2.2), chi2 corrected for ties; 1 if all models are tied everywhere.

    Examples:
        >>> round(friedman([[1, 2, 3], [1, 2, 3], [2, 1, 3], [1, 3, 2]]), 3)
        0.084
    """
    from scipy import stats

    found = np.asarray(table, dtype=np.float64)
    n, k = found.shape
    between = n * float(((found.mean(axis=0) - (k + 1) / 2) ** 2).sum())
    within = float(((found - (k + 1) / 2) ** 2).sum()) / (n * (k - 1))  # k (k + 1) / 12, no ties
    if within == 0:
        return 1.0
    chi2 = between / within
    rest = n * (k - 1) - chi2
    if rest <= 1e-9:  # the same order everywhere
        return 0.0
    return float(stats.f.sf((n - 1) * chi2 / rest, k - 1, (k - 1) * (n - 1)))


def rank(merits: pd.DataFrame, users: Mapping[str, Sequence[UserSums]], seed: int = 0) -> Ranking:
    """Ranks models over data sets, with intervals.

    Args:
        merits: Data sets down, models across, the higher the better; models that a data set lacks
            (NaN there) are left out.
        users: Sums of each data set, a value per seed, their models those of `merits` in its order;
            without those of a data set there is no bootstrap.
        seed: Of the bootstrap.

    Returns:
        The models that all data sets have.
    """
    kept = merits.dropna(axis=1)
    left_out = tuple(name for name in merits.columns if name not in kept.columns)
    names = tuple(map(str, kept.columns))
    if kept.empty or len(names) < 2:
        return Ranking((), tuple(map(str, merits.index)), "", left_out)
    table = ranks(kept, higher_is_better=True)
    columns = [merits.columns.get_loc(name) for name in kept.columns]
    means = table.mean(axis=0).to_numpy(dtype=np.float64)
    low, high, meaning = _intervals(table, means, users, columns, seed)
    models = [
        RankedModel(name, tuple(table[name]), float(means[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(names)
    ]
    order = sorted(models, key=lambda one: one.mean)
    return Ranking(tuple(order), tuple(map(str, kept.index)), meaning, left_out)


def _intervals(
    table: pd.DataFrame, means: Floats, users: Mapping[str, Sequence[UserSums]],
    columns: Sequence[int], seed: int,
) -> tuple[Floats, Floats, str]:  # fmt: skip
    """Both ends of each interval, and what they mean."""
    n, k = table.shape
    if n >= FEWEST:
        width = critical_difference(k, n)
        chance = friedman(table.to_numpy(dtype=np.float64))
        told = (
            f"bars that do not overlap differ: Nemenyi, critical difference {width:.2f} "
            f"({k} models, {n} data sets, 5 %); Friedman p {chance:.2g}"
        )
        return means - width / 2, means + width / 2, told
    nowhere = np.full(k, np.nan)
    lacking = [name for name in table.index if not users.get(str(name))]
    if lacking:
        return nowhere, nowhere, f"no interval: no values by user of {', '.join(lacking)}"
    drawn = sum(resampled_ranks(users[str(name)], columns, seed) for name in table.index)
    ends = np.quantile(np.asarray(drawn) / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    told = (
        f"bars: 95 % bootstrap over users; under {FEWEST} data sets, as here, say nothing about "
        "others"
    )
    return ends[0], ends[1], told


def resampled_ranks(sums: Sequence[UserSums], columns: Sequence[int], seed: int) -> Floats:
    """Ranks (`RESAMPLES`, models) of a data set when its users are drawn again.

    A user is drawn with all that all models and seeds have of him.

    Args:
        sums: A value per seed.
        columns: Models that are ranked.
        seed: Of the draws.

    Raises:
        DataError: There is no user.
    """
    from scipy import stats

    everyone = np.unique(np.concatenate([one.users for one in sums]))
    if not everyone.size:
        raise DataError("ranks: expected users, found none")
    width = len(columns) + 1
    values = np.zeros((len(everyone), len(sums) * width))
    for place, one in enumerate(sums):
        rows, start = np.searchsorted(everyone, one.users), place * width
        values[rows, start : start + width - 1] = one.above[:, columns]
        values[rows, start + width - 1] = one.below
    drawn = resampled_sums(values, seed, RESAMPLES).reshape(RESAMPLES, len(sums), width)
    with np.errstate(invalid="ignore", divide="ignore"):  # a seed none of whose users was drawn
        figures = np.nanmean(drawn[:, :, :-1] / drawn[:, :, -1:], axis=1)
    return np.asarray(stats.rankdata(-figures.round(12), axis=1), dtype=np.float64)
