"""Seconds and peak memory of functions with histories as the data grow, in blocks of users.

Every size and function runs in a process of its own: generate, split, train, validate. A pass is
over the train part, once to warm up and then timed; wall and CPU seconds are medians. Memory is the
process with the split data, and its peaks until then and from then on (Linux). `--compare` trains
the same steps in memory as well, in a second process, and tells by how much NDCG@10 differs.

    python benchmarks/history_growth.py --sizes 2e7 --block-bytes 1e9 \
        --output benchmarks/results/history-growth.csv
    python benchmarks/history_growth.py --sizes 1e6 --block-bytes 1e8 --compare
"""

from __future__ import annotations

import argparse
import itertools
import json
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
from sif.problems.interactions import InteractionProblem
from sif.tracking import NullTracker
from sif.training.loop import Metrics
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime

PER_USER, PER_ITEM, FEWEST_ITEMS = 100, 1000, 400
IN_MEMORY = 1 << 50
"""Bytes of a block that hold any train part."""
Lap = tuple[float, float]


def staged(operation: str, user: str, item: str) -> Genotype:
    """A function with encoders."""
    return Genotype(
        "staged",
        {
            "encoding": ((0, user), (1, item)),
            "embedding": ((0, "identity"),),
            "operation": ((0, operation),),
            "weighting": ((0, "even"),),
        },
    )


FUNCTIONS = {
    "user": staged("multiply", "history", "id"),
    "both": staged("multiply", "both", "both"),
    "max": staged("max", "history", "id"),
}
COLUMNS = (
    "interactions", "function", "block_bytes", "users", "items", "dimension", "threads", "blocks",
    "steps_per_pass", "generation_seconds", "split_seconds", "pass_cpu", "pass_wall",
    "validation_seconds", "loading_gib", "data_gib", "peak_gib", "ndcg@10",
)  # fmt: skip


class Timed(InteractionProblem):
    """Tells the clock at the end of every pass, and validates after the last one alone."""

    laps: list[Lap]

    def validate(self, net: Any) -> Metrics:
        """A constant, at the end of a pass."""
        self.laps.append((time.process_time(), time.perf_counter()))
        return {self.metric: float(len(self.laps))}


def memory_gib(name: str) -> float:
    """A size of this process as Linux tells it: VmRSS now, VmHWM the largest since `forget`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20


def forget() -> None:
    """Lets the largest size begin from the present one."""
    Path("/proc/self/clear_refs").write_text("5")


def measured(n: int, name: str, block_bytes: int, values: argparse.Namespace) -> dict[str, Any]:
    """One size and function, in this process."""
    users, items = n // PER_USER, max(FEWEST_ITEMS, n // PER_ITEM)
    begin = time.perf_counter()
    planted = {"users": users, "items": items, "density": n / users / items, "kind": "clicks"}
    dataset = load_dataset("planted", planted={**planted, "dimension": 4, "seed": 0})
    generated = time.perf_counter()
    split = make_split(dataset, "ranking-per-user", 0)
    del dataset
    parted, loading_gib = time.perf_counter(), memory_gib("VmHWM")
    data_gib = memory_gib("VmRSS")
    forget()
    passes = values.passes + 1
    sets = (
        f"train.dimension={values.dimension}", f"train.epochs={passes}", f"train.patience={passes}",
        "train.evaluate_every=1", f"train.block_bytes={block_bytes}", "train.valid_users=10000",
        "train.batch_size=null",
    )  # fmt: skip
    config = load_config("cf", sets=["objective=ranking", "space=staged", *sets])
    runtime = make_runtime("cpu", 0, values.threads)
    problem = Timed(split.train, split.valid, config, runtime)
    problem.laps = []
    print(f"{name}: {problem.block_plan.told}", file=sys.stderr, flush=True)
    fitted = problem.train(FUNCTIONS[name], NullTracker(), NoCheckpoint(), l2=2.0)
    pairs = list(itertools.pairwise(problem.laps))
    cpu, wall = (statistics.median(b[k] - a[k] for a, b in pairs) for k in (0, 1))
    ended = time.perf_counter()
    metrics = InteractionProblem.validate(problem, fitted.network)
    return {
        "interactions": len(split.interactions), "function": name, "block_bytes": block_bytes,
        "users": users, "items": items, "dimension": values.dimension, "threads": values.threads,
        "blocks": problem.block_plan.blocks, "steps_per_pass": fitted.result.steps // passes,
        "generation_seconds": generated - begin, "split_seconds": parted - generated,
        "pass_cpu": cpu, "pass_wall": wall, "validation_seconds": time.perf_counter() - ended,
        "loading_gib": loading_gib, "data_gib": data_gib, "peak_gib": memory_gib("VmHWM"),
        "ndcg@10": metrics["ndcg@10"],
    }  # fmt: skip


def in_a_process(n: int, name: str, block_bytes: int, values: argparse.Namespace) -> dict[str, Any]:
    """`measured` in a fresh process, whose peak memory is its own."""
    command = [sys.executable, __file__, "--one", name, "--sizes", str(n)]
    command += ["--block-bytes", str(block_bytes)]
    for option in ("dimension", "threads", "passes"):
        command += [f"--{option}", str(getattr(values, option))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def told(row: dict[str, Any]) -> str:
    """One line of the table."""
    return (
        f"{row['function']:<6}{row['interactions']:>12,} pairs {row['blocks']:>4} blocks "
        f"{row['steps_per_pass']:>4} steps {row['pass_cpu']:8.2f} CPU s a pass "
        f"GiB: loading {row['loading_gib']:.2f}, data {row['data_gib']:.2f}, "
        f"training {row['peak_gib']:.2f}; "
        f"NDCG@10 {row['ndcg@10']:.6f}"
    )


def main() -> None:
    """All sizes and functions in turn, the table and the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def whole(text: str) -> int:
        return int(float(text))

    parser.add_argument("--sizes", type=whole, nargs="+", default=[1_000_000])
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=["user", "both"])
    parser.add_argument("--block-bytes", type=whole, default=1 << 30)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=3, help="timed, after one to warm up")
    parser.add_argument("--compare", action="store_true", help="train the same in memory as well")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", help="measure this function in this process, print JSON")
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    if values.one:
        print(json.dumps(measured(values.sizes[0], values.one, values.block_bytes, values)))
        return
    rows = []
    for name, n in itertools.product(values.functions, values.sizes):
        rows.append(in_a_process(n, name, values.block_bytes, values))
        print(told(rows[-1]), flush=True)
        if values.compare:
            rows.append(in_a_process(n, name, IN_MEMORY, values))
            off = rows[-1]["ndcg@10"] - rows[-2]["ndcg@10"]
            print(f"{told(rows[-1])} in memory, NDCG@10 differs by {off:.1e}", flush=True)
    if values.output:
        write_table(values.output, rows, COLUMNS, form=".6g")


if __name__ == "__main__":
    main()
