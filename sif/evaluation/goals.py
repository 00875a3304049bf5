"""Choice by several objectives: the best in one metric of those that keep bounds on others.

A goal is a text such as "ndcg@10, coverage@10 >= 0.3": one metric of single users, which is to be
as good as possible, and any number of bounds. All are metrics of the validation part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sif.data.features import Features
from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError
from sif.evaluation.beyond import BEYOND, BY_FEATURES
from sif.evaluation.beyond.by_features import LABELED, labels_of
from sif.evaluation.choice import Choice, chosen
from sif.evaluation.metrics import RANKING, higher_is_better, merit
from sif.utils.registry import did_you_mean

NAME = "serve_by"
"""The setting."""
EXAMPLE = "ndcg@10, coverage@10 >= 0.3"
OF_ALL_LISTS = ("coverage", "gini")
"""Metrics that single users do not have."""

_METRIC = re.compile(r"([a-z_]+)@([1-9][0-9]{0,4})")
_BOUND = re.compile(r"(\S+)\s*(>=|<=)\s*(\S+)")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Bound:
    """A number that a metric has to keep.

    Attributes:
        metric: Its name, such as "coverage@10".
        relation: ">=" or "<=".
        value: The number.
    """

    metric: str
    relation: str
    value: float

    def shortfall(self, valid: Mapping[str, float]) -> float:
        """How far metrics are from the bound, over its size; 0: it is kept."""
        found = valid.get(self.metric, math.nan)
        gap = self.value - found if self.relation == ">=" else found - self.value
        return math.inf if math.isnan(gap) else max(0.0, gap) / (abs(self.value) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {self.value:g}"


@dataclass(frozen=True)
class Goal:
    """A metric to be the best in, and bounds on others: a served model is chosen by them.

    Attributes:
        metric: Of single users; is to be as good as possible.
        bounds: That metrics have to keep.
    """

    metric: str
    bounds: tuple[Bound, ...] = ()

    @property
    def told(self) -> str:
        """The bounds in words."""
        return " and ".join(map(str, self.bounds))

    def shortfall(self, valid: Mapping[str, float]) -> float:
        """Sum over the bounds of how far metrics are from them; 0: all are kept."""
        return sum(bound.shortfall(valid) for bound in self.bounds)

    def merits(self, per_user: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The metric of each user (n,), the higher the better."""
        values = per_user[self.metric]
        return values if higher_is_better(self.metric) else -values

    def best(self, valid: Mapping[str, Mapping[str, float]]) -> str:
        """The best by means alone: of those that keep the bounds, or are closest to them.

        Args:
            valid: Name to metrics; of equals the first is the best.
        """
        return min(
            valid,
            key=lambda name: (
                self.shortfall(valid[name]),
                -merit(self.metric, valid[name].get(self.metric, math.nan)),
            ),
        )

    def choice(
        self, merits: Mapping[str, NDArray[np.float64]], valid: Mapping[str, Mapping[str, float]],
        simplest_first: Sequence[str],
    ) -> Choice:  # fmt: skip
        """The choice of `chosen` among the models that keep the bounds, or are closest to them.

        Args:
            merits: Name to `merits` of the same users.
            valid: The same names, perhaps among others, to metrics.
            simplest_first: All names.
        """
        short = {name: self.shortfall(valid[name]) for name in merits}
        least = min(short.values())
        kept = {name: merits[name] for name in merits if short[name] <= least}
        return replace(chosen(kept, simplest_first), among=self.among(short))

    def among(self, short: Mapping[str, float]) -> str:
        """The models that the choice is of, in words; empty: there are no bounds.

        Args:
            short: Name to how far a model is from the bounds.
        """
        if not self.bounds:
            return ""
        kept = sum(not one for one in short.values())
        if not kept:
            return f"no model has {self.told}, and the closest is served"
        models = "model has" if kept == 1 else "models have"
        return f"{kept} of {len(short)} {models} {self.told}"


def undominated(merits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Models that no other one beats: at least as good in all objectives, and better in one.

    Args:
        merits: (n, m), the higher the better.

    Returns:
        Bool (n,).
    """
    as_good = (merits[:, None, :] >= merits[None, :, :]).all(axis=2)
    better = (merits[:, None, :] > merits[None, :, :]).any(axis=2)
    return np.asarray(~(as_good & better).any(axis=0))


def goal_of(text: str, cutoffs: Collection[int]) -> Goal:
    """Reads a goal.

    Args:
        text: A metric, and bounds on metrics, with commas between them.
        cutoffs: Lengths of the lists that metrics are taken of.

    Raises:
        ConfigError: Another text, by what was expected and found.

    Example:
        >>> goal_of("ndcg@10, coverage@10 >= .3", [10]).told
        'coverage@10 >= 0.3'
    """
    wanted, bounds = [], []
    for part in (part.strip() for part in text.split(",")):
        if (found := _BOUND.fullmatch(part)) is None:
            wanted.append(_metric(part, cutoffs))
        else:
            metric, relation, number = found.groups()
            bounds.append(Bound(_metric(metric, cutoffs), relation, _number(part, number)))
    if len(wanted) != 1:
        told = ", ".join(wanted) or "none"
        raise ConfigError(
            f"{NAME}: expected one metric without a bound, as in {EXAMPLE!r}, found {told}"
        )
    if wanted[0].partition("@")[0] in OF_ALL_LISTS:
        raise ConfigError(
            f"{NAME}: expected a metric of single users to be the best in, found {wanted[0]}, "
            "which only bounds may have"
        )
    _refuse_contradictions(bounds)
    return Goal(wanted[0], tuple(bounds))


def asks_for_features(text: str | None) -> bool:
    """True if a goal reads a metric that needs features of items."""
    found = _METRIC.findall(text or "")
    return any(name in BY_FEATURES for name, _ in found)


def judged_features(text: str | None, train: Interactions) -> Features | None:
    """The features of items by which validation judges lists; None: the goal asks for none.

    Raises:
        ConfigError: There are no features, or none that the metrics of the goal can be taken of.
    """
    if not asks_for_features(text):
        return None
    asked = [name for name, _ in _METRIC.findall(text or "") if name in BY_FEATURES]
    features = train.item_features
    if features is None:
        raise ConfigError(
            f"{NAME}: {asked[0]}: expected features of items (data.item_features), found none"
        )
    if "calibration" in asked and labels_of(features, train.vocabularies[1]) is None:
        raise ConfigError(
            f"{NAME}: calibration: expected a column of {' or '.join(LABELED)} among the features "
            f"of items, found {', '.join(column.name for column in features.columns)}"
        )
    return features


def _metric(text: str, cutoffs: Collection[int]) -> str:
    known = (*RANKING, *BEYOND, *BY_FEATURES)
    found = _METRIC.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{NAME}: expected a metric such as ndcg@10, or one with a bound such as "
            f"coverage@10 >= 0.3, found {text!r}"
        )
    if found[1] not in known:
        raise ConfigError(
            f"{NAME}: expected a metric of {', '.join(known)}, found {found[1]!r}"
            f"{did_you_mean(found[1], known)}"
        )
    if int(found[2]) not in cutoffs:
        told = ", ".join(map(str, sorted(cutoffs)))
        raise ConfigError(f"{NAME}: expected a length of metrics_at ({told}), found {text}")
    return text


def _number(part: str, text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{NAME}: {part}: expected a number, found {text!r}")
    return value


def _refuse_contradictions(bounds: Sequence[Bound]) -> None:
    for metric in {bound.metric for bound in bounds}:
        own = [bound for bound in bounds if bound.metric == metric]
        low = max((b.value for b in own if b.relation == ">="), default=-math.inf)
        high = min((b.value for b in own if b.relation == "<="), default=math.inf)
        if low > high:
            raise ConfigError(
                f"{NAME}: expected bounds that can be kept, found {metric} >= {low:g} and "
                f"<= {high:g}"
            )
