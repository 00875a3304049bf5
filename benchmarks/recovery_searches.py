"""Which searches of `primitives` pick the planted function's class, at equal weight steps?

Classes are those of benchmarks/recovery.py. What a search picks is trained as a job trains it, and
compared with the best of an exhaustive run. A run that was interrupted goes on where it stopped,
and further settings make a search of another name.

    python benchmarks/recovery_searches.py --output benchmarks/results/recovery-searches.csv
    python benchmarks/recovery_searches.py --searches nasp --name long --set search.epochs=2000 \\
        --output benchmarks/results/recovery-searches.csv
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from recovery import (
    DENSITY,
    DIMENSION,
    ITEMS,
    NOISE,
    PRIMITIVE_TRUTHS,
    TOLERANCE,
    USERS,
    Triple,
    class_of,
    planted_class,
)

from sif.bench.tabular.ranges import names_of
from sif.config import CFConfig, load_config
from sif.data.interactions import make_split, planted
from sif.data.interactions.split import Split
from sif.problems.interactions import InteractionProblem
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

RESULTS = Path(__file__).parent / "results"
SCORE = "methods.nasp.score=replacement_loss"
LENGTH = ("search.lr=0.8", "search.epochs=1000")
"""Chosen on seeds from 100 on: a maximum needs 900 steps of 0.4, and 160 of 0.8."""
CANDIDATES = (*LENGTH, "search.candidate_epochs=160")
"""As many steps as the warm-up of NASP trains each of five operations."""
SEARCHES: Mapping[str, Sequence[str]] = {
    "nasp": (SCORE, *LENGTH),
    "random": ("method=random", *CANDIDATES),
    "successive-halving": (
        "method=successive-halving", "methods.successive-halving.candidates=18", *CANDIDATES,
    ),
}  # fmt: skip
"""Names in the results to settings over configs/cf/recovery.yaml."""


def split_of(truth: Triple, seed: int) -> Split:
    """Ratings of a planted function, in three parts."""
    made, _ = planted(
        USERS, ITEMS, operation=truth[0], transforms=truth[1:], dimension=DIMENSION,
        density=DENSITY, noise=NOISE, seed=seed,
    )  # fmt: skip
    dataset: Any = SimpleNamespace(name="planted", interactions=made, official_parts=None, notes=[])
    return make_split(dataset, "rating-80/10/10", seed)


def searched(
    truth: Triple, seed: int, sets: Sequence[str], best: float
) -> dict[str, object]:  # fmt: skip
    """One search and the training of what it picks.

    Args:
        truth: The planted function.
        seed: Of data, search and training.
        sets: Settings over the preset.
        best: Lowest RMSE that exhaustive training found.
    """
    split = split_of(truth, seed)
    sets = ["space=primitives", *sets]
    config = load_config("cf", file="cf/recovery", sets=sets, flags={"seed": seed})
    assert isinstance(config, CFConfig)
    task = InteractionProblem(split.train, split.valid, config, make_runtime("cpu", seed, 1))
    found = task.search(NullTracker(), NoCheckpoint())
    start = time.process_time()
    fits = [
        task.train(found.genotype, NullTracker(), NoCheckpoint(), l2=l2) for l2 in config.train.l2
    ]
    fit = min(fits, key=lambda one: one.result.valid["rmse"])
    predicted = task.scorer(fit.network).predict(split.test.ids)
    rmse = float(np.sqrt(((predicted - split.test.rating) ** 2).mean()))
    names = names_of(found.genotype)
    picked = planted_class(class_of(*names))
    return {
        "truth": written(truth), "seed": seed, "pick": written(names),
        "class": picked, "same_class": int(picked == planted_class(class_of(*truth))),
        "rmse": rmse, "best_rmse": best, "near": int(rmse <= TOLERANCE * best),
        "steps": found.steps, "seconds": found.cpu_seconds,
        "training_seconds": time.process_time() - start,
    }  # fmt: skip


def written(names: Triple) -> str:
    """A function as the results write it."""
    return f"{names[0]}({names[1]}, {names[2]})"


def known(path: Path) -> dict[tuple[str, int], float]:
    """Truth and seed to the lowest RMSE of an exhaustive run."""
    with path.open(newline="") as file:
        return {
            (row["truth"], int(row["seed"])): float(row["best_rmse"])
            for row in csv.DictReader(file)
        }


def due(done: Sequence[Mapping[str, str]], options: argparse.Namespace) -> Iterator[Any]:
    """Truth, seed, name and settings of what has not been run."""
    had = {(row["truth"], int(row["seed"]), row["search"]) for row in done}
    truths = [t for t in PRIMITIVE_TRUTHS if not options.operations or t[0] in options.operations]
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for truth in truths:
            for search in options.searches:
                name = options.name or search
                if (written(truth), seed, name) not in had:
                    yield truth, seed, name, [*SEARCHES[search], *options.set]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file; none of one that does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Appends one CSV row per search as they come, and prints the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    parser.add_argument("--name", help="name of the search in the results; its own")
    parser.add_argument("--set", nargs="+", default=[], help="further settings of the search")
    operations = [truth[0] for truth in PRIMITIVE_TRUTHS]
    parser.add_argument("--operations", nargs="+", choices=operations, help="truths; all")
    parser.add_argument("--exhaustive", type=Path, default=RESULTS / "recovery-primitives.csv")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    best = known(options.exhaustive)
    done = read(options.output)
    for truth, seed, name, sets in due(done, options):
        row = {"search": name, **searched(truth, seed, sets, best[written(truth), seed])}
        cells = {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in row.items()}
        with options.output.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(cells))
            if not done:
                writer.writeheader()
            writer.writerow(cells)
        done.append(cells)
        print(*cells.values(), flush=True)
    print(summary(read(options.output)))


def summary(rows: Sequence[Mapping[str, str]]) -> str:
    """The table of docs/results/recovery.md: one line per search and truth, and one for all."""
    lines = [
        "| search | truth | seeds | its class | or within 1 % | within 1 % | RMSE / best | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for search in dict.fromkeys(row["search"] for row in rows):
        mine = [row for row in rows if row["search"] == search]
        for truth in [*dict.fromkeys(row["truth"] for row in mine), "all"]:
            part = [row for row in mine if truth in (row["truth"], "all")]
            counts = [
                sum(int(row["same_class"]) for row in part),
                sum(row["same_class"] == "1" or row["near"] == "1" for row in part),
                sum(int(row["near"]) for row in part),
            ]
            shares = " | ".join(f"{count / len(part):.1%} ({count})" for count in counts)
            ratio = np.mean([float(row["rmse"]) / float(row["best_rmse"]) for row in part])
            seconds = np.mean([float(row["seconds"]) for row in part])
            lines.append(
                f"| {search} | {truth} | {len(part)} | {shares} | {ratio:.3f} | {seconds:.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
