"""The table: trainings, indexed by what is asked for, and what it answers."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sif.bench.tabular import plan
from sif.bench.tabular.missing import Key, check_number, check_objective, missing
from sif.bench.tabular.ranges import Family, Names, names_of
from sif.bench.tabular.records import (
    HIGHER_IS_BETTER,
    PARTS,
    ClassEntry,
    Entry,
    Training,
    class_entry,
    entry,
)
from sif.core.genotype import Genotype
from sif.errors import NotInTableError

Function = Genotype | Sequence[str]
"""A genotype of `primitives`, or its three names: operation, user's and item's transform."""
GOALS = ("family", "class", "function")
_Cell = tuple[str, int]
_Kind = TypeVar("_Kind", str, Family)
_Grouped = dict[_Cell, dict[_Kind, ClassEntry]]


@dataclass(frozen=True, eq=False)
class Table:
    """All trainings, indexed.

    Attributes:
        trainings: Every row, strengths that were not chosen included.
        metadata: How the table was made: split hashes, machine, versions.
    """

    trainings: tuple[Training, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def _entries(self) -> dict[Key, Entry]:
        rows: dict[Key, list[Training]] = {}
        for row in self.trainings:
            if row.chosen:
                for seed in (None, row.seed):
                    rows.setdefault((row.objective, row.dimension, seed, row.names), []).append(row)
        return {key: entry(found) for key, found in rows.items()}

    def query(
        self, function: Function, objective: str = "rating", dimension: int = 8,
        seed: int | None = None,
    ) -> Entry:  # fmt: skip
        """What is known of a function; arguments and errors as of `sif.bench.tabular.query`."""
        names = names_of(function) if isinstance(function, Genotype) else tuple(function)
        found = self._entries.get((objective, dimension, seed, names))
        if found is None:
            raise missing(self._entries, (objective, dimension, seed, names))
        return found

    def _grouped(self, kind: Callable[[Names], _Kind]) -> _Grouped[_Kind]:
        rows: dict[_Cell, dict[_Kind, list[Training]]] = {}
        for row in self.trainings:
            if row.chosen:
                of_cell = rows.setdefault((row.objective, row.dimension), {})
                of_cell.setdefault(kind(row.names), []).append(row)
        return {
            cell: {name: class_entry(found) for name, found in kinds.items()}
            for cell, kinds in rows.items()
        }

    @functools.cached_property
    def _classes(self) -> _Grouped[str]:
        return self._grouped(plan.kind_of)

    @functools.cached_property
    def _families(self) -> _Grouped[Family]:
        return self._grouped(lambda names: plan.families()[names])

    def classes(self, objective: str = "rating", dimension: int = 8) -> dict[str, ClassEntry]:
        """Range class to what is known of it, the best on test first; errors as of `families`."""
        return _in_order(self._classes, objective, dimension)

    def families(self, objective: str = "rating", dimension: int = 8) -> dict[Family, ClassEntry]:
        """Family to what is known of it, the best on test first.

        Raises:
            NotInTableError: Another objective, or a dimension that has no training.
        """
        return _in_order(self._families, objective, dimension)

    @functools.cached_property
    def _goals(self) -> dict[tuple[str, int, str, str], float]:
        """Best mean by objective, dimension, part, and what it is a mean of.

        Only functions with as many seeds as any have at the dimension: the best of means of few
        seeds would be the luckiest.
        """
        goals = {}
        for cell in self._families:
            found = {key[3]: e for key, e in self._entries.items() if key[:3] == (*cell, None)}
            seeds = max(len(e.seeds) for e in found.values())
            whole = [(names, e) for names, e in found.items() if len(e.seeds) == seeds]
            best = max if HIGHER_IS_BETTER[cell[0]] else min
            for part in PARTS:
                groups: dict[tuple[str, object], list[float]] = {}
                for names, e in whole:
                    value = e.test if part == "test" else e.valid
                    kinds = {"family": e.family, "class": e.range_class, "function": names}
                    for kind in kinds.items():
                        groups.setdefault(kind, []).append(value)
                for goal in GOALS:
                    goals[*cell, part, goal] = best(
                        statistics.fmean(values) for (of, _), values in groups.items() if of == goal
                    )
        return goals

    def regret(
        self, function: Function, objective: str = "rating", dimension: int = 8,
        seed: int | None = None, part: str = "test", goal: str = "family",
    ) -> float:  # fmt: skip
        """How much worse than the best; see `sif.bench.tabular.regret`."""
        entry = self.query(function, objective, dimension, seed)
        if (best := self._goals.get((objective, dimension, part, goal))) is None:
            raise NotInTableError(
                f"part and goal: expected {' or '.join(PARTS)}, and {' or '.join(GOALS)}, "
                f"found {part!r}, {goal!r}"
            )
        gap: float = best - (entry.test if part == "test" else entry.valid)
        return gap if HIGHER_IS_BETTER[objective] else -gap

    def coverage(self) -> dict[tuple[str, int, int], tuple[int, int]]:
        """(objective, dimension, seed) to the trainings there are and those that are planned."""
        have = {(r.objective, r.dimension, r.seed, r.names, r.l2) for r in self.trainings}
        count: dict[tuple[str, int, int], int] = {}
        for row in have:
            count[row[:3]] = count.get(row[:3], 0) + 1
        return {phase: (count.get(phase, 0), plan.size(*phase)) for phase in plan.PHASES}

    def complete(self, objective: str | None = None, dimension: int | None = None) -> bool:
        """Whether every planned training (of an objective, of a dimension) is there."""
        return not any(
            objective in (None, task.objective) and dimension in (None, task.dimension)
            for task in self.holes()
        )

    def holes(self) -> Iterator[plan.Planned]:
        """Planned trainings that the table lacks."""
        exact = {(r.objective, r.names, r.dimension, r.seed, r.l2) for r in self.trainings}
        chosen = {(r.objective, r.names, r.dimension, r.seed) for r in self.trainings if r.chosen}
        for task in plan.planned():
            cell = (task.objective, task.names, task.dimension, task.seed)
            if cell not in chosen if task.l2 is None else (*cell, task.l2) not in exact:
                yield task


def _in_order(grouped: _Grouped[_Kind], objective: str, dimension: int) -> dict[_Kind, ClassEntry]:
    check_objective(objective)
    known = {d for o, d in grouped if o == objective}
    check_number(f"{objective}: dimension", dimension, known)
    sign = -1 if HIGHER_IS_BETTER[objective] else 1
    return dict(sorted(grouped[objective, dimension].items(), key=lambda i: sign * i[1].test))
