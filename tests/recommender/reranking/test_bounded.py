"""Bounds on popularity against all lists that there are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from sif.errors import ConfigError
from sif.recommender.reranking import MeanPopularity, TailShare
from sif.recommender.reranking.bounded import bounded_places


def first_list(values: np.ndarray, k: int, most: float) -> list[int]:
    """Of all lists in order, the first that keeps the bound, or the lowest reachable one."""
    n = min(k, len(values))
    lists = list(combinations(range(len(values)), n))  # in the order of their columns
    bound = max(n * most, min(values[list(one)].sum() for one in lists))
    return list(next(one for one in lists if values[list(one)].sum() <= bound + 1e-9))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [2, 5, 100])
def test_all_lists_are_tried(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (10, 8)).astype(np.float64)
    counts = rng.integers(0, 9, 10)
    there = np.arange(8) < counts[:, None]
    most = rng.random() * levels
    found = bounded_places(values, there, 4, most)
    for row, count in enumerate(counts):
        expected = first_list(values[row, :count], 4, most)
        assert found[row].tolist() == expected + [-1] * (4 - len(expected))


@pytest.mark.parametrize("seed", range(5))
def test_a_share_of_the_tail_costs_the_fewest_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    head = (rng.random(9) < 0.7).astype(np.float64)
    scores = -np.sort(-rng.random(9))
    found = bounded_places(head[None], np.ones((1, 9), np.bool_), 4, 1 - 0.5)[0]
    fits = [list(one) for one in combinations(range(9), 4) if head[list(one)].sum() <= 2]
    if fits:
        assert scores[found].sum() == pytest.approx(max(scores[one].sum() for one in fits))
    assert head[found].sum() == max(2, 4 - (head == 0).sum()) or head[found].sum() < 2


@pytest.mark.parametrize(("make", "name"), [(TailShare, "TailShare: least"),
                                            (MeanPopularity, "MeanPopularity: most")])  # fmt: skip
@pytest.mark.parametrize("share", [-1, 1.5, float("inf")])
def test_bounds_are_shares(make: type, name: str, share: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected a number from 0 to 1, found"):
        make(share)
