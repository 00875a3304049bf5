"""Item-item weights with further items, against dense products."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from sif.spaces.linear.grown import longer, with_columns
from sif.spaces.linear.weights import ItemWeights

N, NEW = 12, 2


def weights(scales: int, sparse: bool) -> ItemWeights:
    """Weights with numbers of items of their own."""
    draws = np.random.default_rng(scales)
    table = draws.normal(size=(scales * N, N)).astype(np.float32)
    extra = draws.normal(size=N).astype(np.float32)
    if not sparse:
        return ItemWeights(table, N, offsets=extra)
    items = np.array([1, 4, 5, 9])
    rows = np.concatenate([scale * N + items for scale in range(scales)])
    rest = table.copy()
    rest[rows] = 0
    return ItemWeights(table[rows], N, items, sp.csr_matrix(rest), extra)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("scales", [1, 2])
def test_new_items_get_combinations_and_something_of_their_own(scales: int, sparse: bool) -> None:
    draws = np.random.default_rng(7)
    given = weights(scales, sparse)
    grown = longer(given, N + NEW)
    histories = sp.csr_matrix((draws.random((5, scales * N)) < 0.4).astype(np.float32))
    wide = np.zeros((5, scales, N + NEW), np.float32)
    wide[:, :, :N] = histories.toarray().reshape(5, scales, N)
    latest = sp.csr_matrix(wide.reshape(5, -1))
    before = given.scores(histories)
    assert np.allclose(grown.scores(latest)[:, :N], before, atol=1e-5)
    assert not grown.scores(latest)[:, N:].any()
    known = np.array([0, 1, 4, 7, 9])
    shares, own = (draws.random((len(known), NEW)).astype(np.float32) for _ in range(2))
    found = with_columns(grown, np.array([N, N + 1]), known, shares, own)
    told = found.scores(latest)
    assert np.allclose(told[:, :N], before, atol=1e-5)
    counts = histories.toarray().reshape(5, scales, N).sum(axis=1)
    expected = before[:, known] @ shares + counts[:, known] @ own / scales
    assert np.allclose(told[:, N:], expected, atol=1e-4)
    assert not grown.scores(latest)[:, N:].any()  # the given one is left alone
