"""Columns on their way into files: ids and texts by codes, ratings and times as numbers.

Of a batch only its distinct texts are kept, beside the code (n,) of each row among them. When all
rows have been read, the texts of all batches are numbered at once. So a text is written once per
batch, and no row is ever an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import rows_of, written
from sif.data.interactions.ids import EXPECTED as AN_ID
from sif.data.interactions.ratings import EXPECTED as A_NUMBER
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.table_files import with_uuid_texts
from sif.data.interactions.times import EXPECTED as A_TIME
from sif.data.interactions.times import NumberSurvey, is_number, seconds_of
from sif.data.interactions.vocabulary import Vocabulary
from sif.data.streamed.scratch import Scratch
from sif.errors import DataError, EntryError
from sif.utils.optional import library

ROWS = 1 << 20
"""Rows of a file that are looked at together."""
_WAITING = 1 << 21  # distinct cells of batches that wait to be merged, at least
MOST_IDS = np.iinfo(np.int32).max
Codes = npt.NDArray[np.int32]


class Column(Protocol):
    """A column of one role.

    Attributes:
        role: "user", "rating", ... or the name of a context field.
    """

    role: str

    def append(self, scratch: Scratch, values: Any) -> None:
        """Writes the cells of a batch, an Arrow array.

        Raises:
            EntryError: A cell cannot be used; rows count within the batch.
        """
        ...


class CodedColumn:
    """Cells by their codes: ids, and ratings that are texts.

    Three files: codes int32 of the rows; distinct cells as Arrow streams, one per batch; and for
    each batch its rows, its distinct cells and where these end, int64.
    """

    def __init__(self, role: str, expected: str = AN_ID) -> None:
        self.role, self._expected = role, expected
        self._known: Any = None  # distinct cells of the merged batches
        self._places: list[Codes] = []  # of the cells of each merged batch among them
        self._waiting: list[Any] = []  # distinct cells of the batches behind these

    def append(self, scratch: Scratch, values: Any) -> None:
        """Implements `Column.append`."""
        self._load(scratch)
        codes, cells = _coded(values, self._expected)
        scratch.append(f"{self.role}.codes", codes)
        sink = _arrow().BufferOutputStream()
        batch = _arrow().RecordBatch.from_arrays([cells], names=["cells"])
        with _arrow().ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = sink.getvalue()
        scratch.append(f"{self.role}.cells", data)
        end = scratch.size(f"{self.role}.cells")
        scratch.append(f"{self.role}.batches", np.array([len(codes), len(cells), end], np.int64))
        # As a copy: the batch, which may lie in shared memory with all of its columns, can go.
        self._waiting.append(_stored(data))
        # Merged now and then: another thread reads meanwhile.
        if sum(map(len, self._waiting)) > max(_WAITING, len(self._known or ())):
            self._merge()

    def _load(self, scratch: Scratch) -> None:
        """Takes up the batches that an earlier process has written."""
        if self._places or self._waiting:
            return
        data, begin = scratch.mapped(f"{self.role}.cells", np.uint8), 0
        for _, _, end in self._batches(scratch):
            self._waiting.append(_stored(_arrow().py_buffer(data[begin:end])))
            begin = end

    def _merge(self) -> None:
        """Numbers the cells that wait behind those that are known."""
        before = [] if self._known is None else [self._known]
        found = _arrow().chunked_array([*before, *self._waiting]).dictionary_encode().chunks
        self._places += [chunk.indices.to_numpy() for chunk in found[len(before) :]]
        self._known, self._waiting = found[-1].dictionary, []

    def distinct(self, scratch: Scratch, where: str) -> tuple[Any, list[Codes]]:
        """All distinct cells as an Arrow array, and for each batch the places of its own in it.

        Raises:
            DataError: There are more than an int32 counts; it names where.
        """
        self._load(scratch)
        if self._waiting:
            self._merge()
        if len(self._known) > MOST_IDS:
            limit = f"at most {MOST_IDS:,} different cells"
            raise DataError(f"{where}: {self.role}: expected {limit}, found {len(self._known):,}")
        return self._known, self._places

    def _batches(self, scratch: Scratch) -> list[list[int]]:
        return scratch.mapped(f"{self.role}.batches", np.int64).reshape(-1, 3).tolist()

    def numbers(
        self, scratch: Scratch, places: list[Codes], table: npt.NDArray[Any]
    ) -> Iterator[npt.NDArray[Any]]:
        """Batch by batch, what a table (m,) has for the distinct cell of each row."""
        codes, row = scratch.mapped(f"{self.role}.codes", np.int32), 0
        for (rows, _, _), own in zip(self._batches(scratch), places, strict=True):
            yield table[own][codes[row : row + rows]]
            row += rows

    def first_row(self, scratch: Scratch, places: list[Codes], cell: int) -> int:
        """The first row that has a distinct cell."""
        every, row = np.arange(max(int(own.max()) for own in places) + 1), 0
        for found in self.numbers(scratch, places, every):
            hits = np.flatnonzero(found == cell)
            if len(hits):
                return row + int(hits[0])
            row += len(found)
        return row


def vocabulary_of(
    column: CodedColumn, scratch: Scratch, where: str
) -> tuple[Vocabulary, Iterator[npt.NDArray[Any]]]:
    """The vocabulary of a column of ids, and batch by batch the number (n,) int32 of each row.

    Raises:
        EntryError: A cell is no id; its row counts from the first of all.
        DataError: Too many ids.
    """
    cells, places = column.distinct(scratch, where)
    try:
        vocabulary, numbers = Vocabulary.from_values(cells.to_pandas())
    except EntryError as error:
        row = column.first_row(scratch, places, error.row)
        raise EntryError(row, error.expected, error.found) from None
    return vocabulary, column.numbers(scratch, places, numbers.astype(np.int32))


class RatingColumn:
    """Numbers as float32, in one file."""

    role = "rating"

    def append(self, scratch: Scratch, values: Any) -> None:
        """Implements `Column.append`."""
        _refuse_missing(values, A_NUMBER)
        scratch.append("rating.values", ratings_of(_cells(values)))


def rating_column(kind: Any) -> Column:
    """The column of ratings for a type of Arrow.

    Whether "3,5" is a number depends on all texts of a column, so texts are read in the end.
    """
    return CodedColumn("rating", A_NUMBER) if is_text(kind) else RatingColumn()


class TimeColumn:
    """Times as int64 seconds, or numbers as they stand: what they count depends on all of them.

    Two files: values int64 or float64, and for each batch its form, one byte.
    """

    role = "timestamp"
    SECONDS, WHOLE, FLOAT = range(3)
    KINDS: ClassVar = (np.int64, np.int64, np.float64)

    def __init__(self) -> None:
        self._form: int | None = None

    def append(self, scratch: Scratch, values: Any) -> None:
        """Implements `Column.append`."""
        _refuse_missing(values, A_TIME)
        form, times = _times(values)
        if self._form is None:
            known = scratch.mapped("timestamp.form", np.uint8)
            self._form = int(known[0]) if len(known) else form
            if not len(known):
                scratch.append("timestamp.form", np.array([form], dtype=np.uint8))
        if form != self._form:
            expected = "date" if self._form == self.SECONDS else "number"
            found = written(_cells(values.slice(0, 1)).iloc[0])
            raise EntryError(0, f"expected a {expected} as in most rows", repr(found))
        scratch.append("timestamp.values", times)

    def seconds(
        self, scratch: Scratch
    ) -> tuple[npt.DTypeLike, str | None, Iterator[npt.NDArray[Any]]]:
        """The narrowest type of all seconds, how numbers were read, and the seconds in pieces.

        Raises:
            EntryError: A number of another form than the others.
        """
        form = int(scratch.mapped("timestamp.form", np.uint8)[0])
        values = scratch.mapped("timestamp.values", self.KINDS[form])
        ends = np.array([values.min(), values.max()])
        if form == self.SECONDS:
            return _narrowest(ends), None, pieces(values)
        survey = NumberSurvey()
        for row, part in _with_rows(values):
            with rows_from(row):
                survey.add(part)
        read = survey.form()

        def converted() -> Iterator[npt.NDArray[Any]]:
            for row, part in _with_rows(values):
                with rows_from(row):
                    seconds = read.seconds(part)
                yield seconds

        try:
            kind = _narrowest(read.seconds(ends))
        except EntryError:  # which the rows tell
            kind = np.dtype(np.int64)
        return kind, read.note, converted()


@contextmanager
def rows_from(row: int) -> Iterator[None]:
    """Counts the row of an `EntryError` from the first of all rows."""
    try:
        yield
    except EntryError as error:
        raise EntryError(row + error.row, error.expected, error.found) from None


def pieces(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Some rows of an array at a time."""
    for _, part in _with_rows(values):
        yield part


def _with_rows(values: npt.NDArray[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    for row in range(0, len(values), ROWS):
        yield row, values[row : row + ROWS]


def _narrowest(seconds: npt.NDArray[Any]) -> npt.DTypeLike:
    """int32 where differences fit in it as well."""
    narrow = int(seconds.min()) >= 0 and int(seconds.max()) <= np.iinfo(np.int32).max
    return np.int32 if narrow else np.int64


def _stored(data: Any) -> Any:
    """The distinct cells of a batch, from the buffer that was written."""
    return _arrow().ipc.open_stream(data).read_next_batch().column(0)


def is_text(kind: Any) -> bool:
    """True for texts and bytes of an Arrow type, in a dictionary or not."""
    if _arrow().types.is_dictionary(kind):
        kind = kind.value_type
    return any(word in str(kind) for word in ("string", "binary"))


def _arrow() -> Any:
    return library("pyarrow", "reading", error=DataError)


def encoded(values: Any) -> Any:
    """The cells of a batch as a `pyarrow.DictionaryArray`."""
    values = with_uuid_texts(values)
    if _arrow().types.is_dictionary(values.type):
        return values
    return _arrow().compute.dictionary_encode(values, null_encoding="mask")


def _coded(values: Any, expected: str) -> tuple[Codes, Any]:
    """Codes (n,) of the cells of a batch, and its distinct cells, each of which some row has."""
    arrow, values = _arrow(), encoded(values)
    cells = values.dictionary
    if is_text(values.type):
        cells = cells.cast(arrow.large_string())
        cells.validate(full=True)
    _refuse_missing(values.indices, expected)
    codes = values.indices.cast(arrow.int32()).to_numpy()
    is_used = np.bincount(codes, minlength=len(cells)) > 0
    if not is_used.all():
        cells = cells.filter(arrow.array(is_used))
        codes = (np.cumsum(is_used, dtype=np.int32) - 1)[codes]
    missing = cells.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if missing.any():
        raise EntryError(int(np.argmax(missing[codes])), expected, "nothing")
    return codes, cells


def _refuse_missing(values: Any, expected: str) -> None:
    if values.null_count:
        missing = values.is_null().to_numpy(zero_copy_only=False)
        raise EntryError(int(np.argmax(missing)), expected, "nothing")


def _cells(values: Any) -> pd.Series:
    """The cells of a batch as the readers in memory have them."""
    arrow = _arrow()
    if arrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if arrow.types.is_date(values.type):
        values = values.cast(arrow.timestamp("s" if values.type == arrow.date32() else "ms"))
    if "binary" in str(values.type):
        values = values.cast(arrow.string())
    return values.to_pandas()


def _times(values: Any) -> tuple[int, npt.NDArray[Any]]:
    """The form of the times of a batch, and their values."""
    if is_text(values.type):
        return _text_times(values)
    cells = _cells(values)
    if cells.dtype.kind == "i" or (cells.dtype.kind == "u" and cells.max() < 2**63):
        return TimeColumn.WHOLE, cells.to_numpy(np.int64)
    if cells.dtype.kind in "uf":
        return TimeColumn.FLOAT, cells.to_numpy(np.float64)
    return TimeColumn.SECONDS, seconds_of(cells)[0]


def _text_times(values: Any) -> tuple[int, npt.NDArray[Any]]:
    """Times of texts: numbers where all are some, else dates."""
    arrow = _arrow()
    codes, cells = _coded(values, A_TIME)
    cells = arrow.compute.utf8_trim_whitespace(cells)
    for kind in (arrow.float64(), arrow.timestamp("us")):
        with suppress(arrow.ArrowInvalid):
            times = cells.cast(kind).to_numpy()
            if kind == arrow.float64():
                return TimeColumn.FLOAT, times[codes]
            return TimeColumn.SECONDS, times.astype("M8[s]").astype(np.int64)[codes]
    texts = cells.to_pandas()
    if all(map(is_number, texts)):
        return TimeColumn.FLOAT, np.array([float(text) for text in texts])[codes]
    with rows_of(codes):
        return TimeColumn.SECONDS, seconds_of(texts)[0][codes]
