"""Metrics against hand-computed cases, a loop over users written from the definitions, sklearn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sif.errors import DataError, ShapeError
from sif.evaluation import metrics
from sif.evaluation.metrics import (
    higher_is_better,
    mae,
    paired_bootstrap,
    paired_ratio_bootstrap,
    ranking_metrics,
    rmse,
)


def naive(hits: list[bool], n_relevant: int) -> dict[str, float]:
    k = len(hits)
    dcg = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits, 1) if hit)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, n_relevant) + 1))
    first = next((rank for rank, hit in enumerate(hits, 1) if hit), None)
    average = 0.0
    for rank, hit in enumerate(hits, 1):
        if hit:
            average += sum(hits[:rank]) / rank
    return {
        f"ndcg@{k}": dcg / ideal,
        f"recall@{k}": sum(hits) / n_relevant,
        f"hit@{k}": float(any(hits)),
        f"mrr@{k}": 0.0 if first is None else 1 / first,
        f"map@{k}": average / min(k, n_relevant),
        f"precision@{k}": sum(hits) / k,
    }


def test_hand_computed_list() -> None:
    # Hits at ranks 2 and 3 of 4, three relevant items.
    found = ranking_metrics(np.array([[False, True, True, False]]), np.array([3]))
    dcg = 1 / math.log2(3) + 1 / 2
    expected = {
        "ndcg@4": dcg / (1 + dcg),
        "recall@4": 2 / 3,
        "hit@4": 1.0,
        "mrr@4": 1 / 2,
        "map@4": (1 / 2 + 2 / 3) / 3,
        "precision@4": 2 / 4,
    }
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_against_the_definitions(k: int, n_users: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits = rng.random((n_users, k)) < rng.random()
    n_relevant = np.maximum(hits.sum(axis=1), 1) + rng.integers(0, 15, n_users)
    found = ranking_metrics(hits, n_relevant)
    for user in range(n_users):
        expected = naive(hits[user].tolist(), int(n_relevant[user]))
        assert {name: float(v[user]) for name, v in found.items()} == pytest.approx(expected)
    assert all(((v >= 0) & (v <= 1 + 1e-12)).all() for v in found.values())


def test_ndcg_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(40.0), (30, 1)), axis=1)
    relevant = rng.random((30, 40)) < 0.2
    relevant[:, 0] = True
    order = np.argsort(-scores, axis=1)[:, :10]
    found = ranking_metrics(np.take_along_axis(relevant, order, axis=1), relevant.sum(axis=1))
    assert found["ndcg@10"].mean() == pytest.approx(ndcg_score(relevant, scores, k=10))


def test_perfect_and_empty_lists() -> None:
    perfect = ranking_metrics(np.array([[True, True, False]]), np.array([2]))
    empty = ranking_metrics(np.zeros((1, 3), dtype=bool), np.array([2]))
    for name in ("ndcg@3", "recall@3", "hit@3", "mrr@3", "map@3"):
        assert perfect[name][0] == 1
    assert all(value[0] == 0 for value in empty.values())


@pytest.mark.parametrize("n_relevant", [0, 1])
def test_refuses_impossible_counts(n_relevant: int) -> None:
    with pytest.raises(DataError, match="row 0"):
        ranking_metrics(np.array([[True, True]]), np.array([n_relevant]))


@pytest.mark.parametrize(
    "hits", [np.ones((2, 3)), np.ones(3, dtype=bool), np.ones((1, 3), dtype=bool)]
)
def test_refuses_other_shapes(hits: np.ndarray) -> None:
    with pytest.raises(ShapeError):
        ranking_metrics(hits, np.array([3, 3]))


def test_rmse_and_mae_by_hand() -> None:
    assert rmse([1, 2, 5], [1, 4, 4]) == pytest.approx(math.sqrt(5 / 3))
    assert mae([1, 2, 5], [1, 4, 4]) == pytest.approx(1.0)
    with pytest.raises(ShapeError):
        rmse([1, 2], [1, 2, 3])
    with pytest.raises(ShapeError):
        mae([], [])


def test_direction() -> None:
    assert higher_is_better("ndcg@10")
    assert not any(higher_is_better(name) for name in ("rmse", "rmse_std", "mae", "perplexity"))


def test_bootstrap_is_antisymmetric_and_seeded() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(50), rng.random(50)
    one, other = paired_bootstrap(a, b, 3, n=999), paired_bootstrap(b, a, 3, n=999)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))
    assert one == paired_bootstrap(a, b, 3, n=999)
    assert one != paired_bootstrap(a, b, 4, n=999)
    assert one.mean == pytest.approx((a - b).mean())


def test_bootstrap_does_not_depend_on_its_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.random.default_rng(1).random(50)
    whole = paired_bootstrap(a, np.zeros(50), 3, n=500)
    monkeypatch.setattr(metrics, "_BOOTSTRAP_ELEMENTS", 7 * 50)
    assert paired_bootstrap(a, np.zeros(50), 3, n=500) == whole


def test_bootstrap_width_is_that_of_the_normal_interval() -> None:
    gap = np.random.default_rng(2).normal(0.1, 1.0, 400)
    interval = paired_bootstrap(gap, np.zeros(400), 0)
    half = 1.96 * gap.std() / 20
    assert interval.low == pytest.approx(gap.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(gap.mean() + half, abs=0.1 * half)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        interval = paired_bootstrap(rng.normal(0.3, 1.0, 60), np.zeros(60), seed, n=400)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_one_user_decides_nothing() -> None:
    interval = paired_bootstrap([1.0], [0.0], 0)
    assert (interval.mean, interval.low, interval.high) == (1.0, -np.inf, np.inf)


@pytest.mark.parametrize("root", [False, True])
def test_ratio_bootstrap_against_a_loop_over_resamples(root: bool) -> None:
    rng = np.random.default_rng(0)
    count = rng.integers(1, 9, 12).astype(float)
    a, b = rng.random(12) * count, rng.random(12) * count
    draws = np.random.default_rng(7).integers(0, 12, (300, 12))
    shape = math.sqrt if root else float

    def difference(rows: np.ndarray) -> float:
        total = count[rows].sum()
        return shape(a[rows].sum() / total) - shape(b[rows].sum() / total)

    values = [difference(rows) for rows in draws]
    found = paired_ratio_bootstrap(a, b, count, seed=7, n=300, root=root)
    assert found.mean == pytest.approx(difference(np.arange(12)))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(0, 1)))
def test_intervals_lie_within_the_data(gap: np.ndarray) -> None:
    interval = paired_bootstrap(gap, np.zeros_like(gap), 0, n=200)
    assert gap.min() - 1e-9 <= interval.low <= interval.high <= gap.max() + 1e-9
