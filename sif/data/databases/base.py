"""The protocol of a database, and the border to the libraries that speak with one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from sif.data.databases.statements import create, table_name
from sif.data.streamed.source import CutOffError
from sif.errors import DataError, SifError
from sif.utils.optional import library

Write = Callable[[pd.DataFrame], object]
"""Appends the rows of a frame."""
Columns = Sequence[tuple[str, str]]
"""Names and types of columns; types as pyarrow calls them."""
SQL_TYPES = {"string": "text", "int32": "integer", "float32": "real"}
"""Types of Arrow to those of SQL, in the words of all three databases."""
EXTRA = "sql"
_OF_SERVER = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.+)")
_OF_DRIVER = re.compile(r"^(?:[A-Z_]+: )?(?:\[\w+\] )?(?:\w+\(\) failed: )?")


class Database(Protocol):
    """A database that answers queries with Arrow batches."""

    @property
    def name(self) -> str:
        """Address without a password, or the path of a file."""
        ...

    def stamp(self) -> str:
        """A text that changes when the content does, as far as anybody can tell without reading."""
        ...

    def tables(self) -> list[str]:
        """Names of tables and views, for messages."""
        ...

    def schema(self, query: str) -> Any:
        """The `pyarrow.Schema` of a query's result.

        Raises:
            DataError: The database cannot be reached, or refuses the query; with its own words.
        """
        ...

    def batches(self, query: str) -> Iterator[Any]:
        """The result as record batches of bounded size, from a transaction that only reads.

        Raises:
            DataError: The database cannot be reached, refuses the query, or was cut off after so
                many rows.
        """
        ...

    def appending(
        self, table: str, columns: Columns, replace: bool
    ) -> AbstractContextManager[Write]:
        """Appends frames to a table in one transaction, which an exception undoes.

        Args:
            table: Is made; must not be there yet, or have these columns.
            columns: Of the table.
            replace: Whether a table that is there loses its rows; otherwise it is refused.

        Raises:
            DataError: The table is there, has other columns, or cannot be written.
        """
        ...


def arrow_for(name: str) -> Any:
    """The module pyarrow, which a database needs; DataError where there is none."""
    return library("pyarrow", name, error=DataError)


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Turns any exception of a database or its driver into one line with the database's words."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SifError):
            raise
        raise DataError(f"{name}: {words(error)}") from None


def read(name: str, reader: Any) -> Iterator[Any]:
    """The batches of a reader of pyarrow.

    Raises:
        CutOffError: The database stopped, or its connection was cut.
    """
    rows = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except Exception as error:
            raise CutOffError(
                f"{name}: the answer was cut off after {rows:,} rows: {words(error)}"
            ) from None
        rows += len(batch)
        yield batch


def words(error: Exception) -> str:
    """The first line of what a database says, without what drivers put around it."""
    text = str(error).strip() or type(error).__name__
    if server := _OF_SERVER.search(text):
        return server[1].strip()
    return _OF_DRIVER.sub("", text).splitlines()[0].strip()


def emptying(
    name: str, table: str, found: Sequence[str], columns: Columns, replace: bool
) -> str:  # fmt: skip
    """The statement after which a table is there and empty.

    Args:
        name: The database.
        table: In it.
        found: Names of the table's columns; none: it is not there.
        columns: Those that are written.
        replace: Whether its rows may go.

    Raises:
        DataError: It is there, and its rows may not go or it has other columns.
    """
    expected = [column for column, _ in columns]
    if found and not replace:
        raise DataError(
            f"{name}: table {table} exists; name another one, or replace its rows by replace=True"
        )
    if found and list(found) != expected:
        raise DataError(
            f"{name}: table {table}: expected columns {', '.join(expected)}, found "
            f"{', '.join(found)}"
        )
    if found:
        return f"delete from {table_name(table)}"  # noqa: S608
    return create(table, [(column, SQL_TYPES[kind]) for column, kind in columns])


def tables_of(name: str, columns: Columns) -> Callable[[pd.DataFrame], Any]:
    """Turns frames into tables of Arrow with such columns; DataError where there is no pyarrow."""
    arrow = arrow_for(name)
    schema = arrow.schema([(column, getattr(arrow, kind)()) for column, kind in columns])
    return lambda frame: arrow.Table.from_pandas(frame, schema, preserve_index=False)


def file_stamp(path: Path) -> str:
    """Size and time of the last change of a file."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: expected a database, found: {error.strerror}") from None
    return f"{state.st_size}:{state.st_mtime_ns}"


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Where to write a database: in place, or beside it until a new one is whole.

    Raises:
        DataError: The folder is not there.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path}: expected a name in a folder that is there")
    if path.exists():
        yield path
        return
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        for left in (part, part.with_name(f"{part.name}.wal")):
            left.unlink(missing_ok=True)
