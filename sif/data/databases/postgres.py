"""PostgreSQL through ADBC: the server streams rows in binary form, and no copy of all is held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sif.data.databases.base import (
    EXTRA,
    Columns,
    Write,
    arrow_for,
    asking,
    emptying,
    read,
    tables_of,
)
from sif.data.databases.statements import literal, table_name
from sif.errors import DataError
from sif.utils.addresses import Address, revealed
from sif.utils.optional import library

_BATCH_BYTES = 8 << 20
_LIMITS = {
    "connect_timeout": "10",  # seconds, of each host
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",  # milliseconds
    "fallback_application_name": "sif",
}
"""Options of a connection, unless the address or the environment has them: none hangs for ever."""
_READ_ONLY = "set transaction isolation level repeatable read, read only"
_STEADY = (
    "set local max_parallel_workers_per_gather = 0",
    "set local synchronize_seqscans = off",
)
"""Without these, two readings of an unchanged table may differ in order."""


_COLUMNS = (
    "select attname::text from pg_attribute where attrelid = to_regclass({}) and attnum > 0 "
    "and not attisdropped order by attnum"
)
"""Columns of a table, which is given as a value; none where it is not there."""


@dataclass(frozen=True)
class Postgres:
    """Implements `Database`.

    Attributes:
        address: Of the database.
    """

    address: Address

    @property
    def name(self) -> str:
        """The address without its password."""
        return self.address.text

    def stamp(self) -> str:
        """Nothing: only reading tells what a server has."""
        return ""

    def tables(self) -> list[str]:
        """Implements `Database.tables`: those that a query finds without a schema."""
        query = (
            "select table_name::text from information_schema.tables "
            "where table_schema = any(current_schemas(false)) order by 1"
        )
        return [row[0] for batch in self.batches(query) for row in _rows(batch)]

    def schema(self, query: str) -> Any:
        """Implements `Database.schema`; the server plans the query and does not run it."""
        with self._cursor() as cursor, asking(self.name):
            return cursor.adbc_execute_schema(query)

    def batches(self, query: str) -> Iterator[Any]:
        """Implements `Database.batches`."""
        with self._cursor() as cursor:
            with asking(self.name):
                for statement in (_READ_ONLY, *_STEADY):
                    cursor.execute(statement)
                cursor.execute(query)
                reader = cursor.fetch_record_batch()
            yield from read(self.name, reader)

    @contextmanager
    def appending(self, table: str, columns: Columns, replace: bool) -> Iterator[Write]:
        """Implements `Database.appending`; rows go by COPY."""
        made = tables_of(self.name, columns)
        place, _, bare = table.rpartition(".")
        where = {"db_schema_name": place} if place else {}
        with self._cursor() as cursor:
            with asking(self.name):
                self._begin(cursor, table, columns, replace)

            def write(frame: pd.DataFrame) -> None:
                rows = made(frame)
                with asking(self.name):
                    cursor.adbc_ingest(bare, rows, mode="append", **where)

            yield write
            with asking(self.name):
                cursor.connection.commit()

    def _begin(self, cursor: Any, table: str, columns: Columns, replace: bool) -> None:
        """Begins a transaction in which the table is there and empty."""
        cursor.execute(_COLUMNS.format(literal(table_name(table))))
        names = [name for (name,) in cursor.fetchall()]
        cursor.execute(emptying(self.name, table, names, columns, replace))

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor of a connection of its own; what is not committed is undone."""
        arrow_for(self.name)
        driver = "adbc-driver-postgresql"
        adbc = library("adbc_driver_postgresql", self.name, driver, EXTRA, DataError)
        dbapi = library("adbc_driver_postgresql.dbapi", self.name, driver, EXTRA, DataError)
        with asking(self.name):
            connection = dbapi.connect(_whole(self.address))
        try:
            hint = {adbc.StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(_BATCH_BYTES)}
            cursor = connection.cursor(adbc_stmt_kwargs=hint)
            try:
                yield cursor
            finally:
                _closed(cursor)
        finally:
            _closed(connection)


def _closed(thing: Any) -> None:
    """Closes what a cut connection may refuse to close; the error before it tells more."""
    with suppress(Exception):
        thing.close()


def _rows(batch: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _whole(address: Address) -> str:
    """The address for the driver: with its password, and with limits of waiting."""
    text = revealed(address.text)
    names = {part.partition("=")[0] for part in text.partition("?")[2].split("&")}
    if "PGCONNECT_TIMEOUT" in os.environ:
        names.add("connect_timeout")
    added = "&".join(f"{name}={value}" for name, value in _LIMITS.items() if name not in names)
    return text + ("&" if "?" in text else "?") + added
