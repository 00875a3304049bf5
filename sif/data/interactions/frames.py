"""Interactions that are in memory already: data frames and user by item matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from sif.data.interactions.clean import with_dropped
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.readers import Columns, from_table
from sif.data.interactions.table_files import ArrowTable, Table, parquet_library
from sif.data.interactions.vocabulary import Vocabulary
from sif.data.reading import reading
from sif.errors import DataError, first_line

_FRAME = Path("data frame")  # of messages


@dataclass(frozen=True, eq=False)
class FrameTable(Table):
    """A data frame as a `Table`."""

    path: Path
    columns: tuple[str, ...]
    frame: pd.DataFrame
    setting: ClassVar[str] = 'settings={{"data.{}": ...}}'

    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """Implements `Table.read`."""
        return {column: self.frame.iloc[:, column].reset_index(drop=True) for column in types}


@dataclass(frozen=True)
class ArrowFrame(ArrowTable):
    """A table of Arrow as a `Table`; its columns are not copied, its texts become codes."""

    frame: Any
    KIND: ClassVar[str] = "a table of Arrow"
    setting: ClassVar[str] = FrameTable.setting

    @classmethod
    def of(cls, frame: Any) -> ArrowFrame:
        """Anything that hands out a stream of Arrow (`__arrow_c_stream__`).

        Raises:
            DataError: It is no table, or there is no pyarrow.
        """
        arrow, _ = parquet_library(_FRAME)
        with reading(_FRAME, cls.KIND):
            table = arrow.table(frame)
        return cls(_FRAME, tuple(table.schema.names), tuple(table.schema.types), table)

    @classmethod
    def _schema(cls, path: Path) -> Any:
        raise NotImplementedError

    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        empty = self.frame.schema.empty_table().to_batches()
        yield from self.frame.select(list(dict.fromkeys(names))).to_batches() or empty


def as_frame(data: Any, name: str) -> pd.DataFrame | None:
    """A table in memory as a data frame; None for anything else.

    Args:
        data: A frame of pandas, anything that hands out Arrow, or becomes a frame by `to_pandas`,
            or by the interchange protocol of data frames; a mapping of columns, or a list of rows
            that are mappings.
        name: Of the argument, for messages.

    Raises:
        DataError: A mapping of tables, columns of several lengths, or a table that cannot be read.
    """
    if isinstance(data, pd.DataFrame):
        return data
    if hasattr(data, "to_pandas"):  # before Arrow, since polars has types that pyarrow has not
        with reading(name, "a table that becomes a data frame"):
            frame = data.to_pandas()
        return frame if isinstance(frame, pd.DataFrame) else None
    if hasattr(data, "__arrow_c_stream__"):
        arrow, _ = parquet_library(Path(name))
        with reading(name, "a table of Arrow"):
            return cast(pd.DataFrame, arrow.table(data).to_pandas())
    if hasattr(data, "__dataframe__"):
        with reading(name, "a data frame"):
            return pd.api.interchange.from_dataframe(data)
    if isinstance(data, Mapping) or _is_records(data):
        return _of_python(data, name)
    return None


def _is_records(data: Any) -> bool:
    """True for rows that are mappings, as `json` reads them."""
    return isinstance(data, list | tuple) and bool(data) and all(
        isinstance(row, Mapping) for row in data
    )  # fmt: skip


def _of_python(data: Any, name: str) -> pd.DataFrame:
    """A mapping of columns, or rows that are mappings, as a data frame.

    Raises:
        DataError: A mapping of tables, as of the parts of a data set, or columns of other lengths.
    """
    if isinstance(data, Mapping):
        parts = [str(key) for key, one in data.items() if hasattr(one, "to_pandas") and
                 hasattr(one, "column_names")]  # fmt: skip
        if parts:
            raise DataError(f"{name}: expected one table, found a mapping of {', '.join(parts)}")
        data = {str(key): column for key, column in data.items()}
        lengths = {key: len(column) for key, column in data.items() if hasattr(column, "__len__")}
        if len(lengths) < len(data) or len(set(lengths.values())) != 1:
            told = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise DataError(f"{name}: expected columns of one length, found {told or 'none'}")
    try:
        return pd.DataFrame(data)
    except ValueError as error:
        raise DataError(f"{name}: expected columns, found: {first_line(error)}") from None


def read_arrow(frame: Any, columns: Columns | None = None) -> Interactions:
    """The interactions of a table of Arrow, polars, DuckDB or another library that speaks Arrow.

    Arguments and titles as in `read_frame`; rows are never Python objects.
    """
    table = ArrowFrame.of(frame)
    return _titled(
        from_table(table, columns or Columns()), table.columns,
        lambda place: table.frame.column(place).to_pandas().to_numpy(),
    )  # fmt: skip


def read_frame(frame: pd.DataFrame, columns: Columns | None = None) -> Interactions:
    """The interactions of a data frame; arguments and errors as in `read_interactions`.

    A column "title" becomes the titles of the items; of an item with several the first counts.
    """
    names = tuple(map(str, frame.columns))
    data = from_table(FrameTable(_FRAME, names, frame), columns or Columns())
    return _titled(data, names, lambda place: frame.iloc[:, place].to_numpy())


def _titled(
    data: Interactions, names: Sequence[str], column: Callable[[int], npt.NDArray[Any]]
) -> Interactions:
    """Interactions with the titles of a column of that name."""
    place = next((i for i, name in enumerate(names) if name.lower() == "title"), None)
    if place is None:
        return data
    items = data.vocabularies[1].ids[data.ids[:, 1]]
    titled = pd.DataFrame({"item": items, "title": column(place)}).dropna()
    first = titled.drop_duplicates("item")
    return replace(data, titles=dict(zip(first["item"], first["title"].astype(str), strict=True)))


def matrix_values(matrix: Any, objective: str, dtype: Any = np.float32) -> sparse.coo_array:
    """The values of a user by item matrix that are interactions; repeated ones add up.

    Args:
        matrix: (n_users, n_items), any sparse format.
        objective: "rating": all but zeros; "ranking": those above zero, since a confidence below it
            is a dislike.
        dtype: Of the values.

    Raises:
        DataError: A value is not finite.
    """
    # Rows in order without repeats are not sorted again, nor are the caller's arrays changed below.
    in_order = getattr(matrix, "format", None) == "csr" and matrix.has_canonical_format
    values = sparse.coo_array(matrix, dtype=dtype, copy=not in_order)
    values.has_canonical_format = in_order
    values.sum_duplicates()
    finite = np.isfinite(values.data)
    if not finite.all():
        raise DataError(f"matrix: expected finite values, found {values.data[~finite][0]}")
    if objective == "ranking":
        values.data = np.maximum(values.data, 0)
    values.eliminate_zeros()
    return values


def read_matrix(
    matrix: sparse.sparray | sparse.spmatrix, objective: str = "rating"
) -> Interactions:
    """The interactions of a user by item matrix, with its values as ratings; see `matrix_values`.

    The ids are the numbers of rows and columns. Values below zero that are no interactions are
    dropped pairs: the user has the item.

    Raises:
        DataError: No value counts, or one is not finite.
    """
    coo = matrix_values(matrix, "rating")
    is_kept = (coo.data > 0) | (objective != "ranking")
    if not is_kept.any():
        expected = "a value above zero" if objective == "ranking" else "a value other than zero"
        raise DataError(f"matrix: expected {expected}, found none")
    ids = np.stack([c.astype(np.int64) for c in coo.coords], axis=1)
    names = tuple(Vocabulary(np.arange(n)) for n in coo.shape)
    rows = Interactions(ids, ("user", "item"), names, coo.data)
    return with_dropped(rows.select(is_kept), rows.select(~is_kept))
