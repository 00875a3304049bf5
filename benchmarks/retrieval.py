"""Users per second by a graph of the items and by scoring all, with the recall of the graph.

Vectors are generated: items around centers, a few of which have most of them, with norms by a power
law (`--norms`: P(norm > x) = x^-shape for x >= 1, the smaller the shape the more they differ);
users between two centers. One thread. The expansion is that which `calibrated` finds on other users
than those that are timed. Seconds of the wall and of the CPU: on a machine that others use, the
latter are what the work costs. `--hnswlib` measures that library on the same vectors, at the
expansion of the same table that reaches the same recall; it must be compiled to be installed.

    python benchmarks/retrieval.py --items 50000 100000 --hnswlib --output RETRIEVAL.csv
    python benchmarks/retrieval.py --items 1000000 --users 2000 --exact-users 200
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sif.retrieval.approximate import (
    EXPANSIONS,
    LENGTH,
    ApproximateEngine,
    calibrated,
    head_and_rest,
    vectors_of,
)
from sif.retrieval.engine import Engine, UserVectors
from sif.retrieval.graph import CONNECTIVITY, EXPANSION_ADD, ItemGraph
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES
from sif.utils.device import make_runtime
from sif.utils.environment import environment

COLUMNS = (
    "machine", "library", "items", "dimension", "norms", "users", "exact_users_per_second",
    "users_per_second", "times_exact", "exact_cpu_us", "cpu_us", "times_exact_cpu", "expansion",
    "recall", "build_seconds", "build_cpu_seconds", "megabytes",
)  # fmt: skip
CALIBRATION = 300
"""Users who choose the expansion."""

Vectors = np.ndarray
Row = dict[str, Any]


def generated(items: int, users: int, dimension: int, shape: float) -> tuple[Vectors, Vectors]:
    """Vectors of items and of users, float32."""
    rng = np.random.default_rng(0)
    scale = ((1 + np.arange(dimension)) ** -0.25).astype(np.float32)

    def noise(rows: int) -> Vectors:
        return rng.standard_normal((rows, dimension), dtype=np.float32) * scale

    centers = noise(max(8, int(items**0.5)))
    share = rng.pareto(1.0, len(centers)) + 0.1
    share /= share.sum()
    table = centers[rng.choice(len(centers), items, p=share)] + noise(items)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    table *= (rng.pareto(shape, (items, 1)) + 1).astype(np.float32)
    between = centers[rng.choice(len(centers), (users, 2), p=share)].mean(axis=1)
    return table, between + 0.5 * noise(users)


def engine_of(items: Vectors) -> Engine:
    """Exact answers by products with the items."""
    shape = TableShape((1, len(items)), items.shape[1])
    design = Design((PRIMITIVES[IDENTITY],) * 2, OPERATIONS["multiply"])
    net = InteractionNetwork(design, shape, torch.Generator())
    with torch.no_grad():
        net.tables.embeddings[1].copy_(torch.from_numpy(items))
        net.readout.fill_(1.0)
    return Engine(net.interaction(), threads=1)


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What the work returns, its seconds of the wall and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def recall(found: Vectors, exact: Vectors) -> float:
    """The share of the exact best items that were found."""
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(found, exact, strict=True)]))


def by_usearch(engine: Engine, users: Vectors, count: int) -> Row:
    """The package's own way: build, choose the expansion, answer."""
    vectors = vectors_of(engine)
    assert vectors is not None
    head, rest = head_and_rest(vectors.numpy(), np.arange(engine.n_items))
    graph, wall, cpu = timed(
        lambda: ItemGraph.built(vectors.numpy(), rest, EXPANSIONS[0], head=head)
    )
    queries = UserVectors(torch.from_numpy(users))
    chosen = calibrated(engine, graph, UserVectors(queries.vectors[:CALIBRATION]), 1)
    asked = UserVectors(queries.vectors[CALIBRATION:])
    approximate = ApproximateEngine(engine, graph, candidate_cost=1)
    top, *seconds = timed(lambda: approximate.top(asked, LENGTH))
    exact = engine.top(UserVectors(asked.vectors[:count]), LENGTH).items
    assert chosen is not None
    return _row("usearch", top.items[:count], exact, seconds, len(asked)) | {
        "expansion": chosen.expansion, "build_seconds": round(wall, 1),
        "build_cpu_seconds": round(cpu, 1), "megabytes": round(graph.size / 1e6),
    }  # fmt: skip


def by_hnswlib(engine: Engine, users: Vectors, count: int, goal: float) -> Row:
    """The same graph of hnswlib, at the first expansion with as much recall."""
    import hnswlib

    vectors = vectors_of(engine)
    assert vectors is not None
    table = vectors.numpy()
    index = hnswlib.Index(space="ip", dim=table.shape[1])
    index.init_index(len(table), M=CONNECTIVITY, ef_construction=EXPANSION_ADD)
    _, wall, cpu = timed(lambda: index.add_items(table, num_threads=1))
    asked = users[CALIBRATION:]
    some = UserVectors(torch.from_numpy(asked[:count]))
    exact = engine.top(some, LENGTH).items
    row: Row = {}
    for expansion in EXPANSIONS:
        index.set_ef(expansion)
        found, *seconds = timed(lambda: index.knn_query(asked, LENGTH, num_threads=1)[0])
        row = _row("hnswlib", found[:count].astype(np.int64), exact, seconds, len(asked))
        row["expansion"] = expansion
        if row["recall"] >= goal:
            break
    size = table.nbytes + len(table) * 4 * (2 * CONNECTIVITY + 3)
    return row | {
        "build_seconds": round(wall, 1), "build_cpu_seconds": round(cpu, 1),
        "megabytes": round(size / 1e6),
    }  # fmt: skip


def _row(library: str, found: Vectors, exact: Vectors, seconds: list[float], users: int) -> Row:
    wall, cpu = seconds
    return {
        "library": library, "recall": round(recall(found, exact), 4), "users": users,
        "users_per_second": round(users / wall), "cpu_us": round(1e6 * cpu / users, 1),
    }  # fmt: skip


def measured(items: int, options: argparse.Namespace) -> list[Row]:
    """One size: exact answers, then each library."""
    table, users = generated(items, CALIBRATION + options.users, options.dimension, options.norms)
    engine = engine_of(table)
    some = UserVectors(torch.from_numpy(users[CALIBRATION:][: options.exact_users]))
    engine.top(UserVectors(some.vectors[:16]), LENGTH)  # compiles
    _, wall, cpu = timed(lambda: engine.top(some, LENGTH))
    rows = [by_usearch(engine, users, len(some))]
    if options.hnswlib:
        rows.append(by_hnswlib(engine, users, len(some), rows[0]["recall"]))
    exact_us = 1e6 * cpu / len(some)
    machine = environment(make_runtime("cpu", 0, 1))["device_name"]
    for row in rows:
        row |= {
            "machine": machine, "items": items, "dimension": options.dimension,
            "norms": options.norms, "exact_users_per_second": round(len(some) / wall),
            "exact_cpu_us": round(exact_us, 1),
            "times_exact_cpu": round(exact_us / row["cpu_us"], 1),
            "times_exact": round(row["users_per_second"] * wall / len(some), 1),
        }  # fmt: skip
        print(", ".join(f"{name} {row[name]}" for name in COLUMNS[1:]), flush=True)
    return rows


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000])
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--users", type=int, default=5000, help="asked of the graph")
    parser.add_argument("--exact-users", type=int, default=1000, help="asked exactly")
    parser.add_argument("--norms", type=float, default=6.0, help="shape of their power law")
    parser.add_argument("--hnswlib", action="store_true", help="also that library")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    rows = [row for items in options.items for row in measured(items, options)]
    if options.output:
        with options.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
