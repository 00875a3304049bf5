"""Seconds of a validation over all items, against one that partitions every row of scores.

Scores are given, so that selection and metrics alone are timed, in turn, the fastest of three. In
one half of the cases most scores of a row are tied, as those of sparse item-item models are.

    OMP_NUM_THREADS=1 python benchmarks/validation.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sif.data.interactions import Interactions, Vocabulary
from sif.evaluation.evaluate import rank_all_items

K = 20


class Given:
    """Scores that are there.

    Args:
        table: (n_users, n_items).
    """

    def __init__(self, table: NDArray[np.float32]) -> None:
        self._table = table

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Those of some users."""
        return self._table[users]


def rows(
    users: NDArray[np.int64], items: NDArray[np.int64], shape: tuple[int, int]
) -> Interactions:
    """Interactions of pairs."""
    names = Vocabulary(np.arange(shape[0])), Vocabulary(np.arange(shape[1]))
    return Interactions(np.stack([users, items], axis=1), ("user", "item"), names)


def partitioned(table: NDArray[np.float32], step: int) -> None:
    """The baseline: numpy's partition of the rows, and the order within the best."""
    for start in range(0, len(table), step):
        scores = table[start : start + step].astype(np.float64)
        top = np.argpartition(scores, -K, axis=1)[:, -K:]
        np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")


def seconds(work: Callable[[], object]) -> float:
    """Of the fastest of three."""
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found)


def main() -> None:
    """Prints a line per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--items", type=int, nargs="+", default=[2000, 12000])
    values = parser.parse_args()
    print("items  scores    sif s  partition s  ratio")
    for n_items in values.items:
        shape, draws = (values.users, n_items), np.random.default_rng(0)
        users = np.arange(values.users)
        train, truth = (
            rows(users, users % n_items, shape),
            rows(users, (users + 1) % n_items, shape),
        )
        table = draws.random(shape, dtype=np.float32)
        for kind, share in (("distinct", 1.0), ("tied", 0.02)):
            given = np.where(draws.random(shape, dtype=np.float32) < share, table, 0.0)
            given = given.astype(np.float32)
            own = seconds(partial(rank_all_items, Given(given), (train,), truth))
            other = seconds(partial(partitioned, given, max(1, (1 << 22) // n_items)))
            print(f"{n_items:5}  {kind:8}  {own:5.2f}  {other:11.2f}  {other / own:5.1f}")


if __name__ == "__main__":
    main()
