"""Regret of searches against the best function of ifc-bench, at the cost of a few trainings.

Every method gets the CPU seconds of `--trainings` average single trainings of the table and hands
over one function of `primitives`, whose regret is looked up: the test metric of that function, as a
mean over the table's seeds, against the mean of the best family and of the best range class.
Methods that share weights search for real, on the table's split and dimension. Samplers are told
the table's validation metric of one training and pay its seconds; that its L2 strength was chosen
among three costs them nothing, so the comparison favors them. Of a function that is not in the
table (rankings) they are told the surrogate's. What does not end in time is not told, unless it is
the first. No method sees a test number.

    OMP_NUM_THREADS=1 python benchmarks/regret.py rating --output regret-rating.csv
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ifc_bench import config_of, split_of
from numpy.typing import NDArray
from scipy import stats

from sif.bench import tabular as ifcbench
from sif.bench.tabular.records import HIGHER_IS_BETTER
from sif.core.gates import Selection
from sif.core.genotype import Genotype
from sif.core.method import Plan
from sif.errors import NotInTableError
from sif.methods.configuration import configured
from sif.problems.interactions import InteractionProblem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime
from sif.utils.random import derive_seed

DIMENSION = 8
SHARING = ("nasp", "darts-1", "darts-2", "snas", "gdas", "random-ws")
SAMPLERS = ("random", "tpe", "nsga2")
REFERENCE = "random"
GOALS = ("family", "class", "function")
IDENTITIES = ("multiply", "~abs", "~abs")
REPEATED = (IDENTITIES, ("multiply", "+sqrt", "~square"), ("plus", "~abs", "~abs"))
"""Trainings that are done again, to know how fast this machine is beside the table's."""
ASKS = 1000
"""Most draws of a sampler, which may repeat itself."""
COLUMNS = (
    "objective", "method", "seed", "function", "family_regret", "class_regret", "function_regret",
    "cpu_seconds", "candidates",
)  # fmt: skip


class Referee:
    """Budget, searches and look-ups of one objective.

    Args:
        objective: "rating" or "ranking".
        trainings: Average single trainings that a search may cost.
        sets: Further settings of the searches, "key=value".
    """

    def __init__(self, objective: str, trainings: float, sets: Sequence[str]) -> None:
        if not ifcbench.complete(objective, DIMENSION):
            raise SystemExit(f"{objective}, d = {DIMENSION}: the table is not complete")
        self.objective, self.sets = objective, sets
        rows = [
            row.seconds
            for row in ifcbench.shipped().trainings
            if row.chosen and row.objective == objective and row.dimension == DIMENSION
        ]
        self.training = float(np.mean(rows))
        self.budget = trainings * self.training
        self.speed = self._speed()

    def _speed(self) -> float:
        """CPU seconds of a training now over those that the table says."""
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
            f"search.dimension={DIMENSION}", *self.sets,
            *sets,
        )  # fmt: skip
        split = split_of(self.objective)
        return InteractionProblem(
            split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
        )

    def searched(self, method: str, seed: int) -> tuple[Genotype, float, int]:
        """The selection of a method that shares weights, and its seconds by the table's clock."""
        seconds = f"search.seconds={self.budget * self.speed:.3f}"
        problem = self._problem(method, seed, seconds)
        problem.space()  # reads and prepares the data, which no search pays for
        start = time.process_time()
        found = problem.search(NullTracker(), NoCheckpoint())
        return found.genotype, (time.process_time() - start) / self.speed, 0

    def sampled(self, method: str, seed: int) -> tuple[Genotype, float, int]:
        """The selection of a sampler in the table, the table's seconds, and its candidates."""
        problem = self._problem(method, seed)
        space = problem.space()
        draws = torch.Generator().manual_seed(derive_seed(seed, "regret", method))
        made = configured(method, problem.config.method_values()).make(space, Plan(1), draws)
        spent, told = 0.0, dict[Selection, float]()
        for _ in range(ASKS):
            if told and spent * (1 + 1 / len(told)) > self.budget:
                break
            selection = made.ask()
            if selection is None:
                break
            if selection not in told:  # what was trained is known
                genotype = space.genotype(selection.to_gates(space.blocks))
                valid, seconds = self._training(genotype, seed)
                if told and spent + seconds > self.budget:
                    break
                told[selection] = 1 - valid if HIGHER_IS_BETTER[self.objective] else valid
                spent += seconds
            made.tell(selection, told[selection], 0.0)
        return space.genotype(made.best_selection().to_gates(space.blocks)), spent, len(told)

    def _training(self, genotype: Genotype, seed: int) -> tuple[float, float]:
        """Validation metric and seconds of one training of a function."""
        try:
            entry = ifcbench.query(genotype, self.objective, DIMENSION, seed % 3)
        except NotInTableError:
            guess = ifcbench.surrogate(genotype, self.objective, DIMENSION)
            return guess.valid, self.training
        return entry.valid, entry.seconds

    def regret(self, genotype: Genotype, goal: str) -> float:
        """Regret of the test metric against a kind's best mean, if need be by the surrogate."""
        part = (self.objective, DIMENSION, None, "test", goal)
        try:
            return ifcbench.regret(genotype, *part)
        except NotInTableError:
            known = ifcbench.query(IDENTITIES, self.objective, DIMENSION).test
            gap = known - ifcbench.surrogate(genotype, self.objective, DIMENSION).test
            sign = 1 if HIGHER_IS_BETTER[self.objective] else -1
            return ifcbench.regret(IDENTITIES, *part) + sign * gap

    def row(self, method: str, seed: int) -> dict[str, Any]:
        """One search and what it comes to."""
        find = self.sampled if method in SAMPLERS else self.searched
        genotype, seconds, count = find(method, seed)
        operation, *transforms = (genotype.operation(b) for b in ("operation", "user", "item"))
        regrets = {f"{goal}_regret": f"{self.regret(genotype, goal):.6f}" for goal in GOALS}
        return {
            "objective": self.objective, "method": method, "seed": seed,
            "function": f"{operation}({', '.join(transforms)})", **regrets,
            "cpu_seconds": f"{seconds:.3f}", "candidates": count,
        }  # fmt: skip


def _column(rows: Sequence[Mapping[str, Any]], method: str, name: str) -> NDArray[np.float64]:
    return np.array([float(row[name]) for row in rows if row["method"] == method])


def summary(rows: Sequence[Mapping[str, Any]], method: str) -> str:
    """A method's line: mean regrets, and its paired difference to the reference over seeds."""
    told = [f"{method:<10}"]
    for goal in GOALS:
        mine = _column(rows, method, f"{goal}_regret")
        told.append(f"{goal} {mine.mean():+.4f} +- {mine.std(ddof=1):.4f}")
    mine, other = (_column(rows, m, "family_regret") for m in (method, REFERENCE))
    if method != REFERENCE and len(mine) == len(other):
        gap = mine - other
        half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / math.sqrt(len(gap))
        told.append(f"minus random {gap.mean():+.4f} ({gap.mean() - half:+.4f} to "
                    f"{gap.mean() + half:+.4f})")  # fmt: skip
        if gap.any():
            told.append(f"Wilcoxon p {stats.wilcoxon(gap).pvalue:.2g}")
    told.append(f"{_column(rows, method, 'cpu_seconds').mean():.1f} CPU s")
    return "; ".join(told)


def noise(objective: str) -> str:
    """Deviation over seeds of the best family's and class's functions: the measure of a regret."""
    family = next(iter(ifcbench.families(objective, DIMENSION)))
    kind = next(iter(ifcbench.classes(objective, DIMENSION)))
    cells = {
        row.names
        for row in ifcbench.shipped().trainings
        if row.chosen and row.objective == objective and row.dimension == DIMENSION
    }
    entries = [ifcbench.query(names, objective, DIMENSION) for names in sorted(cells)]
    members = {
        f"family {', '.join(family)}": [e for e in entries if e.family == family],
        f"class {kind}": [e for e in entries if e.range_class == kind],
    }
    told = []
    for name, found in members.items():
        variances = [e.test_deviation**2 for e in found if len(e.seeds) > 1]
        told.append(f"best {name}: one seed deviation {np.mean(variances) ** 0.5:.4f}")
    return "; ".join(told)


def main() -> None:
    """Searches, writes one row each, prints a line per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("objective", choices=("rating", "ranking"))
    parser.add_argument("--methods", nargs="+", default=[*SHARING, *SAMPLERS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=float, default=3.0)
    parser.add_argument("--set", nargs="+", action="extend", default=[])
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    referee = Referee(values.objective, values.trainings, values.set)
    print(
        f"budget {referee.budget:.2f} CPU s of the table's, {referee.speed:.2f} here for one there"
    )
    print(noise(values.objective))
    rows = []
    with contextlib.ExitStack() as stack:
        writer = None
        if values.output is not None:
            file = stack.enter_context(values.output.open("w", newline=""))
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
        for method, seed in itertools.product(values.methods, range(values.seeds)):
            rows.append(referee.row(method, seed))
            print(*rows[-1].values(), flush=True)
            if writer is not None:
                writer.writerow(rows[-1])
                file.flush()
    for method in values.methods:
        print(summary(rows, method))


if __name__ == "__main__":
    main()
