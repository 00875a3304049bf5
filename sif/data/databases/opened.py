"""Databases by their address or file, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sif.data.databases import duck, sqlite
from sif.data.databases.base import Database
from sif.data.databases.duck import DuckDB
from sif.data.databases.postgres import Postgres
from sif.data.databases.source import QuerySource
from sif.data.databases.sqlite import SQLite
from sif.data.databases.statements import checked_query, table_name
from sif.errors import ConfigError, DataError
from sif.utils.addresses import Address, is_address
from sif.utils.paths import expanded

_OPENERS: dict[str, Callable[[Address], Database]] = {
    "postgresql": Postgres,
    "sqlite": lambda address: SQLite(expanded(address.path), address.text),
    "duckdb": lambda address: DuckDB(expanded(address.path), address.text),
}
_FILES: tuple[tuple[tuple[int, bytes], Callable[[Path, str], Database]], ...] = (
    (sqlite.MAGIC, SQLite),
    (duck.MAGIC, DuckDB),
)
_HEAD = 32
_TOLD = 8  # tables listed in a message


def open_database(dataset: str) -> Database | None:
    """The database of an address, or of a file by its first bytes; None for anything else.

    Nothing is asked yet.

    Raises:
        ConfigError: An address of another kind, or one that is none.
    """
    if is_address(dataset):
        return database_of(Address.parse(dataset))
    path = expanded(dataset)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):  # which the readers of files tell
        return None
    for (place, magic), database in _FILES:
        if head[place:].startswith(magic):
            return database(path, dataset)
    return None


def database_of(address: Address) -> Database:
    """The database of an address."""
    return _OPENERS[address.scheme](address)


def query_source(
    dataset: str, query: str | None, table: str | None, is_known: bool = False
) -> QuerySource | None:
    """The rows that a query or a table asks of a database; None where the data set is none.

    Args:
        dataset: Address, path or name.
        query: The setting `data.query`.
        table: The setting `data.table`, in place of a query.
        is_known: The data set is one that is known by its name.

    Raises:
        ConfigError: A query without a database, or one that is no query.
        DataError: A database without a query.
    """
    database = None if is_known else open_database(dataset)
    if database is None:
        if query or table:
            key = "query" if query else "table"
            raise ConfigError(f"data.{key}: expected a database as dataset, found {dataset}")
        return None
    if query:
        return QuerySource(database, checked_query(query))
    if table:
        return QuerySource(database, f"select * from {table_name(table)}")  # noqa: S608
    tables = database.tables()
    told = ", ".join(tables[:_TOLD]) + ", ..." * (len(tables) > _TOLD)
    raise DataError(
        f"{database.name}: expected data.table or data.query, found neither; tables: "
        f"{told or 'none'}"
    )
