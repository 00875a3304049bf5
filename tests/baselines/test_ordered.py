"""Baselines in order: by hand, and against a dense solution."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sif.baselines import BASELINES
from sif.baselines.base import fit_best
from sif.data.interactions import Interactions, Vocabulary
from sif.errors import DataError

Ids = NDArray[np.int64]


def rows(users: list[int] | Ids, items: list[int] | Ids, times: Ids | None) -> Interactions:
    """Interactions of 0..max as ids."""
    ids = np.stack([np.asarray(users), np.asarray(items)], axis=1).astype(np.int64)
    names = tuple(Vocabulary(np.arange(n)) for n in ids.max(axis=0) + 1)
    return Interactions(ids, ("user", "item"), names, timestamp=times)


def fitted(name: str, train: Interactions, **params: float) -> NDArray[np.float32]:
    """Scores of all users."""
    scorer = BASELINES[name].fit(train, params, 0, 1)
    return np.asarray(scorer.scores(np.arange(train.sizes[0])))  # type: ignore[union-attr]


def test_markov_counts_what_followed_the_last_item() -> None:
    # In time: user 0 takes 0 1 2, user 1 takes 1 2 0 1; rows stand in another order.
    users, items = [0, 1, 0, 1, 1, 0, 1], [2, 1, 0, 2, 0, 1, 1]
    times = np.array([9, 1, 1, 2, 3, 5, 4])
    scores = fitted("markov", rows(users, items, times), smoothing=7.0)
    popularity = np.array([2, 3, 2])
    np.testing.assert_allclose(scores[0], np.array([1, 0, 0]) + popularity)  # after 2 came 0
    np.testing.assert_allclose(scores[1], np.array([0, 0, 2]) + popularity)  # after 1 came 2 twice


def test_recent_popularity_halves_with_age() -> None:
    times = np.array([0, 0, 0, 75, 100])
    train = rows([0, 1, 2, 0, 1], [0, 0, 0, 1, 2], times)
    # A half-life of 25: 3/16, 1/2 and 1.
    assert np.argsort(-fitted("recent-popularity", train, half_life=0.25)[0]).tolist() == [2, 1, 0]
    # One of 100: 3/2, .84 and 1.
    assert np.argsort(-fitted("recent-popularity", train, half_life=1.0)[0]).tolist() == [0, 2, 1]


def test_the_decayed_ridge_solves_its_normal_equations() -> None:
    draws = np.random.default_rng(0)
    users, items = draws.integers(0, 20, 300), draws.integers(0, 15, 300)
    train = rows(users, items, np.arange(300))
    x, y = np.zeros((0, 15)), np.zeros((0, 15))
    last = np.zeros((20, 15))
    for user in range(20):
        taken = items[users == user]
        for k in range(1, len(taken)):
            row = sum(0.8 ** (k - 1 - i) * np.eye(15)[taken[i]] for i in range(max(k - 20, 0), k))
            x, y = np.vstack([x, row]), np.vstack([y, np.eye(15)[taken[k]]])
        for age, item in enumerate(taken[::-1][:20]):
            last[user, item] += 0.8**age
    weights = np.linalg.solve(x.T @ x + 5 * np.eye(15), x.T @ y)
    popularity = np.bincount(items, minlength=15) + 1.0
    expected = last @ weights / popularity**0.1
    found = fitted("decayed-ridge", train, l2=5.0, discount=0.1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["recent-popularity", "markov", "decayed-ridge"])
def test_without_an_order_they_are_refused_in_one_line(name: str) -> None:
    bare = [rows([0, 0, 1], [0, 1, 1], None)] * 2
    with pytest.raises(DataError, match="timestamps") as caught:
        fit_best(BASELINES[name], *bare, "ranking", seed=0, threads=1)
    assert "\n" not in str(caught.value)
