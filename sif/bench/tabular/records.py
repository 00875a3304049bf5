"""Rows of the table and its answers, as values.

Main metrics are RMSE in stars (rating, lower is better) and NDCG@10 (ranking, higher is better).
Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sif.bench.tabular.plan import families, kind_of
from sif.bench.tabular.ranges import Family, Names

MAIN = {"rating": "rmse", "ranking": "ndcg@10"}
METRICS = {"rating": ("rmse", "rmse_std", "mae"), "ranking": ("ndcg@10", "recall@10")}
HIGHER_IS_BETTER = {"rating": False, "ranking": True}
PARTS = ("valid", "test")


@dataclass(frozen=True)
class Training:
    """One row.

    Attributes:
        objective: "rating" or "ranking".
        names: Operation, user's transform, item's transform.
        dimension: Of the embeddings.
        seed: Of weights and batches.
        l2: Strength.
        chosen: Whether the strength is the one that validation chose for the function.
        metrics: "valid_rmse" and the like, of the epoch that was best on validation.
        parameters: Numbers that were trained.
        epochs: Run; the last of them without a better validation.
        seconds: CPU seconds of training, validations included.
    """

    objective: str
    names: Names
    dimension: int
    seed: int
    l2: float
    chosen: bool
    metrics: Mapping[str, float]
    parameters: int
    epochs: int
    seconds: float

    def main(self, part: str) -> float:
        """The main metric on "valid" or "test"."""
        return self.metrics[f"{part}_{MAIN[self.objective]}"]


@dataclass(frozen=True)
class Means:
    """The main metric of some trainings.

    Attributes:
        valid: Mean on validation.
        test: Mean on test.
        valid_deviation: Standard deviation of a training on validation; nan for a single one.
        test_deviation: The same on test.
    """

    valid: float
    test: float
    valid_deviation: float
    test_deviation: float


@dataclass(frozen=True)
class Entry(Means):
    """A function at a dimension, for one seed or over all it has.

    Attributes:
        metrics: All metrics, means over seeds.
        seeds: Seeds of these trainings.
        l2: Strength that validation chose.
        parameters: Numbers that were trained.
        epochs: Run, mean over seeds.
        seconds: CPU seconds of one training, mean over seeds.
        range_class: Name of the class.
        family: The class with the growths of its transforms.

    Examples:
        >>> from sif.bench import tabular as ifcbench
        >>> ifcbench.query(("multiply", "~abs", "~abs"), "ranking").seeds
        (0, 1, 2)
    """

    metrics: Mapping[str, float]
    seeds: tuple[int, ...]
    l2: float
    parameters: int
    epochs: float
    seconds: float
    range_class: str
    family: Family


@dataclass(frozen=True)
class ClassEntry(Means):
    """A range class or a family at a dimension, over members and seeds.

    Attributes:
        functions: Trained members.
        between_seeds: On test, standard deviation over a member's seeds, pooled; nan for one seed.
        between_functions: On test, standard deviation of the members' means; nan for one member.
    """

    functions: tuple[Names, ...]
    between_seeds: float
    between_functions: float


@dataclass(frozen=True)
class Estimate(Means):
    """A function that was not trained, by the mean of its family or else its class.

    Attributes:
        family: Of the function.
        by: "family" or "class", whichever the mean is taken over.
        functions: Number of trained functions in it.
    """

    family: Family
    by: str
    functions: int


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; nan for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def _means(rows: Sequence[Training]) -> tuple[float, float, float, float]:
    """The values of `Means`."""
    valid, test = ([row.main(part) for row in rows] for part in PARTS)
    return statistics.fmean(valid), statistics.fmean(test), deviation(valid), deviation(test)


def entry(rows: Sequence[Training]) -> Entry:
    """The entry of one function's trainings at a dimension, with the chosen strength."""
    first = rows[0]
    return Entry(
        *_means(rows),
        {name: statistics.fmean(r.metrics[name] for r in rows) for name in first.metrics},
        tuple(row.seed for row in rows),
        first.l2,
        first.parameters,
        statistics.fmean(row.epochs for row in rows),
        statistics.fmean(row.seconds for row in rows),
        kind_of(first.names),
        families()[first.names],
    )


def class_entry(rows: Sequence[Training]) -> ClassEntry:
    """The entry of all chosen trainings of a class or a family at a dimension."""
    by_function: dict[Names, list[float]] = {}
    for row in rows:
        by_function.setdefault(row.names, []).append(row.main("test"))
    means = [statistics.fmean(values) for values in by_function.values()]
    spread = pooled(by_function.values())
    return ClassEntry(*_means(rows), tuple(by_function), spread, deviation(means))


def pooled(groups: Iterable[Sequence[float]]) -> float:
    """Standard deviation within groups, pooled over those of two values or more; nan for none."""
    many = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in many)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in many)
    return math.sqrt(squares / freedom) if freedom else math.nan
