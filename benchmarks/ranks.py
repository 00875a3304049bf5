"""Seconds of one model by several processes over those of one, each with one thread.

The same work in turn: the Gram matrix of an item-item model and its solution, a pass of a product
and of a function with histories over the train part, and the ranking of validation users. The
solution is each process's own: it is not split. Every number of processes has fresh ones, which
`torchrun` starts on this machine; one pass warms up. What the work came to is compared as well: the
norms of the matrices, the losses, NDCG@10.

    python benchmarks/ranks.py --size 1e7 --processes 1 2 --output benchmarks/results/ranks.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sif.config import load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, make_split
from sif.data.interactions.load import load_dataset
from sif.evaluation.evaluate import pair_matrix
from sif.problems.controls import fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.item_item import inverted
from sif.utils.device import Runtime
from sif.utils.ranks import Ranks, joined

PER_USER, PER_ITEM, FEWEST_ITEMS = 100, 1000, 400
HISTORIES = Genotype(
    "staged",
    {
        "encoding": ((0, "both"), (1, "id")),
        "embedding": ((0, "identity"),),
        "operation": ((0, "multiply"),),
        "weighting": ((0, "even"),),
    },
)
COLUMNS = ("part", "interactions", "users", "items", "processes", "seconds", "ratio", "found")


def data(size: int) -> tuple[Interactions, Interactions]:
    """Generated clicks: train and validation part."""
    users, items = size // PER_USER, max(FEWEST_ITEMS, size // PER_ITEM)
    shape = {"users": users, "items": items, "density": size / users / items}
    kind = {"kind": "clicks", "dimension": 4, "seed": 0}
    split = make_split(load_dataset("planted", planted={**shape, **kind}), "ranking-per-user", 0)
    return split.train, split.valid


def timed(ranks: Ranks, work: Callable[[], float]) -> tuple[float, float]:
    """Seconds of work from when all begin to when all have ended, and what it came to."""
    ranks.told(None)
    begin, found = time.perf_counter(), work()
    ranks.gathered(None)
    return time.perf_counter() - begin, found


def passes(ranks: Ranks, problem: InteractionProblem, design: Genotype, count: int) -> Any:
    """Seconds of a pass over the train part, after one, and the last loss."""
    net, objective, stream, loop = problem._training(design, 2.0)
    optimizer = loop.make_optimizer([p for p in net.parameters() if p.requires_grad], loop.lr)

    def steps() -> float:
        for _ in range(stream.steps_per_pass):
            optimizer.zero_grad(set_to_none=True)
            loss = objective(stream.next())
            loss.backward()
            optimizer.step()
        if loop.apart is not None:
            loop.apart.gather()
        return float(loss.detach())

    steps()
    seconds, found = zip(*(timed(ranks, steps) for _ in range(count)), strict=True)
    return min(seconds), found[-1], net


def measured(ranks: Ranks, values: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Part of the work to its seconds and what it came to."""
    train, valid = data(values.size)
    sets = (
        f"train.dimension={values.dimension}", "train.batch_size=null", "train.valid_users=20000",
        f"train.block_bytes={values.block_bytes}",
    )  # fmt: skip
    config = load_config("cf", sets=["objective=ranking", "space=staged", *sets])
    runtime = Runtime(torch.device("cpu"), torch.float32, 1, 0, processes=ranks.count)
    problem = InteractionProblem(train, valid, config, runtime)
    clicks = Clicks(pair_matrix(train), seed=0)

    found = {"gram": timed(ranks, lambda: float(clicks.gram(0.0).norm()))}
    gram = clicks.gram(0.0)
    gram.diagonal().add_(100.0)
    found["solution"] = timed(ranks, lambda: float(inverted(gram.clone).norm()))
    clicks.forget()
    *product, net = passes(ranks, problem, fixed_multiply(problem), values.passes)
    found["product"] = tuple(product)
    problem.validate(net)  # compiles
    found["ranking"] = timed(ranks, lambda: problem.validate(net)["ndcg@10"])
    *histories, _ = passes(ranks, problem, HISTORIES, values.passes)
    found["histories"] = tuple(histories)
    return found


def inside(values: argparse.Namespace) -> None:
    """One of the processes; the first prints what was measured."""
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        found = measured(ranks, values)
        if ranks.is_first:
            print(json.dumps(found))


def launched(processes: int, values: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """`measured` in fresh processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [str(processes), __file__, "--inside"]
    for option in ("size", "dimension", "passes", "block_bytes"):
        command += [f"--{option.replace('_', '-')}", str(getattr(values, option))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """All numbers of processes in turn, the table and the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def whole(text: str) -> int:
        return int(float(text))

    parser.add_argument("--size", type=whole, default=1_000_000, help="interactions")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--passes", type=int, default=2, help="timed, after one to warm up")
    parser.add_argument("--block-bytes", type=whole, default=1 << 30)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--inside", action="store_true", help="be one of the processes")
    values = parser.parse_args()
    if values.inside:
        inside(values)
        return
    rows, first = [], dict[str, float]()
    users, items = values.size // PER_USER, max(FEWEST_ITEMS, values.size // PER_ITEM)
    for processes in values.processes:
        found = launched(processes, values)
        found["all"] = (sum(seconds for seconds, _ in found.values()), 0.0)
        for part, (seconds, value) in found.items():
            ratio = first.setdefault(part, seconds) / seconds
            row = (part, values.size, users, items, processes, f"{seconds:.2f}", f"{ratio:.2f}")
            rows.append((*row, f"{value:.7g}"))
            print("{:<10}{:>11,} {:>8,} x {:<7,}{:>2} processes {:>8} s {:>6} times {}".format(
                *rows[-1]
            ), flush=True)  # fmt: skip
    if values.output:
        values.output.parent.mkdir(parents=True, exist_ok=True)
        with values.output.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
