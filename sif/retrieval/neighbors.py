"""Nearest rows of a table by cosine, found by the engine.

A cosine is a product of unit vectors, so neighbors use the engine's chunks, threads and memory.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from sif.errors import ShapeError
from sif.retrieval.catalogue import Catalogue
from sif.retrieval.engine import MEMORY, ItemEngine, Top, UserVectors
from sif.spaces.interaction.embeddings import Tables, TableShape
from sif.spaces.interaction.encoders import Vectors
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.operations import OPERATIONS
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES
from sif.utils.compact_rows import Precision

Mask = NDArray[np.bool_]


class Neighbors:
    """The rows of a table with the most similar directions.

    Args:
        vectors: (n, d).
        untrained: bool (n,), rows whose vectors are meaningless. They are never neighbors and have
            none, and so are rows of zeros, which point nowhere.
        memory: Bytes of cosines held at once; at least one row's are.
        precision: Of the directions that are kept.
    """

    @torch.no_grad()
    def __init__(
        self, vectors: Tensor, untrained: Mask | None = None, memory: int = MEMORY,
        precision: Precision = "float32",
    ) -> None:  # fmt: skip
        unit = F.normalize(vectors.detach(), dim=1)
        self._pointing = (unit != 0).any(dim=1).cpu().numpy()
        if untrained is not None:
            self._pointing &= ~untrained
        self._catalogue = Catalogue(_product(unit), precision)
        self._engine = ItemEngine(self._catalogue, unit.shape[1], memory)

    def top(
        self, rows: NDArray[np.int64], k: int, itself: bool = False, allowed: Mask | None = None
    ) -> Top:
        """The nearest k rows of some rows, with cosines.

        Args:
            rows: (b,) numbers.
            k: Neighbors of each; may exceed the table.
            itself: Whether a row is among its own neighbors.
            allowed: bool (n,), rows to choose among; None: all.

        Returns:
            (b, k); -1 with minus infinity where nothing is left.

        Raises:
            ShapeError: A row that the table does not have.
            ScoreError: A cosine that is not a number.
        """
        n = self._engine.n_items
        for row in rows[(rows < 0) | (rows >= n)][:1]:
            raise ShapeError(f"rows: expected rows from 0 to {n - 1}, found {row}")
        users = UserVectors(self._catalogue.taken(torch.from_numpy(rows)))
        own = None
        if not itself:
            edges = np.arange(len(rows) + 1)
            shape = (len(rows), len(self._pointing))
            own = sparse.csr_array((np.ones(len(rows), np.bool_), rows, edges), shape=shape)
        among = self._pointing if allowed is None else self._pointing & allowed
        best = self._engine.top(users, k, excluded=own, allowed=among)
        nowhere = ~self._pointing[rows]
        best.items[nowhere], best.scores[nowhere] = -1, -np.inf
        return best


def _product(unit: Tensor) -> Interaction:
    """The function whose scores are the products of a table's rows."""
    tables = Tables(TableShape((0, 0), unit.shape[1]), torch.Generator()).to(unit.device)
    vectors, transforms = [Vectors(unit)] * 2, [PRIMITIVES[IDENTITY]] * 2
    readout = torch.ones_like(unit[0]) if len(unit) else unit.new_ones(unit.shape[1])
    return Interaction(tables, transforms, OPERATIONS["multiply"], readout, vectors)
