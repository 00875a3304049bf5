"""ItemKNN, RP3beta and SLIM against their definitions and other implementations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from implicit.nearest_neighbours import (
    BM25Recommender,
    CosineRecommender,
    ItemItemRecommender,
    TFIDFRecommender,
)
from sklearn.linear_model import ElasticNet

from sif.baselines import BASELINES, Baseline, item_item, slim
from sif.baselines.forecast import tuning_seconds
from sif.baselines.item_item import Cooccurrences, ItemItemScorer
from sif.baselines.slim import slim_weights
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError

Make = Callable[..., Interactions]
SMALL = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [1, 0, 0]], dtype=np.float64)
NAMES = ["item-knn", "rp3beta", "slim"]
PARAMS: dict[str, list[dict[str, float]]] = {
    "item-knn": [
        {"k": 5, "shrink": 0.0, "idf": 0.0},
        {"k": 9, "shrink": 2.0, "idf": 1.0},
        {"k": 4, "k1": 100.0, "b": 0.2},
    ],
    "rp3beta": [{"k": 6, "alpha": 0.7, "beta": 0.4}],
    "slim": [{"l2": 3.0, "l1": 0.5}],
}


def of(make: Make, matrix: np.ndarray) -> Interactions:
    return make(np.argwhere(matrix), matrix.shape)


def draws(n_users: int = 40, n_items: int = 25, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((n_users, n_items)) < rng.uniform(0.1, 0.6, n_items)).astype(np.float64)


def weights(make: Make, name: str, matrix: np.ndarray, params: dict[str, float]) -> np.ndarray:
    """The weights (n, n) from histories to items."""
    scorer = BASELINES[name].fit(of(make, matrix), params, 0, 1)
    assert isinstance(scorer, ItemItemScorer)
    found: np.ndarray = scorer.weights.table()
    return found


def of_targets(scores: np.ndarray, k: int) -> np.ndarray:
    """The k largest of each column, brute force."""
    found = np.zeros_like(scores)
    for target in range(scores.shape[1]):
        top = np.argsort(-scores[:, target], kind="stable")[:k]
        found[top, target] = scores[top, target]
    return found


def test_a_cosine_by_hand(make: Make) -> None:
    """Items 0 and 1 share 2 of 3 users each, 1 and 2 two of 3 and 2, 0 and 2 one."""
    found = weights(make, "item-knn", SMALL, {"k": 3, "shrink": 1.0, "idf": 0.0})
    a, b, c = 2 / (3 + 1), 1 / (np.sqrt(6) + 1), 2 / (np.sqrt(6) + 1)
    np.testing.assert_allclose(found, [[0, a, b], [a, 0, c], [b, c, 0]], rtol=1e-6)
    nearest = weights(make, "item-knn", SMALL, {"k": 1, "shrink": 1.0, "idf": 0.0})
    np.testing.assert_allclose(nearest, [[0, 0, 0], [a, 0, c], [0, c, 0]], rtol=1e-6)


def test_a_walk_by_hand(make: Make) -> None:
    """Users have 2, 3, 2, 1 items, items 3, 3, 2 users; alpha 1: probabilities."""
    found = weights(make, "rp3beta", SMALL, {"k": 3, "alpha": 1.0, "beta": 1.0})
    both, ends, late = 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2
    steps = np.array([[0, both / 3, ends / 3], [both / 3, 0, late / 3], [ends / 2, late / 2, 0]])
    np.testing.assert_allclose(found, steps / [3, 3, 2], rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_rp3beta_is_the_product_of_dense_transitions(make: Make, alpha: float) -> None:
    x = draws()
    users, items = x.sum(axis=1, keepdims=True), x.sum(axis=0)
    step = (x / np.maximum(users, 1)) ** alpha
    back = (x.T / np.maximum(items, 1)[:, None]) ** alpha
    walk = back @ step
    np.fill_diagonal(walk, 0.0)
    expected = of_targets(walk / np.maximum(items, 1) ** 0.3, 7)
    found = weights(make, "rp3beta", x, {"k": 7, "alpha": alpha, "beta": 0.3})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "theirs"),
    [
        ({"shrink": 0.0, "idf": 0.0}, CosineRecommender(K=26, num_threads=1)),
        ({"shrink": 0.0, "idf": 1.0}, TFIDFRecommender(K=26, num_threads=1)),
        ({"k1": 2.0, "b": 0.6}, BM25Recommender(K=26, K1=2.0, B=0.6, num_threads=1)),
    ],
)
def test_all_neighbors_are_those_of_implicit(
    make: Make, params: dict[str, float], theirs: ItemItemRecommender
) -> None:
    x = draws()
    theirs.fit(sp.csr_matrix(x.astype(np.float32)), show_progress=False)
    expected = theirs.similarity.toarray()
    np.fill_diagonal(expected, 0.0)
    found = weights(make, "item-knn", x, {"k": 25, **params})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    some = weights(make, "item-knn", x, {"k": 4, **params})
    top = of_targets(expected, 4)  # of equal ones any
    np.testing.assert_allclose(np.sort(some, axis=0), np.sort(top, axis=0), rtol=1e-4, atol=1e-6)


def test_shrinking_is_in_users_whatever_they_weigh(make: Make) -> None:
    """A tenth of all weights shrinks as much."""
    x = draws()
    shared = x.T @ x
    norm = np.sqrt(np.diag(shared))
    expected = shared / (np.outer(norm, norm) + 7.0)
    np.fill_diagonal(expected, 0.0)
    found = weights(make, "item-knn", x, {"k": 25, "shrink": 7.0, "idf": 0.0})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_slim_is_what_coordinate_descent_finds() -> None:
    x = draws(60, 12)
    l2, l1 = 4.0, 1.5
    expected = np.zeros((12, 12))
    for item in range(12):
        others = np.delete(np.arange(12), item)
        model = ElasticNet(
            alpha=(l1 + l2) / 60, l1_ratio=l1 / (l1 + l2), fit_intercept=False, positive=True,
            tol=1e-10, max_iter=100_000,
        )  # fmt: skip
        expected[others, item] = model.fit(x[:, others], x[:, item]).coef_
    gram = torch.from_numpy(x.T @ x)
    np.testing.assert_allclose(slim_weights(gram, l2, l1, 400).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("l2", "l1"), [(0.5, 0.0), (20.0, 3.0)])
def test_slim_meets_its_conditions(l2: float, l1: float) -> None:
    """The slope is 0 where a weight is above 0, and up where it is 0 (Karush, Kuhn, Tucker)."""
    x = torch.from_numpy(draws(50, 20, seed=3))
    gram = x.T @ x
    found = slim_weights(gram, l2, l1, 3000)
    slope = gram @ found - gram + l2 * found + l1
    slope.fill_diagonal_(0.0)
    assert (found >= 0).all() and (found.diagonal() == 0).all()
    assert float(slope[found > 1e-9].abs().max()) < 1e-5
    assert float(slope.min()) > -1e-5


def test_few_steps_of_slim_come_close() -> None:
    x = torch.from_numpy(draws(200, 40, seed=1))
    gram = x.T @ x

    def objective(weights: torch.Tensor) -> float:
        miss = x - x @ weights
        return float(0.5 * miss.square().sum() + 2.5 * weights.square().sum() + weights.sum())

    best = objective(slim_weights(gram, 5.0, 1.0, 2000))
    assert best <= objective(slim_weights(gram, 5.0, 1.0)) < 1.01 * best


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_not_negative_and_no_item_speaks_for_itself(make: Make, name: str) -> None:
    for params in PARAMS[name]:
        found = weights(make, name, draws(), params)
        assert (found >= 0).all() and found.any()
        assert (np.diag(found) == 0).all()


@pytest.mark.parametrize("name", ["item-knn", "rp3beta"])
@pytest.mark.parametrize("kept", [True, False])
def test_blocks_are_the_whole(
    make: Make, name: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, users = of(make, draws()), np.arange(40)
    whole = [one.scores(users) for one in BASELINES[name].fit_grid(train, PARAMS[name], 0, 1)]
    monkeypatch.setattr(item_item, "BLOCK", 60)
    monkeypatch.setattr(item_item, "KEPT", 1 << 20 if kept else 0)
    assert len(list(Cooccurrences(sp.csr_matrix(draws(), dtype=np.float32)).blocks())) > 3
    parts = [one.scores(users) for one in BASELINES[name].fit_grid(train, PARAMS[name], 0, 1)]
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("name", ["item-knn", "rp3beta"])
def test_settings_that_share_work_are_those_alone(name: str, make: Make) -> None:
    baseline, train, users = BASELINES[name], of(make, draws()), np.arange(40)
    shared = [one.scores(users) for one in baseline.fit_grid(train, baseline.grid, 0, 1)]
    alone = [baseline.fit(train, params, 0, 1).scores(users) for params in baseline.grid]
    np.testing.assert_array_equal(shared, alone)


@pytest.mark.parametrize("name", ["item-knn", "rp3beta"])
def test_sparse_weights_score_as_dense_ones(
    name: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, users = of(make, draws()), np.arange(40)
    found = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(item_item, "DENSE_SHARE", share)
        scorer = BASELINES[name].fit(train, PARAMS[name][0], 0, 1)
        assert isinstance(scorer, ItemItemScorer)
        assert (scorer.weights.rest is None) == (share == 0.0)
        found.append(scorer.scores(users))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_items_without_users_and_users_without_items(name: str, make: Make) -> None:
    x = draws()
    x[8], x[7], x[:, 4] = 1, 0, 0
    for params in PARAMS[name]:
        scores = BASELINES[name].fit(of(make, x), params, 0, 1).scores(np.arange(40))
        assert np.isfinite(scores).all()
        assert scores[:, 4].max() == 0
        assert scores[7].max() < 1e-4 * scores[8].max()
        if name != "slim":  # by popularity, where nobody speaks for an item
            np.testing.assert_array_equal(
                np.argsort(scores[7]), np.argsort(x.sum(axis=0), kind="stable")
            )


def test_slim_refuses_what_takes_too_long(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slim, "MAX_ITEMS", 10)
    with pytest.raises(DataError, match="expected at most 10 items, found 25"):
        BASELINES["slim"].fit(of(make, draws()), PARAMS["slim"][0], 0, 1)
    with pytest.raises(DataError, match="expected at most 10 items, found 25"):
        tuning_seconds(BASELINES["slim"], of(make, draws()), 0.0, seed=0, threads=1)
    assert BASELINES["slim"].matrices(40, 25) == 0 < BASELINES["slim"].matrices(40, 10)


@pytest.mark.parametrize("name", NAMES)
def test_seconds_are_told_before(name: str, make: Make) -> None:
    """Work that is shared counts once: the first setting of each group is the dearest."""
    baseline: Baseline = BASELINES[name]
    train = of(make, draws(300, 200))
    found = tuning_seconds(baseline, train, 0.0, seed=0, threads=1)
    assert 0 < found.setting <= found.grid
    assert baseline.fit_seconds is not None
    fits = baseline.fit_seconds(train, baseline.grid)
    assert len(fits) == len(baseline.grid) and min(fits) > 0
    if name == "rp3beta":
        assert fits[0] > fits[1] and fits[3] > fits[2]
