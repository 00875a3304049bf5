"""DuckDB files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sif.data.databases.base import (
    EXTRA,
    Columns,
    Write,
    arrow_for,
    asking,
    emptying,
    file_stamp,
    new_file,
    read,
    tables_of,
)
from sif.data.databases.statements import table_name
from sif.errors import DataError
from sif.utils.optional import library

MAGIC = (8, b"DUCK")
"""Place and bytes by which a file is told."""
_ROWS = 1 << 17
_MEMORY = "384MiB"
"""Memory that DuckDB itself may hold; sorts and joins of more go to its temporary folder."""


@dataclass(frozen=True)
class DuckDB:
    """Implements `Database`.

    Attributes:
        path: Of the file.
        name: The path, or the address that named it.
    """

    path: Path
    name: str

    def stamp(self) -> str:
        """Implements `Database.stamp`."""
        return file_stamp(self.path)

    def tables(self) -> list[str]:
        """Implements `Database.tables`."""
        query = "select table_name from information_schema.tables order by 1"
        with self._reading() as connection, asking(self.name):
            return [name for (name,) in connection.execute(query).fetchall()]

    def schema(self, query: str) -> Any:
        """Implements `Database.schema`."""
        with self._reading() as connection, asking(self.name):
            return self._result(connection, f"select * from ({query}) limit 0").schema  # noqa: S608

    def batches(self, query: str) -> Iterator[Any]:
        """Implements `Database.batches`."""
        with self._reading() as connection:
            with asking(self.name):
                reader = self._result(connection, query)
            yield from read(self.name, reader)

    def _result(self, connection: Any, query: str) -> Any:
        if len(connection.extract_statements(query)) != 1:
            raise DataError(f"{self.name}: data.query: expected one query, found several")
        return connection.sql(query).to_arrow_reader(_ROWS)

    @contextmanager
    def appending(self, table: str, columns: Columns, replace: bool) -> Iterator[Write]:
        """Implements `Database.appending`."""
        made = tables_of(self.name, columns)
        with new_file(self.path) as path, self._connected(path) as connection:
            with asking(self.name):
                self._begin(connection, table, columns, replace)

            def write(frame: pd.DataFrame) -> None:
                rows = made(frame)
                with asking(self.name):
                    connection.register("rows_of_sif", rows)
                    into = table_name(table)
                    connection.execute(f"insert into {into} from rows_of_sif")
                    connection.unregister("rows_of_sif")

            yield write
            with asking(self.name):
                connection.execute("commit")

    def _begin(self, connection: Any, table: str, columns: Columns, replace: bool) -> None:
        """Begins a transaction in which the table is there and empty."""
        connection.execute("begin")
        schema, _, bare = table.rpartition(".")
        found = connection.execute(
            "select column_name from information_schema.columns where table_name = ? "
            "and table_schema = coalesce(nullif(?, ''), current_schema()) "
            "order by ordinal_position",
            [bare, schema],
        ).fetchall()
        names = [name for (name,) in found]
        connection.execute(emptying(self.name, table, names, columns, replace))

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        arrow_for(self.name)
        file_stamp(self.path)  # a file that is not there has a message of its own
        with self._connected(self.path, read_only=True) as connection:
            yield connection

    @contextmanager
    def _connected(self, path: Path, read_only: bool = False) -> Iterator[Any]:
        duckdb = library("duckdb", self.name, extra=EXTRA, error=DataError)
        limit = {"memory_limit": _MEMORY}
        with asking(self.name):
            connection = duckdb.connect(str(path), read_only=read_only, config=limit)
        with closing(connection):
            yield connection
