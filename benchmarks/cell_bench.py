"""The trainings of cell-bench: every cell of a small space, trained from scratch on three seeds.

Each training is one call of the library's `Problem.train`, one CSV row each. What is in the folder
already is skipped, so the same command goes on after an interruption, and shards may run side by
side. Test errors come with every row and choose nothing.

    OMP_NUM_THREADS=1 python benchmarks/cell_bench.py images --shard 0/2 --minutes 60
    python benchmarks/cell_bench.py images --collect
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from ifc_bench import Row, drop_half_line, read_rows
from scipy.stats import kendalltau

from sif.bench.cells.recipe import RECIPES, SEEDS, Recipe, study_of
from sif.bench.cells.store import COLUMNS, path_of, read, write
from sif.bench.cells.table import CellTable
from sif.core.genotype import Genotype
from sif.core.selections import Selections
from sif.problems.base import quiet
from sif.spaces.notation import notation
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint

FOLDER = Path(__file__).parent / "results" / "cell-bench"


@functools.cache
def genotypes(recipe: Recipe) -> tuple[Genotype, ...]:
    """All cells of the space, in a fixed order."""
    space = study_of(recipe, 0).problem.method_run().make_space(False)
    every = Selections(space.blocks)
    chosen = (every.numbered(number) for number in range(every.count))
    return tuple(space.genotype(one.to_gates(space.blocks)) for one in chosen)


def trained(recipe: Recipe, number: int, seed: int) -> Row:
    """The row of one training; seconds are the CPU's, validations included, the test part not."""
    study, genotype = study_of(recipe, seed), genotypes(recipe)[number]
    problem = study.problem
    start = time.process_time()
    fit = problem.train(problem.design(genotype), NullTracker(), NoCheckpoint(), quiet)
    seconds = time.process_time() - start
    test = problem.test(fit.network, study.test_part).metrics[problem.metric]
    valid = [round(entry[problem.metric], 6) for entry in fit.result.history]
    return {
        "cell": notation(genotype), "seed": str(seed), "valid": json.dumps(valid),
        "test": f"{test:.6f}", "best_epoch": str(fit.result.best_epoch),
        "parameters": f"{fit.numbers['parameters']:.0f}", "cpu_seconds": f"{seconds:.3f}",
    }  # fmt: skip


def run(recipe: Recipe, folder: Path, shard: tuple[int, int], deadline: float) -> Iterator[Row]:
    """Makes the missing rows of a shard, seed after seed, appended as they come."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"shard-{shard[0]}-of-{shard[1]}.csv"
    drop_half_line(path)
    have = {(row["cell"], row["seed"]) for row in read_rows(folder)}
    begin = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if begin:
            writer.writeheader()
        for seed in SEEDS:
            for number in range(shard[0], len(genotypes(recipe)), shard[1]):
                if (notation(genotypes(recipe)[number]), str(seed)) in have:
                    continue
                if time.monotonic() > deadline:
                    return
                row = trained(recipe, number, seed)
                writer.writerow(row)
                file.flush()
                yield row


def collect(recipe: Recipe, folder: Path) -> None:
    """Writes the package's table; SystemExit for holes."""
    rows = [
        {
            **row, "seed": int(row["seed"]), "valid": json.loads(row["valid"]),
            **{name: float(row[name]) for name in ("test", "cpu_seconds")},
            **{name: int(row[name]) for name in ("best_epoch", "parameters")},
        }
        for row in read_rows(folder)
    ]  # fmt: skip
    holes = len(SEEDS) * len(genotypes(recipe)) - len(rows)
    if holes:
        raise SystemExit(f"{holes} trainings are missing")
    rows.sort(key=lambda row: (row["cell"], row["seed"]))
    splits = {str(seed): study_of(recipe, seed).split_hash for seed in SEEDS}
    made = {"task": recipe.task, "sets": recipe.sets, "splits": splits}
    write(rows, path_of(recipe.name), made)
    print(summary(read(path_of(recipe.name))))


def summary(table: CellTable) -> str:
    """What a table says, in a few lines."""
    entries = [table.query(cell) for cell in table.cells]
    best, worst = table.best(), max(entries, key=lambda one: one.test)
    mean = statistics.fmean(one.test for one in entries)
    spread = statistics.fmean(one.test_deviation**2 for one in entries) ** 0.5
    between = statistics.stdev(one.test for one in entries)
    tau = kendalltau([one.valid for one in entries], [one.test for one in entries]).statistic
    picked = table.query(table.best("valid").cell)
    return (
        f"{len(entries)} cells, test error {best.test:.2f} to {worst.test:.2f}, mean {mean:.2f}; "
        f"deviation between cells {between:.2f}, of one cell over seeds {spread:.2f}\n"
        f"best on test: {best.cell}\nbest on validation, {picked.test:.2f}: {picked.cell}\n"
        f"Kendall's tau of means on validation and test {tau:.2f}; "
        f"{sum(row.seconds for row in table.trainings) / 3600:.2f} CPU hours"
    )


def main() -> None:
    """Trains a shard, or turns what was trained into the package's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th cell from the i-th on")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--collect", action="store_true", help="write the table")
    parser.add_argument("--output", type=Path, default=FOLDER)
    values = parser.parse_args()
    torch.set_num_threads(1)
    recipe, folder = RECIPES[values.name], values.output / values.name
    if values.collect:
        collect(recipe, folder)
        return
    first, of = (int(part) for part in values.shard.split("/"))
    begin = time.monotonic()
    made = run(recipe, folder, (first, of), begin + 60 * values.minutes)
    for count, row in enumerate(made, start=1):
        print(row["seed"], row["test"], f"{(time.monotonic() - begin) / count:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
