"""Functions that were not trained: a guess from the family or range class of what they are.

A learned P or Q is evaluated numerically, which gives its range and its growth. The function is
then taken for a member of its family or, if none of that was trained, of its range class. The
spread there says how good that is, and so does leaving out (`benchmarks/ifc_bench_report.py`).
"""

from __future__ import annotations

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
