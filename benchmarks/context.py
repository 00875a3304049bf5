"""Does a third field pay: two-field models against a searched three-field one, on ratings.

The third field is the time of the rating in buckets of the train part's timestamps. All models get
the same training budget and the same L2 grid, of which validation chooses. Without `--test` the
test part is never evaluated, which is how buckets and the search's budget were chosen.

    OMP_NUM_THREADS=1 python benchmarks/context.py SPLIT.npz ... --output FILE.csv --test
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rating import NoCheckpoint

from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Split, load_split_file, with_time_buckets
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.registry import expression
from sif.tracking import NullTracker
from sif.utils.device import make_runtime

Row = dict[str, object]


def problem_of(split: Split, preset: str, seed: int, sets: Sequence[str]) -> InteractionProblem:
    """The train and validation parts under a preset."""
    config = load_config("cf", file=preset, sets=list(sets), flags={"seed": seed})
    assert isinstance(config, CFConfig)
    return InteractionProblem(
        split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
    )


def trained(problem: InteractionProblem, genotype: Genotype, split: Split, test: bool) -> Row:
    """RMSE in stars of the L2 strength that validation ranks first; test only where asked."""
    start = time.process_time()
    fits = [
        problem.train(genotype, NullTracker(), NoCheckpoint(), l2=l2)
        for l2 in problem.config.train.l2
    ]
    best = min(fits, key=lambda fit: fit.result.valid["rmse"])
    seconds = time.process_time() - start
    found = problem.test(best.network, split).metrics["rmse"] if test else np.nan
    return {
        "l2": best.numbers["l2"],
        "valid_rmse": best.result.valid["rmse"],
        "test_rmse": found,
        "train_seconds": seconds,
        "function": expression(genotype, problem.fields),
    }


def searched(problem: InteractionProblem, split: Split, test: bool) -> Row:
    """The same of the function that a search finds, with the search's CPU seconds."""
    start = time.process_time()
    found = problem.search(NullTracker(), NoCheckpoint())
    seconds = time.process_time() - start
    return {"search_seconds": seconds, **trained(problem, found.genotype, split, test)}


def rows_of(path: Path, seed: int, values: argparse.Namespace) -> Iterator[Row]:
    """One row per model on one split."""
    split = load_split_file(path)
    third = with_time_buckets(split, values.buckets)
    assert third.hash == split.hash
    two = problem_of(split, "cf/sif-paper", seed, ["model.biases=true", *values.set])
    three = problem_of(third, "cf/context", seed, values.set)
    models = {
        "fixed multiply, two fields": lambda: {
            "search_seconds": 0.0, **trained(two, fixed_multiply(two), split, values.test)
        },
        "searched, two fields": lambda: searched(two, split, values.test),
        "searched, three fields": lambda: searched(three, third, values.test),
    }  # fmt: skip
    for name, run in models.items():
        yield {"split": path.stem, "seed": seed, "model": name, **run()}


def told(rows: Sequence[Row]) -> str:
    """Mean and standard deviation over splits of one model, on one line."""
    text = []
    for name in ("valid_rmse", "test_rmse", "search_seconds", "train_seconds"):
        values = np.array([float(str(row[name])) for row in rows])
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        if not np.isnan(values).any():
            text.append(f"{name} {values.mean():.4f} +- {spread:.4f}")
    functions = ", ".join(str(row["function"]) for row in rows)
    return f"{rows[0]['model']}: {'; '.join(text)}; {functions}"


def main() -> None:
    """Prints a line per model, and writes a row per split and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("splits", nargs="+", type=Path)
    parser.add_argument("--buckets", type=int, default=24, help="of time")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="K=V", help="settings of all models"
    )
    parser.add_argument("--test", action="store_true", help="evaluate the test part too")
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed, path in enumerate(values.splits):
        for row in rows_of(path, seed, values):
            rows.append(row)
            print(row, flush=True)
    for name in dict.fromkeys(str(row["model"]) for row in rows):
        print(told([row for row in rows if row["model"] == name]))
    if values.output is not None:
        values.output.parent.mkdir(parents=True, exist_ok=True)
        with values.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                short = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
                writer.writerow(short)


if __name__ == "__main__":
    main()
