"""A report on the table of ifc-bench; `ifc_bench.py --collect` prints it."""

from __future__ import annotations

import itertools
import math
import statistics
import timeit
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from sif.bench.tabular import plan
from sif.bench.tabular.ranges import Names
from sif.bench.tabular.records import HIGHER_IS_BETTER, MAIN, PARTS, pooled
from sif.bench.tabular.table import Table

TOP = 10


def written(names: Names) -> str:
    return f"{names[0]}({names[1]}, {names[2]})"


def report(table: Table) -> str:
    """All sections, as Markdown."""
    lines = ["## Coverage and cost", *coverage(table)]
    for objective in MAIN:
        cells = sorted(
            {r.dimension for r in table.trainings if r.objective == objective and r.chosen}
        )
        for dimension in cells:
            lines += ["", f"## {objective}, d = {dimension}: {MAIN[objective]}"]
            for section in (classes, families, best, noise, searches):
                lines += section(table, objective, dimension)
        if len(cells) > 1:
            lines += dimensions(table, objective, cells)
    lines += ["", *speed(table)]
    return "\n".join(lines)


def coverage(table: Table) -> Iterator[str]:
    yield "| objective | d | seed | trainings | planned | CPU hours |"
    yield "|---|---|---|---|---|---|"
    seconds: Counter[tuple[str, int, int]] = Counter()
    for row in table.trainings:
        seconds[row.objective, row.dimension, row.seed] += row.seconds
    for phase, (have, planned) in table.coverage().items():
        told = " | ".join(map(str, phase))
        yield f"| {told} | {have} | {planned} | {seconds[phase] / 3600:.2f} |"
    yield f"\nAll: {len(table.trainings)} trainings, {seconds.total() / 3600:.2f} CPU hours."
    for objective in MAIN:
        chosen = Counter(
            r.l2
            for r in table.trainings
            if r.chosen and r.objective == objective and plan.chooses(r.dimension, r.seed)
        )
        yield f"L2 chosen ({objective}): " + ", ".join(
            f"{l2:g}: {n}" for l2, n in sorted(chosen.items())
        )


def classes(table: Table, objective: str, dimension: int) -> Iterator[str]:
    yield "\n| class | functions | valid | test | between seeds | between functions |"
    yield "|---|---|---|---|---|---|"
    for name, e in table.classes(objective, dimension).items():
        spread = " | ".join(f"{v:.4f}" for v in (e.between_seeds, e.between_functions))
        yield f"| {name} | {len(e.functions)} | {e.valid:.4f} | {e.test:.4f} | {spread} |"


def means(table: Table, objective: str, dimension: int, part: str) -> dict[Names, float]:
    """Functions to their mean over seeds."""
    return {
        names: getattr(table.query(names, objective, dimension), part)
        for entry in table.classes(objective, dimension).values()
        for names in entry.functions
    }


def best(table: Table, objective: str, dimension: int) -> Iterator[str]:
    for part in PARTS:
        found = means(table, objective, dimension, part)
        order = sorted(found, key=found.__getitem__, reverse=HIGHER_IS_BETTER[objective])
        yield f"\nBest on {part} (valid, test +- deviation over seeds):\n"
        for names in order[:TOP]:
            e = table.query(names, objective, dimension)
            yield (
                f"- {written(names)}: {e.valid:.4f}, {e.test:.4f} +- {e.test_deviation:.4f}, "
                f"{e.range_class}, l2 {e.l2:g}"
            )


def spearman(one: dict[Names, float], other: dict[Names, float]) -> float:
    both = [names for names in one if names in other]
    if len(both) < 3:
        return math.nan
    return float(spearmanr([one[n] for n in both], [other[n] for n in both]).statistic)


def by_seed(
    table: Table, objective: str, dimension: int, part: str
) -> dict[int, dict[Names, float]]:
    found: dict[int, dict[Names, float]] = {}
    for row in table.trainings:
        if row.chosen and (row.objective, row.dimension) == (objective, dimension):
            found.setdefault(row.seed, {})[row.names] = row.main(part)
    return dict(sorted(found.items()))


def noise(table: Table, objective: str, dimension: int) -> Iterator[str]:
    yield "\nSpearman:\n"
    for part in PARTS:
        seeds = by_seed(table, objective, dimension, part)
        for a, b in itertools.combinations(seeds, 2):
            yield f"- {part}, seeds {a} and {b}: {spearman(seeds[a], seeds[b]):.3f}"
    valid, test = (means(table, objective, dimension, part) for part in PARTS)
    yield f"- means over seeds, valid and test: {spearman(valid, test):.3f}"
    groups: dict[Names, list[float]] = {}
    for values in by_seed(table, objective, dimension, "test").values():
        for names, value in values.items():
            groups.setdefault(names, []).append(value)
    spread = [f"{pooled(groups.values()):.4f} between seeds of a function"]
    for what, kinds in (("family", table.families), ("class", table.classes)):
        entries = kinds(objective, dimension).values()
        within = pooled([[test[n] for n in e.functions] for e in entries])
        spread.append(f"{within:.4f} between means of functions of a {what}")
    yield f"\nDeviation on test: {', '.join(spread)}, {statistics.stdev(test.values()):.4f} of all."
    out = left_out(table, objective, dimension)
    yield (
        f"Surrogate, leaving out each of {out.functions} functions: MAE {out.mae:.4f}, RMSE "
        f"{out.rmse:.4f}; by class {out.rmse_by_class:.4f}; without {out.rmse_blind:.4f}."
    )


def families(table: Table, objective: str, dimension: int) -> Iterator[str]:
    found = table.families(objective, dimension)
    yield f"\nBest of {len(found)} families (valid, test, between seeds, between functions):\n"
    for name, e in itertools.islice(found.items(), TOP):
        yield (
            f"- {name[0]} of {', '.join(name[1:])}, {len(e.functions)} functions: {e.valid:.4f}, "
            f"{e.test:.4f}, {e.between_seeds:.4f}, {e.between_functions:.4f}"
        )


def dimensions(table: Table, objective: str, cells: Sequence[int]) -> Iterator[str]:
    yield ""
    for a, b in itertools.combinations(cells, 2):
        for part in PARTS:
            one, other = (means(table, objective, d, part) for d in (a, b))
            kinds = [
                {k: getattr(e, part) for k, e in table.classes(objective, d).items()}
                for d in (a, b)
            ]
            shared = [k for k in kinds[0] if k in kinds[1]]
            of_classes = spearmanr([kinds[0][k] for k in shared], [kinds[1][k] for k in shared])
            yield (
                f"Spearman on {part} between d = {a} and {b}: functions "
                f"{spearman(one, other):.3f}, classes {float(of_classes.statistic):.3f}"
            )


def searches(
    table: Table, objective: str, dimension: int, budgets: Sequence[int] = (1, 5, 20, 80)
) -> Iterator[str]:
    """Random search that takes the best of some draws by validation: its mean regret on test.

    Seeds take turns; a search draws among the functions that are known for its seed.
    """
    seeds = list(by_seed(table, objective, dimension, "valid").values())
    draws = np.random.default_rng(0)
    order = max if HIGHER_IS_BETTER[objective] else min
    told = []
    for budget in budgets:
        regrets = []
        for trial in range(1000):
            valid = seeds[trial % len(seeds)]
            names = list(valid)
            picked = [names[i] for i in draws.choice(len(names), min(budget, len(names)), False)]
            regrets.append(table.regret(order(picked, key=valid.__getitem__), objective, dimension))
        told.append(f"{budget}: {statistics.fmean(regrets):.4f}")
    yield "Random search, mean regret on test by number of evaluations: " + ", ".join(told)


def speed(table: Table) -> Iterator[str]:
    row = next(r for r in table.trainings if r.chosen)
    function = plan.genotype_of(row.names)
    for what, asked in (("genotype", function), ("names", row.names)):
        ask = lambda asked=asked: table.query(asked, row.objective, row.dimension)
        seconds = min(timeit.repeat(ask, number=10_000, repeat=5)) / 10_000
        yield f"Query by {what}: {seconds * 1e6:.2f} microseconds."


@dataclass(frozen=True)
class LeftOut:
    """Errors of the guesses for functions that they have not seen, on test.

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
