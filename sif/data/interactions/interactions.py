"""The interactions of users, items and further fields as integer arrays.

Original ids (strings) become contiguous numbers through one `Vocabulary` per field. Vocabularies
stay with the data, so that no size is guessed from the largest number.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError, ShapeError

if TYPE_CHECKING:
    from sif.data.features.table import Features

_ROWS = 1 << 21  # of a slice
_NO_ORDER = "interactions: expected timestamps, or rows in order (data.order=rows), found neither"


@dataclass(frozen=True, eq=False)
class Interactions:
    """A set of interactions, one row each, in file order.

    Attributes:
        ids: (n, k) int64, or int32 where they are mapped from files; column f numbers into
            `vocabularies[f]`.
        fields: The k field names, ("user", "item") for pairs; the first two are always these.
        vocabularies: One per field; may hold ids that no row uses.
        rating: (n,) float32 in the units of the file, or None.
        timestamp: (n,) int64, or int32 where mapped, seconds since 1970, or None.
        place: (n,) int64, or int32 where mapped: where each row stands in the file, if the file's
            order says what came first, whatever the timestamps say; None: they say it.
        titles: Item id to title; may be empty.
        notes: How columns were read that do not say it themselves, one line each.
        dropped: Pairs of user and item that filters removed, under vocabularies of their own: users
            have these items, although nothing is trained on them. None: there are none.
        user_features, item_features: Of the ids, by id; None: none are known.

    Raises:
        ShapeError: The arrays do not fit one another.
    """

    ids: Int64Array
    fields: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    rating: npt.NDArray[np.float32] | None = None
    timestamp: Int64Array | None = None
    place: Int64Array | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dropped: Interactions | None = None
    user_features: Features | None = None
    item_features: Features | None = None

    def __post_init__(self) -> None:
        k = len(self.fields)
        if self.ids.ndim != 2 or self.ids.shape[1] != k or len(self.vocabularies) != k:
            raise ShapeError(
                f"interactions: expected ids (n, {k}) and {k} vocabularies for {self.fields},"
                f" found {self.ids.shape} and {len(self.vocabularies)}"
            )
        if self.ids.dtype not in (np.int64, np.int32):
            raise ShapeError(f"interactions: ids: expected int64 or int32, found {self.ids.dtype}")
        columns = {"rating": self.rating, "timestamp": self.timestamp, "place": self.place}
        for name, values in columns.items():
            if values is not None and values.shape != (len(self.ids),):
                raise ShapeError(
                    f"interactions: {name}: expected ({len(self.ids)},), found {values.shape}"
                )
        if len(self.ids):
            for name, size, low, high in zip(
                self.fields, self.sizes, self.ids.min(axis=0), self.ids.max(axis=0), strict=True
            ):
                if low < 0 or high >= size:
                    raise ShapeError(
                        f"interactions: {name}: expected numbers in 0..{size - 1},"
                        f" found {low}..{high}"
                    )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of known ids of each field."""
        return tuple(len(vocabulary) for vocabulary in self.vocabularies)

    @property
    def moment(self) -> Int64Array | None:
        """(n,) numbers that grow from earlier to later rows, also across parts of the same data.

        They are seconds since 1970, or places in the file; None where nothing tells the order.
        """
        return self.timestamp if self.place is None else self.place

    @cached_property
    def order(self) -> Int64Array:
        """(n,) the rows from the earliest to the latest; of one moment, as they stand.

        Raises:
            DataError: Nothing tells the order.
        """
        if self.moment is None:
            raise DataError(_NO_ORDER)
        return np.argsort(self.moment, kind="stable")

    @property
    def age(self) -> npt.NDArray[np.float64]:
        """(n,) shares of the time from the first to the last row: the first has 1, the last 0.

        Raises:
            DataError: Nothing tells the order.
        """
        if self.moment is None:
            raise DataError(_NO_ORDER)
        if not len(self):
            return np.zeros(0)
        age = (self.moment.max() - self.moment).astype(np.float64)
        shares: npt.NDArray[np.float64] = age / max(age.max(), 1.0)
        return shares

    def recency(self, half_life: float) -> npt.NDArray[np.float64]:
        """(n,) weights of the rows that halve with age: the latest row has 1.

        Args:
            half_life: Share of the time from the first to the last row.

        Raises:
            DataError: Nothing tells the order.
        """
        weights: npt.NDArray[np.float64] = 0.5 ** (self.age / half_life)
        return weights

    def select(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Interactions:
        """The given rows (an index or a mask) under the same vocabularies."""
        return replace(
            self,
            ids=self.ids[rows],
            rating=None if self.rating is None else self.rating[rows],
            timestamp=None if self.timestamp is None else self.timestamp[rows],
            place=None if self.place is None else self.place[rows],
        )

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits over fields, ids as the user writes them, ratings and timestamps."""
        return content_hash(self)


def content_hash(interactions: Interactions, *more: npt.NDArray[Any]) -> str:
    """SHA-256 (first 16 hex digits) of the interactions and of further arrays, rows in order."""
    digest = hashlib.sha256()
    for name, vocabulary in zip(interactions.fields, interactions.vocabularies, strict=True):
        digest.update(f"{name}:{len(vocabulary)}:".encode())
        digest.update("\x00".join(vocabulary.ids.tolist()).encode())
    for array in (interactions.ids, interactions.rating, interactions.timestamp, *more):
        if array is None:
            digest.update(b"none")
            continue
        # Mapped int32 count as the int64 that they stand for, some rows at a time.
        kind = np.dtype(np.int64) if array.dtype == np.int32 else array.dtype
        for rows in row_slices(len(array)):
            digest.update(array[rows].astype(kind.newbyteorder("<"), order="C").data)
    return digest.hexdigest()[:16]


def row_slices(n: int) -> Iterator[slice]:
    """Slices of n rows, so that what is computed of each takes little memory."""
    for first in range(0, n, _ROWS):
        yield slice(first, min(first + _ROWS, n))


def ordered(interactions: Interactions, by: str | None, where: str) -> Interactions:
    """Interactions whose order is said by the setting `data.order`.

    Args:
        interactions: All rows, in the order of their file.
        by: "rows", "time", or None: by time where there are timestamps.
        where: The data, for the message.

    Raises:
        DataError: Order by time, but there are no timestamps.
    """
    if by == "rows":
        return replace(interactions, place=np.arange(len(interactions)))
    if by == "time" and interactions.timestamp is None:
        raise DataError(f"{where}: data.order: expected a timestamp column for time, found none")
    return interactions


def concatenate(parts: Sequence[Interactions]) -> Interactions:
    """Stacks interactions with the same fields under shared vocabularies.

    Args:
        parts: At least one. Ratings, timestamps or places that one part lacks are dropped in the
            result. Features are those of the first.

    Returns:
        The rows of all parts in order, ids renumbered into the union of the vocabularies; dropped
        are the pairs that any part has dropped.

    Raises:
        DataError: The parts have different fields.
    """
    first = parts[0]
    for part in parts:
        if part.fields != first.fields:
            raise DataError(f"interactions: expected fields {first.fields}, found {part.fields}")
    vocabularies, columns = [], []
    for f in range(len(first.fields)):
        texts = np.concatenate([part.vocabularies[f].ids for part in parts])
        vocabulary, _ = Vocabulary.from_values(texts)
        vocabularies.append(vocabulary)
        maps = [vocabulary.index(part.vocabularies[f].ids) for part in parts]
        columns.append(
            np.concatenate([m[part.ids[:, f]] for m, part in zip(maps, parts, strict=True)])
        )
    ratings = [part.rating for part in parts if part.rating is not None]
    times = [part.timestamp for part in parts if part.timestamp is not None]
    places = [part.place for part in parts if part.place is not None]
    dropped = [part.dropped for part in parts if part.dropped is not None]
    titles: dict[str, str] = {}
    for part in parts:
        titles.update(part.titles)
    return Interactions(
        ids=np.stack(columns, axis=1),
        fields=first.fields,
        vocabularies=tuple(vocabularies),
        rating=np.concatenate(ratings) if len(ratings) == len(parts) else None,
        timestamp=np.concatenate(times) if len(times) == len(parts) else None,
        place=np.concatenate(places) if len(places) == len(parts) else None,
        titles=titles,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        dropped=concatenate(dropped) if dropped else None,
        user_features=first.user_features,
        item_features=first.item_features,
    )


def row_keys(ids: Int64Array, sizes: Sequence[int]) -> Int64Array:
    """One (n,) int64 per row of (n, k) ids; equal keys mean equal rows."""
    if math.prod(sizes) < 2**62:
        keys = np.zeros(len(ids), dtype=np.int64)
        for column, size in zip(ids.T, sizes, strict=True):
            keys = keys * size + column
        return keys
    _, keys = np.unique(ids, axis=0, return_inverse=True)
    return keys.reshape(-1).astype(np.int64)
