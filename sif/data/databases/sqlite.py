"""SQLite files, by the module that comes with Python."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sif.data.databases.base import (
    Columns,
    Write,
    arrow_for,
    asking,
    emptying,
    file_stamp,
    new_file,
)
from sif.data.databases.statements import table_name
from sif.errors import DataError

MAGIC = (0, b"SQLite format 3\0")
"""Place and bytes by which a file is told."""
_ROWS = 1 << 13
_WAIT = 10.0
"""Seconds in which another process may end what it writes."""
_KINDS: dict[str, tuple[type, ...]] = {
    "int64": (int,), "float64": (int, float), "binary": (bytes,),
    "string": (str, bytes, int, float),
}  # fmt: skip
"""Types of Arrow to the values that they hold, the narrowest first."""


@dataclass(frozen=True)
class SQLite:
    """Implements `Database`; the first rows tell the types of columns.

    Attributes:
        path: Of the file.
        name: The path, or the address that named it.
    """

    path: Path
    name: str

    def stamp(self) -> str:
        """Implements `Database.stamp`; recent changes may lie in a file beside it."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return file_stamp(self.path) + (file_stamp(log) if log.exists() else "")

    def tables(self) -> list[str]:
        """Implements `Database.tables`."""
        query = "select name from sqlite_master where type in ('table', 'view') order by 1"
        with self._reading() as connection, asking(self.name):
            return [name for (name,) in connection.execute(query)]

    def schema(self, query: str) -> Any:
        """Implements `Database.schema`."""
        with self._reading() as connection, asking(self.name):
            cursor = connection.execute(query)
            return self._schema(cursor, cursor.fetchmany(_ROWS))

    def batches(self, query: str) -> Iterator[Any]:
        """Implements `Database.batches`."""
        arrow = arrow_for(self.name)
        with self._reading() as connection:
            with asking(self.name):
                cursor = connection.execute(query)
                rows = cursor.fetchmany(_ROWS)
            schema, done = self._schema(cursor, rows), 0
            while rows:
                columns = [
                    self._array(field, cells, done)
                    for field, cells in zip(schema, zip(*rows, strict=True), strict=True)
                ]
                yield arrow.RecordBatch.from_arrays(columns, schema=schema)
                done += len(rows)
                with asking(self.name):
                    rows = cursor.fetchmany(_ROWS)

    def _schema(self, cursor: sqlite3.Cursor, rows: Sequence[tuple[Any, ...]]) -> Any:
        arrow = arrow_for(self.name)
        names = [column[0] for column in cursor.description]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        kinds = [getattr(arrow, _kind(cells))() for cells in columns]
        return arrow.schema(list(zip(names, kinds, strict=True)))

    def _array(self, field: Any, cells: tuple[Any, ...], before: int) -> Any:
        """Cells as an Arrow array of a field's type; `before` rows stand above them."""
        arrow, kind = arrow_for(self.name), str(field.type).replace("double", "float64")
        found, held = set(map(type, cells)) - {type(None)}, _KINDS[kind]
        if kind == "string" and not found <= {str}:
            cells = tuple(None if cell is None else _text(cell) for cell in cells)
        elif not found <= set(held):
            row = next(n for n, cell in enumerate(cells) if type(cell) in found - set(held))
            raise DataError(
                f"{self.name} row {before + row + 1}: column {field.name}: expected {kind} as in "
                f"the first rows, found {cells[row]!r}; cast the column in the query"
            )
        return arrow.array(cells, field.type)

    @contextmanager
    def appending(self, table: str, columns: Columns, replace: bool) -> Iterator[Write]:
        """Implements `Database.appending`."""
        if "." in table:
            raise DataError(f"{self.name}: expected a table without a schema, found {table}")
        with new_file(self.path) as path, self._connected(path, "rwc") as connection:
            with asking(self.name):
                self._begin(connection, table, columns, replace)
            marks = ", ".join("?" for _ in columns)
            insert = f"insert into {table_name(table)} values ({marks})"  # noqa: S608

            def write(frame: pd.DataFrame) -> None:
                rows = zip(*(frame[name].tolist() for name, _ in columns), strict=True)
                with asking(self.name):
                    connection.executemany(insert, rows)

            yield write
            with asking(self.name):
                connection.execute("commit")

    def _begin(
        self, connection: sqlite3.Connection, table: str, columns: Columns, replace: bool
    ) -> None:
        """Begins a transaction in which the table is there and empty."""
        connection.execute("begin immediate")
        found = connection.execute("select name from pragma_table_info(?)", [table]).fetchall()
        names = [name for (name,) in found]
        connection.execute(emptying(self.name, table, names, columns, replace))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        file_stamp(self.path)  # a file that is not there has a message of its own
        with self._connected(self.path, "ro") as connection:
            yield connection

    @contextmanager
    def _connected(self, path: Path, mode: str) -> Iterator[sqlite3.Connection]:
        place = f"{path.absolute().as_uri()}?mode={mode}"
        with asking(self.name):
            connection = sqlite3.connect(
                place, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False
            )
        with closing(connection):
            yield connection


def _kind(cells: Sequence[Any]) -> str:
    """The narrowest type that holds cells."""
    found = set(map(type, cells)) - {type(None)}
    return next((kind for kind, held in _KINDS.items() if found and found <= set(held)), "string")


def _text(cell: Any) -> str:
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
