"""A generated context field: the bucket of an interaction's timestamp.

The timestamps of the train part alone define the buckets, each with equally many of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.parts import TRAIN
from sif.data.interactions.split import Split
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError

TIME_FIELD = "time"


def with_time_buckets(split: Split, buckets: int) -> Split:
    """Adds the field "time" to every interaction.

    A bucket's id is its first second since 1970 (of the first bucket: the train part's earliest),
    so the vocabulary is all that is needed to place a new timestamp, see `bucket_ids`.

    Args:
        split: With timestamps. Parts, protocol and hash do not change.
        buckets: Number of buckets; fewer result where many train rows share one second.

    Returns:
        The split with one more field and a note that tells the buckets' beginnings.

    Raises:
        DataError: There are no timestamps, there is a field "time" already, or the train part's
            timestamps make fewer than two buckets.
    """
    rows = split.interactions
    if rows.timestamp is None:
        raise DataError("data.time_buckets: expected a timestamp column, found none")
    if TIME_FIELD in rows.fields:
        raise DataError(
            f"data.time_buckets: expected no field {TIME_FIELD!r} yet, found"
            f" {', '.join(rows.fields)}"
        )
    train = np.sort(rows.timestamp[split.part == TRAIN])
    starts = np.unique(train[len(train) * np.arange(buckets) // buckets])
    if len(starts) < 2:
        raise DataError(
            f"data.time_buckets: expected train timestamps for at least 2 buckets, found"
            f" {len(np.unique(train))} different"
        )
    column = _place(starts, rows.timestamp)
    dates = ", ".join(_date(start) for start in starts[1:])
    extended = replace(
        rows,
        ids=np.column_stack([rows.ids, column]),
        fields=(*rows.fields, TIME_FIELD),
        vocabularies=(*rows.vocabularies, Vocabulary(starts)),
    )
    note = (
        f"field {TIME_FIELD}: {len(starts)} buckets of the train timestamps, new ones from {dates}"
    )
    return replace(split, interactions=extended, notes=(*split.notes, note))


def bucket_ids(vocabulary: Vocabulary, timestamps: Iterable[int]) -> npt.NDArray[np.str_]:
    """Ids of the buckets that timestamps fall into; earlier and later ones into the end buckets.

    Args:
        vocabulary: Of the field "time".
        timestamps: (n,) seconds since 1970.

    Returns:
        (n,) ids, as `Recommender.predict` takes them.
    """
    times = np.asarray(list(timestamps), dtype=np.int64)
    return vocabulary.ids[_place(vocabulary.ids.astype(np.int64), times)]


def _place(starts: Int64Array, times: Int64Array) -> Int64Array:
    return np.maximum(np.searchsorted(starts, times, side="right") - 1, 0).astype(np.int64)


def _date(second: int) -> str:
    try:
        return f"{datetime.fromtimestamp(int(second), UTC):%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):
        return str(second)  # beyond the calendar
