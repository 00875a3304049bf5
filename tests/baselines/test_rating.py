"""Global mean, biases and biased matrix factorization against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from sif.baselines import BASELINES
from sif.baselines.bias import BiasScorer
from sif.baselines.biased_mf import BiasedScorer
from sif.data.interactions.interactions import Interactions
from sif.errors import DataError

Make = Callable[..., Interactions]
RATING = ["global-mean", "bias-only", "biased-mf"]


@pytest.fixture
def train(make: Make) -> Interactions:
    """150 ratings of 14 users and 20 items; user 3 and item 5 have none."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(14 * 20)[:150]
    ids = np.stack([pairs // 20, pairs % 20], axis=1)
    ids = ids[(ids[:, 0] != 3) & (ids[:, 1] != 5)]
    return make(ids, (14, 20), rng.integers(1, 6, len(ids)))


def test_global_mean(train: Interactions) -> None:
    found = BASELINES["global-mean"].fit(train, {}, 0, 1).predict(train.ids)
    assert train.rating is not None
    np.testing.assert_allclose(found, train.rating.mean(), rtol=1e-6)


def test_biases_solve_the_ridge_regression(train: Interactions) -> None:
    scorer = BASELINES["bias-only"].fit(train, {"user_l2": 2.0, "item_l2": 5.0}, 0, 1)
    assert isinstance(scorer, BiasScorer)
    assert train.rating is not None
    design = np.zeros((len(train), 34))
    rows = np.arange(len(train))
    design[rows, train.ids[:, 0]] = design[rows, 14 + train.ids[:, 1]] = 1.0
    penalty = np.diag([2.0] * 14 + [5.0] * 20)
    centered = train.rating - train.rating.mean(dtype=np.float64)
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ centered)
    found = np.concatenate([scorer.user_bias, scorer.item_bias])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[3] == found[14 + 5] == 0.0


def test_biased_mf_follows_adam_on_its_loss(train: Interactions) -> None:
    """The same steps by torch: autograd instead of sparse products, its Adam instead of ours."""
    params = {"dimension": 3, "l2": 0.3, "bias_l2": 0.1, "learning_rate": 0.05, "epochs": 40}
    start = BASELINES["biased-mf"].fit(train, {**params, "epochs": 0}, 5, 1)
    assert isinstance(start, BiasedScorer)
    assert train.rating is not None
    users, items = (torch.tensor(t, dtype=torch.float64) for t in (start.users, start.items))
    p, b, q, c = users[:, :3], users[:, 3], items[:, :3], items[:, 4]
    free = [x.clone().requires_grad_() for x in (p, b, q, c)]
    p, b, q, c = free
    u, i = torch.from_numpy(train.ids.T.copy())
    rating = torch.from_numpy(train.rating).double()
    target = (rating - rating.mean()) / rating.std(correction=0)
    root_u = torch.bincount(u, minlength=14).double().sqrt()
    root_i = torch.bincount(i, minlength=20).double().sqrt()
    make_optimizer = torch.optim.Adam(free, lr=0.05)
    for _ in range(40):
        error = (p[u] * q[i]).sum(1) + b[u] + c[i] - target
        loss = error.square().sum()
        loss = loss + (root_u * (0.3 * p.square().sum(1) + 0.1 * b.square())).sum()
        loss = loss + (root_i * (0.3 * q.square().sum(1) + 0.1 * c.square())).sum()
        make_optimizer.zero_grad()
        # Half the loss: our gradient leaves out the common factor 2.
        (loss / 2).backward()
        make_optimizer.step()
    found = BASELINES["biased-mf"].fit(train, params, 5, 1)
    assert isinstance(found, BiasedScorer)
    np.testing.assert_allclose(found.users[:, :3], p.detach(), atol=1e-3)
    np.testing.assert_allclose(found.users[:, 3], b.detach(), atol=1e-3)
    np.testing.assert_allclose(found.items[:, 4], c.detach(), atol=1e-3)
    np.testing.assert_array_equal(found.users[:, 4], 1.0)
    np.testing.assert_array_equal(found.items[:, 3], 1.0)


@pytest.mark.parametrize("name", RATING)
def test_never_rated_user_and_item_get_the_mean(name: str, train: Interactions) -> None:
    found = BASELINES[name].fit(train, BASELINES[name].grid[0], 0, 1).predict(np.array([[3, 5]]))
    assert train.rating is not None
    np.testing.assert_allclose(found, train.rating.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", RATING)
def test_order_of_rows_and_unit_of_ratings_do_not_matter(name: str, train: Interactions) -> None:
    assert train.rating is not None
    params = BASELINES[name].grid[0]
    expected = BASELINES[name].fit(train, params, 0, 1).predict(train.ids)
    shuffled = train.select(np.random.default_rng(1).permutation(len(train)))
    found = BASELINES[name].fit(shuffled, params, 0, 1).predict(train.ids)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    tenfold = replace(train, rating=train.rating * 10 - 7)
    found = BASELINES[name].fit(tenfold, params, 0, 1).predict(train.ids)
    np.testing.assert_allclose(found, expected * 10 - 7, atol=2e-2)


def test_factors_find_a_product_that_biases_cannot(make: Make) -> None:
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(60, 2)), rng.normal(size=(50, 2))
    ids = np.argwhere(rng.random((60, 50)) < 0.5)
    rating = (p @ q.T)[ids[:, 0], ids[:, 1]]
    held = rng.random(len(ids)) < 0.2
    train, ids, truth = make(ids[~held], (60, 50), rating[~held]), ids[held], rating[held]
    params = {"dimension": 4, "l2": 0.1, "bias_l2": 0.1, "learning_rate": 0.05, "epochs": 75}
    error = BASELINES["biased-mf"].fit(train, params, 0, 1).predict(ids) - truth
    plain = BASELINES["bias-only"].fit(train, BASELINES["bias-only"].grid[0], 0, 1).predict(ids)
    assert np.sqrt(np.mean(error**2)) < 0.3 * np.sqrt(np.mean((plain - truth) ** 2))


@pytest.mark.parametrize("name", RATING)
def test_needs_ratings(name: str, train: Interactions) -> None:
    with pytest.raises(DataError, match="rating"):
        BASELINES[name].fit(replace(train, rating=None), BASELINES[name].grid[0], 0, 1)
