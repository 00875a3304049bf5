"""Calibration against hand-computed divergences and scipy's entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse, stats

from sif.errors import DataError, ShapeError
from sif.evaluation.beyond import calibration, category_shares

GENRES = category_shares([[1, 0], [1, 1], [0, 1], [0, 0]])


def test_hand_computed_divergence() -> None:
    had = sparse.csr_array(np.array([[5.0, 0, 1, 0]]))  # values do not count: p is half and half
    # q = (1, 0): KL = .5 log(.5 / (.99 + .005)) + .5 log(.5 / .005)
    expected = 0.5 * math.log(0.5 / 0.995) + 0.5 * math.log(100)
    assert calibration([[0, -1]], had, GENRES)[0] == pytest.approx(expected)
    assert calibration([[1, -1]], had, GENRES)[0] == pytest.approx(0.0)
    assert calibration([[0, 2]], had, GENRES)[0] == pytest.approx(0.0)
    # An item without a category changes nothing.
    assert calibration([[0, 3]], had, GENRES)[0] == pytest.approx(expected)


def test_nothing_to_compare() -> None:
    nothing, something = sparse.csr_array((1, 4)), sparse.csr_array(np.array([[1, 0, 0, 0]]))
    assert calibration([[0, 1]], nothing, GENRES).tolist() == [0.0]
    assert calibration([[3, -1]], something, GENRES)[0] == pytest.approx(-math.log(0.01))


def test_scipys_relative_entropy() -> None:
    rng = np.random.default_rng(2)
    matrix = (rng.random((30, 6)) < 0.4).astype(float)
    matrix[:, 0] += ~matrix.any(axis=1)
    had = sparse.csr_array((rng.random((25, 30)) < 0.3).astype(float))
    lists = np.stack([rng.permutation(30)[:5] for _ in range(25)])
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    found = calibration(lists, had, category_shares(matrix), alpha=0.1)
    for user in range(25):
        p = shares[had[[user]].indices].mean(axis=0)
        q = 0.9 * shares[lists[user]].mean(axis=0) + 0.1 * p
        assert found[user] == pytest.approx(stats.entropy(p, q))


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_alpha_is_between_0_and_1(alpha: float) -> None:
    with pytest.raises(DataError, match="alpha: expected a number above 0 and below 1"):
        calibration([[0]], sparse.csr_array((1, 4)), GENRES, alpha)


def test_weights_and_histories_are_checked() -> None:
    with pytest.raises(DataError, match="categories: expected finite weights of at least 0"):
        category_shares([[-1.0, 2.0]])
    with pytest.raises(ShapeError, match=r"histories: expected \(1, 4\), found \(2, 4\)"):
        calibration([[0]], sparse.csr_array((2, 4)), GENRES)
