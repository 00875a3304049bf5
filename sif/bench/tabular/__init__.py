"""ifc-bench: interaction functions trained beforehand, to judge searches by looking up.

All 405 functions of the space `primitives` for ratings, and one of every range class and all
products for rankings, on ML-100K: docs/ifc-bench.md. The file is read at the first question.
"""

from __future__ import annotations

from sif.bench.tabular.ranges import Family, family, genotype_of, range_class
from sif.bench.tabular.records import ClassEntry, Entry, Training
from sif.bench.tabular.store import read, shipped
from sif.bench.tabular.surrogate import Estimate, estimate
from sif.bench.tabular.table import Function, Table
from sif.core.genotype import Genotype

__all__ = [
    "ClassEntry",
    "Entry",
    "Estimate",
    "Family",
    "Function",
    "Table",
    "Training",
    "classes",
    "complete",
    "coverage",
    "families",
    "family",
    "genotype_of",
    "query",
    "range_class",
    "read",
    "regret",
    "shipped",
    "surrogate",
]


def query(
    function: Function, objective: str = "rating", dimension: int = 8, seed: int | None = None
) -> Entry:
    """What is known of a function.

    Args:
        function: A genotype of `primitives`, or operation, user's and item's transform by name.
        objective: "rating" (RMSE in stars) or "ranking" (NDCG@10).
        dimension: Of the embeddings.
        seed: Of one training; None: means over all seeds, with deviations.

    Raises:
        NotInTableError: No such training; the message names what is missing and what is nearest.
        GenotypeError: A genotype of another space.
    """
    return shipped().query(function, objective, dimension, seed)


def regret(
    function: Function, objective: str = "rating", dimension: int = 8, seed: int | None = None,
    part: str = "test", goal: str = "family",
) -> float:  # fmt: skip
    """How much worse a function is than the best, in units of the main metric.

    Goals are means of functions with as many seeds as any have at the dimension (3 at d = 8, 1 at
    d = 32). "function" is the best function's mean over those seeds, of some hundred functions
    partly the luckiest. "family" is a mean over members, too, but the best family for ratings,
    identities on both sides (multiply, ~abs, ~abs), is one of the 9 of 96 that have a single
    member: there both goals are the same number. "class" is a mean over many, which good functions
    beat by far. A lucky training may be below 0.

    Args:
        function: As of `query`, with objective, dimension, seed and errors.
        objective: As of `query`.
        dimension: As of `query`.
        seed: As of `query`; the goal is a mean over seeds in any case.
        part: "test", or "valid", which is all that a search may see.
        goal: Mean of the best "family", range "class" or "function", as above.
    """
    return shipped().regret(function, objective, dimension, seed, part, goal)


def classes(objective: str = "rating", dimension: int = 8) -> dict[str, ClassEntry]:
    """Range class to what is known of it, the best on test first; errors as of `query`."""
    return shipped().classes(objective, dimension)


def families(objective: str = "rating", dimension: int = 8) -> dict[Family, ClassEntry]:
    """Family (class and growths) to what is known of it, the best on test first."""
    return shipped().families(objective, dimension)


def surrogate(genotype: Genotype, objective: str = "rating", dimension: int = 8) -> Estimate:
    """What its family, or else its range class, says of a function that was not trained.

    Args:
        genotype: Of `primitives` or, with learned P and Q, of `sif`.
        objective: As of `query`.
        dimension: As of `query`.

    Raises:
        NotInTableError: As of `query`, or a class without a training.
        GenotypeError: A genotype of another space.
    """
    return estimate(shipped(), genotype, objective, dimension)


def coverage() -> dict[tuple[str, int, int], tuple[int, int]]:
    """(objective, dimension, seed) to the trainings there are and those that were planned."""
    return shipped().coverage()


def complete(objective: str | None = None, dimension: int | None = None) -> bool:
    """Whether every planned training (of an objective, of a dimension) is in the table."""
    return shipped().complete(objective, dimension)
