"""How alike items are, by features or by vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import DataError, ShapeError
from sif.evaluation.beyond.lists import Items

Floats32 = NDArray[np.float32]
_WIDE = 512
"""Sparse features above which pairs are multiplied one by one."""
_CHUNK_ELEMENTS = 1 << 22
"""Features held at once: 2^22 float32 values are 16 MB."""


@dataclass(frozen=True, eq=False)
class ItemSimilarity:
    """Similarities from 0 (nothing in common) to 1 (alike); cosines of vectors from -1.

    Attributes:
        rows: float32 (n_items, m), dense or CSR, whose inner products `measured` reads.
        measured: Inner products (b, p, p) to similarities (b, p, p).
        described: bool (n_items,); False of an item without features, which is like no other.
    """

    rows: Any
    measured: Callable[[Floats32], Floats32]
    described: NDArray[np.bool_]

    @property
    def n_items(self) -> int:
        """Size of the catalog."""
        return len(self.described)

    def within(self, lists: Items) -> Iterator[tuple[slice, Floats32]]:
        """Similarities between the items of each list, for some lists after the other.

        Args:
            lists: (n, p) numbers of items, -1 where a list is shorter.

        Yields:
            Which lists (b of them), and float32 (b, p, p); 0 where an item is missing.
        """
        length = max(lists.shape[1], 1)
        wide = sparse.issparse(self.rows) and self.rows.shape[1] > _WIDE
        products, each = self._products, length * max(self.rows.shape[1], length)
        if wide:
            filled = self.rows.nnz // max(self.n_items, 1) + 1
            products, each = self._sparse_products, length * (length + 1) // 2 * filled
        step = max(1, _CHUNK_ELEMENTS // each)
        for start in range(0, len(lists), step):
            here = slice(start, min(start + step, len(lists)))
            there = lists[here] >= 0
            common = products(np.where(there, lists[here], 0))
            common *= there[:, :, None] & there[:, None, :]
            yield here, self.measured(common)

    def _products(self, items: Items) -> Floats32:
        """Inner products (b, p, p) of the rows of items (b, p)."""
        rows = self.rows
        if sparse.issparse(rows):
            distinct, place = np.unique(items, return_inverse=True)
            rows, items = rows[distinct].toarray(), place.reshape(items.shape)
        some = np.asarray(rows[items], dtype=np.float32)
        return np.asarray(some @ some.transpose(0, 2, 1), dtype=np.float32)

    def _sparse_products(self, items: Items) -> Floats32:
        """The same, pair by pair: of many features an item has few."""
        first, second = np.triu_indices(items.shape[1])
        one, other = (self.rows[items[:, at].ravel()] for at in (first, second))
        products = np.asarray(one.multiply(other).sum(axis=1), dtype=np.float32)
        products = products.reshape(len(items), len(first))
        found = np.zeros((*items.shape, items.shape[1]), np.float32)
        found[:, first, second] = found[:, second, first] = products
        return found


def cosine_similarity(matrix: Any) -> ItemSimilarity:
    """Cosines of the angles between rows.

    Args:
        matrix: (n_items, m) numbers, dense or sparse; a row of zeros is an item without features.

    Raises:
        ShapeError: Another number of dimensions.
        DataError: A value that is not finite.

    Examples:
        >>> from sif.evaluation.beyond import cosine_similarity, diversity
        >>> diversity([[0, 1], [0, 2]], cosine_similarity([[1, 0], [0, 2], [3, 0]])).tolist()
        [1.0, 0.0]
    """
    rows = _numbers(matrix)
    if sparse.issparse(rows):
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        scaled: Any = sparse.csr_array(sparse.diags_array(_inverse(lengths)) @ rows)
    else:
        lengths = np.linalg.norm(rows, axis=1)
        scaled = rows * _inverse(lengths)[:, None]
    return ItemSimilarity(scaled.astype(np.float32), _as_it_is, lengths > 0)


def jaccard_similarity(matrix: Any) -> ItemSimilarity:
    """Shares of common features: |a and b| / |a or b|.

    Args:
        matrix: (n_items, m), dense or sparse; what is not 0 is a feature that an item has.

    Raises:
        ShapeError: Another number of dimensions.
        DataError: A value that is not finite.

    Examples:
        >>> from sif.evaluation.beyond import diversity, jaccard_similarity
        >>> diversity([[0, 1]], jaccard_similarity([[1, 1, 0], [0, 1, 1]])).round(3).tolist()
        [0.667]
    """
    rows = _numbers(matrix)
    has = (rows != 0).astype(np.float32)
    return ItemSimilarity(has, _jaccard, np.asarray(has.sum(axis=1)).ravel() > 0)


def _numbers(matrix: Any) -> Any:
    """Float64 rows (n_items, m), dense or CSR."""
    rows = sparse.csr_array(matrix) if sparse.issparse(matrix) else np.asarray(matrix)
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise ShapeError(
            f"features: expected numbers (n_items, m), found {rows.dtype} {rows.shape}"
        )
    values = rows.data if sparse.issparse(rows) else rows
    if not np.isfinite(values).all():
        raise DataError("features: expected finite numbers, found NaN or infinity")
    return rows.astype(np.float64)


def _inverse(lengths: NDArray[Any]) -> NDArray[Any]:
    """1 / lengths, 0 where there is none."""
    found: NDArray[Any] = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return found


def _as_it_is(products: Floats32) -> Floats32:
    return products


def _jaccard(common: Floats32) -> Floats32:
    """From numbers of common features, whose diagonal has those of each item."""
    own = np.diagonal(common, axis1=1, axis2=2)
    either = own[:, :, None] + own[:, None, :] - common
    found: Floats32 = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    return found
