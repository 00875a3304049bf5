"""Files as tables: open, recognize the layout, read columns fast, and find the line of a bad value.

Columns are read by position in one vectorized pass (ids as texts, so that "007" stays "007"), a
million rows at a time: of each chunk of texts only codes and the distinct ids are kept. The file is
read line by line only to find the line of a bad value.
"""

from __future__ import annotations

import csv
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import distinct, written
from sif.data.interactions.file_kinds import FEATHER, PARQUET, first_bytes, refuse_foreign
from sif.data.interactions.text_records import (
    TEXT,
    WHITESPACE,
    check_separator,
    is_number,
    is_replaced,
    not_text,
    open_replaced,
    records,
    sniff,
    spell,
)
from sif.data.reading import reading
from sif.errors import DataError
from sif.utils.optional import library
from sif.utils.paths import exists, nearest

_SPELLED = {"\\t": "\t", "tab": "\t", " ": WHITESPACE}  # as a YAML file may say it
_CHUNK = 1 << 20  # rows whose ids are held as texts at a time
HEADERLESS = ("user", "item", "rating", "timestamp")  # the order of MovieLens u.data
_ATOMIC = (".inter", ".item", ".user")  # of RecBole, whose quotes are characters like others
_MOST_ROWS = 1000  # in a byte of Parquet, where a value of any number of rows takes few bytes
_SOME = 1 << 14  # rows looked at for decimal commas
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # which Excel writes and reads

IsHeader = Callable[[Sequence[str], Sequence[str]], bool]
"""True if the first of two records (the second may be empty) names the columns."""


class Table(ABC):
    """Columns that can be read by position; without lines, messages count rows from 1.

    Attributes:
        path: The file.
        columns: Names by position.
        setting: The way in which a caller names a column, for messages.
        notes: Layout that was recognized without a word in the file, one line each.
    """

    path: Path
    columns: tuple[str, ...]
    setting: ClassVar[str] = "data.{}"
    notes: tuple[str, ...] = ()

    @property
    def header_place(self) -> str:
        """The place of the column names, for messages."""
        return f"{self.path}"

    @abstractmethod
    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """The columns at positions with types: "id" or "text" (as it stands), "float64" or "str".

        A table with types of its own keeps to these.

        Raises:
            ValueError, OverflowError: A cell does not fit "float64".
            DataError: The file is damaged, or a column holds no single values.
        """

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Place ("ratings.csv line 17") and text of one value; `row` counts data rows from 0."""
        value = self.read({column: "str"})[column].iloc[row]
        return f"{self.path} row {row + 1}", written(value)


def open_table(path: Path, is_header: IsHeader, separator: str | None = None) -> Table:
    """Recognizes the kind of an interaction file from its first bytes, its layout from its lines.

    Args:
        path: Parquet, Feather, or text with or without a header, as it is or packed as gzip, bz2,
            xz, zst or a zip of one file.
        is_header: Asked about the first records of a text.
        separator: Between columns; None recognizes tab, "::", ";", "|", "," and spaces.

    Raises:
        DataError: The file is missing, empty, damaged or of another kind.
    """
    if separator is not None:
        check_separator(separator)
    there = exists(path)
    if not (there and path.is_file()):
        found = "a folder" if there and path.is_dir() else "a device or a pipe"
        actual = found if there else f"no such file{nearest(path)}"
        raise DataError(f"{path}: expected a file, found {actual}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected interactions, found an empty file")
    head, ending = first_bytes(path), path.suffix.lower()
    if head.startswith(PARQUET) or ending in (".parquet", ".pq"):
        return ParquetTable.open(path)
    if head.startswith(FEATHER):
        return FeatherTable.open(path)
    refuse_foreign(path)
    return TextTable.open(path, is_header, separator)


@dataclass(frozen=True)
class TextTable(Table):
    """A text file with one record per line.

    Attributes:
        separator: One character, several, or the whitespace pattern.
        quoting: A `csv.QUOTE_*` constant.
        header: True if the first record names the columns.
        first_line: Line of the first data record, from 1.
        skipped: Records before the header: a line that names the separator.
    """

    path: Path
    separator: str
    quoting: int
    header: bool
    first_line: int
    columns: tuple[str, ...]
    skipped: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, is_header: IsHeader, separator: str | None = None) -> TextTable:
        """Recognizes separator and header from the first lines; see `open_table`."""
        quoting = csv.QUOTE_NONE if path.suffix.lower() in _ATOMIC else csv.QUOTE_MINIMAL
        named = _named_separator(path)
        separator = separator or named or sniff(path, quoting)
        separator = _SPELLED.get(separator, separator)
        if is_replaced(separator):
            quoting = csv.QUOTE_NONE  # as `records` reads it
        skipped = int(named is not None)
        head = list(islice(records(path, separator, quoting), skipped, skipped + 2))
        if not head:
            raise DataError(f"{path}: expected rows, found only blank lines")
        first, second = head[0][1], head[1][1] if len(head) > 1 else []
        header = is_header(first, second)
        if header:
            if not second:
                raise DataError(f"{path}: expected rows, found none after the header")
            if len(second) != len(first):
                raise ragged(path, head[1][0], len(first), len(second))
            columns = tuple(cell.strip() for cell in first)
        else:
            extra = (f"column{n}" for n in range(len(HEADERLESS) + 1, len(first) + 1))
            columns = (*HEADERLESS, *extra)[: len(first)]
        notes: tuple[str, ...] = ()
        if not header and not all(map(is_number, first)):
            notes = (f"{path} line {head[0][0]}: no header: columns {', '.join(columns)}",)
        return cls(path, separator, quoting, header, head[header][0], columns, skipped, notes)

    @property
    def header_place(self) -> str:
        """The file and its first line."""
        separator = spell(self.separator)
        header = "header" if self.header else "no header"
        return f"{self.path} line {self.skipped + 1} ({header}, separator {separator})"

    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """Implements `Table.read`; numbers may have decimal commas where no comma separates."""
        chunks: dict[int, list[pd.Series]] = {column: [] for column in types}
        others = [column for column, kind in types.items() if kind in ("float64", "str")]
        decimal = "," if self.has_decimal_comma(others) else "."
        for frame in self._frames(types, decimal):
            self._check_surplus(frame[len(self.columns)])
            for column, kind in types.items():
                cells = frame[column]
                # Beside points, commas may separate thousands.
                has_points = kind == "str" and cells.str.contains(".", regex=False, na=False).any()
                if kind == "str" and decimal == "," and not has_points:
                    cells = cells.replace(",", ".", regex=True)
                chunks[column].append(_counted(cells) if kind == "id" else cells)
        return {column: _stack(chunks.pop(column)) for column in types}

    def has_decimal_comma(self, columns: Collection[int]) -> bool:
        """True if commas stand in columns that are no ids, and not only before three digits each.

        A time may have one, too, before fractions of a second.
        """
        if self.separator == "," or not columns:
            return False
        some = islice(self._records(), _SOME)
        cells = (row[column] for _, row in some for column in columns if column < len(row))
        return any("," in cell and not THOUSANDS.fullmatch(cell.strip()) for cell in cells)

    def _frames(self, types: Mapping[int, str], decimal: str) -> Iterator[pd.DataFrame]:
        """Some rows at a time, with a column more than the file."""
        # Every column is parsed, wanted or not, and one more that must stay empty: with usecols, or
        # at the start of a chunk, pandas drops surplus fields silently.
        # Ids are parsed as objects: "category" turns "007" into 7 in some versions of pandas.
        # The faster conversion of numbers reads 1e4294967297 as 10 and ends the process at others.
        names = range(len(self.columns) + 1)
        dtypes = {c: "float64" if types.get(c) == "float64" else "object" for c in names}
        unfit = (ValueError, OverflowError) if "float64" in types.values() else ()
        try:
            with (
                reading(self.path, TEXT, (pd.errors.ParserError, UnicodeDecodeError, *unfit)),
                open_replaced(self.path, self.separator) as stream,
                pd.read_csv(
                    stream,
                    sep="\t" if is_replaced(self.separator) else self.separator,
                    header=None,
                    skiprows=self.first_line - 1,
                    names=list(names),
                    index_col=False,
                    dtype=dtypes,
                    keep_default_na=False,
                    na_values=[""],
                    quoting=cast(Any, self.quoting),
                    encoding="utf-8",
                    decimal=decimal,
                    float_precision="round_trip",
                    chunksize=_CHUNK,
                ) as reader,
            ):
                yield from reader
        except pd.errors.ParserError as error:
            raise self._parser_error(str(error)) from None
        except UnicodeDecodeError:
            raise not_text(self.path) from None

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `Table.locate`."""
        line, texts = self._record(row)
        return f"{self.path} line {line}", texts[column] if column < len(texts) else ""

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Line and cells of the data records."""
        every = records(self.path, self.separator, self.quoting)
        return islice(every, self.skipped + self.header, None)

    def _record(self, row: int) -> tuple[int, list[str]]:
        return next(islice(self._records(), row, None), (self.first_line + row, []))

    def _check_surplus(self, surplus: pd.Series) -> None:
        full = surplus.notna().to_numpy()
        if full.any():
            line, texts = self._record(int(surplus.index[full][0]))
            raise ragged(self.path, line, len(self.columns), len(texts))

    def _parser_error(self, message: str) -> DataError:
        found = re.search(r"Expected \d+ fields in line (\d+), saw (\d+)", message)
        if found:
            line, actual = map(int, found.groups())
            return ragged(self.path, line, len(self.columns), actual)
        reason = message.strip().splitlines()[-1] if message.strip() else "unreadable"
        return DataError(f"{self.path}: expected {TEXT}, found: {reason}")


def texts_of(table: Table) -> dict[int, npt.NDArray[np.object_]]:
    """The cells (n,) of all columns of a text, as they stand; NaN where one is empty."""
    columns = table.read(dict.fromkeys(range(len(table.columns)), "text"))
    return {place: column.to_numpy(object) for place, column in columns.items()}


def parquet_library(path: Path) -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; DataError for the file where there are none."""
    arrow = library("pyarrow", str(path), error=DataError)
    return arrow, library("pyarrow.parquet", str(path), error=DataError)


def with_uuid_texts(values: Any) -> Any:
    """An Arrow array; one of UUIDs as a dictionary of their usual texts, as databases tell them."""
    if str(values.type) != "extension<arrow.uuid>":
        return values
    arrow = library("pyarrow", "reading", error=DataError)
    coded = values.storage.dictionary_encode()
    texts = [str(uuid.UUID(bytes=cell)) for cell in coded.dictionary.to_pylist()]
    return arrow.DictionaryArray.from_arrays(coded.indices, arrow.array(texts, arrow.string()))


@dataclass(frozen=True)
class ArrowTable(Table, ABC):
    """A file of typed columns.

    Attributes:
        types: Of the columns, as pyarrow has them.
    """

    path: Path
    columns: tuple[str, ...]
    types: tuple[Any, ...]

    KIND: ClassVar[str]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Reads the schema; DataError for a file of another kind, or without pyarrow."""
        parquet_library(path)
        with reading(path, cls.KIND):
            schema = cls._schema(path)
            return cls(path, tuple(schema.names), tuple(schema.types))

    @classmethod
    @abstractmethod
    def _schema(cls, path: Path) -> Any:
        """The schema of a file."""

    @abstractmethod
    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        """Some rows at a time, as pyarrow's record batches with these columns at least."""

    def read(self, types: Mapping[int, str]) -> dict[int, pd.Series]:
        """Implements `Table.read`."""
        for column in types:
            self._check(column)
        chunks: dict[int, list[pd.Series]] = {column: [] for column in types}
        for batch in self._batches([self.columns[column] for column in types]):
            for column, kind in types.items():
                cells = self._series(batch, column, kind == "id")
                texts = kind == "id" and cells.dtype == object
                chunks[column].append(_counted(cells) if texts else cells)
        return {column: _stack(chunks.pop(column)) for column in types}

    def _check(self, column: int) -> None:
        """Refuses a column that holds no single values."""
        kind = self.types[column]
        if parquet_library(self.path)[0].types.is_nested(kind):
            place = f"{self.path}: column {self.columns[column]!r}"
            raise DataError(f"{place}: expected single values, found {kind}")

    def _series(self, batch: Any, column: int, is_id: bool) -> pd.Series:
        """Values of a column, bytes as texts. What a writer noted for pandas is not asked."""
        arrow, _ = parquet_library(self.path)
        name, kind = self.columns[column], self.types[column]
        with reading(f"{self.path}: column {name!r}", f"values of type {kind}"):
            values = with_uuid_texts(batch.column(name))
            if "binary" in str(kind):  # also of a dictionary
                if arrow.types.is_dictionary(kind):
                    values = values.dictionary_decode()
                values = values.cast(arrow.string())
            if "string" in str(values.type) and "dictionary" not in str(values.type):
                values = values.cast(arrow.large_string())  # also of views
                if is_id:  # of each text one object, not of each row
                    coded = values.dictionary_encode()
                    texts = pd.Index(coded.dictionary.to_pylist(), dtype="object")
                    codes = coded.indices.fill_null(-1).to_numpy()
                    return pd.Series(pd.Categorical.from_codes(codes, texts))
            return values.to_pandas()


class ParquetTable(ArrowTable):
    """A Parquet file."""

    KIND = "a Parquet file"

    @classmethod
    def check_rows(cls, path: Path, rows: int, size: int) -> None:
        """Refuses a file whose few bytes stand for more rows than there is memory."""
        if rows > _MOST_ROWS * size:
            expected = f"{cls.KIND} of at most {_MOST_ROWS:,} rows a byte"
            raise DataError(f"{path}: expected {expected}, found {rows:,} in {size:,}")

    @classmethod
    def _schema(cls, path: Path) -> Any:
        return parquet_library(path)[1].read_schema(path)

    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        parquet = parquet_library(self.path)[1]
        with (
            reading(self.path, self.KIND),
            parquet.ParquetFile(self.path, page_checksum_verification=True) as file,
        ):
            self.check_rows(self.path, file.metadata.num_rows, self.path.stat().st_size)
            yield from file.iter_batches(_CHUNK, columns=list(names))


class FeatherTable(ArrowTable):
    """A Feather file (of version 2: Arrow's own format)."""

    KIND = "a Feather file"

    @classmethod
    def _schema(cls, path: Path) -> Any:
        with parquet_library(path)[0].ipc.open_file(path) as file:
            return file.schema

    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        arrow = parquet_library(self.path)[0]
        with reading(self.path, self.KIND), arrow.ipc.open_file(self.path) as file:
            for number in range(file.num_record_batches):
                batch = file.get_batch(number)
                batch.validate(full=True)  # Arrow takes offsets of the file as they are
                yield batch


def _counted(values: pd.Series) -> pd.Series:
    """Texts as a categorical of objects, not of a type that pandas infers."""
    codes, texts = distinct(values)
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


def ragged(path: Path, line: int, expected: int, actual: int) -> DataError:
    """The error for a record with another number of cells than the header."""
    return DataError(f"{path} line {line}: expected {expected} columns, found {actual}")


def _named_separator(path: Path) -> str | None:
    """The separator that the first line names, as in "sep=;"."""
    _, cells = next(records(path, "\t", csv.QUOTE_NONE), (0, []))
    named = _SEPARATOR_LINE.fullmatch("\t".join(cells))
    return None if named is None else named[1]
