"""A Parquet file as a source: row group by row group, texts as dictionaries of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sif.data.interactions.columns import written
from sif.data.interactions.table_files import ParquetTable, parquet_library
from sif.data.reading import reading
from sif.data.streamed.source import Mark, Piece
from sif.errors import DataError

ROWS = 1 << 20
"""Rows of a piece, at most."""
_KIND = ParquetTable.KIND


@dataclass(frozen=True)
class ParquetSource:
    """Implements `RecordSource`; a mark is a row group and how many of its rows were read.

    Attributes:
        path: The file.
        own: The schema of the file.
        constants: Columns with one text for all rows, which the names of folders tell.
        groups: Rows of each row group.
    """

    path: Path
    own: Any
    constants: tuple[tuple[str, str], ...]
    groups: tuple[int, ...]
    size: int
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, constants: Sequence[tuple[str, str]] = ()) -> ParquetSource:
        """Reads the footer; DataError for a damaged file, or without pyarrow."""
        _, parquet = parquet_library(path)
        size = path.stat().st_size
        with reading(path, _KIND), parquet.ParquetFile(path) as file:
            footer = file.metadata
            own = file.schema_arrow.remove_metadata()
            groups = tuple(footer.row_group(g).num_rows for g in range(footer.num_row_groups))
        ParquetTable.check_rows(path, sum(groups), size)
        constants = tuple((name, text) for name, text in constants if name not in own.names)
        return cls(path, own, constants, groups, size)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def header_place(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def rows(self) -> int:
        """The number that the footer of the file tells."""
        return sum(self.groups)

    @cached_property
    def schema(self) -> Any:
        """The columns of the file, then the constants."""
        arrow, _ = parquet_library(self.path)
        schema = self.own
        for name, _ in self.constants:
            schema = schema.append(arrow.field(name, arrow.string()))
        return schema

    def fingerprint(self) -> str:
        """Path, size and time of the last change."""
        return file_fingerprint(self.path)

    def with_numbers(self, columns: Collection[int]) -> ParquetSource:
        """Itself: its columns have types."""
        return self

    def pieces(
        self, columns: Sequence[int], mark: Mark = None, until: int | None = None
    ) -> Iterator[Piece]:  # fmt: skip
        """Implements `RecordSource.pieces`; `until` is a row group before which they end."""
        arrow, parquet = parquet_library(self.path)
        names = [self.schema.names[column] for column in columns]
        texts = [name for name in names if name in self.own.names and self._is_text(arrow, name)]
        first, skipped = mark or (0, 0)
        # The library names no row group in its messages.
        with reading(self.path, _KIND):
            file = parquet.ParquetFile(
                self.path, read_dictionary=texts, page_checksum_verification=True
            )
        with file:
            for group in range(first, len(self.groups) if until is None else until):
                done = 0
                for batch in self._batches(file, group, names):
                    done += len(batch)
                    fresh = batch.slice(max(0, len(batch) - done + skipped))
                    if len(fresh):
                        after = [group, done] if done < self.groups[group] else [group + 1, 0]
                        size = round(self.size * len(fresh) / self.rows)
                        yield Piece(self._with_constants(arrow, fresh, names), after, size)
                skipped = 0

    def _batches(self, file: Any, group: int, names: Sequence[str]) -> Iterator[Any]:
        own = [name for name in names if name in self.own.names] or self.own.names[:1]
        with reading(f"{self.path} row group {group + 1}", _KIND):
            yield from file.iter_batches(ROWS, row_groups=[group], columns=own)

    def _is_text(self, arrow: Any, name: str) -> bool:
        kind = self.own.field(name).type
        return any(kind == text for text in (arrow.string(), arrow.binary()))

    def _with_constants(self, arrow: Any, batch: Any, names: Sequence[str]) -> Any:
        """The batch with the columns of some names, in their order."""
        texts = dict(self.constants)
        columns = []
        for name in names:
            if name in texts:
                codes = arrow.repeat(arrow.scalar(0, arrow.int32()), len(batch))
                columns.append(arrow.DictionaryArray.from_arrays(codes, [texts[name]]))
            else:
                columns.append(batch.column(name))
        return arrow.RecordBatch.from_arrays(columns, names=list(map(str, range(len(names)))))

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `RecordSource.locate`."""
        name, place = self.schema.names[column], f"{self.path} row {row + 1}"
        if name in dict(self.constants):
            return place, dict(self.constants)[name]
        group = 0
        while row >= self.groups[group]:
            row, group = row - self.groups[group], group + 1
        with (
            reading(self.path, _KIND),
            parquet_library(self.path)[1].ParquetFile(self.path) as file,
        ):
            value = file.read_row_group(group, columns=[name]).column(name)[row]
            return place, written(value.as_py())


def file_fingerprint(path: Path) -> str:
    """A text that changes when a file does: its path, size and time of the last change.

    Raises:
        DataError: It is gone.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: expected a file, found: {error.strerror}") from None
    return f"{path.absolute()}:{state.st_size}:{state.st_mtime_ns}"
