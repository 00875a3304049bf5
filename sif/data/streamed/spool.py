"""The first pass: every column of a source into files, batch by batch, to go on after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sif.data.interactions.readers import Columns, assign, cell_error, remedy_of, unread_times
from sif.data.reading import reading
from sif.data.streamed.ahead import reading_ahead
from sif.data.streamed.columns import (
    CodedColumn,
    Column,
    TimeColumn,
    rating_column,
    rows_from,
)
from sif.data.streamed.progress import progress
from sif.data.streamed.scratch import Scratch
from sif.data.streamed.source import RecordSource, UnfitColumnError
from sif.errors import DataError, EntryError
from sif.utils.optional import library


@dataclass(frozen=True)
class _Header:
    """The columns of a source as `assign` takes them."""

    columns: tuple[str, ...]
    header_place: str
    setting: str = "data.{}"


@dataclass(frozen=True)
class Request:
    """The columns of a source that are read.

    Attributes:
        source: Where they are.
        names: Roles as the user names them.
        roles: Position of the column of every role and context field.
    """

    source: RecordSource
    names: Columns
    roles: dict[str, int]

    @classmethod
    def of(cls, source: RecordSource, names: Columns) -> Request:
        """Finds the columns of all roles.

        Raises:
            DataError: A column is missing, or holds no single values.
        """
        header = _Header(tuple(source.schema.names), source.header_place)
        roles = assign(header, names)
        arrow = library("pyarrow", source.name, error=DataError)
        for position in roles.values():
            kind = source.schema.types[position]
            if arrow.types.is_nested(kind):
                place = f"{source.name}: column {source.schema.names[position]!r}"
                raise DataError(f"{place}: expected single values, found {kind}")
        return cls(source, names, roles)

    @property
    def notes(self) -> tuple[str, ...]:
        """On columns that are not read, see `unread_times`."""
        header = _Header(tuple(self.source.schema.names), self.source.header_place)
        return unread_times(header, self.roles, self.names)

    def column(self, role: str) -> str:
        """The name of the column of a role."""
        return str(self.source.schema.names[self.roles[role]])

    @contextmanager
    def naming(self, role: str) -> Iterator[None]:
        """Names the place of a bad cell, and what stands there, as readers in memory do."""
        try:
            yield
        except EntryError as error:
            where, text = self.source.locate(error.row, self.roles[role])
            remedy = remedy_of(self.names, self.column(role)) if role == "timestamp" else ""
            raise cell_error(error, where, text, role, remedy) from None


@dataclass(frozen=True)
class Spooled:
    """A source whose rows all lie in files.

    Attributes:
        request: What was read.
        columns: By role.
        rows: Their number.
    """

    request: Request
    columns: dict[str, Column]
    rows: int


@dataclass
class _State:
    """How far a reading is.

    Attributes:
        rows: That were read.
        mark: Of the source, behind them.
        texts: Columns of ratings or times that are no numbers.
        done: The source has no more.
    """

    rows: int = 0
    mark: Any = None
    texts: list[int] = field(default_factory=list)
    done: bool = False


def spool(request: Request, scratch: Scratch) -> Spooled:
    """Writes all rows into files, from where an earlier process was killed.

    Args:
        request: What is read.
        scratch: Takes the files; it knows the request by the fingerprint of its source.

    Raises:
        DataError: A cell that cannot be used, by its place; or the disk is full.
    """
    source, roles = request.source, request.roles
    state = _State(**scratch.state)
    while True:
        numbers = [roles[role] for role in ("rating", "timestamp") if role in roles]
        typed = source.with_numbers([n for n in numbers if n not in state.texts])
        columns = {role: _column(role, typed.schema.types[n]) for role, n in roles.items()}
        if state.done:
            return Spooled(request, columns, state.rows)
        try:
            _read(replace(request, source=typed), columns, scratch, state)
        except UnfitColumnError as error:  # texts all along, which earlier batches did not show
            state = _State(texts=[*state.texts, error.column])
            scratch.clear()
        else:
            if not state.rows:
                raise DataError(f"{source.name}: expected interactions, found no rows")
            state.done = True
            scratch.commit(asdict(state))


def _column(role: str, kind: Any) -> Column:
    if role == "rating":
        return rating_column(kind)
    return TimeColumn() if role == "timestamp" else CodedColumn(role)


def _read(
    request: Request, columns: dict[str, Column], scratch: Scratch, state: _State
) -> None:  # fmt: skip
    """Writes the rows that are left."""
    source, positions = request.source, list(request.roles.values())
    with (
        progress(Path(source.name).name, source.size, state.rows) as advance,
        reading_ahead(source.pieces(positions, state.mark)) as pieces,
    ):
        for piece in pieces:
            for cells, (role, column) in zip(piece.batch.columns, columns.items(), strict=True):
                place = f"{source.name}: column {request.column(role)!r}"
                with (
                    request.naming(role),
                    rows_from(state.rows),
                    reading(place, f"values of type {cells.type}", (EntryError,)),
                ):
                    column.append(scratch, cells)
            state.rows += len(piece.batch)
            state.mark = piece.mark
            scratch.commit(asdict(state))
            advance(len(piece.batch), piece.size)
