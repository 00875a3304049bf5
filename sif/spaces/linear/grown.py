"""Weights of item-item models with further items: what they get is a combination of known items.

They say nothing for others: no history that weights were fitted on had them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.spaces.linear.weights import Ids, ItemWeights, Scores

FAINT = 1e-3
"""Share of the strongest entry of a combination below which sparse weights leave an entry out."""


def longer(weights: ItemWeights, size: int) -> ItemWeights:
    """The weights with items behind the known ones, which neither say nor get anything.

    Args:
        weights: Of n items.
        size: At least n.
    """
    more = size - weights.n_items
    if not more:
        return replace(
            weights, dense=weights.dense.copy(),
            rest=None if weights.rest is None else weights.rest.copy(),
            offsets=None if weights.offsets is None else weights.offsets.copy(),
        )  # fmt: skip
    offsets = None if weights.offsets is None else np.append(weights.offsets, np.zeros(more, "f4"))
    scales, n = weights.scales, weights.n_items
    if weights.items is None:
        dense = np.zeros((scales * size, size), np.float32)
        for scale in range(scales):
            rows = weights.dense[scale * n : (scale + 1) * n]
            dense[scale * size : scale * size + n, :n] = rows
        return ItemWeights(dense, size, offsets=offsets)
    dense = np.zeros((len(weights.dense), size), np.float32)
    dense[:, :n] = weights.dense
    assert weights.rest is not None  # noqa: S101
    rest = weights.rest.tocoo()
    scale, item = np.divmod(rest.row, n)
    places = scale * size + item, rest.col
    shape = (scales * size, size)
    moved = sp.csr_matrix((rest.data, places), shape, dtype=np.float32)
    return ItemWeights(dense, size, weights.items, moved, offsets)


def with_columns(
    weights: ItemWeights, items: Ids, known: Ids, shares: Scores, own: Scores
) -> ItemWeights:
    """The weights where some items get what others get, in shares, and something of their own.

    Args:
        weights: Of n items; left alone.
        items: (c,) that get something; nothing says anything for them yet.
        known: (k,) items that stand for them.
        shares: float32 (k, c).
        own: float32 (k, c), what the known items say for them beside that.
    """
    found = longer(weights, weights.n_items)
    columns = weights.dense[:, known] @ shares
    further = own / np.float32(weights.scales)
    if found.items is None:
        for scale in range(weights.scales):
            columns[scale * weights.n_items + known] += further
        found.dense[:, items] = columns
    else:
        found = _sparse(found, items, known, columns, shares, further)
    if found.offsets is not None:
        found.offsets[items] = found.offsets[known] @ shares
    return found


def _strong(parts: Scores) -> sp.csr_matrix:
    """The entries of columns (k, c) that are not faint beside the strongest."""
    kept = np.abs(parts) >= FAINT * np.abs(parts).max(axis=0, initial=0.0)
    return sp.csr_matrix(np.where(kept, parts, np.float32(0)))


def _sparse(
    found: ItemWeights, items: Ids, known: Ids, columns: Scores, shares: Scores, own: Scores
) -> ItemWeights:
    """`with_columns` where some items are solved for and the others stand alone."""
    assert found.items is not None and found.rest is not None  # noqa: S101
    rest = sp.csr_matrix(found.rest[:, known] @ _strong(shares)).tocoo()
    rows, places, values = [rest.row], [items[rest.col]], [rest.data]
    solved = np.full(found.n_items, -1)
    solved[found.items] = np.arange(len(found.items))
    inside = solved[known] >= 0
    apart = _strong(own)[~inside].tocoo()
    for scale in range(found.scales):
        columns[scale * len(found.items) + solved[known[inside]]] += own[inside]
        rows.append(scale * found.n_items + known[~inside][apart.row])
        places.append(items[apart.col])
        values.append(apart.data)
    found.dense[:, items] = columns
    further: NDArray[np.float32] = np.concatenate(values).astype(np.float32)
    entries = sp.csr_matrix(
        (further, (np.concatenate(rows), np.concatenate(places))), found.rest.shape
    )
    return replace(found, rest=sp.csr_matrix(found.rest + entries))
