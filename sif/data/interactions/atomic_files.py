"""Atomic files of RecBole: tables with tabs whose header tells the type of every column.

    item_id:token	movie_title:token_seq	release_year:float

A dataset NAME is a folder NAME with NAME.inter, perhaps NAME.item and NAME.user, or with
NAME.train.inter, NAME.valid.inter and NAME.test.inter in place of the first. Values of sequences
have spaces between them. Quotes are characters like others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.data.interactions.ids import id_strings
from sif.data.interactions.ratings import numbers_of
from sif.data.interactions.table_files import Table, open_table, texts_of
from sif.errors import DataError, EntryError
from sif.utils.paths import exists

INTER, ITEM, USER = ".inter", ".item", ".user"
TOKEN, TOKENS, FLOAT, FLOATS = "token", "token_seq", "float", "float_seq"
KINDS = (TOKEN, TOKENS, FLOAT, FLOATS)
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
     "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)  # fmt: skip
"""Texts that RecBole, which reads by pandas, takes for missing cells."""
_BREAKS = ("\t", "\n", "\r")


def read_atomic(path: Path) -> pd.DataFrame:
    """Reads one atomic file, of items, users or interactions.

    Returns:
        Columns without the types in their names: texts of "token", floats of "float" (NaN where
        the cell is empty), lists of texts and of floats of the sequences.

    Raises:
        DataError: The file is missing, a column has no type, or a cell is no number.
    """
    table = open_table(path, lambda first, second: True, "\t")
    kinds = atomic_kinds(table.columns)
    if kinds is None:
        found = next(name for name in table.columns if _kind(name) is None)
        raise DataError(
            f"{table.header_place}: expected every column with a type ({', '.join(KINDS)}), found "
            f"{found!r}"
        )
    texts = {place: pd.Series(cells).fillna("") for place, cells in texts_of(table).items()}
    return pd.DataFrame(
        {
            name: _values(table, place, kind, texts[place])
            for place, (name, kind) in enumerate(kinds.items())
        }
    )


def atomic_kinds(header: Sequence[str]) -> dict[str, str] | None:
    """Names of columns and their types; None where a column has none, or a name is there twice."""
    kinds = {name.rpartition(":")[0]: _kind(name) for name in header}
    if None in kinds.values() or len(kinds) < len(header):
        return None
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _kind(name: str) -> str | None:
    kind = name.rpartition(":")[2]
    return kind if ":" in name and kind in KINDS else None


def _values(table: Table, place: int, kind: str, texts: pd.Series) -> Any:
    """The cells of one column."""
    if kind == TOKEN:
        return texts
    if kind == TOKENS:
        return texts.str.split()
    lists = texts.str.split() if kind == FLOATS else [[text] if text else [] for text in texts]
    flat = [number for numbers in lists for number in numbers]
    rows = np.repeat(np.arange(len(texts)), [len(numbers) for numbers in lists])
    try:
        numbers = numbers_of(flat) if flat else np.zeros(0)
    except EntryError as error:
        where, _ = table.locate(int(rows[error.row]), place)
        name = table.columns[place].rpartition(":")[0]
        raise DataError(f"{where}: {name}: {error.expected}, found {error.found}") from None
    if kind == FLOATS:
        ends = np.cumsum([len(numbers) for numbers in lists])[:-1]
        return pd.Series([part.tolist() for part in np.split(numbers, ends)][: len(texts)])
    values = np.full(len(texts), np.nan)
    values[rows] = numbers
    return values


def kinds_of(frame: pd.DataFrame, ids: Sequence[str] = ()) -> dict[str, str]:
    """Types of the columns of a data frame.

    Args:
        frame: Numbers become "float", lists of numbers "float_seq", other lists "token_seq" and
            everything else "token".
        ids: Columns that are tokens whatever they hold.
    """
    return {str(name): TOKEN if name in ids else _kind_of(frame[name]) for name in frame.columns}


def _kind_of(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return TOKEN
    if pd.api.types.is_numeric_dtype(column):
        return FLOAT
    some = [cell for cell in column if isinstance(cell, list | tuple | np.ndarray) and len(cell)]
    if not some:
        return TOKEN
    numeric = all(isinstance(one, int | float | np.number) for cell in some for one in cell)
    return FLOATS if numeric else TOKENS


def atomic_text(frame: pd.DataFrame, kinds: Mapping[str, str], file: str) -> str:
    """An atomic file's content, which RecBole and `read_atomic` read alike.

    Args:
        frame: Rows; its columns are those of `kinds`.
        kinds: Name of each column to its type.
        file: Its name, for messages.

    Raises:
        DataError: A text that RecBole would read otherwise: with tabs or line breaks, with a quote
            at its beginning, one of `MISSING`, or in a sequence one with spaces.
    """
    columns = [_cells(frame[name], kind, name, file) for name, kind in kinds.items()]
    header = "\t".join(f"{name}:{kind}" for name, kind in kinds.items())
    lines = ("\t".join(row) for row in zip(*columns, strict=True))
    return "\n".join([header, *lines, ""])


def _cells(column: pd.Series, kind: str, name: str, file: str) -> NDArray[np.object_]:
    """The texts (n,) of a column."""
    if kind in (TOKENS, FLOATS):
        return np.array([_sequence(cell, kind, file, name) for cell in column], dtype=object)
    codes, values = pd.factorize(column)  # of each value once; -1 where a cell is empty
    if kind == FLOAT:
        texts = [_number(value) for value in np.asarray(values)]  # float32 stays so: 0.1
    else:
        texts = [_token(str(value), file, name) for value in values]
    found: NDArray[np.object_] = np.array([*texts, ""], dtype=object)[codes]
    return found


def _sequence(cell: Any, kind: str, file: str, name: str) -> str:
    parts = cell if isinstance(cell, list | tuple | np.ndarray) else []
    if kind == FLOATS:
        return " ".join(map(_number, parts))
    words = [str(part) for part in parts]
    split = next((word for word in words if word.split() != [word]), None)
    if split is not None:
        raise DataError(f"{file}: {name}: expected values without spaces, found {split!r}")
    # Of a line RecBole looks for missing values and quotes as a whole.
    return _token(" ".join(words), file, name)


def _token(text: str, file: str, name: str) -> str:
    """The text, if RecBole reads it as it is."""
    why = ""
    if text in MISSING:
        why = "" if text == "" else "which it takes for a missing value"
    elif text.startswith('"'):
        why = "which begins with a quote"
    elif any(one in text for one in _BREAKS):
        why = "which has a tab or a line break"
    if why:
        raise DataError(
            f"{file}: {name}: expected a text that RecBole reads as it is, found {text!r}, {why}"
        )
    return text


def _number(value: Any) -> str:
    number = float(value)
    if np.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else str(value)


def inter_of(folder: Path) -> Path | None:
    """NAME/NAME.inter of a folder NAME, where it is there."""
    if not (exists(folder) and folder.is_dir()):
        return None
    file = folder / f"{folder.resolve().name}{INTER}"
    return file if file.is_file() else None


def beside(inter: Path, ending: str) -> Path | None:
    """NAME.item or NAME.user beside NAME.inter or NAME.train.inter, where it is there."""
    name = inter.name.removesuffix(INTER)
    for stem in (name, name.rpartition(".")[0]):
        file = inter.with_name(f"{stem}{ending}")
        if stem and file.is_file():
            return file
    return None


def titles_beside(inter: Path) -> dict[str, str]:
    """Item id to title, of the file of items beside an .inter; empty where there is none.

    The title is the first column of texts whose name ends in "title" or is "name".

    Raises:
        DataError: The file of items is damaged.
    """
    file = beside(inter, ITEM) if inter.suffix == INTER else None
    if file is None:
        return {}
    items = read_atomic(file)
    names = (name for name in items.columns if name.lower().endswith("title") or name == "name")
    title = next(names, None)
    if title is None or pd.api.types.is_numeric_dtype(items[title]):
        return {}
    try:
        ids = id_strings(items.iloc[:, 0].tolist())
    except EntryError as error:
        place = f"{file} row {error.row + 1}"
        raise DataError(f"{place}: {error.expected}, found {error.found}") from None
    texts = (cell if isinstance(cell, str) else " ".join(cell) for cell in items[title])
    return {str(item): text for item, text in zip(ids, texts, strict=True) if text}
