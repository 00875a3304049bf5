"""Replaced rows and columns of a sparse matrix, against dense arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sif.recommender.user_rows import columns_of, merged, with_columns, with_rows


def drawn(draws: np.random.Generator, rows: int, columns: int) -> sparse.csr_array:
    values = draws.integers(1, 9, (rows, columns)) * (draws.random((rows, columns)) < 0.4)
    return sparse.csr_array(values.astype(np.float32))


def check_is_canonical(matrix: sparse.csr_array) -> None:
    matrix.check_format(full_check=True)
    for row in range(matrix.shape[0]):
        indices = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
        assert (np.diff(indices) > 0).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 6), st.integers(0, 3))
def test_rows_and_columns_are_those_of_dense_arrays(
    seed: int, rows: int, columns: int, more: int
) -> None:
    draws = np.random.default_rng(seed)
    matrix = drawn(draws, rows, columns)
    before = matrix.toarray()
    places = draws.permutation(rows + more)[: draws.integers(0, rows + more + 1)]
    new = drawn(draws, len(places), columns)
    expected = np.zeros((rows + more, columns), np.float32)
    expected[:rows], expected[places] = before, new.toarray()
    as_rows = with_rows(matrix, places, new, rows + more)
    as_columns = with_columns(sparse.csr_array(matrix.T), places, new, rows + more)
    for replaced, dense in ((as_rows, expected), (as_columns, expected.T)):
        np.testing.assert_array_equal(replaced.toarray(), dense)
        assert replaced.dtype == np.float32
        check_is_canonical(replaced)
    np.testing.assert_array_equal(matrix.toarray(), before)  # readers keep theirs


@pytest.mark.parametrize("first", [False, True])
def test_of_a_repeated_pair_the_last_or_the_first_counts(first: bool) -> None:
    known = sparse.csr_array(np.array([[1, 0, 2], [0, 0, 0]], np.float32))
    rows, columns = np.array([0, 0, 1, 1, 0]), np.array([2, 1, 0, 0, 1])
    values = np.array([5, 6, 7, 8, 9], np.float32)
    found = merged(known, rows, columns, values, first)
    expected = [[1, 6, 2], [7, 0, 0]] if first else [[1, 9, 5], [8, 0, 0]]
    assert found.toarray().tolist() == expected
    check_is_canonical(found)


def test_columns_come_in_the_order_that_is_asked_for() -> None:
    matrix = sparse.csr_array(np.array([[1, 0, 2], [3, 4, 0]], np.float32))
    found = columns_of(matrix, np.array([2, 0]))
    assert found.toarray().tolist() == [[2, 0], [1, 3]]


def test_nothing_merges_into_nothing() -> None:
    none = np.zeros(0, np.int64)
    assert merged(sparse.csr_array((3, 4)), none, none, np.zeros(0)).toarray().sum() == 0
    assert with_rows(sparse.csr_array((0, 4)), none, sparse.csr_array((0, 4)), 2).shape == (2, 4)
