"""Questions and answers as streams of Arrow, for many users at once.

A stream comes from outside: only plain columns are taken, their content is checked in full, and
compressed ones are refused, since a few bytes may become any number of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from sif.serving.answering import Answer, Answering, Result
from sif.serving.forms import Refused
from sif.serving.questions import MOST_QUESTIONS, RecommendQuestion, checked

ARROW = "application/vnd.apache.arrow.stream"
COLUMNS = ("user", "history", "times", "ratings", "n")
"""Columns of questions, which mean the same as the fields in JSON."""


def _library() -> Any:
    try:
        import pyarrow as arrow
        import pyarrow.ipc
    except ImportError:
        raise Refused(415, "Arrow: this server has no pyarrow; send and accept JSON") from None
    return arrow


def questions(body: bytes, usual: RecommendQuestion) -> list[RecommendQuestion]:
    """The questions of a stream, a row each.

    Args:
        body: A table with the columns of `COLUMNS`, as many of them as are needed.
        usual: Gives what rows do not say.

    Raises:
        Refused: 400 for what is no such stream, 422 for questions that cannot be asked.
    """
    arrow = _library()
    try:
        batches = _batches(arrow, body)
        rows = [row for batch in batches for row in batch.to_pylist()]
    except Refused:
        raise
    except Exception as error:  # pyarrow's own, and of numbers that lead out of the body
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(400, f"body: expected a stream of Arrow, found {reason}") from None
    if not rows:
        raise Refused(422, "body: expected at least one row, found none")
    given = usual.model_dump(exclude_unset=True)
    asked = []
    for place, row in enumerate(rows):
        values = given | {name: value for name, value in row.items() if value is not None}
        try:
            asked.append(checked(RecommendQuestion, values))
        except Refused as error:
            raise Refused(error.status, f"row {place + 1}: {error.line}") from None
    return asked


def _batches(arrow: Any, body: bytes) -> list[Any]:
    """Checked batches of a stream."""
    reader = arrow.ipc.MessageReader.open_stream(arrow.py_buffer(body))
    schema, batches, count = None, [], 0
    for message in _messages(reader):
        if schema is None:
            schema = arrow.ipc.read_schema(message)
            _check_columns(arrow, schema)
            continue
        if message.type != "record batch":
            raise Refused(400, f"body: expected batches of rows, found a {message.type}")
        if _is_compressed(message.metadata.to_pybytes()):
            raise Refused(400, "body: expected a stream without compression, found one with it")
        batch = arrow.ipc.read_record_batch(message, schema)
        count += batch.num_rows
        if count > MOST_QUESTIONS:
            raise Refused(422, f"body: expected at most {MOST_QUESTIONS:,} rows, found more")
        batch.validate(full=True)
        batches.append(batch)
    return batches


def _messages(reader: Any) -> Any:
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _check_columns(arrow: Any, schema: Any) -> None:
    """Refuses unknown columns, and types that are not written out value by value."""
    types = arrow.types

    def is_id(kind: Any) -> bool:
        plain = types.is_string(kind) or types.is_large_string(kind)
        return bool(plain or types.is_integer(kind))

    def is_number(kind: Any) -> bool:
        return bool(types.is_float32(kind) or types.is_float64(kind))

    def list_of(inner: Callable[[Any], bool]) -> Callable[[Any], bool]:
        lists = (types.is_list, types.is_large_list)
        return lambda kind: any(one(kind) for one in lists) and inner(kind.value_type)

    expected: dict[str, tuple[Callable[[Any], bool], str]] = {
        "user": (is_id, "texts or whole numbers"),
        "history": (list_of(is_id), "lists of texts or whole numbers"),
        "times": (list_of(is_number), "lists of floats"),
        "ratings": (list_of(is_number), "lists of floats"),
        "n": (types.is_integer, "whole numbers"),
    }
    if len(set(schema.names)) != len(schema.names):
        raise Refused(422, "body: expected every column once, found one twice")
    for field in schema:
        if field.name not in expected:
            raise Refused(
                422, f"column {field.name!r}: expected one of {', '.join(COLUMNS)}, found another"
            )
        fits, words = expected[field.name]
        if not fits(field.type):
            raise Refused(422, f"column {field.name!r}: expected {words}, found {field.type}")


def _is_compressed(metadata: bytes) -> bool:
    """True if the metadata of a record batch, a flatbuffer, has the field of compression.

    A `Message` has its header, a `RecordBatch`, as the third field, and that has the compression of
    its buffers as the fourth (Message.fbs of Arrow). pyarrow does not tell it before it unpacks.
    """
    root = struct.unpack_from("<I", metadata)[0]
    header = _field(metadata, root, 2)
    if header is None:
        return False
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return _field(metadata, batch, 3) is not None


def _field(buffer: bytes, table: int, number: int) -> int | None:
    """Place of a field of a flatbuffer's table; None: it is not there."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    size = struct.unpack_from("<H", buffer, vtable)[0]
    entry = 4 + 2 * number
    if entry + 2 > size:
        return None
    offset = struct.unpack_from("<H", buffer, vtable + entry)[0]
    return table + offset if offset else None


def table(
    answering: Answering, asked: Sequence[RecommendQuestion], results: Sequence[Result]
) -> bytes:
    """The reply as a stream: rows question (from 0), user, rank (from 1), item, score, title."""
    arrow = _library()
    places: list[int] = []
    ranks: list[int] = []
    items: list[str] = []
    scores: list[float] = []
    for place, result in enumerate(results):
        assert isinstance(result, Answer)  # noqa: S101
        places += [place] * len(result.ids)
        ranks += range(1, len(result.ids) + 1)
        items += result.ids
        scores += result.scores
    users = [None if q.user is None else str(q.user) for q in asked]
    columns = {
        "question": arrow.array(places, arrow.int32()),
        "user": arrow.array([users[place] for place in places], arrow.string()),
        "rank": arrow.array(ranks, arrow.int32()),
        "item": arrow.array(items, arrow.string()),
        "score": arrow.array(scores, arrow.float32()),
    }
    titles = answering.model.titles
    if titles:
        columns["title"] = arrow.array([titles.get(item, "") for item in items], arrow.string())
    made = arrow.table(columns).replace_schema_metadata({"version": answering.version})
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    found: bytes = sink.getvalue().to_pybytes()
    return found
