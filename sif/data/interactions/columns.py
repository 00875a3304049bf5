"""Columns of any library as plain arrays without missing cells, and the words for a bad cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.errors import DataError, EntryError

Int64Array = npt.NDArray[np.int64]
Column = Any
"""An array of numpy, or an extension array of pandas, which has no types to check against."""
_Extension = pd.api.extensions.ExtensionArray
INT64 = np.iinfo(np.int64)
_TOLD = 40


def column_of(values: Any, expected: str) -> Column:
    """A column as an array of numpy or pandas, of its own type; none of its cells is missing.

    Args:
        values: (n,) a sequence, or an array, series or column of numpy, pandas, Arrow, polars or
            torch.
        expected: What a cell is expected to be, for the message: "expected an id".

    Raises:
        EntryError: A cell is missing: None, NaN, NaT, pandas.NA or masked.
        DataError: No column: a table, a mapping, a single value.
    """
    array = _array(values, expected)
    missing = np.asarray(pd.isna(array), dtype=bool)
    if missing.any():
        raise EntryError(int(np.argmax(missing)), expected, "nothing")
    if isinstance(array, pd.Categorical):
        return array.remove_unused_categories()
    return array


def plain(column: Column) -> npt.NDArray[Any]:
    """A column of `column_of` as an array of numpy; of objects, where numpy has no such type."""
    return column if isinstance(column, np.ndarray) else np.asarray(column.to_numpy())


def _array(values: Any, expected: str) -> Column:
    kind = type(values).__name__
    if hasattr(values, "to_arrow"):  # polars
        values = values.to_arrow()
    if hasattr(values, "to_pandas") and hasattr(values, "type"):
        values = values.to_pandas(types_mapper=pd.ArrowDtype)  # Arrow; whole numbers stay whole
    if hasattr(values, "detach"):
        values = values.detach().cpu()  # torch
    if isinstance(values, np.ma.MaskedArray):
        masked, values = np.ma.getmaskarray(values), np.array(values, dtype=object)
        values[masked] = None
    if isinstance(values, pd.Series | pd.Index):
        values = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array
    if not isinstance(values, _Extension):
        if hasattr(values, "__array__"):
            values = np.asarray(values)
        elif isinstance(values, Iterable) and not isinstance(values, bytes | Mapping):
            values = pd.Series(list(values), dtype=object).to_numpy()
    if getattr(values, "ndim", None) != 1:
        raise DataError(f"{expected} in every cell of one column, found a {kind}")
    return values


@contextmanager
def rows_of(codes: npt.NDArray[np.integer[Any]]) -> Iterator[None]:
    """Names the first row of a bad cell that was found among the distinct cells of a column."""
    try:
        yield
    except EntryError as error:
        row = int(np.argmax(codes == error.row))
        raise EntryError(row, error.expected, error.found) from None


def distinct(values: Any) -> tuple[Int64Array, Any]:
    """Code of each value, -1 for none, and the distinct values, as `pandas.factorize` gives them.

    Unlike there, texts that differ only behind a NUL character count as two.
    """
    codes, uniques = pd.factorize(values)
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return codes, uniques
    present, cells = codes >= 0, np.asarray(values, dtype=object)
    if (np.asarray(uniques, dtype=object)[codes[present]] == cells[present]).all():
        return codes, uniques
    numbers: dict[Any, int] = {}
    codes[present] = [numbers.setdefault(value, len(numbers)) for value in cells[present].tolist()]
    return codes, np.array(list(numbers), dtype=object)


def is_text(column: Column) -> bool:
    """True for a column of texts alone, whatever its type."""
    return pd.api.types.infer_dtype(column, skipna=False) in ("string", "empty")


def told(value: Any) -> str:
    """A cell as messages quote it: short, and on one line."""
    text = _text(value)
    return repr(text) if len(text) <= _TOLD else f"{text[:_TOLD]!r}..."


def written(cell: Any) -> str:
    """The text of a cell of any type; "" for a missing one."""
    return "" if pd.api.types.is_scalar(cell) and pd.isna(cell) else _text(cell)


def _text(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python has no text for thousands of digits
        return "a number of too many digits"
