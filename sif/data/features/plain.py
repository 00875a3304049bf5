"""Features as plain values, for files of other programs, and long tables of them.

A long table has a row for each value: columns for the id, `FEATURE` and `VALUE`. A vector has a
name with a number in brackets for each of its values, in long tables and in CSV: "v[0]", "v[1]".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.data.features.columns import (
    Cells,
    FeatureKind,
    cells_of,
    is_missing,
    numbers,
    tokens_of,
)
from sif.errors import DataError

FEATURE, VALUE, WEIGHT = "feature", "value", "weight"
"""Columns of a long table beside the id, as RecTools names them; the last one may be missing."""
_MOST = 20_000_000
"""Cells of a table that is made of a long one."""
_PART = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True, eq=False)
class PlainColumn:
    """One column of features.

    Attributes:
        name: As in the table.
        kind: Of its values.
        cells: (n,) None where a value is missing, else a text of a category and a text, a float of
            a number, a list of texts of tags, and a list of floats of a vector.
    """

    name: str
    kind: FeatureKind
    cells: Cells


@dataclass(frozen=True, eq=False)
class PlainFeatures:
    """A table of features.

    Attributes:
        role: "item" or "user".
        ids: (n,) of its rows.
        columns: Of the table, in its order.
    """

    role: str
    ids: NDArray[np.str_]
    columns: tuple[PlainColumn, ...]

    def frame(self, id_column: str) -> pd.DataFrame:
        """A row for each id; numbers are floats, everything else objects."""
        data: dict[str, Any] = {id_column: self.ids.astype(object)}
        for column in self.columns:
            cells: Any = column.cells
            data[column.name] = cells.astype(np.float64) if column.kind == "number" else cells
        return pd.DataFrame(data)

    def long(self) -> pd.DataFrame:
        """A row for each value that is there: "id", "feature" and "value", all of them texts."""
        rows = [
            (identity, name, value)
            for column in self.columns
            for identity, cell in zip(self.ids.tolist(), column.cells, strict=True)
            for name, value in _values(column, cell)
        ]
        return pd.DataFrame(rows, columns=["id", FEATURE, VALUE], dtype=object)

    def of_categories(self) -> list[str]:
        """Names of the features whose values are words in a long table, and not numbers."""
        return [one.name for one in self.columns if one.kind in ("category", "tags", "text")]


def _values(column: PlainColumn, cell: Any) -> list[tuple[str, str]]:
    """Names and values of a cell in a long table."""
    if cell is None:
        return []
    if column.kind == "vector":
        return [(f"{column.name}[{n}]", number_text(one)) for n, one in enumerate(cell)]
    if column.kind == "number":
        return [(column.name, number_text(cell))]
    return [(column.name, one) for one in (cell if column.kind == "tags" else [cell])]


def number_text(value: float) -> str:
    """A number as a text that is read back as the same number."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(value)


def plain_cells(kind: FeatureKind, cells: Cells) -> Cells:
    """The plain values (n,) of cells that fit a kind, see `PlainColumn`."""
    found: list[Any]
    if kind == "number":
        found = [None if np.isnan(value) else float(value) for value in numbers(cells)]
    elif kind == "vector":
        found = [None if is_missing(cell) else [float(v) for v in cell] for cell in cells]
    elif kind == "text":
        found = [None if is_missing(cell) else str(cell) for cell in cells]
    else:
        lists = [[] if is_missing(cell) else tokens_of(kind, cell) for cell in cells]
        found = [(one if kind == "tags" else one[0]) if one else None for one in lists]
    return cells_of(found)


def is_long(names: Sequence[str], place: int) -> bool:
    """True for the columns of a long table whose ids stand at a place."""
    others = [name for n, name in enumerate(names) if n != place]
    return len(set(others)) == len(others) and {FEATURE, VALUE} <= set(others) <= {
        FEATURE,
        VALUE,
        WEIGHT,
    }


def wide(frame: pd.DataFrame, ids: NDArray[np.str_], where: str) -> tuple[pd.DataFrame, Any]:
    """A long table as one with a row for each id, and these ids in the order of their first rows.

    A feature with several values for one id becomes lists, as tags.

    Args:
        frame: The features, without the ids.
        ids: (n,) of its rows.
        where: Begins messages.

    Raises:
        DataError: A row without a name of a feature, or with a weight other than 1; or too many
            features.
    """
    if WEIGHT in frame.columns:
        weights = pd.to_numeric(frame[WEIGHT], errors="coerce").to_numpy(np.float64)
        other = np.flatnonzero(weights != 1)
        if len(other):
            row = int(other[0])
            raise DataError(
                f"{where} row {row + 1}: {WEIGHT}: expected 1, since weights of features are not "
                f"read, found {frame[WEIGHT].iloc[row]!r}"
            )
    features, values = cells_of(frame[FEATURE].tolist()), cells_of(frame[VALUE].tolist())
    unnamed = [row for row, name in enumerate(features) if is_missing(name)]
    if unnamed:
        raise DataError(f"{where} row {unnamed[0] + 1}: {FEATURE}: expected a name, found nothing")
    rows, known = pd.factorize(ids)
    names = list(dict.fromkeys(map(str, features)))
    if len(names) * len(known) > _MOST:
        raise DataError(
            f"{where}: expected at most {_MOST:,} features times ids, found {len(names):,} "
            f"features of {len(known):,} ids"
        )
    columns: dict[str, list[list[Any]]] = {name: [[] for _ in known] for name in names}
    for row, feature, value in zip(rows.tolist(), features, values, strict=True):
        if not is_missing(value):
            columns[str(feature)][row].append(value)
    data = {name: _cells(lists) for name, lists in columns.items()}
    return pd.DataFrame(data, columns=list(data)), known


def _cells(lists: list[list[Any]]) -> Cells:
    if any(len(one) > 1 for one in lists):
        return cells_of(lists)
    return cells_of([one[0] if one else None for one in lists])


def joined_vectors(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns v[0], v[1] and so on are one column v of lists.

    They are if every row has a number in each of them, or in none.
    """
    parts: dict[str, dict[int, int]] = {}
    for place, name in enumerate(map(str, frame.columns)):
        found = _PART.fullmatch(name)
        if found:
            parts.setdefault(found[1], {})[int(found[2])] = place
    names = set(map(str, frame.columns))
    gone, made = set[int](), dict[int, pd.Series]()
    for name, places in parts.items():
        if len(places) < 2 or set(places) != set(range(len(places))) or name in names:
            continue
        some = [frame.iloc[:, places[n]] for n in range(len(places))]
        values = np.stack([_floats(column) for column in some], axis=1)
        is_there = ~np.isnan(values)
        if not is_there.any() or (is_there.any(axis=1) != is_there.all(axis=1)).any():
            continue
        lists = [
            row.tolist() if there else None
            for row, there in zip(values, is_there[:, 0], strict=True)
        ]
        gone |= set(places.values())
        made[places[0]] = pd.Series(cells_of(lists), index=frame.index, name=name)
    kept = [
        made.get(n, frame.iloc[:, n]) for n in range(frame.shape[1]) if n in made or n not in gone
    ]
    return pd.concat(kept, axis=1) if made else frame


def _floats(column: pd.Series) -> NDArray[np.float64]:
    found: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    return found


def split_vectors(table: PlainFeatures) -> Mapping[str, Cells]:
    """Names and cells of columns of single values: a vector becomes one for each of its values."""
    found: dict[str, Cells] = {}
    for column in table.columns:
        if column.kind != "vector":
            found[column.name] = column.cells
            continue
        width = len(next(cell for cell in column.cells if cell is not None))
        for n in range(width):
            cells = [None if cell is None else cell[n] for cell in column.cells]
            found[f"{column.name}[{n}]"] = cells_of(cells)
    return found
