"""Interaction files to `Interactions`: CSV, TSV, any separator, Parquet, RecBole `.inter`, u.data.

The usual column names are recognized; others are named through `Columns`. Every value that cannot
be used is refused with its file, line and column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.config.cf import DataConfig
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.table_files import HEADERLESS, Table, open_table
from sif.data.interactions.text_records import is_number
from sif.data.interactions.vocabulary import Int64Array, Vocabulary, distinct, unusable
from sif.errors import DataError

# Names as compared: lower case, without spaces, "_", "-" and a RecBole type (":token"). First wins.
RECOGNIZED: dict[str, tuple[str, ...]] = {
    "user": ("user", "userid", "uid", "users", "reviewerid", "customerid", "visitorid", "u"),
    "item": (
        "item", "itemid", "iid", "items", "movieid", "movie", "product", "productid", "asin",
        "parentasin", "bookid", "isbn", "trackid", "songid", "artistid", "businessid", "newsid",
        "i",
    ),
    "rating": ("rating", "ratings", "score", "stars", "star", "overall", "bookrating", "r"),
    "timestamp": (
        "timestamp", "time", "ts", "unixtime", "unixreviewtime", "unixtimestamp", "datetime",
        "date", "t",
    ),
}  # fmt: skip
_TOLD = 12  # columns listed in a message
_ISO = {"format": "ISO8601"}
_INT64_END = 2.0**63


@dataclass(frozen=True)
class Columns:
    """The roles of columns.

    Attributes:
        user: Name of the user column; None recognizes the usual names.
        item: Name of the item column; None as above.
        rating: Name of the rating column; None as above, "" reads none.
        timestamp: Name of the time column; None as above, "" reads none.
        context: Further fields to read as ids.
        separator: Between columns of a text file; None recognizes it.
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    context: tuple[str, ...] = ()
    separator: str | None = None

    @classmethod
    def of(cls, settings: DataConfig) -> Columns:
        """The columns that settings name."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(cls)})

    def find(self, role: str, names: Sequence[str]) -> int | None:
        """Position of the column of a role, by its given name, else by the usual ones."""
        given, typeless = getattr(self, role), _typeless(names)
        for known in (list(names), typeless):
            if given in known:
                return known.index(given)
        plain = _plain(typeless)
        return next((plain.index(usual) for usual in RECOGNIZED[role] if usual in plain), None)

    def is_header(self, first: Sequence[str], second: Sequence[str]) -> bool:
        """True if the first record of a text names columns; the second may be empty.

        It does where a name is known or no cell is a number, and also where its numbers stand
        elsewhere than those of the second record.
        """
        cells = [cell.strip() for cell in first]
        given = {self.user, self.item, self.rating, self.timestamp, *self.context} - {None, ""}
        usual = {name for names in RECOGNIZED.values() for name in names}
        if given & {*cells, *_typeless(cells)} or usual.intersection(_plain(_typeless(cells))):
            return True
        numbers = [is_number(cell) for cell in cells]
        alike = numbers == [is_number(cell) for cell in second]
        return not all(numbers) and not (any(numbers) and alike)


def _typeless(names: Sequence[str]) -> list[str]:
    """Names without the types of RecBole, such as ":token"."""
    return [name.split(":")[0] for name in names]


def _plain(typeless: Sequence[str]) -> list[str]:
    """Names as those of `RECOGNIZED` are written."""
    return [re.sub(r"[\s_\-]", "", name).lower() for name in typeless]


def read_interactions(path: str | PathLike[str], columns: Columns | None = None) -> Interactions:
    """Read one interaction file.

    Args:
        path: A text file (any separator, with header or in u.data order), `.inter`, Parquet or
            Feather; texts also packed, see `sif.data.interactions.file_kinds.open_bytes`.
        columns: Roles of columns; by default the usual names are recognized.

    Returns:
        Its rows in file order; ids are the texts of the file, times are seconds since 1970 (dates
        in ISO form are converted, fractions of a second dropped).

    Raises:
        DataError: The file is missing, empty, lacks a column, or holds a value that cannot be used.
    """
    columns = columns or Columns()
    return from_table(open_table(Path(path), columns.is_header, columns.separator), columns)


def from_table(table: Table, columns: Columns) -> Interactions:
    """The interactions of a table; errors as in `read_interactions`."""
    roles = _assign(table, columns)
    fields = ("user", "item", *columns.context)
    cells = _read(table, roles, fields)
    if len(cells[roles["user"]]) == 0:
        raise DataError(f"{table.path}: expected interactions, found no rows")
    numbered = [_numbered(table, cells, roles[name], name) for name in fields]
    return Interactions(
        ids=np.stack([codes for _, codes in numbered], axis=1),
        fields=fields,
        vocabularies=tuple(vocabulary for vocabulary, _ in numbered),
        rating=_ratings(table, cells, roles["rating"]) if "rating" in roles else None,
        timestamp=_timestamps(table, cells, roles["timestamp"]) if "timestamp" in roles else None,
    )


def _assign(table: Table, columns: Columns) -> dict[str, int]:
    """Position of the column of every role and context field."""
    typeless = _typeless(table.columns)
    plain = _plain(typeless)
    roles: dict[str, int] = {}
    for role in HEADERLESS:
        header: str | None = getattr(columns, role)
        if header:
            roles[role] = _position(table, typeless, f"data.{role}", header)
        elif header is None:
            usual = [plain.index(name) for name in RECOGNIZED[role] if name in plain]
            usual = [position for position in usual if position not in roles.values()]
            if usual:
                roles[role] = usual[0]
            elif role in ("user", "item"):
                raise DataError(
                    f"{table.header_place}: {role}: expected a column such as"
                    f" {', '.join(RECOGNIZED[role][:3])} (or name it: data.{role}),"
                    f" found {_listed(table)}"
                )
    for name in columns.context:
        roles[name] = _position(table, typeless, "data.context", name)
    for role, position in roles.items():
        clash = next((r for r, p in roles.items() if p == position and r != role), None)
        if clash:
            raise DataError(
                f"{table.header_place}: expected different columns for {role} and {clash},"
                f" found {table.columns[position]!r} for both"
            )
        refuse_twice(table, position, role)
    return roles


def refuse_twice(table: Table, position: int, role: str) -> None:
    """Raises a DataError where the name of a role's column is that of another column too."""
    name = table.columns[position]
    count = table.columns.count(name)
    if count > 1:
        raise DataError(
            f"{table.header_place}: {role}: expected one column {name!r}, found {count}"
        )


def _position(table: Table, typeless: list[str], key: str, name: str) -> int:
    for names in (list(table.columns), typeless):
        if name in names:
            return names.index(name)
    raise DataError(
        f"{table.header_place}: {key}: expected a column {name!r}, found {_listed(table)}"
    )


def _listed(table: Table) -> str:
    names = ", ".join(repr(name) for name in table.columns[:_TOLD])
    return f"columns {names}" + (" ..." if len(table.columns) > _TOLD else "")


def _read(table: Table, roles: dict[str, int], fields: tuple[str, ...]) -> dict[int, pd.Series]:
    """Reads in the narrowest types that fit: only columns that are not numeric stay text."""
    ids = {roles[name]: "id" for name in fields}
    others = [role for role in ("rating", "timestamp") if role in roles]
    # Times too are read as floats, exact to 2^53: pandas 2 wraps larger integers without a word.
    for numeric in (("rating", "timestamp"), ("rating",)):
        types = {roles[role]: "float64" if role in numeric else "str" for role in others}
        with suppress(ValueError, OverflowError):
            return table.read({**ids, **types})
    return table.read({**ids, **{roles[role]: "str" for role in others}})


def _numbered(
    table: Table, cells: dict[int, pd.Series], position: int, name: str
) -> tuple[Vocabulary, Int64Array]:
    column = cells[position]
    if pd.api.types.is_numeric_dtype(column.dtype):
        _refuse(table, column.isna().to_numpy(dtype=bool), position, f"{name}: expected an id")
        return Vocabulary.from_values(column)
    if isinstance(column.dtype, pd.CategoricalDtype):  # as files are read
        column = column.cat.remove_unused_categories()
        texts = column.cat.categories.to_series().astype(object).map(lambda v: str(v).strip())
        codes = column.cat.codes.to_numpy(dtype=np.int64)
    else:
        codes, values = distinct(column)
        texts = pd.Series(values, dtype=object)
    _check_ids(table, texts, codes, position, name)
    vocabulary, merged = Vocabulary.from_values(texts)
    return vocabulary, merged[codes]


def _check_ids(table: Table, texts: pd.Series, codes: Int64Array, position: int, name: str) -> None:
    """Refuses missing (code -1), blank and unusable ids among distinct ones."""
    plain = [str(value) for value in texts.tolist()]
    blank = np.array([not text.strip() for text in plain] + [True], dtype=bool)
    _refuse(table, blank[codes], position, f"{name}: expected an id")
    for number, wrong in enumerate(map(unusable, plain)):
        if wrong is not None:
            where, _ = table.locate(int(np.argmax(codes == number)), position)
            raise DataError(f"{where}: {name}: {wrong}")


def _ratings(table: Table, cells: dict[int, pd.Series], position: int) -> npt.NDArray[np.float32]:
    numbers = _floats(cells[position])
    with np.errstate(over="ignore"):
        ratings = numbers.astype(np.float32)
    bad = ~np.isfinite(ratings)
    if bad.any():
        _, text = table.locate(int(np.argmax(bad)), position)
        finite = "a finite number" if is_number(text) else "a number"
        _refuse(table, bad, position, f"rating: expected {finite}")
    return ratings


def _timestamps(table: Table, cells: dict[int, pd.Series], position: int) -> Int64Array:
    column = cells[position]
    if pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any():
        return np.array(column, dtype=np.int64)
    expected = "timestamp: expected seconds since 1970 or an ISO date"
    is_time = pd.api.types.is_datetime64_any_dtype(column.dtype)
    if not is_time:
        numbers = _floats(column)
        usable = np.abs(numbers) < _INT64_END
        if usable.any():
            _refuse(table, ~usable, position, expected)
            return np.floor(numbers).astype(np.int64)
        column = column.astype(object).astype(str)
    times = pd.to_datetime(column, errors="coerce", utc=True, **({} if is_time else _ISO))
    _refuse(table, times.isna().to_numpy(dtype=bool), position, expected)
    epoch = pd.Timestamp(0, tz="UTC")
    return np.array((times - epoch) // pd.Timedelta(seconds=1), dtype=np.int64)


def _floats(column: pd.Series) -> npt.NDArray[np.float64]:
    """Numbers; NaN for missing values."""
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        # Not by pandas, whose own conversion of texts ends the process at some exponents.
        texts = column.astype(object).astype(str)
        column = texts.map(lambda text: float(text) if is_number(text) else np.nan)
    return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _refuse(table: Table, bad: npt.NDArray[np.bool_], position: int, expected: str) -> None:
    """Raises for the first bad row, with its line and content."""
    if bad.any():
        where, text = table.locate(int(np.argmax(bad)), position)
        actual = repr(text) if text.strip() else "nothing"
        raise DataError(f"{where}: {expected}, found {actual}")
