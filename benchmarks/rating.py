"""The task of the SIF paper: test RMSE and CPU seconds from data to a retrained function.

Search on train and validation, train the found function over the L2 grid, choose on validation, and
look at the test part once. RMSE is of clipped predictions over the deviation of the whole file, as
the published code standardizes.

    OMP_NUM_THREADS=1 python benchmarks/rating.py SPLIT.npz [SPLIT.npz ...] --output FILE.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from sif.config import CFConfig, load_config
from sif.data.interactions import load_split_file
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.registry import expression
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


def run(path: Path, dimension: int, biases: bool, seed: int) -> dict[str, object]:
    """One search and retraining; CPU seconds include reading the split."""
    start = time.process_time()
    split = load_split_file(path)
    sets = [f"search.dimension={dimension}", f"train.dimension={dimension}",
            f"model.biases={str(biases).lower()}"]  # fmt: skip
    config = load_config("cf", file="cf/sif-paper", sets=sets, flags={"seed": seed})
    assert isinstance(config, CFConfig)
    problem = InteractionProblem(
        split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
    )
    found = problem.search(NullTracker(), NoCheckpoint())
    fits = [problem.train(found.genotype, NullTracker(), NoCheckpoint(), l2=l2)
            for l2 in config.train.l2]  # fmt: skip
    best = min(fits, key=lambda fit: fit.result.valid["rmse"])
    seconds = time.process_time() - start
    ratings = split.interactions.rating
    assert ratings is not None
    deviation = float(ratings.astype(np.float64).std())
    test = problem.test(best.network, split).metrics["rmse"]
    return {
        "split": path.stem,
        "dimension": dimension,
        "biases": int(biases),
        "function": expression(found.genotype, problem.fields),
        "l2": best.numbers["l2"],
        "valid_std": best.result.valid["rmse"] / deviation,
        "test_std": test / deviation,
        "cpu_seconds": seconds,
    }


def main() -> None:
    """Writes a row per split, dimension and bias setting, and prints means with their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("splits", nargs="+", type=Path)
    parser.add_argument("--dimensions", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for dimension in values.dimensions:
        for biases in (False, True):
            found = [run(p, dimension, biases, seed) for seed, p in enumerate(values.splits)]
            rows += found
            test = np.array([float(str(row["test_std"])) for row in found])
            seconds = max(float(str(row["cpu_seconds"])) for row in found)
            print(
                f"d = {dimension}, biases {'on ' if biases else 'off'}: test {test.mean():.4f} "
                f"+- {test.std(ddof=1) if len(test) > 1 else 0:.4f} over {len(test)} splits, "
                f"at most {seconds:.1f} CPU s; {', '.join(str(row['function']) for row in found)}",
                flush=True,
            )
    values.output.parent.mkdir(parents=True, exist_ok=True)
    with values.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
