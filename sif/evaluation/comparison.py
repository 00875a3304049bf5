"""Compares two evaluations of the same part: an interval and a sentence.

The interval is a paired 95 % bootstrap over users. The reference is the baseline that validation
ranks best: choosing it on test would favor a baseline that was lucky there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sif.errors import DataError
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.metrics import Interval, merit, paired_bootstrap, paired_ratio_bootstrap
from sif.utils.digits import digits_of

Outcome = Literal["better", "undecided", "worse"]
LEVEL = 0.05
"""P-value below which a comparison stands."""
RESAMPLES = 10_000
"""Resamples of the bootstrap of a comparison."""


@dataclass(frozen=True)
class Comparison:
    """Difference ours - other with its 95 % interval over users, and its conclusion.

    Attributes:
        difference: Of the means.
        low, high: Ends of the interval, which knows of no other comparison.
        outcome: Undecided where the interval contains 0, or where `holm` says so.
        p: Two-sided p-value of no difference.
    """

    difference: float
    low: float
    high: float
    outcome: Outcome
    p: float = 1.0

    @property
    def relation(self) -> str:
        """Of ours to the other, such as "better than"."""
        return f"{self.outcome} {'against' if self.outcome == 'undecided' else 'than'}"

    def told(self, metric: str, ours: float, other: float, over: str) -> str:
        """Both values of the metric, their difference and its interval `over` so many users."""
        digits = digits_of(metric)
        interval = f"95 % interval over {over} {self.low:+.{digits}f} to {self.high:+.{digits}f}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            interval = f"no interval: {over}"
        return (
            f"{metric} {ours:.{digits}f} against {other:.{digits}f}, "
            f"difference {self.difference:+.{digits}f} ({interval})"
        )


@dataclass(frozen=True)
class Verdict:
    """A run's conclusion in words and numbers.

    Attributes:
        text: A sentence.
        against: Name of the other model; None without a comparison.
        comparison: Ours less the other.
        no_interval: Why the comparison has no interval; empty: it has one.
    """

    text: str
    against: str | None
    comparison: Comparison | None
    no_interval: str = ""

    def among(self, p: float, count: int) -> Verdict:
        """The same as one of several comparisons.

        Args:
            p: Its p-value among them, see `holm`.
            count: Of the comparisons.
        """
        result = self.comparison
        if result is None or self.no_interval:
            return self
        alone, among = (f"{one:.3f}" if one >= 5e-4 else "below 0.001" for one in (result.p, p))
        told = f"{self.text}; p {alone}, as one of {count} comparisons {among} (Holm)"
        if result.outcome == "undecided" or p < LEVEL:
            return replace(self, text=told)
        open_ = replace(result, outcome="undecided")
        told = told.replace(f"is {result.relation}", f"is {open_.relation}", 1)
        return replace(self, text=told, comparison=open_)


def counted(number: int, unit: str) -> str:
    """A number of units, such as "one user" or "20 texts of 32 words"."""
    first, *rest = unit.split(" ")
    return f"{number} {unit}" if number != 1 else " ".join(["one", first.removesuffix("s"), *rest])


def compare(
    ours: Evaluation, other: Evaluation, metric: str, *, seed: int, resamples: int = RESAMPLES
) -> Comparison:
    """Paired 95 % bootstrap over users of ours - other; 'undecided' if the interval contains 0.

    Args:
        ours: Our evaluation.
        other: On the same users and interactions.
        metric: The metric to compare, with values by user; the difference is in its unit.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Raises:
        DataError: The two were not evaluated on the same users and interactions.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # metrics that are not finite
        interval = _paired_interval(ours, other, metric, seed, resamples)
    ends = merit(metric, interval.low), merit(metric, interval.high)
    if math.isnan(interval.low) or math.isnan(interval.high):
        outcome: Outcome = "undecided"
    elif min(ends) > 0:
        outcome = "better"
    elif max(ends) < 0:
        outcome = "worse"
    else:
        outcome = "undecided"
    return Comparison(interval.mean, interval.low, interval.high, outcome, interval.p)


def holm(p: Sequence[float]) -> list[float]:
    """P-values of several comparisons, corrected by their number (Holm, Scand. J. Stat. 1979).

    Args:
        p: Of each comparison alone.

    Returns:
        Of each among all, in the same order: below .05 it stands.

    Example:
        >>> holm([0.04, 0.01])
        [0.04, 0.02]
    """
    corrected, largest = [1.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def verdict(
    ours_name: str,
    ours: Evaluation,
    baselines: Mapping[str, Evaluation],
    valid: Mapping[str, float],
    metric: str,
    *,
    itself: Sequence[str] = (),
    seed: int = 0,
) -> Verdict:
    """Says whether our model beats the baseline that validation ranks best.

    Args:
        ours_name: Name of our model in the text.
        ours: Our evaluation on the test part.
        baselines: Name to evaluation on the test part.
        valid: The same names to the metric on validation.
        metric: The metric to compare.
        itself: Names of trained baselines that are our own model, and so none of `baselines`.
        seed: Of the bootstrap.

    Raises:
        DataError: A baseline without validation, or evaluations of other users.
    """
    if not baselines:
        why = "no baseline was trained"
        if itself:
            why = f"{ours_name} is {' and '.join(itself)} itself, and no other baseline was trained"
        return Verdict(f"no verdict: {why}", None, None)
    if missing := sorted(set(baselines) - set(valid)):
        raise DataError(f"verdict: no validation {metric} for {', '.join(missing)}")
    # Sorted names make a tie on validation end the same way in every run.
    against = max(sorted(baselines), key=lambda name: merit(metric, valid[name]))
    role = "the baseline that validation ranks best: test"
    return one_verdict(ours_name, ours, against, baselines[against], metric, role, seed=seed)


def one_verdict(
    ours_name: str, ours: Evaluation, against: str, other: Evaluation, metric: str, role: str,
    *, seed: int = 0,
) -> Verdict:  # fmt: skip
    """Says whether our model beats a given one.

    Args:
        ours_name: Name of our model in the text.
        ours: Our evaluation on the test part.
        against: Name of the other model.
        other: Its evaluation on the test part.
        metric: The metric to compare.
        role: The other model in words, before the figures.
        seed: Of the bootstrap.

    Raises:
        DataError: Evaluations of other users.
    """
    result = compare(ours, other, metric, seed=seed)
    over = counted(len(ours.users), ours.unit)
    told = result.told(metric, ours.metrics[metric], other.metrics[metric], over)
    rest = f"{against}, {role} {told}"
    if math.isfinite(result.low) and math.isfinite(result.high):
        return Verdict(f"{ours_name} is {result.relation} {rest}", against, result)
    why = over if len(ours.users) == 1 else f"{metric} is not finite"
    return Verdict(f"undecided: {why}: {ours_name} against {rest}", against, result, why)


def _paired_interval(
    ours: Evaluation, other: Evaluation, metric: str, seed: int, resamples: int
) -> Interval:
    if not np.array_equal(ours.users, other.users):
        raise DataError(
            f"{metric}: expected both models evaluated on the same users, "
            f"found {len(ours.users)} and {len(other.users)} users"
        )
    if metric in ours.per_user and metric in other.per_user:
        values = ours.per_user[metric], other.per_user[metric]
        return paired_bootstrap(*values, seed, n=resamples)
    sums = "absolute_error" if metric == "mae" else "squared_error"
    if metric not in ("rmse", "rmse_std", "mae") or sums not in ours.per_user:
        raise DataError(f"{metric}: expected a metric with values per user, found none")
    count = ours.per_user["count"]
    if not np.array_equal(count, other.per_user["count"]):
        raise DataError(f"{metric}: expected both models evaluated on the same ratings")
    a, b = ours.per_user[sums], other.per_user[sums]
    # rmse_std is rmse over the train part's deviation, the same constant for both models.
    scale = ours.metrics["rmse_std"] / ours.metrics["rmse"] if metric == "rmse_std" else 1.0
    raw = paired_ratio_bootstrap(a, b, count, seed=seed, n=resamples, root=metric != "mae")
    return Interval(raw.mean * scale, raw.low * scale, raw.high * scale, raw.p)
