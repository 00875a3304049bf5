"""The second pass: rows with numbers for ids, in files that are mapped; then merged and filtered.

What is computed has the size of the vocabularies, or of the rows of some users: never of all rows
in 64 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sif.data.interactions.clean import (
    Filters,
    Mask,
    activity,
    before_end,
    kept_rows,
    merged_rows,
)
from sif.data.interactions.interactions import Interactions, row_slices
from sif.data.interactions.ratings import ratings_of
from sif.data.interactions.vocabulary import Vocabulary
from sif.data.streamed.columns import CodedColumn, TimeColumn, vocabulary_of
from sif.data.streamed.scratch import FINISHED, Scratch, writing
from sif.data.streamed.spool import Spooled
from sif.errors import EntryError
from sif.utils.checkpoint import read_json


@dataclass(frozen=True)
class Rules:
    """Which rows stay, as in `load_dataset`."""

    filters: Filters = field(default_factory=Filters)
    duplicates: str = "last"


def numbered(spooled: Spooled, scratch: Scratch) -> Interactions:
    """All rows of a source, as the readers in memory have them.

    Raises:
        DataError: A cell that cannot be used, by its place; or the disk is full.
    """
    request, columns = spooled.request, spooled.columns
    fields = tuple(role for role in columns if role not in ("rating", "timestamp"))
    vocabularies = []
    for name in fields:
        column = columns[name]
        assert isinstance(column, CodedColumn)  # noqa: S101
        with request.naming(name):
            vocabulary, numbers = vocabulary_of(column, scratch, request.source.name)
        vocabularies.append(vocabulary)
        for part in numbers:
            scratch.append("all.ids", part)
    rating = timestamp = None
    notes = (*request.source.notes, *request.notes)
    if "rating" in columns:
        with request.naming("rating"):
            rating = _ratings(columns["rating"], scratch, request.source.name)
    if "timestamp" in columns:
        with request.naming("timestamp"):
            timestamp, read_as = _times(columns["timestamp"], scratch)
        if read_as:
            told = f"{request.source.name}: {request.column('timestamp')}: numbers read as"
            notes = (*notes, f"{told} {read_as}")
    ids = scratch.mapped("all.ids", np.int32, (len(fields), spooled.rows)).T
    return Interactions(ids, fields, tuple(vocabularies), rating, timestamp, notes=notes)


def _ratings(column: Any, scratch: Scratch, where: str) -> npt.NDArray[np.float32]:
    if not isinstance(column, CodedColumn):
        return scratch.mapped("rating.values", np.float32)
    cells, places = column.distinct(scratch, where)
    try:
        table = ratings_of(cells.to_pandas())
    except EntryError as error:
        row = column.first_row(scratch, places, error.row)
        raise EntryError(row, error.expected, error.found) from None
    for part in column.numbers(scratch, places, table):
        scratch.append("all.rating", part)
    return scratch.mapped("all.rating", np.float32)


def _times(column: Any, scratch: Scratch) -> tuple[npt.NDArray[Any], str | None]:
    assert isinstance(column, TimeColumn)  # noqa: S101
    kind, read_as, seconds = column.seconds(scratch)
    for part in seconds:
        scratch.append("all.timestamp", part.astype(kind))
    return scratch.mapped("all.timestamp", kind), read_as


def cleaned(every: Interactions, rules: Rules, scratch: Scratch) -> tuple[Interactions, list[str]]:
    """The rows that stay, as `sif.data.interactions.clean.cleaned` has them, and notes.

    Raises:
        DataError: Repeated pairs that the rule refuses, filters by what is not there.
    """
    has_happened, ending = before_end(every, rules.filters)
    if has_happened is not None and not has_happened.all():
        every = _written(every, has_happened, "known", scratch)
    merged, rating, merging = merged_rows(every, rules.duplicates)
    every = replace(every, rating=rating)
    is_kept, filtering = kept_rows(every, rules.filters, among=merged)
    notes = [*ending, *merging, *filtering]
    gone = ~is_kept if merged is None else merged & ~is_kept
    dropped = _written(every, gone, "dropped", scratch) if gone.any() else None
    if is_kept.all():
        return every, notes
    return replace(_written(every, is_kept, "kept", scratch), dropped=dropped), notes


def _written(rows: Interactions, some: Mask, name: str, scratch: Scratch) -> Interactions:
    """Some rows under vocabularies of their own ids; of "dropped" ones the pairs alone."""
    pairs = name == "dropped"
    k = 2 if pairs else len(rows.fields)
    vocabularies, total = [], int(some.sum())
    for f, counts in enumerate(activity(rows, some)[:k]):
        used = counts > 0
        vocabulary = rows.vocabularies[f]
        vocabularies.append(vocabulary if used.all() else Vocabulary(vocabulary.ids[used]))
        number = np.cumsum(used, dtype=np.int32) - 1
        for part in row_slices(len(rows)):
            scratch.append(f"{name}.ids", number[rows.ids[part, f][some[part]]])
    ids = scratch.mapped(f"{name}.ids", np.int32, (k, total)).T
    if pairs:
        return Interactions(ids, rows.fields[:2], tuple(vocabularies))
    columns: dict[str, Any] = {}
    for column in ("rating", "timestamp", "place"):
        values = getattr(rows, column)
        if values is None:
            continue
        for part in row_slices(len(rows)):
            scratch.append(f"{name}.{column}", values[part][some[part]])
        columns[column] = scratch.mapped(f"{name}.{column}", values.dtype)
    return replace(rows, ids=ids, vocabularies=tuple(vocabularies), **columns)


def with_places(every: Interactions, scratch: Scratch) -> Interactions:
    """Rows whose order in the source says what came first."""
    kind = np.int32 if len(every) <= np.iinfo(np.int32).max else np.int64
    for part in row_slices(len(every)):
        scratch.append("all.place", np.arange(part.start, part.stop, dtype=kind))
    return replace(every, place=scratch.mapped("all.place", kind))


_FILES = {
    "ids": ("kept.ids", "known.ids", "all.ids"),
    "rating": ("kept.rating", "known.rating", "all.rating", "rating.values"),
    "timestamp": ("kept.timestamp", "known.timestamp", "all.timestamp"),
    "place": ("kept.place", "known.place", "all.place"),
}
"""Files that hold a column; the first that is there has the rows that stay."""


def keep(rows: Interactions, scratch: Scratch, document: dict[str, Any]) -> None:
    """Leaves the files of `cleaned` rows alone in the folder, for `kept_before`.

    Args:
        rows: What `cleaned` gave.
        scratch: Where they lie.
        document: Further values of JSON.
    """
    files: dict[str, Any] = {}
    for column, names in _FILES.items():
        values = getattr(rows, column)
        if values is not None:
            name = next(name for name in names if scratch.size(name))
            files[column] = [name, values.dtype.name]
    sets = {"kept": rows} | ({"dropped": rows.dropped} if rows.dropped is not None else {})
    kept = [entry[0] for entry in files.values()] + ["dropped.ids"] * (len(sets) - 1)
    for role, part in sets.items():
        for f, vocabulary in enumerate(part.vocabularies):
            kept.append(f"{role}.{f}.npy")
            with writing(scratch.folder):
                np.save(scratch.path(kept[-1]), vocabulary.ids, allow_pickle=False)
    fields, rows_of_each = list(rows.fields), {role: len(part) for role, part in sets.items()}
    shape = {"fields": fields, "rows": rows_of_each, "files": files, "notes": list(rows.notes)}
    scratch.finish({**document, **shape}, kept)


def kept_before(scratch: Scratch) -> tuple[Interactions, dict[str, Any]]:
    """The rows that `keep` left, and its document."""
    document: dict[str, Any] = read_json(scratch.path(FINISHED))
    rows = _kept(scratch, document, "kept", document["files"]["ids"][0], document["fields"])
    columns: dict[str, Any] = {
        column: scratch.mapped(*entry)
        for column, entry in document["files"].items()
        if column != "ids"
    }
    dropped = None
    if "dropped" in document["rows"]:
        dropped = _kept(scratch, document, "dropped", "dropped.ids", document["fields"][:2])
    return replace(rows, **columns, notes=tuple(document["notes"]), dropped=dropped), document


def _kept(
    scratch: Scratch, document: dict[str, Any], role: str, file: str, fields: list[str]
) -> Interactions:
    shape = (len(fields), document["rows"][role])
    vocabularies = tuple(
        Vocabulary(np.load(scratch.path(f"{role}.{f}.npy"), allow_pickle=False))
        for f in range(len(fields))
    )
    return Interactions(scratch.mapped(file, np.int32, shape).T, tuple(fields), vocabularies)
