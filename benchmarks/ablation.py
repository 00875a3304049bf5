"""The gain of each stage of the space, and of the search: designs on the same splits.

Each design is searched and trained as in the main job, but for the cut: every L2 strength of its
preset trains to the end, and validation chooses. Without --test the test part is never evaluated.

    OMP_NUM_THREADS=1 python benchmarks/ablation.py SPLIT.npz --output FILE.csv [--test]
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sif.config import CFConfig, load_config
from sif.data.interactions import Split, load_split_file
from sif.evaluation.metrics import higher_is_better
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.registry import expression
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime


@dataclass(frozen=True)
class Variant:
    """A design: a preset, settings over it, and whether it is searched at all."""

    preset: str
    sets: tuple[str, ...] = ()
    searched: bool = True


def _stages(*names: str) -> tuple[str, ...]:
    return (f"search.stages=[{','.join(names)}]",)


VARIANTS = {
    "ranking": {
        "fixed multiply": Variant("cf/ranking", searched=False),
        "sif": Variant("cf/sif-ranking"),
        "primitives": Variant("cf/sif-ranking", ("space=primitives",)),
        "staged": Variant("cf/ranking"),
        "staged without encoding": Variant("cf/ranking", _stages("operation", "weighting")),
        "staged without operation": Variant("cf/ranking", _stages("encoding", "weighting")),
        "staged without weighting": Variant("cf/ranking", _stages("encoding", "operation")),
        "staged with embedding": Variant(
            "cf/ranking", _stages("encoding", "embedding", "operation", "weighting")
        ),
    },
    "rating": {
        "fixed multiply": Variant("cf/rating", searched=False),
        "sif": Variant("cf/sif-paper", ("model.biases=true",)),
        "primitives": Variant("cf/sif-paper", ("model.biases=true", "space=primitives")),
        "staged": Variant("cf/rating"),
        "staged without encoding": Variant("cf/rating", _stages("operation")),
        "staged without operation": Variant("cf/rating", _stages("encoding")),
        "staged with weighting": Variant(
            "cf/rating", _stages("encoding", "operation", "weighting")
        ),
        "staged with embedding": Variant(
            "cf/rating", _stages("encoding", "embedding", "operation")
        ),
    },
}  # fmt: skip


def run(variant: Variant, split: Split, seed: int, test: bool) -> dict[str, object]:
    """One design with one seed."""
    config = load_config("cf", file=variant.preset, sets=list(variant.sets), flags={"seed": seed})
    assert isinstance(config, CFConfig)
    problem = InteractionProblem(
        split.train, split.valid, config, make_runtime("cpu", seed, threads=1)
    )
    start = time.process_time()
    genotype = fixed_multiply(problem)
    if variant.searched:
        genotype = problem.search(NullTracker(), NoCheckpoint()).genotype
    searched = time.process_time()
    fits = [problem.train(genotype, NullTracker(), NoCheckpoint(), l2=l2) for l2 in config.train.l2]
    sign = 1 if higher_is_better(problem.metric) else -1
    best = max(fits, key=lambda fit: sign * fit.result.valid[problem.metric])
    row: dict[str, object] = {
        "function": expression(genotype, problem.fields),
        "l2": best.numbers["l2"],
        "valid": best.result.valid[problem.metric],
        "search_cpu_seconds": searched - start,
        "train_cpu_seconds": time.process_time() - searched,
    }
    if test:
        found = problem.test(best.network, split)
        row["test"] = found.metrics[problem.metric]
    return row


def main() -> None:
    """Writes a row per design and seed, and prints means with their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--objective", choices=tuple(VARIANTS), default="ranking")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="names of designs; default: all")
    parser.add_argument("--test", action="store_true", help="look at the test part")
    parser.add_argument("--output", type=Path, required=True)
    values = parser.parse_args()
    torch.set_num_threads(1)
    split = load_split_file(values.split)
    rows: list[dict[str, object]] = []
    for name, variant in VARIANTS[values.objective].items():
        if values.only and name not in values.only:
            continue
        found = [run(variant, split, seed, values.test) for seed in values.seeds]
        rows += [
            {"design": name, "split": values.split.stem, "seed": seed, **row}
            for seed, row in zip(values.seeds, found, strict=True)
        ]
        told = []
        for key in ("valid", "test") if values.test else ("valid",):
            numbers = np.array([float(str(row[key])) for row in found])
            spread = numbers.std(ddof=1) if len(numbers) > 1 else 0.0
            told.append(f"{key} {numbers.mean():.4f} +- {spread:.4f}")
        functions = "; ".join(str(row["function"]) for row in found)
        print(f"{name}: {', '.join(told)}: {functions}", flush=True)
        _write(values.output, rows)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
