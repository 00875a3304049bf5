"""Seconds per epoch and peak memory as the data grow: generated data from 1e5 to 2e7 interactions.

Every size and objective runs in a process of its own: generate, split, train `multiply` in blocks
of users. For ranking `implicit` ALS is then fitted to the same train part with as many threads. An
epoch is one pass over the train part, validation apart; the median after one that warms up. Both
wall and CPU seconds are kept: with one thread they agree on an idle machine, and on a shared one
the CPU seconds are what the work costs.

    python benchmarks/growth.py --output benchmarks/results/growth.csv --figure docs/img/growth.png
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from table_files import write_table

from sif.config import load_config
from sif.core.genotype import Genotype
from sif.data.interactions import make_split
from sif.data.interactions.load import load_dataset
from sif.evaluation.evaluate import pair_matrix
from sif.problems.interactions import InteractionProblem
from sif.spaces.interaction.user_blocks import block_pairs
from sif.tracking import NullTracker
from sif.training.loop import Metrics
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

SIZES = (100_000, 1_000_000, 10_000_000, 20_000_000)
PER_USER, PER_ITEM, FEWEST_ITEMS = 100, 1000, 400
MULTIPLY = Genotype(
    "primitives",
    {"operation": ((0, "multiply"),), "user": ((0, "~abs"),), "item": ((0, "~abs"),)},
)
COLUMNS = (
    "interactions", "objective", "users", "items", "dimension", "threads", "generation_seconds",
    "split_seconds", "epoch_cpu", "epoch_wall", "blocks", "validation_seconds", "peak_gib",
    "als_cpu", "als_wall", "als_peak_gib",
)  # fmt: skip
LIMIT_GIB = 8.0


Lap = tuple[float, float]


def lap() -> Lap:
    """CPU seconds of this process, and the wall clock's."""
    return time.process_time(), time.perf_counter()


class Unjudged(InteractionProblem):
    """Trains without looking at the validation part, so that only the epochs are timed."""

    laps: list[Lap]

    def validate(self, net: Any) -> Metrics:
        """A constant, at the end of an epoch."""
        self.laps.append(lap())
        return {self.metric: 0.0}


def peak_gib() -> float:
    """Largest resident size of this process so far (KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def between(laps: list[Lap]) -> Lap:
    """Median distances of successive laps."""
    pairs = list(itertools.pairwise(laps))
    cpu, wall = (statistics.median(b[k] - a[k] for a, b in pairs) for k in (0, 1))
    return cpu, wall


def als_seconds(split: Any, dimension: int, threads: int, epochs: int) -> Lap:
    """CPU and wall seconds per iteration of implicit ALS on the train part."""
    import implicit.als
    from threadpoolctl import threadpool_limits

    pairs = pair_matrix(split.train)
    laps: list[Lap] = []
    model = implicit.als.AlternatingLeastSquares(
        factors=dimension, iterations=epochs + 1, num_threads=threads, use_gpu=False, random_state=0
    )
    with threadpool_limits(1, "blas"):
        model.fit(pairs, show_progress=False, callback=lambda *_: laps.append(lap()))
    return between(laps)


def measure(n: int, objective: str, dimension: int, threads: int, epochs: int) -> dict[str, Any]:
    """One size and objective, in this process; short epochs are timed up to 30 times."""
    epochs = max(epochs, min(30, 3_000_000 // n))
    users, items = n // PER_USER, max(FEWEST_ITEMS, n // PER_ITEM)
    start = time.perf_counter()
    kind = "clicks" if objective == "ranking" else "ratings"
    options = {"users": users, "items": items, "density": n / users / items, "kind": kind}
    dataset = load_dataset("planted", planted={**options, "dimension": 4, "seed": 0})
    generated = time.perf_counter()
    protocol = "ranking-per-user" if objective == "ranking" else "rating-80/10/10"
    split = make_split(dataset, protocol, 0)
    parted = time.perf_counter()
    config = load_config(
        "cf",
        sets=[
            f"objective={objective}",
            f"train.dimension={dimension}",
            f"train.epochs={epochs + 1}",
            "train.evaluate_every=1",
            f"train.patience={epochs + 1}",
            f"train.block_pairs={block_pairs(len(split.train), items)}",
            "train.valid_users=10000",
        ],
    )
    problem = Unjudged(split.train, split.valid, config, make_runtime("cpu", 0, threads))
    problem.laps = []
    fitted = problem.train(MULTIPLY, NullTracker(), NoCheckpoint())
    epoch = between(problem.laps)
    began = time.perf_counter()
    InteractionProblem.validate(problem, fitted.network)
    row: dict[str, Any] = {
        "interactions": len(split.interactions),
        "objective": objective,
        "users": users,
        "items": items,
        "dimension": dimension,
        "threads": threads,
        "generation_seconds": generated - start,
        "split_seconds": parted - generated,
        "epoch_cpu": epoch[0],
        "epoch_wall": epoch[1],
        "validation_seconds": time.perf_counter() - began,
        "blocks": problem.blocks(True, "count").steps_per_pass,  # type: ignore[union-attr]
        "peak_gib": peak_gib(),
        "als_cpu": None,
        "als_wall": None,
        "als_peak_gib": None,
    }
    del problem, fitted
    if objective == "ranking":
        row["als_cpu"], row["als_wall"] = als_seconds(split, dimension, threads, epochs)
        row["als_peak_gib"] = peak_gib()
    return row


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of log y on log x."""
    x, y = ([math.log(p[k]) for p in points] for k in (0, 1))
    mx, my = statistics.fmean(x), statistics.fmean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum(
        (a - mx) ** 2 for a in x
    )


def report(rows: list[dict[str, Any]]) -> None:
    """The table and the slopes on the screen."""
    print(
        f"{'objective':<9}{'interactions':>13}{'generate s':>12}{'epoch CPU s':>12}"
        f"{'ALS CPU s':>10}{'ratio':>7}{'peak GiB':>10}"
    )
    for row in rows:
        als = row["als_cpu"]
        told = f"{als:10.3f}{row['epoch_cpu'] / als:7.2f}" if als else f"{'':17}"
        print(f"{row['objective']:<9}{row['interactions']:>13,}{row['generation_seconds']:>12.1f}"
              f"{row['epoch_cpu']:>9.3f}{told}{row['peak_gib']:>10.2f}")  # fmt: skip
    for name, points in series(rows).items():
        if len(points) > 1:
            print(f"slope of log seconds on log interactions, {name}: {slope(points):.3f}")
    print(f"largest peak {max(r['peak_gib'] for r in rows):.2f} GiB, limit {LIMIT_GIB:g} GiB")


def series(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Name to (interactions, seconds per epoch)."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row["objective"], []).append((row["interactions"], row["epoch_cpu"]))
        if row["als_cpu"]:
            point = (row["interactions"], row["als_cpu"])
            found.setdefault("implicit ALS", []).append(point)
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds per epoch and peak memory against interactions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    marks = {"ranking": "o", "rating": "s", "implicit ALS": "^"}
    colors = {"ranking": "#332288", "rating": "#117733", "implicit ALS": "#cc6677"}
    for name, points in series(rows).items():
        label = f"{name}, slope {slope(points):.2f}" if len(points) > 1 else name
        left.loglog(*zip(*points, strict=True), marks[name] + "-", color=colors[name], label=label)
    left.set_ylabel("CPU seconds per epoch, one thread")
    for name in ("ranking", "rating"):
        points = [(r["interactions"], r["peak_gib"]) for r in rows if r["objective"] == name]
        if points:
            right.loglog(
                *zip(*points, strict=True), marks[name] + "-", color=colors[name], label=name
            )
    right.axhline(LIMIT_GIB, color="#6b6b6b", linestyle="--", label=f"{LIMIT_GIB:g} GiB")
    right.set_ylabel("peak memory of the process (GiB)")
    right.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    right.minorticks_off()
    right.set_ylim(0.3, 10)
    for axes in (left, right):
        axes.set_xlabel("interactions")
        axes.grid(True, color="#d9d9d9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def in_a_process(n: int, objective: str, values: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a fresh process, whose peak memory is its own."""
    command = [sys.executable, __file__, "--one", objective, "--sizes", str(n)]
    for name in ("dimension", "threads", "epochs"):
        command += [f"--{name}", str(getattr(values, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def main() -> None:
    """All sizes and objectives in turn, the table, the CSV file and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=lambda text: int(float(text)), nargs="+", default=SIZES)
    parser.add_argument("--objectives", nargs="+", default=["ranking", "rating"])
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs after one to warm up")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--one", help="measure this objective in this process, print JSON")
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    if values.one:
        numbers = (values.dimension, values.threads, values.epochs)
        print(json.dumps(measure(values.sizes[0], values.one, *numbers)))
        return
    rows = [in_a_process(n, objective, values) for objective in values.objectives
            for n in values.sizes]  # fmt: skip
    report(rows)
    if values.output:
        write_table(values.output, rows, COLUMNS, form=".4f")
    if values.figure:
        draw(rows, values.figure)


if __name__ == "__main__":
    main()
