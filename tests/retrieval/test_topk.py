"""The two-stage selection against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from sif.errors import DataError
from sif.retrieval import topk
from sif.retrieval.kernels import selection
from sif.retrieval.topk import best_columns, block_size, top_k


def expected(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    columns = np.arange(scores.shape[1])
    return np.stack([np.lexsort((columns, -row))[:k] for row in scores])


# Few values, so that ties are everywhere: also those of the two zeros and of the infinities.
TIED = st.sampled_from([-np.inf, -2.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 2.0, np.inf])
ANY = st.floats(width=32, allow_nan=False)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_every_block_size_selects_as_a_full_sort_does(data: st.DataObject) -> None:
    block = data.draw(st.sampled_from([1, 2, 4, 8]))
    n = block * data.draw(st.integers(1, 12))
    shape = (data.draw(st.integers(1, 4)), n)
    values = data.draw(st.sampled_from([TIED, ANY]))
    scores = data.draw(npst.arrays(np.float32, shape, elements=values))
    k = data.draw(st.integers(1, n))
    best, columns = top_k(torch.from_numpy(scores.copy()), k, block)
    right = expected(scores, k)
    np.testing.assert_array_equal(columns.numpy(), right)
    np.testing.assert_array_equal(best.numpy(), np.take_along_axis(scores, right, axis=1))


@pytest.mark.parametrize("compiled", [True, False])
def test_hidden_columns_are_never_among_the_best(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(topk, "selection", lambda: None)
    draws = np.random.default_rng(0)
    for levels in (2, 5, 10**6):
        scores = draws.integers(0, levels, (30, 17)).astype(np.float32)
        scores[draws.random(scores.shape) < 0.2] = -np.inf
        hidden = draws.random(scores.shape) < 0.3
        hidden[0] = True  # nothing is left of this row
        best, columns = best_columns(scores.copy(), 6, sp.csr_matrix(hidden))
        for row in range(30):
            left = np.flatnonzero(~hidden[row] & (scores[row] > -np.inf))
            right = left[np.lexsort((left, -scores[row, left]))][:6]
            assert columns[row, : len(right)].tolist() == right.tolist()
            assert best[row, : len(right)].tolist() == scores[row, right].tolist()
            assert (columns[row, len(right) :] == -1).all()
            assert (best[row, len(right) :] == -np.inf).all()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_the_compiled_selection_takes_rows_in_pieces(data: st.DataObject) -> None:
    select = selection()
    if select is None:
        pytest.skip("needs numba")
    shape = b, n = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 150))
    scores = data.draw(
        npst.arrays(np.float32, shape, elements=data.draw(st.sampled_from([TIED, ANY])))
    )
    hidden = data.draw(npst.arrays(np.bool_, shape))
    k, piece = data.draw(st.integers(1, n)), data.draw(st.integers(1, n))
    best, items = np.full((b, k), -np.inf, dtype=np.float32), np.full((b, k), -1)
    edges, excluded = (
        np.append(0, hidden.sum(axis=1).cumsum()),
        np.ascontiguousarray(hidden.nonzero()[1]),
    )
    for start in range(0, n, piece):
        part = scores[:, start : start + piece].copy()
        stop = start + part.shape[1]
        assert select(part, start, stop, edges, excluded, best, items) == -1
    left = np.where(hidden, np.float32(-np.inf), scores)
    right = expected(left, k)
    values = np.take_along_axis(left, right, axis=1)
    np.testing.assert_array_equal(best, values)
    np.testing.assert_array_equal(items, np.where(values > -np.inf, right, -1))


@pytest.mark.parametrize("levels", [3, 50, 1 << 20])
def test_long_rows(levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (5, 6400)).astype(np.float32)
    for k in (1, 10, 99, 100, 101):
        found = top_k(torch.from_numpy(scores), k, 64)[1]
        np.testing.assert_array_equal(found.numpy(), expected(scores, k))


def test_block_sizes() -> None:
    assert block_size(50_000, 10) == 64
    assert block_size(1682, 10) == 16
    assert block_size(5, 5) == block_size(1, 1) == 1
    assert block_size(10**9, 1) == 64


@pytest.mark.parametrize("block", [1, 4])
def test_a_score_that_is_no_number_is_refused(block: int) -> None:
    scores = torch.zeros(3, 16)
    scores[0, :2] = torch.tensor([torch.inf, -torch.inf])  # no NaN, though their sum is
    assert top_k(scores, 1, block)[1][0] == 0
    scores[2, 7] = torch.nan
    with pytest.raises(DataError, match="scores of user 12: expected numbers, found NaN"):
        top_k(scores, 1, block, first=10)
