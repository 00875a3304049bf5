"""Interactions that are in memory already: data frames and user by item matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from sif.data.interactions import Interactions
from sif.data.readers import Columns, from_table
from sif.data.vocabulary import Vocabulary
from sif.errors import DataError


@dataclass(frozen=True, eq=False)
class FrameTable:
    """A data frame (`sif.data.tables.Table`); rows are counted from 1 in messages."""

    frame: pd.DataFrame
    path: Path = Path("data frame")

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Table.columns`."""
        return tuple(str(name) for name in self.frame.columns)

    @property
    def header_place(self) -> str:
        """The frame."""
        return f"{self.path}"

    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """See `Table.read`; the frame's own types win."""
        return {column: self.frame.iloc[:, column].reset_index(drop=True) for column in types}

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """See `Table.locate`."""
        value = self.frame.iloc[row, column]
        return f"{self.path} row {row + 1}", "" if pd.isna(value) else str(value)


def read_frame(frame: pd.DataFrame, columns: Columns | None = None) -> Interactions:
    """The interactions of a data frame; arguments and errors as of `read_interactions`.

    A column "title" becomes the titles of the items; of an item with several the first counts.
    """
    found = from_table(FrameTable(frame), columns or Columns())
    place = next((i for i, c in enumerate(frame.columns) if str(c).lower() == "title"), None)
    if place is None:
        return found
    names = found.vocabularies[1].ids[found.ids[:, 1]]
    titled = pd.DataFrame({"item": names, "title": frame.iloc[:, place].to_numpy()}).dropna()
    first = titled.drop_duplicates("item")
    return replace(found, titles=dict(zip(first["item"], first["title"].astype(str), strict=True)))


def read_matrix(matrix: sparse.sparray | sparse.spmatrix) -> Interactions:
    """The interactions of a user by item matrix; ids are the numbers of rows and columns.

    Args:
        matrix: (n_users, n_items), any sparse format; stored values are ratings, a stored zero is
            no interaction.

    Raises:
        DataError: Nothing is stored, or a value is not finite.
    """
    coo = sparse.coo_array(matrix)
    coo.sum_duplicates()
    coo.eliminate_zeros()
    if coo.nnz == 0:
        raise DataError("matrix: expected interactions, found no stored value")
    rating = coo.data.astype(np.float32)
    if not np.isfinite(rating).all():
        raise DataError(f"matrix: expected finite values, found {rating[~np.isfinite(rating)][0]}")
    ids = np.stack([c.astype(np.int64) for c in coo.coords], axis=1)
    names = tuple(Vocabulary(np.arange(n)) for n in coo.shape)
    return Interactions(ids, ("user", "item"), names, rating)
