"""Columns of a feature table: their kinds, and how each is encoded as numbers.

- category: one value of a few; one number for each.
- tags: any number of values; one number for each.
- number: two neighbors of at most eight quantiles share a one, by how near they are, so that no
  scale matters and no value is far from all others.
- text: a bag of words, each hashed into one of 2^16 numbers.
- vector: numbers as given, divided by their length.

A missing value, and one that was not there when the columns were made, is a row of zeros.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csr_array as Rows

from sif.data.interactions.columns import told
from sif.data.interactions.ratings import numbers_of
from sif.errors import DataError, EntryError

FeatureKind = Literal["category", "tags", "number", "text", "vector"]
KINDS: tuple[FeatureKind, ...] = get_args(FeatureKind)
SEPARATOR = "|"
"""Between the tags of one cell, as in MovieLens."""
KNOTS = 8
"""Quantiles that the values of a number lie between."""
WORDS = 1 << 16
"""Numbers that words are hashed into."""
_MISSING = ("", "nan", "null")
_WORD = re.compile(r"\w+")
_FEW_WORDS = 4.0
"""Words of a cell, in the mean, above which mostly distinct cells are text."""
_MOSTLY = 0.9
"""Share of a column's cells that are numbers, above which the others are faults."""
_CODES = 2
"""Distinct whole numbers up to which a column of numbers is a category: flags."""

Cells = NDArray[np.object_]


@dataclass(frozen=True)
class Column:
    """One column of a feature table.

    Attributes:
        name: As in the table.
        kind: How its values are encoded.
        start, stop: Its numbers among those of all columns.
        labels: Values of a category or of tags, by number; otherwise empty.
        knots: Quantiles of a number, ascending; otherwise empty.
    """

    name: str
    kind: FeatureKind
    start: int
    stop: int
    labels: tuple[str, ...] = ()
    knots: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers it is."""
        return self.stop - self.start


@dataclass(eq=False)
class Fault(Exception):
    """A cell that does not fit its column."""

    row: int
    expected: str
    found: str


def is_missing(cell: Any) -> bool:
    """True for None, NaN, NaT, an empty text or one of these, and an empty list."""
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    if isinstance(cell, list | tuple | np.ndarray | set | frozenset):
        return len(cell) == 0
    return bool(pd.isna(cell))


def kind_of(cells: Cells) -> FeatureKind:
    """The kind of a column by its cells (n,), missing ones left out."""
    present = [cell for cell in cells if not is_missing(cell)]
    if any(isinstance(cell, list | tuple | np.ndarray | set | frozenset) for cell in present):
        return "vector" if all(_is_vector(cell) for cell in present) else "tags"
    if present and all(isinstance(cell, bool | np.bool_) for cell in present):
        return "category"
    numeric = [_is_number(cell) for cell in present]
    if present and np.mean(numeric) > _MOSTLY:
        whole = {float(cell) for cell, fits in zip(present, numeric, strict=True) if fits}
        flags = all(numeric) and len(whole) <= _CODES and all(v.is_integer() for v in whole)
        return "category" if flags else "number"
    texts = [str(cell) for cell in present]
    if any(SEPARATOR in text for text in texts):
        return "tags"
    words = float(np.mean([len(_WORD.findall(text)) for text in texts])) if texts else 0.0
    return "text" if words > _FEW_WORDS and len(set(texts)) > len(texts) / 2 else "category"


def _is_vector(cell: Any) -> bool:
    values = np.asarray(cell) if isinstance(cell, list | tuple | np.ndarray) else np.zeros(0, "U1")
    return values.ndim == 1 and values.dtype.kind == "f"


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


# One pair of functions for each kind: what a column is, and the rows of its cells.


def _labels_of(cells: Iterable[Any], tokens: Callable[[Any], list[str]]) -> tuple[str, ...]:
    return tuple(sorted(_distinct(cells, tokens)))


def _distinct(cells: Iterable[Any], tokens: Callable[[Any], list[str]]) -> set[str]:
    return {token for cell in cells if not is_missing(cell) for token in tokens(cell)}


def _category(cell: Any) -> list[str]:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # a column of whole numbers with holes
    return [str(cell).strip()]


def _tags(cell: Any) -> list[str]:
    values = cell.split(SEPARATOR) if isinstance(cell, str) else cell
    if not isinstance(values, list | tuple | np.ndarray | set | frozenset):
        values = [values]
    found = [str(value).strip() for value in values if not is_missing(value)]
    return list(dict.fromkeys(filter(None, found)))


def _knots_of(cells: Cells) -> tuple[float, ...]:
    values = numbers(cells)
    values = values[~np.isnan(values)]
    if not len(values):
        return ()
    return tuple(np.unique(np.quantile(values, np.linspace(0, 1, KNOTS))).tolist())


def numbers(cells: Cells) -> NDArray[np.float64]:
    """Values (n,), NaN where one is missing.

    Raises:
        Fault: A cell is no finite number.
    """
    found = np.full(len(cells), np.nan)
    places = np.array([n for n, cell in enumerate(cells) if not is_missing(cell)], dtype=np.int64)
    if not len(places):
        return found
    try:
        found[places] = numbers_of(cells[places])
    except EntryError as error:
        raise Fault(int(places[error.row]), "a number", error.found) from None
    infinite = np.flatnonzero(np.isinf(found))
    if len(infinite):
        raise Fault(int(infinite[0]), "a finite number", told(cells[infinite[0]]))
    return found


def _label_rows(column: Column, cells: Cells, tokens: Callable[[Any], list[str]]) -> Rows:
    number = {label: n for n, label in enumerate(column.labels)}
    rows, places = [], []
    for row, cell in enumerate(cells):
        if not is_missing(cell):
            known = [number[token] for token in tokens(cell) if token in number]
            rows += [row] * len(known)
            places += known
    return _matrix(rows, places, np.ones(len(rows)), len(cells), column.width)


def _number_rows(column: Column, cells: Cells) -> Rows:
    values, knots = numbers(cells), np.array(column.knots)
    rows = np.flatnonzero(~np.isnan(values))
    if len(knots) < 2:
        return _matrix(rows, np.zeros(len(rows)), np.ones(len(rows)), len(cells), column.width)
    values = values[rows].clip(knots[0], knots[-1])
    low = np.searchsorted(knots, values, side="right").clip(1, len(knots) - 1) - 1
    share = (values - knots[low]) / (knots[low + 1] - knots[low])
    return _matrix(
        np.tile(rows, 2), np.concatenate([low, low + 1]), np.concatenate([1 - share, share]),
        len(cells), column.width,
    )  # fmt: skip


def _text_rows(column: Column, cells: Cells) -> Rows:
    rows, places = [], []
    for row, cell in enumerate(cells):
        if not is_missing(cell):
            words = {word.encode() for word in _WORD.findall(str(cell).lower())}
            found = {zlib.crc32(word) % column.width for word in words}
            rows += [row] * len(found)
            places += sorted(found)
    return _matrix(rows, places, np.ones(len(rows)), len(cells), column.width)


def _vector_rows(column: Column, cells: Cells) -> Rows:
    found = np.zeros((len(cells), column.width))
    for row, cell in enumerate(cells):
        if is_missing(cell):
            continue
        try:
            values = np.asarray(cell, dtype=np.float64)
        except (TypeError, ValueError):
            raise Fault(row, f"{column.width} numbers", told(cell)) from None
        if values.shape != (column.width,):
            raise Fault(row, f"{column.width} numbers", f"shape {values.shape}")
        if not np.isfinite(values).all():
            raise Fault(row, "finite numbers", told(values[~np.isfinite(values)][0]))
        scaled = values / max(float(np.abs(values).max(initial=0.0)), 1e-30)  # squares stay finite
        found[row] = scaled / max(float(np.linalg.norm(scaled)), 1e-30)
    return Rows(found.astype(np.float32))


_TOKENS: Mapping[FeatureKind, Callable[[Any], list[str]]] = {"category": _category, "tags": _tags}


def tokens_of(kind: FeatureKind, cell: Any) -> list[str]:
    """The labels of a cell of a category or of tags that is not missing."""
    return _TOKENS[kind](cell)


def unseen(column: Column, cells: Cells) -> list[str]:
    """The labels of cells (n,) that a column does not have, in their order; () of other kinds."""
    if column.kind not in _TOKENS:
        return []
    return sorted(_distinct(cells, _TOKENS[column.kind]).difference(column.labels))


def cells_of(values: Iterable[Any]) -> Cells:
    """Values as cells (n,), lists among them as they are."""
    given = list(values)
    cells = np.empty(len(given), dtype=object)
    cells[:] = given
    return cells


def column_cells(column: pd.Series) -> Cells:
    """The cells (n,) of a column of a table; times and durations as numbers of seconds.

    Raises:
        Fault: A cell is neither a single value nor a list of them.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        zone = None if column.dt.tz is None else "UTC"
        column = column - pd.Timestamp(0, tz=zone)
    if pd.api.types.is_timedelta64_dtype(column):
        column = column.dt.total_seconds()
    cells = cells_of(column)
    for row, cell in enumerate(cells):
        if isinstance(cell, _SINGLE) or cell is None:
            continue
        if isinstance(cell, _FOREIGN) or _is_nested(cell):
            raise Fault(row, "a text, a number or a list of these", told(cell))
    return cells


_SINGLE = (str, float, int, np.number)
_LISTS = (list, tuple, np.ndarray, set, frozenset)
_FOREIGN = (Mapping, bytes, complex, np.complexfloating)


def _is_nested(cell: Any) -> bool:
    """True for a list of other lists."""
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        return cell.ndim != 1 or cell.dtype.kind in "cSV"
    return isinstance(cell, _LISTS) and any(
        not isinstance(one, _SINGLE) and isinstance(one, (*_LISTS, *_FOREIGN)) for one in cell
    )


def _matrix(rows: Any, columns: Any, values: Any, n: int, width: int) -> Rows:
    entries = np.asarray(values, np.float32)
    places = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    found = Rows((entries, places), shape=(n, width))
    found.eliminate_zeros()
    return found


def _of_category(cells: Cells) -> Mapping[str, Any]:
    labels = _labels_of(cells, _category)
    return {"labels": labels, "width": len(labels)}


def _of_tags(cells: Cells) -> Mapping[str, Any]:
    labels = _labels_of(cells, _tags)
    return {"labels": labels, "width": len(labels)}


def _of_number(cells: Cells) -> Mapping[str, Any]:
    knots = _knots_of(cells)
    return {"knots": knots, "width": len(knots)}


def _of_text(cells: Cells) -> Mapping[str, Any]:
    return {"width": WORDS}


def _of_vector(cells: Cells) -> Mapping[str, Any]:
    first = next((cell for cell in cells if not is_missing(cell)), ())
    return {"width": len(first) if hasattr(first, "__len__") else 1}


_MADE: Mapping[FeatureKind, Callable[[Cells], Mapping[str, Any]]] = {
    "category": _of_category, "tags": _of_tags, "number": _of_number, "text": _of_text,
    "vector": _of_vector,
}  # fmt: skip
_ROWS: Mapping[FeatureKind, Callable[[Column, Cells], Rows]] = {
    "category": lambda column, cells: _label_rows(column, cells, _category),
    "tags": lambda column, cells: _label_rows(column, cells, _tags),
    "number": _number_rows, "text": _text_rows, "vector": _vector_rows,
}  # fmt: skip


def column_of(name: str, kind: FeatureKind, cells: Cells, start: int) -> Column:
    """A column whose values are those of some cells (n,).

    Raises:
        Fault: A cell does not fit the kind.
    """
    made = dict(_MADE[kind](cells))
    return Column(name, kind, start, start + int(made.pop("width")), **made)


def rows_of(column: Column, cells: Cells) -> Rows:
    """The numbers of cells (n,): CSR float32 (n, column.width).

    Raises:
        Fault: A cell does not fit the kind.
    """
    return _ROWS[column.kind](column, cells)


def stacked(parts: Sequence[Rows], n: int) -> Rows:
    """The numbers of all columns side by side: CSR float32 (n, m)."""
    if not parts:
        return Rows((n, 0), dtype=np.float32)
    return Rows(sparse.hstack(parts, format="csr", dtype=np.float32))


def check_kinds(kinds: Mapping[str, str], where: str) -> None:
    """Refuses kinds that there are not.

    Raises:
        DataError: One line.
    """
    for name, kind in kinds.items():
        if kind not in (*KINDS, "ignore"):
            raise DataError(
                f"{where}: {name}: expected one of {', '.join(KINDS)} or ignore, found {kind!r}"
            )
