"""A text file as a source: blocks of whole lines, each parsed by pyarrow."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, BinaryIO, cast

from sif.data.interactions.file_kinds import is_packed
from sif.data.interactions.table_files import TextTable, ragged
from sif.data.interactions.text_records import (
    TEXT,
    WHITESPACE,
    is_replaced,
    not_text,
    open_replaced,
    records,
)
from sif.data.reading import reading
from sif.data.streamed.parquet_source import file_fingerprint
from sif.data.streamed.source import Mark, Piece, UnfitColumnError
from sif.errors import DataError
from sif.utils.optional import library

BLOCK = 1 << 24
"""Bytes of a block, about."""
_PART = 1 << 22  # bytes that a thread parses at a time
_BOM = b"\xef\xbb\xbf"
_UNFIT = re.compile(r"In CSV column #(\d+): CSV conversion error to double")


@dataclass(frozen=True)
class TextSource:
    """Implements `RecordSource`; a mark is a number of bytes.

    Attributes:
        table: The layout of the file.
        numbers: Columns that are read as numbers.
    """

    table: TextTable
    numbers: frozenset[int] = frozenset()
    rows: int | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self.table.path)

    @property
    def header_place(self) -> str:
        """The file and its first line."""
        return self.table.header_place

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the layout."""
        return self.table.notes

    @property
    def size(self) -> int | None:
        """Of the file; None for a packed one."""
        path = self.table.path
        return None if is_packed(path) else path.stat().st_size

    @cached_property
    def schema(self) -> Any:
        """Texts and numbers."""
        arrow = library("pyarrow", self.name, error=DataError)
        kinds = [
            arrow.float64() if column in self.numbers else arrow.string()
            for column in range(len(self.table.columns))
        ]
        return arrow.schema(list(zip(self.table.columns, kinds, strict=True)))

    @cached_property
    def _decimal(self) -> str:
        """The character before decimals."""
        return "," if self.table.has_decimal_comma(self.numbers) else "."

    def fingerprint(self) -> str:
        """Path, size and time of the last change."""
        return file_fingerprint(self.table.path)

    def with_numbers(self, columns: Collection[int]) -> TextSource:
        """Implements `RecordSource.with_numbers`."""
        return replace(self, numbers=frozenset(columns))

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `RecordSource.locate`."""
        return self.table.locate(row, column)

    def pieces(self, columns: Sequence[int], mark: Mark = None) -> Iterator[Piece]:
        """Implements `RecordSource.pieces`."""
        path, separator = self.table.path, self.table.separator
        try:
            with open_replaced(path, separator) as stream:
                with reading(path, TEXT, (UnicodeDecodeError,)):
                    offset = self._skip(stream, mark)
                for block in self._blocks(stream):
                    batch = self._parsed(block.removeprefix(b"" if offset else _BOM), columns)
                    offset += len(block)
                    if len(batch):
                        yield Piece(batch, offset, len(block))
        except UnicodeDecodeError:
            raise not_text(path) from None

    def _skip(self, stream: BinaryIO, mark: Mark) -> int:
        """Reads to a mark, or behind the header; returns the bytes that were passed."""
        if mark is None:
            return sum(_pass_line(stream) for _ in range(self.table.first_line - 1))
        left = int(mark)
        while left:
            passed = len(stream.read(min(left, BLOCK)))
            if not passed:
                break
            left -= passed
        return int(mark)

    def _blocks(self, stream: BinaryIO) -> Iterator[bytes]:
        """Blocks that end with a record."""
        rest = b""
        while True:
            with reading(self.table.path, TEXT, (UnicodeDecodeError,)):
                more = stream.read(BLOCK)
            block = rest + more
            if not more:
                if block:
                    yield block
                return
            end = self._last_end(block)
            rest = block[end:]
            if end:
                yield block[:end]

    def _last_end(self, block: bytes) -> int:
        """Where the last whole record ends: behind a line break that no quotes enclose."""
        end = last = block.rfind(b"\n") + 1
        if self.table.quoting == csv.QUOTE_NONE:
            return end
        enclosed = block.count(b'"', 0, end) % 2
        while end and enclosed:
            before = block.rfind(b"\n", 0, end - 1) + 1
            enclosed ^= block.count(b'"', before, end) % 2
            end = before
        return end or last  # a quote that nothing closes stands for itself

    def _parsed(self, block: bytes, columns: Sequence[int]) -> Any:
        arrow, arrow_csv = (library(m, self.name) for m in ("pyarrow", "pyarrow.csv"))
        names = [str(column) for column in range(len(self.table.columns))]
        asked = [str(column) for column in columns]
        if self.table.separator == WHITESPACE:
            block = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", block)
            block = re.sub(rb"[ \t]+", b"\t", block)
        if not block.strip():
            return arrow.RecordBatch.from_arrays([arrow.nulls(0)] * len(asked), names=asked)
        quoted = self.table.quoting != csv.QUOTE_NONE
        kinds = {name: self.schema.types[int(name)] for name in asked}
        try:
            table = arrow_csv.read_csv(
                arrow.BufferReader(block),
                arrow_csv.ReadOptions(column_names=names, block_size=_PART),
                arrow_csv.ParseOptions(
                    delimiter=self._delimiter, quote_char='"' if quoted else False,
                    newlines_in_values=quoted and b'"' in block,
                ),
                arrow_csv.ConvertOptions(
                    column_types=kinds, include_columns=asked, null_values=[""],
                    strings_can_be_null=True, quoted_strings_can_be_null=True,
                    decimal_point=self._decimal,
                ),
            )  # fmt: skip
        except Exception as error:
            rest = self._without_blanks(block)
            if len(rest) < len(block):
                return self._parsed(rest, columns)
            raise self._told(str(error)) from None
        return table.combine_chunks().to_batches()[0]

    def _without_blanks(self, block: bytes) -> bytes:
        """A block without lines of spaces, which readers in memory pass over."""
        if b'"' in block:  # such a line may be a part of a cell
            return block
        spaces = b" " if self._delimiter == "\t" else rb"[ \t]"
        return re.sub(rb"(?m)^" + spaces + rb"+\r?(?:\n|\Z)", b"", block)

    @property
    def _delimiter(self) -> str:
        separator = self.table.separator
        return "\t" if separator == WHITESPACE or is_replaced(separator) else separator

    def _told(self, message: str) -> Exception:
        """An error of the parser in our words."""
        unfit = _UNFIT.search(message)
        if unfit:
            return UnfitColumnError(int(unfit[1]))
        path, expected = self.table.path, len(self.table.columns)
        if "UTF8" in message:
            return not_text(path)
        table = self.table
        for line, cells in records(path, table.separator, table.quoting):
            if line >= table.first_line and len(cells) != expected:
                return ragged(path, line, expected, len(cells))
        return DataError(f"{path}: expected {TEXT}, found: {message.strip().splitlines()[0]}")


def _pass_line(stream: BinaryIO) -> int:
    """Reads a line, which ends as Python's lines do, a carriage return alone included."""
    passed = 0
    while byte := stream.read(1):
        passed += 1
        if byte == b"\r" and cast(io.BufferedReader, stream).peek(1)[:1] != b"\n":
            break
        if byte == b"\n":
            break
    return passed
