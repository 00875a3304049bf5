"""Regret of searches against the best of a table, at the cost of a few trainings.

Every method gets the CPU seconds of `--trainings` average trainings of the table and hands over one
selection, whose regret is looked up on test, as a mean over the table's seeds. Methods that share
weights search for real, on the table's data. Samplers are told the table's validation metric and
pay its seconds, also of trainings that stop early where the table knows their beginnings (cells).
A training that would not fit is not told, unless it is the first. No method sees a test number.

rating, ranking: interaction functions of ifc-bench, against the best family, range class and
function. That the table's L2 strength was chosen among three costs samplers nothing, which favors
them. Of a function that is not in the table (rankings) they are told the surrogate's. With `--start
drawn` the transforms of methods that share weights start at drawn ones, not at the identity, which
is best there.
images: cells of cell-bench, against the best cell.

    OMP_NUM_THREADS=1 python benchmarks/regret.py rating --trainings 3 --output regret-rating.csv
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ifc_bench import config_of, split_of
from numpy.typing import NDArray
from scipy import stats

from sif.bench import cells as cellbench
from sif.bench import tabular as ifcbench
from sif.bench.cells.recipe import RECIPES, study_of
from sif.bench.tabular.records import HIGHER_IS_BETTER
from sif.core.gates import Selection
from sif.core.genotype import Genotype
from sif.core.method import AsksLength, Plan, TakesSeconds
from sif.errors import NotInTableError
from sif.methods.configuration import configured
from sif.methods.registry import METHODS
from sif.problems.base import Problem, quiet
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.transforms import PRIMITIVES
from sif.spaces.notation import notation
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.random import derive_seed

DIMENSION = 8
LEFT_OUT = ("exhaustive",)
REFERENCE = "random"
IDENTITIES = ("multiply", "~abs", "~abs")
REPEATED = (IDENTITIES, ("multiply", "+sqrt", "~square"), ("plus", "~abs", "~abs"))
"""Trainings that are done again, to know how fast this machine is beside the table's."""
AGAIN = 5
"""The same of cells: so many, evenly spread."""
ASKS = 1000
"""Most draws of a sampler, which may repeat itself."""
AnyProblem = Problem[Any, Any]


class Referee(ABC):
    """Budget, searches and look-ups of one table.

    Attributes:
        goals: Kinds of regret, the first of which compares methods.
        training: CPU seconds of an average training, by the table.
        speed: CPU seconds of a training now over those that the table says.
    """

    goals: tuple[str, ...]
    training: float
    speed: float

    @abstractmethod
    def problem(self, method: str, seed: int, *sets: str) -> AnyProblem:
        """The problem that methods search, with the table's data."""

    @abstractmethod
    def looked_up(self, genotype: Genotype, seed: int, share: float) -> tuple[float, float]:
        """Validation error and seconds of a training, or of its beginning."""

    @abstractmethod
    def regret(self, genotype: Genotype, goal: str) -> float:
        """Of the test metric, as a mean over the table's seeds."""

    @abstractmethod
    def noise(self) -> str:
        """Deviation over seeds: the measure of a regret."""

    def searched(self, method: str, seed: int, budget: float) -> tuple[Genotype, float, int]:
        """The selection of a method that shares weights, and its seconds by the table's clock."""
        problem = self.problem(method, seed, f"search.seconds={budget * self.speed:.3f}")
        problem.space()  # reads and prepares the data, which no search pays for
        start = time.process_time()
        found = problem.search(NullTracker(), NoCheckpoint())
        return found.genotype, (time.process_time() - start) / self.speed, 0

    def sampled(self, method: str, seed: int, budget: float) -> tuple[Genotype, float, int]:
        """The selection of a sampler in the table, the table's seconds, and its trainings."""
        problem = self.problem(method, seed)
        space = problem.method_run().make_space(False)
        draws = torch.Generator().manual_seed(derive_seed(seed, "regret", method))
        made = configured(method, problem.config.method_values()).make(space, Plan(1), draws)
        spent, told = 0.0, dict[Selection, tuple[float, float, float]]()
        for _ in range(ASKS):
            selection = made.ask()
            if selection is None:
                break
            share = made.share() if isinstance(made, AsksLength) else 1.0
            length, error, before = told.get(selection, (0.0, 0.0, 0.0))
            if share > length:  # what was trained is known
                genotype = space.genotype(selection.to_gates(space.blocks))
                error, seconds = self.looked_up(genotype, seed, share)
                if told and spent + seconds - before > budget:
                    break
                told[selection] = share, error, seconds
                spent += seconds - before
                if isinstance(made, TakesSeconds):
                    made.took(selection, seconds - before)
            made.tell(selection, error, 0.0)
        return space.genotype(_best(told).to_gates(space.blocks)), spent, len(told)

    def row(self, table: str, method: str, seed: int, trainings: float) -> dict[str, Any]:
        """One search and what it comes to."""
        find = self.sampled if METHODS.named(method).samples else self.searched
        genotype, seconds, count = find(method, seed, trainings * self.training)
        regrets = {f"{goal}_regret": f"{self.regret(genotype, goal):.6f}" for goal in self.goals}
        return {
            "table": table, "trainings": f"{trainings:g}", "method": method, "seed": seed,
            "found": notation(genotype), **regrets,
            "cpu_seconds": f"{seconds:.3f}", "candidates": count,
        }  # fmt: skip


def _best(told: Mapping[Selection, tuple[float, float, float]]) -> Selection:
    """The selection of least error among those that trained longest."""
    longest = max(length for length, *_ in told.values())
    whole = {one: error for one, (length, error, _) in told.items() if length == longest}
    return min(whole, key=whole.__getitem__)


class Functions(Referee):
    """Interaction functions of ifc-bench.

    Args:
        objective: "rating" or "ranking".
        sets: Further settings of the searches, "key=value".
        drawn: Whether transforms start at drawn ones.
    """

    goals = ("family", "class", "function")

    def __init__(self, objective: str, sets: Sequence[str], drawn: bool) -> None:
        if not ifcbench.complete(objective, DIMENSION):
            raise SystemExit(f"{objective}, d = {DIMENSION}: the table is not complete")
        self.objective, self.sets, self.drawn = objective, sets, drawn
        rows = [
            row.seconds
            for row in ifcbench.shipped().trainings
            if row.chosen and row.objective == objective and row.dimension == DIMENSION
        ]
        self.training = float(np.mean(rows))
        self.speed = self._speed()

    def _speed(self) -> float:
        here = there = 0.0
        for names in REPEATED:
            entry = ifcbench.query(names, self.objective, DIMENSION, 0)
            problem, start = self._problem("nasp", 0), time.process_time()
            problem.train(ifcbench.genotype_of(names), NullTracker(), NoCheckpoint(), l2=entry.l2)
            here += time.process_time() - start
            there += entry.seconds
        return here / there

    def _problem(self, method: str, seed: int, *sets: str) -> InteractionProblem:
        config = config_of(
            self.objective, DIMENSION, seed, f"method={method}",
            f"search.dimension={DIMENSION}", *self.sets, *sets,
        )  # fmt: skip
        split = split_of(self.objective)
        return InteractionProblem(
            split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
        )

    def problem(self, method: str, seed: int, *sets: str) -> AnyProblem:
        """The problem, whose transforms perhaps start at drawn ones."""
        problem = self._problem(method, seed, *sets)
        if not self.drawn:
            return problem
        draws = np.random.default_rng(derive_seed(seed, "regret", "start"))
        starts = draws.integers(len(PRIMITIVES), size=2)
        make = problem.space

        def space(mixed: bool = False) -> Any:
            made, drawn = make(mixed), iter(starts)
            made.blocks = tuple(
                block if block.default_op is None
                else replace(block, default_op=block.operations[next(drawn)])
                for block in made.blocks
            )  # fmt: skip
            return made

        problem.space = space  # type: ignore[method-assign]
        return problem

    def looked_up(self, genotype: Genotype, seed: int, share: float) -> tuple[float, float]:
        """Of whole trainings: the table does not know their beginnings."""
        try:
            entry = ifcbench.query(genotype, self.objective, DIMENSION, seed % 3)
            valid, seconds = entry.valid, entry.seconds
        except NotInTableError:
            valid = ifcbench.surrogate(genotype, self.objective, DIMENSION).valid
            seconds = self.training
        return 1 - valid if HIGHER_IS_BETTER[self.objective] else valid, seconds

    def regret(self, genotype: Genotype, goal: str) -> float:
        """Regret against a kind's best mean, if need be by the surrogate."""
        part = (self.objective, DIMENSION, None, "test", goal)
        try:
            return ifcbench.regret(genotype, *part)
        except NotInTableError:
            known = ifcbench.query(IDENTITIES, self.objective, DIMENSION).test
            gap = known - ifcbench.surrogate(genotype, self.objective, DIMENSION).test
            sign = 1 if HIGHER_IS_BETTER[self.objective] else -1
            return ifcbench.regret(IDENTITIES, *part) + sign * gap

    def noise(self) -> str:
        """Of the best family's and class's functions."""
        family = next(iter(ifcbench.families(self.objective, DIMENSION)))
        kind = next(iter(ifcbench.classes(self.objective, DIMENSION)))
        names = {
            row.names
            for row in ifcbench.shipped().trainings
            if row.chosen and row.objective == self.objective and row.dimension == DIMENSION
        }
        entries = [ifcbench.query(one, self.objective, DIMENSION) for one in sorted(names)]
        members = {
            f"family {', '.join(family)}": [e for e in entries if e.family == family],
            f"class {kind}": [e for e in entries if e.range_class == kind],
        }
        return "; ".join(f"best {name}: {_pooled(found)}" for name, found in members.items())


class Cells(Referee):
    """Cells of cell-bench.

    Args:
        name: Of the table.
        sets: Further settings of the searches, "key=value".
    """

    goals = ("cell",)

    def __init__(self, name: str, sets: Sequence[str]) -> None:
        self.table, self.recipe, self.sets = cellbench.shipped(name), RECIPES[name], sets
        self.training = float(np.mean([row.seconds for row in self.table.trainings]))
        self.speed = self._speed()

    def _speed(self) -> float:
        problem = self.problem("nasp", 0)
        here = there = 0.0
        for number in range(AGAIN):
            design = problem.drawn(number)
            entry = self.table.query(problem.expression(design), 0)
            start = time.process_time()
            problem.train(design, NullTracker(), NoCheckpoint(), quiet)
            here += time.process_time() - start
            there += entry.seconds
        return here / there

    def problem(self, method: str, seed: int, *sets: str) -> AnyProblem:
        """The problem on the split of one of the table's seeds."""
        sets = (f"method={method}", *self.sets, *sets)
        return study_of(self.recipe, seed, *sets).problem

    def looked_up(self, genotype: Genotype, seed: int, share: float) -> tuple[float, float]:
        """Of a training or its beginning."""
        epochs = max(1, round(share * self.table.epochs))
        entry = self.table.query(genotype, seed % 3, epochs)
        return entry.valid, entry.seconds

    def regret(self, genotype: Genotype, goal: str) -> float:
        """Against the best cell."""
        return self.table.regret(genotype)

    def noise(self) -> str:
        """Of all cells."""
        return _pooled([self.table.query(cell) for cell in self.table.cells])


def _pooled(entries: Sequence[Any]) -> str:
    variances = [e.test_deviation**2 for e in entries if len(e.seeds) > 1]
    return f"one seed deviation {np.mean(variances) ** 0.5:.4f}"


def _column(rows: Sequence[Mapping[str, Any]], method: str, name: str) -> NDArray[np.float64]:
    return np.array([float(row[name]) for row in rows if row["method"] == method])


def summary(rows: Sequence[Mapping[str, Any]], method: str, goals: Sequence[str]) -> str:
    """A method's line: mean regrets, and its paired difference to the reference over seeds."""
    told = [f"{method:<22}"]
    for goal in goals:
        mine = _column(rows, method, f"{goal}_regret")
        told.append(f"{goal} {mine.mean():+.4f} +- {mine.std(ddof=1):.4f}")
    mine, other = (_column(rows, m, f"{goals[0]}_regret") for m in (method, REFERENCE))
    if method != REFERENCE and len(mine) == len(other):
        gap = mine - other
        half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / math.sqrt(len(gap))
        told.append(f"minus random {gap.mean():+.4f} ({gap.mean() - half:+.4f} to "
                    f"{gap.mean() + half:+.4f})")  # fmt: skip
        if gap.any():
            told.append(f"Wilcoxon p {stats.wilcoxon(gap).pvalue:.2g}")
    told.append(f"{_column(rows, method, 'cpu_seconds').mean():.1f} CPU s")
    return "; ".join(told)


def main() -> None:
    """Searches, writes one row each, prints a line per method and budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=("rating", "ranking", *RECIPES))
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m not in LEFT_OUT])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=float, nargs="+", default=[3.0])
    parser.add_argument("--start", choices=("usual", "drawn"), default="usual")
    parser.add_argument("--set", nargs="+", action="extend", default=[])
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    if values.table in RECIPES:
        referee: Referee = Cells(values.table, values.set)
    else:
        referee = Functions(values.table, values.set, values.start == "drawn")
    print(
        f"a training: {referee.training:.2f} CPU s by the table, {referee.speed:.2f} here for one"
        f" there; {referee.noise()}"
    )
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        writer: Any = None
        if values.output is not None:
            file = stack.enter_context(values.output.open("w", newline=""))
        cases = itertools.product(values.trainings, values.methods, range(values.seeds))
        for trainings, method, seed in cases:
            rows.append(referee.row(values.table, method, seed, trainings))
            print(*rows[-1].values(), flush=True)
            if values.output is not None:
                if writer is None:
                    writer = csv.DictWriter(file, list(rows[-1]), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(rows[-1])
                file.flush()
    for trainings in values.trainings:
        some = [row for row in rows if float(row["trainings"]) == trainings]
        print(f"at the cost of {trainings:g} trainings")
        for method in values.methods:
            print(summary(some, method, referee.goals))


if __name__ == "__main__":
    main()
