"""The result of a query as a source of records.

A database keeps nothing for a reader that was cut off. A reading that goes on asks again, runs
through the rows that it had, and takes what follows only if these are the same as then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Any

from sif.data.databases.base import Database, arrow_for
from sif.data.databases.values import plain, plain_type
from sif.data.streamed.source import Mark, Piece
from sif.errors import DataError
from sif.utils.digest import digest

ROWS = 1 << 17
"""Rows of a piece; the last one has fewer."""


@dataclass(frozen=True)
class QuerySource:
    """Implements `RecordSource`; a mark is a number of rows and a digest of them.

    Attributes:
        database: Answers the query.
        query: As `sif.data.databases.statements` makes it.
        rows, size: Unknown.
        notes: None.
    """

    database: Database
    query: str
    rows: int | None = None
    size: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the database."""
        return self.database.name

    @property
    def header_place(self) -> str:
        """The query, which names the columns."""
        return f"{self.name}: data.query"

    @cached_property
    def own(self) -> Any:
        """The schema as the database has it."""
        return self.database.schema(self.query).remove_metadata()

    @cached_property
    def schema(self) -> Any:
        """The schema of what `pieces` hands out; columns of other types are refused there."""
        arrow = arrow_for(self.name)
        fields = []
        for field in self.own:
            try:
                kind = plain_type(self.name, field)
            except DataError:
                kind = arrow.binary()
            fields.append(arrow.field(field.name, kind))
        return arrow.schema(fields)

    @property
    def tells_changes(self) -> bool:
        """True if `fingerprint` changes whenever the rows may have changed.

        A server tells nothing; then a mark does, which has a digest of the rows before it.
        """
        return bool(self.database.stamp())

    def fingerprint(self) -> str:
        """Of the address, the query, and what the database tells without being read."""
        return digest([self.name, self.query, self.database.stamp()])

    def with_numbers(self, columns: Collection[int]) -> QuerySource:
        """Itself: its columns have types."""
        return self

    def pieces(self, columns: Sequence[int], mark: Mark = None) -> Iterator[Piece]:
        """Implements `RecordSource.pieces`."""
        skipped, known = mark or (0, "")
        done, chain = 0, ""
        for batch in _of_rows(arrow_for(self.name), self._batches(columns), ROWS):
            chain = _chained(chain, batch)
            done += len(batch)
            if done > skipped:
                if done - len(batch) < skipped:
                    raise self._changed(skipped)
                yield Piece(batch, [done, chain], batch.nbytes)
            elif done == skipped and chain != known:
                raise self._changed(skipped)
        if done < skipped:
            raise self._changed(skipped)

    def _batches(self, columns: Sequence[int]) -> Iterator[Any]:
        """Batches with some columns in plain types."""
        arrow = arrow_for(self.name)
        schema = arrow.schema([self.schema.field(column) for column in columns])
        for batch in self.database.batches(self.query):
            arrays = [
                plain(self.name, self.own.field(column), batch.column(column)) for column in columns
            ]
            yield arrow.RecordBatch.from_arrays(arrays, schema=schema)

    def _changed(self, rows: int) -> DataError:
        return DataError(
            f"{self.name}: data.query: expected the same first {rows:,} rows as before, found "
            "others; the next reading begins anew: let the query say the order of its rows"
        )

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Implements `RecordSource.locate`; asks the database again."""
        number, place = divmod(row, ROWS)
        piece = next(islice(self.pieces([column]), number, None), None)
        value = None
        if piece is not None and place < len(piece.batch):
            value = piece.batch.column(0)[place].as_py()
        return f"{self.name} row {row + 1}", "" if value is None else str(value)


def _of_rows(arrow: Any, batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """The same rows in batches of a number of rows, however a database cuts them."""
    waiting: list[Any] = []
    count = 0
    for batch in batches:
        while len(batch):
            part = batch.slice(0, rows - count)
            batch = batch.slice(len(part))  # noqa: PLW2901
            waiting.append(part)
            count += len(part)
            if count == rows:
                yield _joined(arrow, waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(arrow, waiting)


def _joined(arrow: Any, batches: list[Any]) -> Any:
    (batch,) = arrow.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


def _chained(before: str, batch: Any) -> str:
    """A digest of all rows so far, from that of the rows before."""
    return blake2b(batch.serialize(), key=before.encode(), digest_size=16).hexdigest()
