"""Answers to one user, and to all users, against implicit on the same factors.

Both answer by turns in one process and on one thread: `num_threads` of implicit's model is 1, and
threadpoolctl keeps OpenBLAS (which implicit wants to have one thread), MKL and OpenMP at 1, as
torch is. A call of implicit is `model.recommend(userid, user_items[userid], N=10)`, as its
documentation has it; a call of sif is `model.recommend(user, n=10, as_arrays=True)` with an id as
text, and, beside it, the same as a data frame. Ratios are those of calls that follow one another;
quantiles are of all calls.

    python benchmarks/latency.py
    python benchmarks/latency.py --sizes 5000x10000x64 --calls 5000 --output LATENCY.csv
    python benchmarks/latency.py --all-users

Of `--all-users` factors are those of implicit's ALS after two sweeps over the data set, with what
users have left out. Rounds take turns; `dense` is the product of all users and all items alone,
without any selection, in the engine's pieces and in larger ones, of which the faster counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
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

from sif.data.interactions import Vocabulary
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.scorers import Scale
from sif.recommender.many import MEMORY, recommend_many
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.spaces.interaction.design import plain_product
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.function import Design, InteractionNetwork
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES
from sif.utils.device import make_runtime
from sif.utils.environment import environment

SIZES = ("5000x10000x64", "943x1682x128", "100000x50000x64")
PANEL = ("ml-1m-full", "gowalla-lightgcn")
SEEN, K, DIMENSION = 100, 10, 64
FIELDS = ("user", "item")
Row = dict[str, Any]
Factors = np.ndarray


def drawn(size: str) -> tuple[Factors, Factors, sparse.csr_matrix]:
    """Factors of users and items, and what users have, at random."""
    users, items, dimension = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    seen = min(SEEN, items // 2)
    at = np.sort(rng.integers(0, items, (users, seen), dtype=np.int32), axis=1).ravel()
    ones = np.ones(len(at), np.float32)
    pairs = sparse.csr_matrix((ones, at, seen * np.arange(users + 1)), shape=(users, items))
    pairs.sum_duplicates()
    tables = [rng.standard_normal((n, dimension), dtype=np.float32) for n in (users, items)]
    return tables[0], tables[1], pairs


def fitted(path: Path) -> tuple[Factors, Factors, sparse.csr_matrix]:
    """Factors of implicit's ALS on a data set of the panel, and what users have."""
    content = np.load(path, allow_pickle=False)
    ones = np.ones(len(content["user"]), np.float32)
    pairs = sparse.csr_matrix((ones, (content["user"], content["item"])))
    pairs.sum_duplicates()
    model = als(None, None)
    model.fit(pairs, show_progress=False)
    return model.user_factors, model.item_factors, pairs


def als(users: Factors | None, items: Factors | None) -> Any:
    """implicit's model with these factors."""
    from implicit.cpu.als import AlternatingLeastSquares

    factors = DIMENSION if items is None else items.shape[1]
    model = AlternatingLeastSquares(
        factors=factors, num_threads=1, iterations=2, regularization=0.01, random_state=0
    )
    model.user_factors, model.item_factors = users, items
    return model


def recommender(users: Factors, items: Factors, pairs: sparse.csr_matrix) -> Recommender:
    """sif's model with these factors, under its usual rule for untrained rows."""
    sizes = (len(users), len(items))
    design = Design((PRIMITIVES[IDENTITY],) * 2, OPERATIONS["multiply"])
    network = InteractionNetwork(design, TableShape(sizes, users.shape[1]), torch.Generator())
    with torch.no_grad():
        for table, factors in zip(network.tables.embeddings, (users, items), strict=True):
            table.copy_(torch.from_numpy(np.ascontiguousarray(factors)))
        network.readout.fill_(1.0)
    rule = ColdStartRule(-np.arange(sizes[1], dtype=np.float32), np.zeros(sizes[0], np.bool_))
    vocabularies = tuple(Vocabulary(np.arange(size)) for size in sizes)
    model = Recommender()
    model._serve(
        ServedModel(
            plain_product(FIELDS), network, FIELDS, vocabularies, sparse.csr_array(pairs), {},
            Scale(), cold_start=rule,
        )
    )  # fmt: skip
    return model


def quantiles(name: str, seconds: list[float]) -> Row:
    p50, p99 = np.percentile(np.array(seconds) * 1e6, (50, 99))
    return {f"{name}_p50_us": float(p50), f"{name}_p99_us": float(p99)}


def one_user(size: str, calls: int) -> Row:
    """Calls for one user by turns."""
    users, items, pairs = drawn(size)
    theirs, mine = als(users, items), recommender(users, items, pairs)
    ways: dict[str, Callable[[int], Any]] = {
        "implicit": lambda row: theirs.recommend(row, pairs[row], N=K)[0],
        "sif": lambda row: mine.recommend(str(row), n=K, as_arrays=True)[0],
        "frame": lambda row: mine.recommend(str(row), n=K),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    same = []
    rows = np.random.default_rng(1).integers(0, len(users), calls + 100)
    for call, row in enumerate(rows.tolist()):
        answers = {}
        for name, way in ways.items():
            start = time.perf_counter()
            answers[name] = way(row)
            if call >= 100:  # the others warm up
                spent[name].append(time.perf_counter() - start)
        same.append((answers["sif"].astype(int) == answers["implicit"]).mean())
    assert np.mean(same) > 0.999, f"expected equal lists, found {np.mean(same):.2%} equal items"
    row = {"size": size}
    for name, seconds in spent.items():
        row |= quantiles(name, seconds)
        if name != "implicit":
            pairs_of = zip(seconds, spent["implicit"], strict=True)
            row[f"{name}_over_implicit"] = statistics.median(a / b for a, b in pairs_of)
            row[f"{name}_over_implicit_p99"] = row[f"{name}_p99_us"] / row["implicit_p99_us"]
    return row


def dense(users: torch.Tensor, items: torch.Tensor, step: int, piece: int) -> None:
    """The product of all users and items, piece by piece into the same memory."""
    out = torch.empty(step, piece)
    for start in range(0, len(users), step):
        some = users[start : start + step]
        for first in range(0, len(items), piece):
            part = items[first : first + piece]
            torch.mm(some, part.T, out=out[: len(some), : len(part)])


def all_users(path: Path, rounds: int, memory: int) -> Row:
    """The best items of all users by turns."""
    users, items, pairs = fitted(path)
    theirs, mine = als(users, items), recommender(users, items, pairs)
    left, right = torch.from_numpy(users), torch.from_numpy(items)
    blocks = recommend_many(mine, n=K, memory=memory)
    print(f"{path.stem}: {blocks}", file=sys.stderr)
    ways: dict[str, Callable[[], Any]] = {
        "implicit": lambda: theirs.recommend(np.arange(len(users)), pairs, N=K)[0],
        "sif": lambda: np.concatenate([block.arrays()[0] for block in blocks]),
        "dense": lambda: dense(left, right, 256, 4096),
        "dense_larger": lambda: dense(left, right, 1024, 1024),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        answers = {}
        for name, way in ways.items():
            start = time.perf_counter()
            answers[name] = way()
            if number:
                spent[name].append(time.perf_counter() - start)
    same = (answers["sif"] == answers["implicit"].astype(str)).mean()
    assert same > 0.999, f"expected equal lists, found {same:.2%} equal items"

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(spent[one], spent[other], strict=True))

    limit = [min(pair) for pair in zip(spent["dense"], spent["dense_larger"], strict=True)]
    return {
        "data": path.stem, "users": len(users), "items": len(items),
        **{f"{n}_us_per_user": 1e6 * statistics.median(s) / len(users) for n, s in spent.items()},
        "times_implicit": ratio("implicit", "sif"),
        "times_implicit_of_dense": ratio("implicit", "dense"),
        "share_of_dense_limit": statistics.median(
            a / b for a, b in zip(limit, spent["sif"], strict=True)
        ),
        "most_bytes": blocks.most_bytes,
    }  # fmt: skip


def main() -> None:
    """Prints a line of JSON for each size or data set; writes a CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="users x items x dimensions")
    parser.add_argument("--calls", type=int, default=2000, help="for one user each")
    parser.add_argument("--all-users", action="store_true", help="instead: of the data sets")
    parser.add_argument("--data", nargs="+", type=Path, help="their .npz files")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", type=int, default=MEMORY, help="bytes of answers at a time")
    parser.add_argument("--output", type=Path)
    values = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(os.environ.get("SIF_DATA_DIR", "data")) / "panel"
    files = values.data or [folder / f"{name}.npz" for name in PANEL]
    machine = environment(make_runtime("cpu", threads=1))["device_name"]
    rows = []
    with threadpool_limits(1):
        for given in files if values.all_users else values.sizes:
            if values.all_users:
                row = all_users(given, values.rounds, values.memory)
            else:
                row = one_user(given, values.calls)
            rows.append({"machine": machine, **row})
            print(json.dumps(rows[-1]), flush=True)
    if values.output:
        write_table(values.output, rows, form=".5g")


if __name__ == "__main__":
    main()
