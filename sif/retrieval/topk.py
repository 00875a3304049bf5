"""The best k columns of every row, exactly, with ties to the lowest column.

Two stages: the k blocks of columns with the largest maxima hold the k best columns, and k blocks
are few. Computing the maxima of a row costs several times less than selecting from all of it. Keys
break ties: the bits of a score above those of its place.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.errors import ScoreError
from sif.retrieval.kernels import selection

LARGEST_BLOCK = 64
_PLACES = (1 << 32) - 1


def block_size(columns: int, k: int) -> int:
    """Columns per block, a power of two near sqrt(columns / k): then both stages are alike."""
    block = 1
    while block < LARGEST_BLOCK and 2 * block * block * k <= columns:
        block *= 2
    return block


def top_k(scores: Tensor, k: int, block: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """The best k columns of each row by (score, lowest column).

    Args:
        scores: (b, n) float32, contiguous, n a multiple of the block.
        k: At most n.
        block: Columns per block, see `block_size`.
        first: The first row's number in messages.

    Returns:
        Scores (b, k), best first, and their columns int64 (b, k).

    Raises:
        ScoreError: A score is not a number.
    """
    b, n = scores.shape
    blocks = n // block
    device = scores.device
    if block == 1 or k >= blocks:
        _refuse_nan(scores, first)
        return best_of(scores, torch.arange(n, device=device).expand(b, n), k)
    parts = scores.view(b, blocks, block)
    maxima = parts.amax(dim=2)
    _refuse_nan(maxima, first)
    # With the leftmost first among equals, every chosen block has a column ahead of all columns
    # of an unchosen one.
    chosen = best_of(maxima, torch.arange(blocks, device=device).expand(b, blocks), k)[1]
    flat = (chosen + torch.arange(b, device=device)[:, None] * blocks).flatten()
    candidates = parts.reshape(b * blocks, block).index_select(0, flat).view(b, k * block)
    columns = chosen[:, :, None] * block + torch.arange(block, device=device)
    return best_of(candidates, columns.view(b, k * block), k)


def best_columns(
    scores: NDArray[np.float32], k: int, hidden: sp.csr_matrix
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best k columns of each row by (score, lowest column), of those that are not hidden.

    Args:
        scores: (b, n), contiguous; those of hidden columns are overwritten.
        k: At most n.
        hidden: CSR (b, n), whose entries say which columns are left out.

    Returns:
        Scores (b, k), best first, and their columns (b, k); minus infinity and -1 where too few
        are left.

    Raises:
        ScoreError: A score is not a number.
    """
    edges, columns = hidden.indptr.astype(np.int64), hidden.indices.astype(np.int64)
    if (select := selection()) is not None:
        best = np.full((len(scores), k), -np.inf, dtype=np.float32)
        found = np.full((len(scores), k), -1, dtype=np.int64)
        nan_row = select(scores, 0, scores.shape[1], edges, columns, best, found)
        if nan_row >= 0:
            raise ScoreError(nan_row)
        return best, found
    scores[np.repeat(np.arange(len(scores)), np.diff(edges)), columns] = -np.inf
    values, places = top_k(torch.from_numpy(scores), k, block=1)
    places[values.isneginf()] = -1
    return values.numpy(), places.numpy()


def best_of(scores: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best k of scores (b, n), ties to the lowest of their places (b, n): scores and places."""
    n = scores.shape[1]
    values, at = scores.topk(min(k + 1, n))
    if (values[:, 1:] == values[:, :-1]).any():  # the order among equals is arbitrary
        return _decoded(_keys(scores, places).topk(k).values)
    return values[:, :k], places.gather(1, at[:, :k])


def _refuse_nan(maxima: Tensor, first: int) -> None:
    # The sum is NaN where a maximum is, and also where infinities of both signs meet.
    if not maxima.sum().isnan():
        return
    has_nan = maxima.isnan().any(dim=1)
    if has_nan.any():
        row = int(has_nan.nonzero()[0])
        raise ScoreError(first + row)


def _keys(scores: Tensor, places: Tensor) -> Tensor:
    """int64 keys in the order of (score, lowest place first); no two of a row are equal."""
    bits = (scores + 0.0).view(torch.int32)  # -0.0 + 0.0 is 0.0, which it equals
    # Floats are ordered as their bits, negative ones the other way round.
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (ordered << 32) | (_PLACES - places)


def _decoded(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and places of keys."""
    ordered = (keys >> 32).int()
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return bits.view(torch.float32), _PLACES - (keys & _PLACES)
