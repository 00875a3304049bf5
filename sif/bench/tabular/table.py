"""The table: trainings, indexed by what is asked for, and what it answers."""

from __future__ import annotations

import functools
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sif.bench.tabular import plan
from sif.bench.tabular.ranges import FIELDS, Family, Names, family, names_of
from sif.bench.tabular.records import (
    HIGHER_IS_BETTER,
    PARTS,
    ClassEntry,
    Entry,
    Estimate,
    Training,
    class_entry,
    entry,
)
from sif.config import did_you_mean
from sif.core.genotype import Genotype
from sif.errors import NotInTableError
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import PRIMITIVES

Function = Genotype | Sequence[str]
"""A genotype of `primitives`, or its three names: operation, user's and item's transform."""
Key = tuple[str, int, int | None, tuple[str, ...]]
"""Objective, dimension, seed (None: all) and names of an entry."""
GOALS = ("family", "class", "function")
_Cell = tuple[str, int]
_Kind = TypeVar("_Kind", str, Family)
_Grouped = dict[_Cell, dict[_Kind, ClassEntry]]


@dataclass(frozen=True, eq=False)
class Table:
    """All trainings, indexed.

    Attributes:
        trainings: Every row, strengths that were not chosen included.
        metadata: Origin of the table: split hashes, machine, versions.

    Examples:
        >>> from sif.bench import tabular as ifcbench
        >>> ifcbench.query(("multiply", "~abs", "+sqrt")).family
        ('multiply(R,half)', 'abs', 'sqrt')
        >>> round(ifcbench.regret(("plus", "~abs", "~abs")), 3)
        0.033
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
        """The trainings of a function.

        Args:
            function: A genotype of `primitives`, or operation, user's and item's transform by name.
            objective: "rating" (RMSE in stars) or "ranking" (NDCG@10).
            dimension: Length of the embeddings.
            seed: Seed of one training; None: means over all seeds, with deviations.

        Raises:
            NotInTableError: No such training; the message names the missing value and what is
                nearest.
            GenotypeError: A genotype of another space.
        """
        names = names_of(function) if isinstance(function, Genotype) else tuple(function)
        found = self._entries.get((objective, dimension, seed, names))
        if found is None:
            raise _missing(self._entries, (objective, dimension, seed, names))
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
        """Range class to its entry, the best on test first; errors: see `families`."""
        return _in_order(self._classes, objective, dimension)

    def families(self, objective: str = "rating", dimension: int = 8) -> dict[Family, ClassEntry]:
        """Family (class and growths) to its entry, the best on test first.

        Raises:
            NotInTableError: Another objective, or a dimension that has no training.
        """
        return _in_order(self._families, objective, dimension)

    def surrogate(
        self, genotype: Genotype, objective: str = "rating", dimension: int = 8
    ) -> Estimate:
        """A guess at a function that was not trained: the mean of its family, or else its class.

        A learned P or Q is evaluated numerically, which gives its range and its growth. The spread
        of the members says how good the guess is, and so does leaving out
        (`benchmarks/ifc_bench_report.py`).

        Args:
            genotype: A genotype of `primitives` or, with learned P and Q, of `sif`.
            objective: "rating" or "ranking".
            dimension: Length of the embeddings.

        Raises:
            NotInTableError: Another objective or dimension, or a class without a training.
            GenotypeError: A genotype of another space.
        """
        kind = family(genotype)
        found, by = self.families(objective, dimension).get(kind), "family"
        if found is None:
            found, by = self.classes(objective, dimension).get(kind[0]), "class"
        if found is None:
            raise NotInTableError(
                f"{objective}, d = {dimension}: expected a class that was trained, found {kind[0]}"
            )
        spread = found.valid_deviation, found.test_deviation
        return Estimate(found.valid, found.test, *spread, kind, by, len(found.functions))

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
        """The gap between a function and the best one, in units of the main metric.

        A goal is a mean over functions with as many seeds as any have at the dimension: 3 at d = 8,
        1 at d = 32. A lucky training may be below 0.

        - Goal "function" is the mean of the best function, of some hundred functions partly the
          luckiest.
        - Goal "family" is the mean of the best family. The best family for ratings has one member
          alone, the identities on both sides of a product. There both goals are the same number.
        - Goal "class" is the mean of the best range class. Good functions beat it by far.

        Args:
            function: A function, as `query` takes it; its errors are the same.
            objective: "rating" or "ranking".
            dimension: Length of the embeddings.
            seed: Seed of the training, as for `query`; the goal is always a mean over seeds.
            part: "test", or "valid", which is all that a search may see.
            goal: Mean of the best "family", range "class" or "function", as above.
        """
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
        rows = {(r.objective, r.dimension, r.seed, r.names, r.l2) for r in self.trainings}
        have = Counter(row[:3] for row in rows)
        planned = Counter((task.objective, task.dimension, task.seed) for task in plan.planned())
        return {phase: (have[phase], count) for phase, count in planned.items()}

    def complete(self, objective: str | None = None, dimension: int | None = None) -> bool:
        """True if every planned training (of an objective, of a dimension) is there."""
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
    _check_name("objective", objective, plan.OBJECTIVES)
    _check_number(f"{objective}: dimension", dimension, {d for o, d in grouped if o == objective})
    sign = -1 if HIGHER_IS_BETTER[objective] else 1
    return dict(sorted(grouped[objective, dimension].items(), key=lambda i: sign * i[1].test))


def _missing(known: Collection[Key], wanted: Key) -> NotInTableError:
    """The error for an entry that is not among the known ones: the first thing that is missing."""
    objective, dimension, seed, names = wanted
    try:
        _check_name("objective", objective, plan.OBJECTIVES)
        if len(names) != 3:
            raise NotInTableError(
                "function: expected operation, user's transform and item's transform, "
                f"found {len(names)} names"
            )
        for block, name in zip(("operation", *FIELDS), names, strict=True):
            _check_name(block, name, OPERATIONS if block == "operation" else PRIMITIVES)
        here = [key for key in known if key[0] == objective]
        _check_number(f"{objective}: dimension", dimension, {key[1] for key in here})
        here = [key for key in here if key[1] == dimension]
        where = f"{objective}, d = {dimension}"
        if seed is not None:
            _check_number(f"{where}: seed", seed, {key[2] for key in here if key[2] is not None})
            here = [key for key in here if key[2] == seed]
            where += f", seed {seed}"
    except NotInTableError as error:
        return error
    kind = plan.families()[names][0]
    same = (key[3] for key in here if plan.families()[key[3]][0] == kind)
    near = next((f"nearest is {_written(other)}" for other in same), "nor of another")
    return NotInTableError(
        f"{where}: expected a function that was trained, found {_written(names)}, "
        f"of class {kind}; {near} of that class"
    )


def _check_number(what: str, found: int, known: Collection[int]) -> None:
    if found not in known:
        expected = " or ".join(map(str, sorted(known))) or "any training (there is none)"
        near = min(known, key=lambda number: abs(number - found), default=None)
        hint = "" if near is None else f"; nearest is {near}"
        raise NotInTableError(f"{what}: expected {expected}, found {found}{hint}")


def _check_name(what: str, found: str, known: Collection[str]) -> None:
    if found not in known:
        raise NotInTableError(
            f"{what}: expected {' or '.join(known)}, found {found!r}{did_you_mean(found, known)}"
        )


def _written(names: tuple[str, ...]) -> str:
    return f"{names[0]}({names[1]}, {names[2]})"
