"""Functions that were not trained: a guess from the family or range class of what they are.

A learned P or Q is evaluated numerically, which gives its range and its growth. The function is
then taken for a member of its family or, if none of that was trained, of its range class. The
spread there says how good that is, and so does leaving out.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from sif.bench.tabular.ranges import Family, family
from sif.bench.tabular.records import Means
from sif.bench.tabular.table import Table
from sif.core.genotype import Genotype
from sif.errors import NotInTableError


@dataclass(frozen=True)
class Estimate(Means):
    """What its family, or else its class, says of a function, over functions and seeds.

    Attributes:
        family: Of the function.
        by: "family" or "class", whichever the mean is taken over.
        functions: How many were trained of it.
    """

    family: Family
    by: str
    functions: int


def estimate(
    table: Table, genotype: Genotype, objective: str = "rating", dimension: int = 8
) -> Estimate:
    """See `sif.bench.tabular.surrogate`."""
    kind = family(genotype)
    found, by = table.families(objective, dimension).get(kind), "family"
    if found is None:
        found, by = table.classes(objective, dimension).get(kind[0]), "class"
    if found is None:
        raise NotInTableError(
            f"{objective}, d = {dimension}: expected a class that was trained, found {kind[0]}"
        )
    spread = found.valid_deviation, found.test_deviation
    return Estimate(found.valid, found.test, *spread, kind, by, len(found.functions))


@dataclass(frozen=True)
class LeftOut:
    """How far off the guesses are for functions that they have not seen, on test.

    Attributes:
        functions: Left out, one at a time, where another of the class was trained; what is guessed
            is the mean over seeds.
        mae: Mean absolute error.
        rmse: Root of the mean squared error.
        rmse_by_class: The same where the class alone is known.
        rmse_blind: The same of the mean of all other functions.
    """

    functions: int
    mae: float
    rmse: float
    rmse_by_class: float
    rmse_blind: float


def left_out(table: Table, objective: str = "rating", dimension: int = 8) -> LeftOut:
    """Leaves every function out once; nan where no class has two."""
    known = {
        names: table.query(names, objective, dimension)
        for entry in table.classes(objective, dimension).values()
        for names in entry.functions
    }
    errors: list[tuple[float, float, float]] = []
    for names, entry in known.items():
        others = [e for other, e in known.items() if other != names]
        of_class = [e for e in others if e.range_class == entry.range_class]
        of_family = [e for e in of_class if e.family == entry.family]
        if of_class:
            guesses = (of_family or of_class, of_class, others)
            by_family, by_class, blind = (
                statistics.fmean(e.test for e in guess) - entry.test for guess in guesses
            )
            errors.append((by_family, by_class, blind))
    if not errors:
        return LeftOut(0, math.nan, math.nan, math.nan, math.nan)
    mae = statistics.fmean(abs(error[0]) for error in errors)
    roots = (math.sqrt(statistics.fmean(e * e for e in way)) for way in zip(*errors, strict=True))
    return LeftOut(len(errors), mae, *roots)
