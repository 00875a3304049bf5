"""Rows of a large sparse matrix in the place of others, at the cost of copying its arrays.

Nothing is sorted or counted but the rows that change: a thousand rows of a million pairs are
replaced in a few milliseconds. The given matrices do not change, so that whoever reads one goes on
reading it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Numbers = NDArray[np.int64]


def with_rows(
    matrix: sparse.csr_array, places: Numbers, rows: sparse.csr_array, size: int
) -> sparse.csr_array:
    """A matrix some of whose rows are others.

    Args:
        matrix: CSR (n, m).
        places: (b,) numbers of the rows, distinct; those from n on are new.
        rows: CSR (b, m) in their place.
        size: Rows of the result, at least n; new ones that are no place are empty.

    Returns:
        CSR (size, m), with the types of the given matrix.
    """
    order = np.argsort(places, kind="stable")
    places, starts = places[order], matrix.indptr
    lengths = np.zeros(size, dtype=np.int64)
    lengths[: matrix.shape[0]] = np.diff(starts)
    lengths[places] = np.diff(rows.indptr)[order]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    ends = rows.indptr[1:][order], rows.indptr[:-1][order]
    indices, data = list[NDArray[np.integer]](), list[NDArray[np.floating]]()
    begin = 0
    known = np.minimum(places, matrix.shape[0])
    after = np.minimum(places + 1, matrix.shape[0])
    stretches = zip(
        starts[known].tolist(), starts[after].tolist(), ends[1].tolist(), ends[0].tolist(),
        strict=True,
    )  # fmt: skip
    for kept, following, first, last in stretches:
        indices += (matrix.indices[begin:kept], rows.indices[first:last])
        data += (matrix.data[begin:kept], rows.data[first:last])
        begin = following
    kind = matrix.indices.dtype if indptr[-1] <= np.iinfo(matrix.indices.dtype).max else np.int64
    parts = (
        np.concatenate([*data, matrix.data[begin:]], dtype=matrix.data.dtype, casting="same_kind"),
        np.concatenate([*indices, matrix.indices[begin:]], dtype=kind, casting="same_kind"),
        indptr.astype(kind),
    )
    return sparse.csr_array(parts, shape=(size, matrix.shape[1]))


def with_columns(
    matrix: sparse.csr_array, places: Numbers, columns: sparse.csr_array, size: int
) -> sparse.csr_array:
    """A matrix some of whose columns are others.

    Args:
        matrix: CSR (n, m).
        places: (b,) numbers of the columns, distinct; those from m on are new.
        columns: CSR (b, n) in their place: each row is a column.
        size: Columns of the result, at least m.

    Returns:
        CSR (n, size), with the types of the given matrix.
    """
    shape = matrix.shape[0], size
    wider = sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=shape)
    touched = np.zeros(shape[0], dtype=np.bool_)
    touched[columns.indices] = True
    is_replaced = np.zeros(size, dtype=np.bool_)
    is_replaced[places] = True
    if (places < matrix.shape[1]).any():
        touched[_rows_at(matrix, is_replaced[: matrix.shape[1]])[0]] = True
    rows = np.flatnonzero(touched)
    old = wider[rows].tocoo()
    kept = ~is_replaced[old.coords[1]]
    place = np.zeros(shape[0], dtype=np.int64)
    place[rows] = np.arange(len(rows))
    row = np.concatenate([old.coords[0][kept], place[columns.indices]])
    column = np.concatenate([old.coords[1][kept], np.repeat(places, np.diff(columns.indptr))])
    values = np.concatenate([old.data[kept], columns.data.astype(old.data.dtype)])
    changed = sparse.csr_array((values, (row, column)), shape=(len(rows), size))
    return with_rows(wider, rows, changed, shape[0])


def columns_of(matrix: sparse.csr_array, places: Numbers) -> sparse.csr_array:
    """Some columns (b,) of a matrix (n, m), distinct, each as a row: CSR (b, n)."""
    row_of = np.full(matrix.shape[1], -1)
    row_of[places] = np.arange(len(places))
    rows, pairs = _rows_at(matrix, row_of >= 0)
    place = row_of[matrix.indices[pairs]]
    shape = len(places), matrix.shape[0]
    return sparse.csr_array((matrix.data[pairs], (place, rows)), shape=shape)


def _rows_at(matrix: sparse.csr_array, is_asked: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """The row of each pair in the columns that are asked for (m,), and its place in the matrix."""
    pairs = np.flatnonzero(is_asked[matrix.indices])
    return np.searchsorted(matrix.indptr, pairs, side="right") - 1, pairs


def merged(
    known: sparse.csr_array, rows: Numbers, columns: Numbers, values: NDArray[np.floating],
    first: bool = False,
) -> sparse.csr_array:  # fmt: skip
    """Rows with further pairs.

    Args:
        known: CSR (b, m).
        rows: (n,) row of each further pair.
        columns: (n,) its column.
        values: (n,) its value; their type is that of the result.
        first: Whether of a repeated pair the first counts, not the last. Known ones come first.

    Returns:
        CSR (b, m), columns in their order, each pair once.
    """
    count, width = known.shape
    before = np.repeat(np.arange(count, dtype=np.int64), np.diff(known.indptr)) * width
    keys = np.concatenate([before + known.indices, rows * width + columns])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    differs = keys[1:] != keys[:-1]
    kept = np.append(True, differs) if first else np.append(differs, True)
    kept = kept[: len(keys)]
    keys, order = keys[kept], order[kept]
    data = np.concatenate([known.data, values])[order].astype(values.dtype)
    indptr = np.searchsorted(keys, np.arange(count + 1) * width)
    return sparse.csr_array((data, keys % max(width, 1), indptr), shape=known.shape)
