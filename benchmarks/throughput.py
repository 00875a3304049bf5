"""Users per second of the engine, by function, against implicit's batch recommend.

All take turns in one process on the same users, with what they have seen masked; implicit holds the
factors of `multiply`, which it must rank alike. Of the large size some users are served per turn.
Seconds of the wall and of the CPU: on a machine that others use, the latter are what the work
costs. Then calls for a single user, and per function the peak of memory above rest in a process of
its own, for `multiply` with all users. Tables and histories are drawn at random: neither speed nor
memory depends on what they hold.

The kept table is of two runs, since turns of the small size are short and need more rounds:

    python benchmarks/throughput.py --sizes 943x1682x128 --rounds 41 --output SMALL.csv
    python benchmarks/throughput.py --sizes 100000x50000x64 --sample 2500 --output LARGE.csv
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from table_files import write_table
from threadpoolctl import threadpool_limits

from sif.retrieval.engine import Engine
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import operation_named
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES
from sif.utils.device import make_runtime
from sif.utils.environment import environment

IMPLICIT, BASE = "implicit", "multiply"
FUNCTIONS = ("multiply", "max", "min", "plus", "multiply+max")
SIZES = ("943x1682x128", "100000x50000x64")
SEEN, K = 100, 10
COLUMNS = (
    "machine", "threads", "users", "items", "dimension", "function", "users_per_second",
    "cpu_us_per_user", "times_implicit", "times_implicit_cpu", "over_multiply",
    "over_multiply_cpu", "p50_ms", "p99_ms", "peak_mb_above_rest", "peak_users",
)  # fmt: skip

Recommend = Callable[[np.ndarray, Any], np.ndarray]
Row = dict[str, Any]


class Bench:
    """One size: seen items, and recommenders by name, made when asked for."""

    def __init__(self, size: str, threads: int) -> None:
        self.users, self.items, self.dimension = map(int, size.split("x"))
        self.threads = threads
        rng = np.random.default_rng(0)
        seen = min(SEEN, self.items // 2)
        at = rng.integers(0, self.items, self.users * seen, dtype=np.int32)
        edges = seen * np.arange(self.users + 1)
        ones = np.ones(len(at), dtype=np.float32)
        self.seen = sparse.csr_matrix((ones, at, edges), shape=(self.users, self.items))

    def network(self, name: str) -> InteractionNetwork:
        """A function over random tables, the same for all."""
        operation = operation_named(name, 2)
        assert operation is not None
        shape = TableShape((self.users, self.items), self.dimension)
        generator = torch.Generator().manual_seed(0)
        return InteractionNetwork(Design((PRIMITIVES[IDENTITY],) * 2, operation), shape, generator)

    def recommender(self, name: str) -> Recommend:
        """Rows of users and their seen items to the best items of each."""
        if name == IMPLICIT:
            return self._implicit()
        engine = Engine(self.network(name).interaction(), threads=self.threads)
        return lambda rows, seen: engine.top(engine.vectors(rows), K, excluded=seen).items

    def _implicit(self) -> Recommend:
        from implicit.cpu.als import AlternatingLeastSquares

        net = self.network(BASE)
        model = AlternatingLeastSquares(factors=self.dimension, num_threads=self.threads)
        user, item = (table.detach() for table in net.tables.embeddings)
        model.user_factors = (user * net.readout.detach()).numpy()
        model.item_factors = item.numpy().copy()

        def recommend(rows: np.ndarray, seen: Any) -> np.ndarray:
            return np.asarray(model.recommend(rows, seen, N=K, filter_already_liked_items=True)[0])

        return recommend


def turns(bench: Bench, made: dict[str, Recommend], values: argparse.Namespace) -> dict[str, Row]:
    """Medians over rounds in which everyone serves the same users."""
    rng = np.random.default_rng(1)
    laps: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    count = min(values.sample, bench.users)
    for round_ in range(values.rounds + 1):  # the first warms up
        rows = np.sort(rng.choice(bench.users, count, replace=False))
        seen, answers = bench.seen[rows], {}
        for name, recommend in made.items():
            wall, cpu = time.perf_counter(), time.process_time()
            answers[name] = recommend(rows, seen)
            lap = (time.perf_counter() - wall, time.process_time() - cpu)
            if round_:
                laps[name].append(lap)
        same = (answers[IMPLICIT] == answers[BASE]).mean()
        assert same > 0.999, f"expected equal lists, found {same:.2%} equal items"
    return {name: figures(name, laps, count) for name in made}


def figures(name: str, laps: dict[str, list[tuple[float, float]]], count: int) -> Row:
    def median(place: int) -> float:
        return statistics.median(lap[place] for lap in laps[name])

    def ratio(other: str, place: int) -> float:
        """Median of the ratios round by round: neighbors in time."""
        pairs = zip(laps[name], laps[other], strict=True)
        return statistics.median(mine[place] / its[place] for mine, its in pairs)

    return {
        "users_per_second": count / median(0),
        "cpu_us_per_user": 1e6 * median(1) / count,
        "times_implicit": 1 / ratio(IMPLICIT, 0),
        "times_implicit_cpu": 1 / ratio(IMPLICIT, 1),
        "over_multiply": ratio(BASE, 0),
        "over_multiply_cpu": ratio(BASE, 1),
    }


def latency(bench: Bench, recommend: Recommend, calls: int) -> Row:
    """Milliseconds of calls for one user each, after some to warm up."""
    spent = []
    for call in range(-min(calls, 20), calls):
        rows = np.array([call % bench.users])
        seen = bench.seen[rows]
        start = time.perf_counter()
        recommend(rows, seen)
        if call >= 0:
            spent.append(1e3 * (time.perf_counter() - start))
    return {"p50_ms": np.percentile(spent, 50), "p99_ms": np.percentile(spent, 99)}


def resident(name: str) -> float:
    """VmRSS or VmHWM, its peak, in MB."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 2**10


def peak(bench: Bench, name: str, values: argparse.Namespace) -> Row:
    """Peak of this process above what it holds when all is made and nobody was served."""
    recommend = bench.recommender(name)
    count = bench.users if name == BASE else min(values.sample, bench.users)
    rows = np.arange(count)
    seen = bench.seen[rows]
    recommend(rows[:1], seen[:1])  # loads what is loaded late
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    rest = resident("VmRSS")
    recommend(rows, seen)
    return {"peak_mb_above_rest": resident("VmHWM") - rest, "peak_users": count}


def peak_in_a_process(size: str, name: str, values: argparse.Namespace) -> Row:
    command = [sys.executable, __file__, "--peak", name, "--sizes", size]
    command += ["--threads", str(values.threads), "--sample", str(values.sample)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(size: str, values: argparse.Namespace) -> list[Row]:
    """All rows of one size."""
    bench = Bench(size, values.threads)
    made = {name: bench.recommender(name) for name in (IMPLICIT, *FUNCTIONS)}
    timed = turns(bench, made, values)
    rows = []
    for name, recommend in made.items():
        row = {
            "machine": environment(make_runtime("cpu", threads=values.threads))["device_name"],
            "threads": values.threads, "users": bench.users, "items": bench.items,
            "dimension": bench.dimension, "function": name,
        }  # fmt: skip
        row |= timed[name] | latency(bench, recommend, values.calls)
        row |= peak_in_a_process(size, name, values)
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """All sizes in turn, and the CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="users x items x dimensions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sample", type=int, default=3000, help="users per turn at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000, help="for one user each")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak", help="measure this function's memory in this process, print JSON")
    values = parser.parse_args()
    torch.set_num_threads(values.threads)
    threadpool_limits(1, "blas")  # as implicit asks for: its threads are its own, as ours are
    if values.peak:
        bench = Bench(values.sizes[0], values.threads)
        print(json.dumps(peak(bench, values.peak, values)))
        return
    rows = [row for size in values.sizes for row in measured(size, values)]
    if values.output:
        write_table(values.output, rows, COLUMNS, form=".5g")


if __name__ == "__main__":
    main()
