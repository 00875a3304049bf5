"""Weights that are dense from some items and sparse from others: as if all were dense."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.spaces.linear.weights import ItemWeights

N, SCALES = 9, 2
ITEMS = np.array([0, 2, 3, 7])


@pytest.fixture
def table() -> NDArray[np.float32]:
    """All weights (s * n, n)."""
    return np.random.default_rng(0).random((SCALES * N, N)).astype(np.float32)


@pytest.fixture
def weights(table: NDArray[np.float32]) -> ItemWeights:
    """The same, those from four items dense."""
    rows = np.concatenate([scale * N + ITEMS for scale in range(SCALES)])
    rest = table.copy()
    rest[rows] = 0
    return ItemWeights(table[rows].copy(), N, ITEMS, sp.csr_matrix(rest))


def test_scores_and_entries_are_those_of_the_whole_table(
    table: NDArray[np.float32], weights: ItemWeights
) -> None:
    histories = sp.random(
        6, SCALES * N, 0.4, "csr", dtype=np.float32, rng=np.random.default_rng(1)
    )  # fmt: skip
    np.testing.assert_allclose(weights.scores(histories), histories @ table, rtol=1e-5)
    np.testing.assert_allclose(ItemWeights(table, N).scores(histories), histories @ table)
    entries, items = (axis.ravel() for axis in np.indices(table.shape))
    for one in (weights, ItemWeights(table, N)):
        np.testing.assert_array_equal(one.between(entries, items), table.ravel())
        np.testing.assert_array_equal(one.table(), table)
    assert (weights.scales, weights.size) == (SCALES, table.size)


def test_factors_of_items_reach_every_weight(
    table: NDArray[np.float32], weights: ItemWeights
) -> None:
    entries, items = (axis.ravel() for axis in np.indices(table.shape))
    factors = np.linspace(0.1, 2, N, dtype=np.float32)
    weights.scale_items(factors)
    np.testing.assert_allclose(weights.between(entries, items), (table * factors).ravel())


def test_sparse_weights_alone_and_what_every_item_gets() -> None:
    table, draws = np.zeros((N, N), np.float32), np.random.default_rng(3)
    table[2, 1], table[4, 0], offsets = 0.5, -1.0, draws.random(N)
    weights = ItemWeights.sparse(sp.csr_matrix(table), offsets)
    assert (weights.size, weights.scales) == (2, 0)
    histories = sp.csr_matrix(draws.random((4, N)).astype(np.float32))
    expected = histories @ table + offsets
    np.testing.assert_allclose(weights.scores(histories), expected, rtol=1e-6)
    places, items = np.array([2, 4, 4]), np.array([1, 0, 3])
    np.testing.assert_array_equal(weights.between(places, items), table[places, items])
    weights.scale_items(np.full(N, 2.0, np.float32))
    np.testing.assert_allclose(weights.scores(histories), 2 * expected, rtol=1e-6)
    nothing = ItemWeights.sparse(sp.csr_matrix((N, N)), offsets)
    assert nothing.size == 0
    np.testing.assert_allclose(nothing.scores(histories), np.tile(offsets, (4, 1)), rtol=1e-6)
