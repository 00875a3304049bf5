"""Sources of records: whatever hands out rows piece by piece, and goes on where it was left.

A file, a folder of files or the result of a query is a `RecordSource`. Its rows come as Arrow
record batches, each with a mark, by which another process goes on behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sif.errors import DataError

Mark = Any
"""A value of JSON by which a source finds the row behind a piece; None: the first row."""


@dataclass(frozen=True)
class Piece:
    """Some rows that follow one another.

    Attributes:
        batch: A `pyarrow.RecordBatch` with the columns that were asked for, in their order.
        mark: Where the next piece begins.
        size: Bytes that were read for it, as they lie in the source; for progress alone.
    """

    batch: Any
    mark: Mark
    size: int


class RecordSource(Protocol):
    """Rows in an order that stays the same from one reading to the next."""

    @property
    def name(self) -> str:
        """For messages: a path, or an address without a password."""
        ...

    @property
    def schema(self) -> Any:
        """The `pyarrow.Schema` of all columns."""
        ...

    @property
    def rows(self) -> int | None:
        """Their number, or None if only reading tells it."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes that reading all of it takes, or None if nobody knows."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Layout that was recognized without a word in the source, one line each."""
        ...

    @property
    def header_place(self) -> str:
        """Where the names of the columns stand, for messages."""
        ...

    def fingerprint(self) -> str:
        """A text that changes if the rows may have changed; without secrets."""
        ...

    def pieces(self, columns: Sequence[int], mark: Mark = None) -> Iterator[Piece]:
        """The rows behind a mark, piece by piece.

        Args:
            columns: Positions in `schema`; a batch has these columns alone, in this order. Texts
                come as dictionaries where the source has them so, and as texts elsewhere.
            mark: Of the last piece that was taken; None begins at the first row.

        Yields:
            Pieces of a bounded number of rows, about a million at most. No piece is empty.

        Raises:
            CutOffError: The source was cut off and may come back.
            DataError: The source is damaged, or changed while it was read.
            UnfitColumnError: A text is no number in a column of `with_numbers`.
        """
        ...

    def with_numbers(self, columns: Collection[int]) -> RecordSource:
        """The source with these columns read as numbers where it has only texts.

        A source that knows its types is itself.
        """
        ...

    def locate(self, row: int, column: int) -> tuple[str, str]:
        """Place ("ratings.csv line 17") and text of one value; `row` counts from 0."""
        ...


class CutOffError(DataError):
    """A source that was cut off while it was read; what was read stays, to go on from there."""


class UnfitColumnError(ValueError):
    """A text that is no number, in a column that was taken for one of numbers.

    Attributes:
        column: Its position in the schema.
    """

    def __init__(self, column: int) -> None:
        super().__init__(f"column {column}: a text that is no number")
        self.column = column
