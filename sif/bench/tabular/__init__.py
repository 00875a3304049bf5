"""ifc-bench: interaction functions trained beforehand, to judge searches by looking up.

All 405 functions of the space `primitives` for ratings, and one of every range class and all
products for rankings, on ML-100K (docs/results/ifc-bench.md). The file is read at the first
question: `query`, `regret` and the other `QUESTIONS` are methods of the `Table` that the package
ships.
"""

from __future__ import annotations

from typing import Any

from sif.bench.tabular.ranges import Family, family, genotype_of, range_class
from sif.bench.tabular.records import ClassEntry, Entry, Estimate, Training
from sif.bench.tabular.store import read, shipped
from sif.bench.tabular.table import Function, Table

QUESTIONS = ("query", "regret", "classes", "families", "surrogate", "coverage", "complete")

__all__ = [
    "QUESTIONS",
    "ClassEntry",
    "Entry",
    "Estimate",
    "Family",
    "Function",
    "Table",
    "Training",
    "family",
    "genotype_of",
    "range_class",
    "read",
    "shipped",
]


def __getattr__(name: str) -> Any:
    """One of `QUESTIONS`, to the table of the package."""
    if name in QUESTIONS:
        return getattr(shipped(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
