"""Item-item models as ONNX files: seconds to write, megabytes, and milliseconds of an answer.

    python benchmarks/graphs.py --items 3000 --length 50

Weights are random, dense and sparse (100 per item). An answer is the scores of all items for one
history, by onnxruntime on one thread and by the recommender itself; the median of many, after some
that do not count. The scores are compared as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import scipy.sparse as sp
import torch

from sif import Recommender
from sif.adapters.export import export
from sif.adapters.history_scores import history_sequences
from sif.data.interactions import Vocabulary
from sif.evaluation.scorers import Scale
from sif.recommender.model import ServedModel
from sif.spaces.linear.design import given_genotype
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights

USERS, NEIGHBORS, REPEATS, WARM = 10, 100, 200, 20


def main() -> None:
    """Measures both kinds of weights and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--length", type=int, default=50, help="items of a history")
    values = parser.parse_args()
    torch.set_num_threads(1)
    draws, n = np.random.default_rng(0), values.items
    dense = ItemWeights(draws.normal(size=(n, n)).astype(np.float32), n)
    some = sp.random(n, n, min(1.0, NEIGHBORS / n), "csr", np.float32, random_state=0)
    sparse = ItemWeights.sparse(some, np.zeros(n, np.float32))
    print("weights  write [s]  size [MB]  onnxruntime [ms]  recommender [ms]  largest difference")
    for name, weights in (("dense", dense), ("sparse", sparse)):
        print(name, *measured(served(weights, n), values.length), sep="\t")


def served(weights: ItemWeights, n_items: int) -> Recommender:
    """A recommender of some users without items."""
    network = OrderNetwork(given_genotype(()), n_items).take(weights)
    ids = tuple(Vocabulary(np.arange(size)) for size in (USERS, n_items))
    seen = sp.csr_array((USERS, n_items), dtype=np.float32)
    recommender = Recommender()
    recommender._serve(
        ServedModel(network.genotype, network, ("user", "item"), ids, seen, {}, Scale())
    )
    return recommender


def measured(recommender: Recommender, length: int) -> tuple[str, ...]:
    """The figures of a line."""
    model = recommender.model_
    items = np.random.default_rng(1).permutation(len(model.vocabularies[1]))[:length]
    inputs = history_sequences(recommender, [items.tolist()])
    pairs = model.row(items, np.ones(len(items)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        file = export(recommender, "onnx", Path(folder) / "model.onnx")
        written, size = time.perf_counter() - start, file.stat().st_size / 1e6
        session = onnxruntime.InferenceSession(file, options)
    server = recommender.server()
    theirs = milliseconds(lambda: session.run(["scores"], inputs))
    ours = milliseconds(lambda: server.scores_of(pairs))
    apart = abs(session.run(["scores"], inputs)[0] - server.scores_of(pairs)).max()
    return f"{written:.1f}", f"{size:.1f}", f"{theirs:.2f}", f"{ours:.2f}", f"{apart:.1e}"


def milliseconds(answer: Callable[[], Any]) -> float:
    """Median of one answer."""
    seconds = []
    for _ in range(WARM + REPEATS):
        start = time.perf_counter()
        answer()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[WARM:])


if __name__ == "__main__":
    main()
