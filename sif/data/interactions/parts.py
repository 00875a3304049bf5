"""The parts of data, train, valid and test, by number and by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import row_slices

IntArray = npt.NDArray[np.integer[Any]]

Parts = npt.NDArray[np.int8]
Drawn = tuple[Parts, tuple[str, ...]]
"""The part (n,) of each row, and notes on how they were drawn, one line each."""
Places = tuple["slice | Int64Array", Int64Array, Int64Array]
"""Rows of whole users; the place (from 0) of each among those of its user; a number of its user."""
Rows = TypeVar("Rows")
TRAIN, VALID, TEST = 0, 1, 2
PART_NAMES = ("train", "valid", "test")
MIN_PER_USER = 3  # one interaction for each part
_MOST_ROWS = 1 << 23  # whose order is computed at a time
_MOST_TURNS = 32  # each of which looks at all rows
_SPLIT_STREAM = 0x5B117  # keeps the splits' random numbers apart from those of generated data


class InParts(Generic[Rows]):
    """Rows of which each lies in the train, the valid or the test part."""

    part: Parts
    protocol: str
    seed: int
    hash: str

    def rows(self, number: int) -> Rows:
        """The rows of a part, by its number."""
        raise NotImplementedError

    @cached_property
    def train(self) -> Rows:
        """The rows that fit weights."""
        return self.rows(TRAIN)

    @cached_property
    def valid(self) -> Rows:
        """The rows that decide choices."""
        return self.rows(VALID)

    @cached_property
    def test(self) -> Rows:
        """The rows that are evaluated once, at the end."""
        return self.rows(TEST)

    def description(self) -> dict[str, Any]:
        """The protocol in plain JSON values, for `metrics.json`."""
        counts = np.bincount(self.part, minlength=3).tolist()
        return {
            "name": self.protocol,
            "seed": self.seed,
            "split_hash": self.hash,
            "counts": dict(zip(PART_NAMES, counts, strict=True)),
        }


def place_in_group(groups: IntArray, order: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Per row: its place (from 0) among its group's rows in `order`, and how many the group has.

    `groups` (n,) holds the group of each row, `order` (n,) the rows group by group.
    """
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - starts[groups[order]]
    return place, counts[groups]


def rows_of_users(users: IntArray, most: int | None = None) -> Iterator[slice | Int64Array]:
    """All rows of some users, then those of others, so that what is computed of each takes little.

    Args:
        users: (n,) the user of each row.
        most: Rows at a time, about; None: some millions. A user's rows are never parted.

    Yields:
        A slice of all rows if they are few, else row numbers in their order.
    """
    n = len(users)
    most = max(_MOST_ROWS, n // _MOST_TURNS) if most is None else most
    if n <= most:
        yield slice(0, n)
        return
    counts = np.zeros(int(users.max()) + 1, dtype=np.int64)
    for rows in row_slices(n):
        counts += np.bincount(users[rows], minlength=len(counts))
    turn = (np.cumsum(counts) - counts) // most
    first = np.flatnonzero(np.diff(turn, prepend=-1))
    for low, high in zip(first, [*first[1:], len(counts)], strict=True):
        found = [
            np.flatnonzero((users[rows] >= low) & (users[rows] < high)) + rows.start
            for rows in row_slices(n)
        ]
        yield np.concatenate(found)


def generator(seed: int) -> np.random.Generator:
    """Random numbers of a split."""
    return np.random.default_rng([_SPLIT_STREAM, seed])


def tenth(n: Int64Array) -> Int64Array:
    """How many of n rows of a user a part holds out: floor(n / 10), at least one of three."""
    held_out: Int64Array = np.where(n >= MIN_PER_USER, np.maximum(n // 10, 1), 0)
    return held_out


def random_places(users: IntArray, seed: int) -> Iterator[Places]:
    """Places of rows among their user's in a random order, and their `tenth`."""
    keys = generator(seed).random(len(users))
    for rows in rows_of_users(users):
        place, n = _places(users[rows], keys[rows])
        yield rows, place, tenth(n)


def ordered_places(users: IntArray, moment: IntArray) -> Iterator[Places]:
    """Places of rows among their user's from the earliest, and how many he has; see `moment`."""
    for rows in rows_of_users(users):
        yield rows, *_places(users[rows], moment[rows])


def _places(users: IntArray, keys: npt.NDArray[Any]) -> tuple[Int64Array, Int64Array]:
    return place_in_group(users, np.lexsort((keys, users)))
