"""Popularity, EASE, ALS and BPR against their definitions."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import implicit.als
import implicit.gpu
import numpy as np
import pytest
import torch

from sif.baselines import BASELINES, ease
from sif.baselines.implicit_models import FactorScorer
from sif.data.interactions.interactions import Interactions
from sif.errors import ConfigError, DataError

Make = Callable[..., Interactions]
Blocks = tuple[Interactions, Interactions]


def random_pairs(make: Make, n_users: int, n_items: int) -> tuple[Interactions, np.ndarray]:
    rng = np.random.default_rng(0)
    matrix = (rng.random((n_users, n_items)) < rng.random(n_items)).astype(np.float32)
    return make(np.argwhere(matrix), (n_users, n_items)), matrix


def test_popularity_counts_and_breaks_ties_by_the_lowest_index(make: Make) -> None:
    ids = [[0, 2], [1, 2], [0, 3], [1, 1], [2, 2]]
    scorer = BASELINES["popularity"].fit(make(ids, (3, 5)), {}, 0, 1)
    scores = scorer.scores(np.array([1, 0]))
    np.testing.assert_array_equal(np.argsort(-scores, axis=1), [[2, 1, 3, 0, 4]] * 2)


@pytest.mark.parametrize("sizes", [(25, 14), (14, 25)])
@pytest.mark.parametrize("l2", [1.0, 50.0])
def test_ease_is_a_ridge_regression_of_each_item_on_the_others(
    make: Make, sizes: tuple[int, int], l2: float
) -> None:
    train, x = random_pairs(make, *sizes)
    expected = np.zeros_like(x)
    for item in range(sizes[1]):
        others = np.delete(x, item, axis=1).astype(np.float64)
        ridge = others.T @ others + l2 * np.eye(sizes[1] - 1)
        expected[:, item] = others @ np.linalg.solve(ridge, others.T @ x[:, item])
    found = BASELINES["ease"].fit(train, {"l2": l2}, 0, 1).scores(np.arange(sizes[0]))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_ease_refuses_what_does_not_fit_in_memory(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "MAX_SIDE", 10)
    with pytest.raises(DataError, match="found 60 users and 40 items"):
        BASELINES["ease"].fit(blocks[0], {"l2": 1.0}, 0, 1)


def test_als_minimizes_the_weighted_squared_loss(make: Make) -> None:
    """At convergence each user's factors are the closed-form answer to the item factors."""
    train, x = random_pairs(make, 20, 15)
    params = {"dimension": 3, "l2": 0.5, "alpha": 4.0, "epochs": 300}
    scorer = BASELINES["als"].fit(train, params, 0, 1)
    assert isinstance(scorer, FactorScorer)
    # A positive weighs alpha (implicit's convention), an empty cell 1.
    items = scorer.items.astype(np.float64)
    for user in range(20):
        weight = np.where(x[user] > 0, 4.0, 1.0)
        normal = (items.T * weight) @ items + 0.5 * np.eye(3)
        expected = np.linalg.solve(normal, (items.T * weight) @ x[user])
        np.testing.assert_allclose(scorer.users[user], expected, atol=5e-3)


def test_bpr_shares_training_without_changing_the_result(blocks: Blocks) -> None:
    baseline = BASELINES["bpr"]
    base = {"dimension": 8, "learning_rate": 0.05, "l2": 0.01}
    grid = [
        {**base, "epochs": 5, "popularity": 0.0},
        {**base, "epochs": 12, "popularity": 1.0},
        {**base, "l2": 0.1, "epochs": 5, "popularity": 0.5},
    ]
    users = np.arange(60)
    shared = [s.scores(users) for s in baseline.fit_grid(blocks[0], grid, 3, 1)]
    alone = [baseline.fit(blocks[0], params, 3, 1).scores(users) for params in grid]
    for one, other in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.any(shared[0] != shared[1])


def test_bpr_adds_the_log_popularity(blocks: Blocks) -> None:
    base = {"dimension": 8, "learning_rate": 0.05, "l2": 0.01, "epochs": 3}
    users = np.arange(60)
    plain, corrected = (
        BASELINES["bpr"].fit(blocks[0], {**base, "popularity": power}, 0, 1).scores(users)
        for power in (0.0, 2.0)
    )
    count = np.bincount(blocks[0].ids[:, 1], minlength=40)
    expected = np.broadcast_to(2 * np.log1p(count), plain.shape)
    np.testing.assert_allclose(corrected - plain, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["als", "bpr"])
def test_implicit_is_quiet(name: str, blocks: Blocks, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BASELINES[name].fit(blocks[0], BASELINES[name].grid[0], 0, 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["als", "bpr"])
def test_without_implicit_the_error_says_what_to_do(
    name: str, blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == "implicit"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "implicit", None)
    with pytest.raises(ConfigError, match="pip install implicit"):
        BASELINES[name].fit(blocks[0], BASELINES[name].grid[0], 0, 1)


def test_divergence_is_one_line(blocks: Blocks) -> None:
    params = {**BASELINES["bpr"].grid[0], "learning_rate": 1e30}
    with pytest.raises(DataError, match="diverged") as caught:
        BASELINES["bpr"].fit(blocks[0], params, 0, 1)
    assert "\n" not in str(caught.value)


def test_als_asks_implicit_for_a_gpu_only_where_it_has_one(
    blocks: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    cpu = implicit.als.AlternatingLeastSquares

    class OnGPU:
        """Factors stay on the device until `to_cpu`."""

        def __init__(self, **settings: object) -> None:
            asked.append(bool(settings.pop("use_gpu")))
            self.model = cpu(**settings, use_gpu=False)

        def fit(self, *args: object, **settings: object) -> None:
            self.model.fit(*args, **settings)

        def to_cpu(self) -> object:
            return self.model

        def __getattr__(self, name: str) -> object:
            if asked[-1]:
                raise AttributeError(f"{name} is on the device")
            return getattr(self.model, name)

    monkeypatch.setattr(implicit.als, "AlternatingLeastSquares", OnGPU)
    device, found = torch.device("cuda", 0), []
    params = {"dimension": 4, "l2": 1.0, "alpha": 2.0, "epochs": 3}
    for has, where in ((True, device), (False, device), (True, torch.device("cpu"))):
        monkeypatch.setattr(implicit.gpu, "HAS_CUDA", has)
        scorer = BASELINES["als"].fit(blocks[0], params, 0, 1, where)
        assert isinstance(scorer, FactorScorer)
        found.append(scorer.users)
    assert asked == [True, False, False]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])
