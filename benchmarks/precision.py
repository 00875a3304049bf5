"""Items in float16 and int8 against float32: bytes, recall, and milliseconds in turns.

Vectors of 64 numbers are those of implicit's ALS after two sweeps over a data set of the panel.
Weights from item to item are those of EASE (L2 500) on the same. Every model answers the same
users: one at a time, and all of them. Rounds take turns, on one thread; times are medians. Recall
is the share of the float32 lists that the rounded model finds, over all users who are timed.

    python benchmarks/precision.py --data panel/ml-1m-full.npz --output PRECISION.csv
    python benchmarks/precision.py --items 300000 --users 300 --calls 200

`--items` takes drawn vectors of so many items in place of a data set, without item-item weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latency import drawn, fitted, recommender
from scipy import sparse
from table_files import write_table
from threadpoolctl import threadpool_limits

from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.precision import with_precision
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights
from sif.utils.compact_rows import Precision
from sif.utils.device import make_runtime
from sif.utils.environment import environment

PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
K, L2 = 100, 500.0
Row = dict[str, Any]


def ease(model: ServedModel, pairs: sparse.csr_matrix) -> ServedModel:
    """The model with EASE's weights in the place of vectors."""
    gram = torch.from_numpy((pairs.T @ pairs).toarray().astype(np.float32))
    inverse = torch.linalg.inv(gram + L2 * torch.eye(len(gram)))
    weights = (-inverse / inverse.diagonal()).fill_diagonal_(0.0).contiguous().numpy()
    network = OrderNetwork(given_genotype(()), len(weights)).take(
        ItemWeights(weights, len(weights))
    )
    return replace(model, genotype=given_genotype(()), trained=network)


def held(model: ServedModel) -> int:
    """Bytes of the items that answers keep: as stored, and as the engine has them."""
    trained = model.trained
    if isinstance(trained, OrderNetwork):
        return sum(tensor.nbytes for tensor in trained.state_dict().values())
    items = [t for name, t in trained.tables.embeddings.state_dict().items() if name[0] == "1"]
    single = model.function.engine.single
    table = None if single is None else single._bytes
    return (
        sum(tensor.nbytes for tensor in items)
        + model.function.engine.catalogue.nbytes  # type: ignore[union-attr]
        + (0 if table is None else table.nbytes)
    )


def measured(
    kind: str, model: ServedModel, users: np.ndarray, calls: int, rounds: int
) -> list[Row]:  # fmt: skip
    """One row for each precision."""
    models = {p: with_precision(model, p) for p in PRECISIONS}
    servers = {p: IndexedRecommender(one) for p, one in models.items()}
    how = model.exclude_seen
    one_ms: dict[str, list[float]] = {p: [] for p in PRECISIONS}
    all_ms: dict[str, list[float]] = {p: [] for p in PRECISIONS}
    lists: dict[str, np.ndarray] = {}

    def timed(spent: list[float], call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        spent.append(1e3 * (time.perf_counter() - start))
        return result

    asked = np.random.default_rng(1).choice(users, calls + 100)
    for call, user in enumerate(asked.tolist()):
        for name, server in servers.items():
            spent = one_ms[name] if call >= 100 else []  # the others warm up
            timed(spent, lambda server=server, user=user: server.top_of_one(user, 10, how))
    for _ in range(rounds):
        for name, server in servers.items():
            excluded = models[name].excluded(users, how)
            top = timed(all_ms[name], lambda s=server, e=excluded: s.top(users, 10, e))
            assert top.items.shape == (len(users), 10)
    for name, server in servers.items():
        lists[name] = server.top(users, K, models[name].excluded(users, how)).items
    return [
        {
            "kind": kind, "precision": name, "bytes": held(models[name]),
            "recall@10": recall(lists, name, 10), "recall@100": recall(lists, name, 100),
            "one_ms": statistics.median(one_ms[name]),
            "one_over_float32": statistics.median(
                a / b for a, b in zip(one_ms[name], one_ms["float32"], strict=True)
            ),
            "all_ms": statistics.median(all_ms[name]),
            "all_over_float32": statistics.median(
                a / b for a, b in zip(all_ms[name], all_ms["float32"], strict=True)
            ),
        }
        for name in PRECISIONS
    ]  # fmt: skip


def recall(lists: dict[str, np.ndarray], name: str, k: int) -> float:
    pairs = zip(lists["float32"][:, :k], lists[name][:, :k], strict=True)
    shares = [len(np.intersect1d(a[a >= 0], b)) / max((a >= 0).sum(), 1) for a, b in pairs]
    return float(np.mean(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="FILE", help="of the panel, .npz")
    parser.add_argument("--items", type=int, default=0, help="drawn vectors of so many")
    parser.add_argument("--users", type=int, default=2000, help="who are answered, at most")
    parser.add_argument("--calls", type=int, default=2000, help="for one user")
    parser.add_argument("--rounds", type=int, default=5, help="for all users")
    parser.add_argument("--output", type=Path, metavar="CSV")
    values = parser.parse_args()
    if (values.data is None) == (not values.items):
        parser.error("expected either --data or --items")
    machine = environment(make_runtime("cpu", threads=1))["device_name"]
    with threadpool_limits(1):
        if values.data is not None:
            users, items, pairs = fitted(values.data)
        else:
            users, items, pairs = drawn(f"{values.users}x{values.items}x64")
        model = recommender(users, items, pairs).fitted_model()
        some = np.sort(np.random.default_rng(0).permutation(len(users))[: values.users])
        models = {"vectors": model}
        if values.data is not None:
            models["item-item"] = ease(model, pairs)
        rows = []
        for kind, one in models.items():
            rows += measured(kind, one, some, values.calls, values.rounds)
    rows = [{"machine": machine, **row} for row in rows]
    for row in rows:
        print(json.dumps(row))
    if values.output is not None:
        write_table(values.output, rows, form=".5g")


if __name__ == "__main__":
    main()
