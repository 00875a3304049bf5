"""Seconds of metrics beyond accuracy and of re-ranking.

Metrics are of drawn lists of ten for 6,000 and 60,000 users and 3,700 items. Re-ranking is of a
model that is fitted for a few seconds on drawn interactions of 2,000 users and 3,000 items: for one
user (median of 50 answers) and for all at once.

    OMP_NUM_THREADS=1 python benchmarks/beyond.py --output beyond.csv
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

import sif
from sif.evaluation.beyond import (
    Popularity,
    beyond_accuracy,
    calibration,
    category_shares,
    cosine_similarity,
    diversity,
    group_gap,
    jaccard_similarity,
)
from sif.recommender.reranking import AtMost, Calibrated, MeanPopularity, Mmr, Pin, TailShare

Row = tuple[str, str, float]
ITEMS, K, GENRES, DIMENSION = 3_700, 10, 18, 64


def seconds(call: Callable[[], object], times: int = 5) -> float:
    """Median seconds of a call, after one that does not count."""
    call()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def metric_rows(n_users: int) -> list[Row]:
    """Seconds of each metric for so many users."""
    rng = np.random.default_rng(0)
    lists = rng.integers(0, ITEMS, (n_users, K))
    hits = rng.random((n_users, K)) < 0.1
    popularity = Popularity(rng.integers(0, n_users, ITEMS), n_users)
    genres = sparse.csr_array((rng.random((ITEMS, GENRES)) < 0.1).astype(float))
    vectors = rng.normal(size=(ITEMS, DIMENSION))
    had = sparse.random_array((n_users, ITEMS), density=0.02, format="csr", rng=rng)
    shares, groups = category_shares(genres), rng.integers(0, 3, n_users)
    jaccard, cosine = jaccard_similarity(genres), cosine_similarity(vectors)
    calls: dict[str, Callable[[], object]] = {
        "without features, all": lambda: beyond_accuracy(lists, hits, popularity, (K,)),
        "diversity, Jaccard of 18 genres": lambda: diversity(lists, jaccard),
        "diversity, cosine of 64 dimensions": lambda: diversity(lists, cosine),
        "calibration": lambda: calibration(lists, had, shares),
        "gap of 3 groups, 2,000 resamples": lambda: group_gap(hits.mean(axis=1), groups, 0),
    }
    return [(f"metrics, {n_users:,} users", name, seconds(call, 3)) for name, call in calls.items()]


def orders(n_users: int = 2_000, n_items: int = 3_000, each: int = 30) -> pd.DataFrame:
    """Drawn interactions, the first items the most popular."""
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1, n_items + 1)
    draws = rng.choice(n_items, (n_users, each), p=weights / weights.sum())
    users = np.repeat([f"u{u}" for u in range(n_users)], each)
    frame = pd.DataFrame({"user": users, "item": [f"i{i}" for i in draws.ravel()]})
    return frame.drop_duplicates()


def rerank_rows() -> list[Row]:
    """Seconds of re-ranked answers."""
    frame = orders()
    settings = {"search.epochs": 2, "train.epochs": 3, "train.l2": [1.0]}
    made = sif.Recommender(dimension=DIMENSION, threads=1, baselines=[], settings=settings)
    model = made.fit(frame, refit="none")
    names = model.fitted_model().vocabularies[1].ids.tolist()
    kinds = {name: f"k{n % GENRES}" for n, name in enumerate(names)}
    everybody = model.fitted_model().vocabularies[0].ids.tolist()
    steps = {
        "none": None, "Mmr, vectors": [Mmr(0.3)], "Mmr, labels": [Mmr(0.3, features=kinds)],
        "Calibrated": [Calibrated(kinds)], "TailShare": [TailShare(0.3)],
        "MeanPopularity": [MeanPopularity(0.1)], "AtMost": [AtMost(2, kinds)],
        "Pin": [Pin(names[-1], 2)],
    }  # fmt: skip
    rows = []
    for name, rerank in steps.items():
        one = seconds(lambda r=rerank: model.recommend("u1", K, rerank=r, as_arrays=True), 50)
        many = seconds(lambda r=rerank: model.recommend(everybody, K, rerank=r, as_arrays=True), 1)
        rows += [("answer to one user", name, one), (f"{len(everybody):,} users", name, many)]
    return rows


def main() -> None:
    """Measures everything and writes a CSV file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [*metric_rows(6_000), *metric_rows(60_000), *rerank_rows()]
    with arguments.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["of", "what", "seconds"])
        writer.writerows((of, what, f"{value:.5f}") for of, what, value in rows)


if __name__ == "__main__":
    main()
