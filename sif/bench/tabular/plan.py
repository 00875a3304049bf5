"""The trainings of the table, in the order in which they are made.

Rating: all 405 functions. Ranking: all 81 of multiply, max of every pair of ranges, and plus, which
is one of every range class.
Seed 0 at `CHOICE_DIMENSION` is trained with every L2 strength; everything else of the same function
takes the one that was best there on validation.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from sif.bench.tabular.ranges import Family, Names, family, genotype_of
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES, RANGES

OBJECTIVES = ("rating", "ranking")
GRID = {"rating": (4.0, 10.0, 25.0), "ranking": (0.0625, 0.25, 1.0)}
"""Total L2 strengths that validation chooses from."""
SAMPLED_GRID = (0.25, 1.0, 4.0)
"""The same for functions whose loss is sampled."""
CHOICE_DIMENSION, CHOICE_SEED = 8, 0
PHASES = (
    ("rating", 8, 0), ("rating", 8, 1), ("rating", 8, 2),
    ("ranking", 8, 0), ("ranking", 8, 1), ("ranking", 8, 2),
    ("rating", 32, 0),
)  # fmt: skip
"""Objective, dimension and seed; what others depend on comes first."""


@dataclass(frozen=True)
class Planned:
    """One training.

    Attributes:
        objective: "rating" or "ranking".
        names: Of the function.
        dimension: Of the embeddings.
        seed: Of weights and batches; the split is the same for all.
        l2: Strength; None: the one that validation chose at `CHOICE_DIMENSION`, `CHOICE_SEED`.
    """

    objective: str
    names: Names
    dimension: int
    seed: int
    l2: float | None


def space() -> tuple[Names, ...]:
    """All 405 functions, by operation, user's transform and item's transform."""
    return tuple(itertools.product(OPERATIONS, PRIMITIVES, PRIMITIVES))


@functools.cache
def families() -> dict[tuple[str, ...], Family]:
    """Every function of the space to its family."""
    return {names: family(genotype_of(names)) for names in space()}


def kind_of(names: Names) -> str:
    """The range class of a function of the space; KeyError for any other."""
    return families()[names][0]


@functools.cache
def functions(objective: str) -> tuple[Names, ...]:
    """The functions that are trained for an objective, in the order of `space`."""
    if objective == "rating":
        return space()
    ranges = [sign + "abs" for sign in RANGES]
    standing = {("plus", IDENTITY, IDENTITY), *itertools.product(("max",), ranges, ranges)}
    return tuple(f for f in space() if f in standing or f[0] == "multiply")


def chooses(dimension: int, seed: int) -> bool:
    """True if this dimension and seed are trained with every strength."""
    return (dimension, seed) == (CHOICE_DIMENSION, CHOICE_SEED)


def sampled(objective: str, operation: str) -> bool:
    """True if a function trains under a sample of the loss: on all pairs, without a product."""
    return objective == "ranking" and OPERATIONS[operation].factors is None


def strengths(objective: str, operation: str) -> tuple[float, ...]:
    """The strengths that validation chooses from."""
    return SAMPLED_GRID if sampled(objective, operation) else GRID[objective]


def planned(
    objectives: tuple[str, ...] = OBJECTIVES, shard: int = 0, shards: int = 1
) -> Iterator[Planned]:
    """All trainings of the shard's functions, phase by phase.

    A shard holds whole functions, so that what depends on a choice comes after it in the same one.
    """
    for objective, dimension, seed in PHASES:
        if objective in objectives:
            of_choice = chooses(dimension, seed)
            for names in functions(objective)[shard::shards]:
                for l2 in strengths(objective, names[0]) if of_choice else (None,):
                    yield Planned(objective, names, dimension, seed, l2)
