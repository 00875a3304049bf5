"""Features beside ordered histories, against dense equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from sif.spaces.linear.features import FeatureRows
from sif.spaces.linear.gram import Products
from sif.spaces.linear.ridge import HistorySolver
from sif.spaces.linear.sequences import Decay, Sequences

N = 12


def sequences() -> Sequences:
    draws = np.random.default_rng(0)
    rows = [(user, item) for user in range(30) for item in draws.permutation(N - 1)[:6]]
    users, items = np.array(rows).T
    return Sequences.of(users, items, (30, N))


@pytest.mark.parametrize("decays", [(Decay(0.8, 4),), (Decay(0.5, 3), Decay(0.9, 6))])
def test_a_feature_is_a_row_whose_history_and_target_are_its_items(
    decays: tuple[Decay, ...],
) -> None:
    draws = np.random.default_rng(1)
    rows = sp.csr_matrix((draws.random((N, 5)) < 0.4).astype(np.float32))
    solver = HistorySolver(sequences(), decays, features=FeatureRows(rows, ((0, 5),)))
    found = solver.weights(3.0, features=0.2).dense
    exact = Products(sequences()).normal(decays)
    gram, cross = exact.gram.numpy(), exact.cross.numpy()
    alike = solver.alike.toarray().astype(float)
    assert not alike[N - 1].any()  # without a train row
    assert np.allclose(np.linalg.norm(alike[alike.any(axis=1)], axis=1), 1, atol=1e-6)
    weight = 0.2 * np.diag(gram)[np.diag(gram) > 0].mean()
    products = alike @ alike.T
    others = products - np.diag(np.diag(products))
    s = len(decays)
    gram = gram + weight * np.tile(products, (s, s))
    cross = cross + weight * np.tile(others, (s, 1))
    expected = np.linalg.solve(gram + 3.0 * np.eye(s * N), cross)
    assert np.abs(found - expected).max() < 1e-4
    without = HistorySolver(sequences(), decays).weights(3.0).dense
    assert np.array_equal(solver.weights(3.0).dense, without)
    assert np.abs(found - without).max() > 1e-2
