"""Files as tables: open, recognize the layout, read columns fast, and find the line of a bad cell.

Columns are read by position in one vectorized pass (ids as texts, so that "007" stays "007"), a
million rows at a time: of each chunk of texts only codes and the distinct ids are kept. The file is
read line by line only to find the line of a bad cell.
"""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from sif.data.interactions.cells import distinct, written
from sif.data.interactions.text_records import (
    WHITESPACE,
    is_number,
    is_replaced,
    not_text,
    open_replaced,
    records,
    sniff,
    spell,
)
from sif.errors import DataError
from sif.utils.optional import library

_SPELLED = {"\\t": "\t", "tab": "\t", " ": WHITESPACE}  # as a YAML file may say it
_CHUNK = 1 << 20  # rows whose ids are held as texts at a time
HEADERLESS = ("user", "item", "rating", "timestamp")  # the order of MovieLens u.data


class Table(ABC):
    """Columns that can be read by position; without lines, messages count rows from 1.

    Attributes:
        path: The file.
        columns: Names by position.
    """

    path: Path
    columns: tuple[str, ...]

    @property
    def header_place(self) -> str:
        """The place of the column names, for messages."""
        return f"{self.path}"

    @abstractmethod
    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """The columns at positions with types: "id" (text as it stands), "float64" or "str".

        A table with types of its own keeps to these.

        Raises:
            ValueError, OverflowError: A cell does not fit its type.
            DataError: The file is no such table.
        """

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Place ("ratings.csv line 17") and text of one cell; `row` counts data rows from 0."""
        value = self.read({column: "str"})[column].iloc[row]
        return f"{self.path} row {row + 1}", written(value)


def open_table(path: Path, separator: str | None = None) -> Table:
    """Recognizes the layout of an interaction file from its first lines.

    Args:
        path: `.parquet`/`.pq`, or text (also `.gz`) with or without a header.
        separator: Between columns; None recognizes tab, "::", ";", "|", "," and spaces.

    Raises:
        DataError: The file is missing, empty or of another kind.
    """
    if not path.is_file():
        actual = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: expected a file, found {actual}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected interactions, found an empty file")
    if path.suffix.lower() in (".parquet", ".pq"):
        return ParquetTable.open(path)
    return TextTable.open(path, separator)


@dataclass(frozen=True)
class TextTable(Table):
    """A text file with one record per line.

    Attributes:
        separator: One character, several, or the whitespace pattern.
        quoting: A `csv.QUOTE_*` constant.
        header: Whether the first record names the columns.
        first_line: Line of the first data record, from 1.
    """

    path: Path
    separator: str
    quoting: int
    header: bool
    first_line: int
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, separator: str | None) -> TextTable:
        """Recognize separator and header from the first lines."""
        quoting = csv.QUOTE_NONE if path.suffix.lower() == ".inter" else csv.QUOTE_MINIMAL
        if separator is None:
            separator = sniff(path, quoting)
        separator = _SPELLED.get(separator, separator)
        if is_replaced(separator):
            quoting = csv.QUOTE_NONE  # as `records` reads it
        head = list(islice(records(path, separator, quoting), 2))
        if not head:
            raise DataError(f"{path}: expected interactions, found only blank lines")
        first = head[0][1]
        header = not all(is_number(cell) for cell in first)
        if header:
            if len(head) == 1:
                raise DataError(f"{path}: expected interactions, found none after the header")
            if len(head[1][1]) != len(first):
                raise _ragged(path, head[1][0], len(first), len(head[1][1]))
            columns = tuple(cell.strip() for cell in first)
        else:
            extra = (f"column{n}" for n in range(len(HEADERLESS) + 1, len(first) + 1))
            columns = (*HEADERLESS, *extra)[: len(first)]
        return cls(path, separator, quoting, header, head[header][0], columns)

    @property
    def header_place(self) -> str:
        """The file and its first line."""
        separator = spell(self.separator)
        header = "header" if self.header else "no header"
        return f"{self.path} line 1 ({header}, separator {separator})"

    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """Implements `Table.read`."""
        # Every column is parsed, wanted or not, and one more that must stay empty: with usecols, or
        # at the start of a chunk, pandas drops surplus fields silently.
        # Ids are parsed as objects: "category" turns "007" into 7 in some versions of pandas.
        width = len(self.columns)
        dtypes = {c: "float64" if types.get(c) == "float64" else "object" for c in range(width + 1)}
        chunks: dict[int, list[pd.Series]] = {column: [] for column in types}
        try:
            with (
                open_replaced(self.path, self.separator) as stream,
                pd.read_csv(
                    stream,
                    sep="\t" if is_replaced(self.separator) else self.separator,
                    header=None,
                    skiprows=self.first_line - 1,
                    names=list(range(width + 1)),
                    index_col=False,
                    dtype=dtypes,
                    keep_default_na=False,
                    na_values=[""],
                    quoting=cast(Any, self.quoting),
                    encoding="utf-8",
                    chunksize=_CHUNK,
                ) as reader,
            ):
                for frame in reader:
                    self._check_surplus(frame[width])
                    for column, kind in types.items():
                        cells = frame[column]
                        chunks[column].append(_counted(cells) if kind == "id" else cells)
        except pd.errors.ParserError as error:
            raise self._parser_error(str(error)) from None
        except UnicodeDecodeError:
            raise not_text(self.path) from None
        return {column: _stack(chunks.pop(column)) for column in types}

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `Table.locate`."""
        line, cells = self._record(row)
        return f"{self.path} line {line}", cells[column] if column < len(cells) else ""

    def _record(self, row: int) -> tuple[int, list[str]]:
        following = records(self.path, self.separator, self.quoting)
        return next(islice(following, row + self.header, None))

    def _check_surplus(self, surplus: pd.Series) -> None:
        full = surplus.notna().to_numpy()
        if full.any():
            line, cells = self._record(int(surplus.index[full][0]))
            raise _ragged(self.path, line, len(self.columns), len(cells))

    def _parser_error(self, message: str) -> DataError:
        ragged = re.search(r"Expected \d+ fields in line (\d+), saw (\d+)", message)
        if ragged:
            line, actual = map(int, ragged.groups())
            return _ragged(self.path, line, len(self.columns), actual)
        reason = message.strip().splitlines()[-1] if message.strip() else "unreadable"
        return DataError(f"{self.path}: expected a table of text, found: {reason}")


def parquet_library(path: Path) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; DataError for the file where there are none."""
    arrow = library("pyarrow", str(path), error=DataError)
    return arrow, library("pyarrow.parquet", str(path), error=DataError)


@dataclass(frozen=True)
class ParquetTable(Table):
    """A Parquet file."""

    path: Path
    columns: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> ParquetTable:
        """Reads the schema; DataError for a file that is not Parquet, or without pyarrow."""
        pa, pq = parquet_library(path)
        try:
            return cls(path, tuple(pq.read_schema(path).names))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"{path}: expected a Parquet file, found: {reason}") from None

    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """Implements `Table.read`."""
        pa, pq = parquet_library(self.path)
        names = [self.columns[column] for column in types]
        chunks: dict[int, list[pd.Series]] = {column: [] for column in types}
        try:
            with pq.ParquetFile(self.path) as file:
                schema = file.schema_arrow
                for batch in file.iter_batches(_CHUNK, columns=names, use_pandas_metadata=True):
                    part = pa.Table.from_batches([batch]).replace_schema_metadata(schema.metadata)
                    frame = part.to_pandas().reset_index()  # a column may be stored as the index
                    for column, kind in types.items():
                        cells = frame[self.columns[column]]
                        texts = kind == "id" and cells.dtype == object
                        chunks[column].append(_counted(cells) if texts else cells)
        except (pa.ArrowException, ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"{self.path}: expected a Parquet file, found: {reason}") from None
        return {column: _stack(chunks.pop(column)) for column in types}


def _counted(cells: pd.Series) -> pd.Series:
    """Texts as a categorical of objects, not of a type that pandas infers."""
    codes, texts = distinct(cells)
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(texts, dtype="object")))


def _stack(chunks: list[pd.Series]) -> pd.Series:
    if not chunks:
        return pd.Series(dtype="object")
    if all(isinstance(chunk.dtype, pd.CategoricalDtype) for chunk in chunks):
        parts = [chunk.cat.categories.to_numpy() for chunk in chunks]
        numbers, texts = distinct(np.concatenate(parts))
        of_parts = np.split(numbers, np.cumsum([len(part) for part in parts])[:-1])
        codes = [
            np.append(own, -1)[chunk.cat.codes] for own, chunk in zip(of_parts, chunks, strict=True)
        ]
        return pd.Series(
            pd.Categorical.from_codes(np.concatenate(codes), pd.Index(texts, dtype="object"))
        )
    return pd.concat(chunks, ignore_index=True)


def _ragged(path: Path, line: int, expected: int, actual: int) -> DataError:
    return DataError(f"{path} line {line}: expected {expected} columns, found {actual}")
