"""Peak memory of models in order, in closed form, against the estimates that jobs print.

Every case runs in a process of its own: generated sequences, a small solution that loads the
libraries, then the case.

- solve: normal equations and their solution, against `solving_bytes`. The memory is the peak of the
  process less what it held before.
- grid: penalties as a job tries them, of `decayed-ridge` for one scale and of the model in order
  for two, whose search is left out, against what the process held before and `grid_bytes`, as in
  the plan of a job. The memory is the peak of the process.

    python benchmarks/order_memory.py --output benchmarks/results/order-memory.csv
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from table_files import write_table

from sif.baselines.base import fit_best
from sif.baselines.ordered import DECAYED_RIDGE
from sif.config import CFConfig, load_config
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions, Vocabulary
from sif.problems.order import OrderProblem
from sif.spaces.linear.design import NAME
from sif.spaces.linear.gram import Products
from sif.spaces.linear.ridge import Sizes, grid_bytes, solve
from sif.spaces.linear.sequences import Decay, Sequences
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime, peak_memory_mb, reset_peak_memory

ITEMS, SCALES, KINDS = (2000, 4000, 8000), (1, 2), ("solve", "grid")
DECAYS = (Decay(0.8, 16), Decay(0.97, 116))
TWO = {"target": "next", "recent": "none", "middle": "0.8", "long": "0.97", "discount": "0"}
"""The design of both."""
LENGTH = 12
COLUMNS = ("kind", "items", "scales", "estimate_mb", "peak_mb", "ratio", "seconds")


def rows(n_items: int) -> Interactions:
    """As many users as items, each with some of them in order."""
    draws = np.random.default_rng(0)
    steps = draws.integers(1, n_items // LENGTH, (n_items, LENGTH))
    items = (np.arange(n_items)[:, None] + np.cumsum(steps, axis=1)) % n_items
    users = np.repeat(np.arange(n_items), LENGTH)
    names = Vocabulary(np.arange(n_items)), Vocabulary(np.arange(n_items))
    ids = np.stack([users, items.ravel()], axis=1)
    return Interactions(ids, ("user", "item"), names, timestamp=np.arange(len(ids)))


def solved(made: Interactions, scales: int) -> None:
    """Normal equations and their solution."""
    users, items = made.ids.T
    sequences = Sequences.of(users, items, (made.sizes[0], made.sizes[1]))
    solve(Products(sequences, dtype=torch.float32).normal(DECAYS[:scales]), 20.0)


def tried(made: Interactions, scales: int) -> None:
    """Penalties as a job tries them; the last item of each user is the validation part."""
    last = np.arange(len(made)) % LENGTH == LENGTH - 1
    train, valid = made.select(~last), made.select(last)
    if scales == 1:
        grid = ({"l2": 20.0, "discount": 0.0}, {"l2": 50.0, "discount": 0.0})
        baseline = replace(DECAYED_RIDGE, grid=grid)
        fit_best(baseline, train, valid, "ranking", seed=0, threads=1)
        return
    config = load_config("cf", sets=["threads=1"])
    assert isinstance(config, CFConfig)
    problem = OrderProblem(train, valid, config, make_runtime("cpu", 0, 1))
    problem.train(
        Genotype(NAME, {k: ((0, v),) for k, v in TWO.items()}), NullTracker(), NoCheckpoint()
    )


def case(kind: str, n_items: int, scales: int) -> dict[str, Any]:
    """Estimate and measurement of one case, in this process."""
    runtime = make_runtime("cpu", 0, 1)
    work = {"solve": solved, "grid": tried}[kind]
    work(rows(100), scales)
    made = rows(n_items)
    reset_peak_memory(runtime)
    before, begin = peak_memory_mb(runtime), time.process_time()
    work(made, scales)
    peak, seconds = peak_memory_mb(runtime), time.process_time() - begin
    if kind == "solve":
        peak, estimate = peak - before, Sizes(n_items, scales, n_items).solving_bytes() / 2**20
    else:
        counts = np.bincount(made.ids[:, 1], minlength=n_items)
        estimate = before + grid_bytes(counts, scales) / 2**20
    values = (kind, n_items, scales, estimate, peak, peak / estimate, seconds)
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    """Writes a row per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--items", nargs="+", type=int, default=ITEMS)
    parser.add_argument("--scales", nargs="+", type=int, default=SCALES)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.case:
        kind, n_items, scales = values.case
        print(json.dumps(case(kind, int(n_items), int(scales))))
        return
    found = []
    for one in itertools.product(values.kinds, values.items, values.scales):
        command = [sys.executable, __file__, "--case", *map(str, one)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append({k: round(v, 3) if isinstance(v, float) else v
                      for k, v in json.loads(done.stdout).items()})  # fmt: skip
        print(*found[-1].values(), sep="  ", flush=True)
    if values.output:
        write_table(values.output, found, COLUMNS)


if __name__ == "__main__":
    main()
