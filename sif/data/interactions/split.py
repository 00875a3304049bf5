"""Train, valid and test: every protocol, seeded and hashed.

Users with fewer than three interactions stay in train under the per-user protocols. Two results are
comparable only if their split hashes agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions, content_hash, row_keys
from sif.data.interactions.load import Dataset
from sif.data.interactions.readers import read_interactions
from sif.errors import DataError, ShapeError
from sif.utils.registry import unknown

Parts = npt.NDArray[np.int8]
Rows = TypeVar("Rows")
TRAIN, VALID, TEST = 0, 1, 2
PART_NAMES = ("train", "valid", "test")
_MIN_PER_USER = 3  # one interaction for each part
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


@dataclass(frozen=True, eq=False)
class Split(InParts[Interactions]):
    """Interactions and the part each row belongs to.

    Attributes:
        interactions: All rows, n of them.
        part: (n,) int8: 0 train, 1 valid, 2 test.
        protocol: A key of `PROTOCOLS`, or "file".
        seed: Seed of the draw; unused by "file", "leave-one-out" and "temporal".
        hash: 16 hex digits over ids, ratings, timestamps and parts.
        notes: Changes of the data, one line each.
    """

    interactions: Interactions
    part: Parts
    protocol: str
    seed: int
    hash: str
    notes: tuple[str, ...] = ()

    def rows(self, number: int) -> Interactions:
        """Rows of each part (see `InParts`)."""
        return self.interactions.select(self.part == number)

    def description(self) -> dict[str, Any]:
        """Sizes of the parts (see `InParts`) and of the fields."""
        sizes = zip(self.interactions.fields, self.interactions.sizes, strict=True)
        return {**super().description(), "sizes": dict(sizes)}


def build_split(
    interactions: Interactions,
    part: npt.NDArray[np.integer[Any]],
    *,
    protocol: str,
    seed: int,
    where: str = "split",
) -> Split:
    """Checks the parts (n,) and adds a hash.

    Raises:
        ShapeError: There is not one part per row.
        DataError: A part is none of 0, 1, 2, or nothing falls into a part.
    """
    if part.shape != (len(interactions),):
        raise ShapeError(f"{where}: part: expected ({len(interactions)},), found {part.shape}")
    wrong = ~np.isin(part, (TRAIN, VALID, TEST))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{where} row {row + 1}: part: expected 0 (train), 1 (valid) or 2 (test),"
            f" found {part[row]}"
        )
    counts = np.bincount(part, minlength=3)
    if not counts.all():
        sizes = ", ".join(f"{name} {n}" for name, n in zip(PART_NAMES, counts, strict=True))
        raise DataError(f"{where}: expected interactions in every part, found {sizes}")
    sealed: Parts = part.astype(np.int8)
    return Split(interactions, sealed, protocol, seed, content_hash(interactions, sealed))


def make_split(dataset: Dataset, protocol: str, seed: int) -> Split:
    """Splits a data set by a named protocol.

    Args:
        dataset: Of `load_dataset`.
        protocol: A key of `PROTOCOLS`.
        seed: The same seed gives the same split.

    Returns:
        The split of `dataset.interactions`.

    Raises:
        DataError: An unknown protocol, one whose columns the data lack, or an empty part.
    """
    if protocol not in PROTOCOLS:
        raise unknown("data.protocol", protocol, PROTOCOLS, DataError)
    part = PROTOCOLS[protocol](dataset.interactions, seed, dataset)
    where = f"{dataset.name} under protocol {protocol}"
    return build_split(dataset.interactions, part, protocol=protocol, seed=seed, where=where)


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([_SPLIT_STREAM, seed])


def _rating(
    interactions: Interactions, seed: int, dataset: Dataset, *, train: float, valid: float
) -> Parts:
    """Uniformly at random over all rows, sizes rounded to the nearest row."""
    if interactions.rating is None:
        raise DataError(f"{dataset.name}: a rating protocol expects a rating column, found none")
    n = len(interactions)
    n_train, n_valid = round(n * train), round(n * valid)
    part = np.full(n, TEST, dtype=np.int8)
    order = _generator(seed).permutation(n)
    part[order[:n_train]] = TRAIN
    part[order[n_train : n_train + n_valid]] = VALID
    return part


def _ranking_per_user(
    interactions: Interactions, seed: int, dataset: Dataset | None = None
) -> Parts:
    """Gives floor(n / 10), at least one, of a user's n rows to valid and to test, at random."""
    users = interactions.ids[:, 0]
    keys = _generator(seed).random(len(users))
    position, n = place_in_group(users, np.lexsort((keys, users)))
    n_held_out = np.where(n >= _MIN_PER_USER, np.maximum(n // 10, 1), 0)
    part = np.full(len(users), TRAIN, dtype=np.int8)
    part[position < 2 * n_held_out] = VALID
    part[position < n_held_out] = TEST
    return part


def held_out(interactions: Interactions, seed: int) -> npt.NDArray[np.bool_]:
    """(n,): the rows that `ranking-per-user` tests on."""
    is_test: npt.NDArray[np.bool_] = _ranking_per_user(interactions, seed) == TEST
    return is_test


def _leave_one_out(interactions: Interactions, seed: int, dataset: Dataset) -> Parts:
    """Each user's last row by time to test, the one before to valid; file order breaks ties."""
    users = interactions.ids[:, 0]
    order = np.lexsort((_times(interactions, dataset), users))
    position, n = place_in_group(users, order)
    from_end = n - position
    part = np.full(len(users), TRAIN, dtype=np.int8)
    part[(from_end == 2) & (n >= _MIN_PER_USER)] = VALID
    part[(from_end == 1) & (n >= _MIN_PER_USER)] = TEST
    return part


def place_in_group(groups: Int64Array, order: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Per row: its place (from 0) among its group's rows in `order`, and how many the group has.

    `groups` (n,) holds the group of each row, `order` (n,) the rows group by group.
    """
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(groups), dtype=np.int64)
    place[order] = np.arange(len(groups)) - starts[groups[order]]
    return place, counts[groups]


def _temporal(interactions: Interactions, seed: int, dataset: Dataset) -> Parts:
    """Two cuts in time at 80 % and 90 % of the rows; rows of the same second stay together."""
    times = _times(interactions, dataset)
    ordered = np.sort(times)
    n = len(times)
    part = np.full(n, TRAIN, dtype=np.int8)
    part[times >= ordered[min(round(0.8 * n), n - 1)]] = VALID
    part[times >= ordered[min(round(0.9 * n), n - 1)]] = TEST
    return part


def _times(interactions: Interactions, dataset: Dataset) -> Int64Array:
    if interactions.timestamp is None:
        raise DataError(
            f"{dataset.name}: a protocol by time expects a timestamp column, found none;"
            f" use ranking-per-user"
        )
    return interactions.timestamp


def _official(interactions: Interactions, seed: int, dataset: Dataset, *, fold: str) -> Parts:
    """The official test file; a random tenth of the official base as valid."""
    files = (dataset.official_parts or {}).get(fold)
    if files is None:
        raise DataError(
            f"{dataset.name}: protocol {fold} expects the official {fold}.base and {fold}.test"
            f" of ml-100k, found none beside the data"
        )
    base, test = (read_interactions(path) for path in files)
    keys = row_keys(interactions.ids[:, :2], interactions.sizes[:2])
    in_test = np.isin(keys, _keys_of(test, interactions))
    is_missing = ~in_test & ~np.isin(keys, _keys_of(base, interactions))
    if is_missing.any():
        raise DataError(
            f"{files[0].parent}: expected every pair of the data in {files[0].name} or"
            f" {files[1].name}, found {int(is_missing.sum())} in neither"
        )
    part = np.where(in_test, TEST, TRAIN).astype(np.int8)
    rest = _generator(seed).permutation(np.flatnonzero(~in_test))
    part[rest[: round(len(rest) / 10)]] = VALID
    return part


def _keys_of(other: Interactions, known: Interactions) -> Int64Array:
    """Keys of the pairs of `other` in the numbers of `known`, without those filtered away there."""
    pairs = zip(known.vocabularies[:2], other.vocabularies, strict=True)
    columns = [first.lookup(second.ids)[other.ids[:, f]] for f, (first, second) in enumerate(pairs)]
    ids = np.stack(columns, axis=1)
    return row_keys(ids[(ids >= 0).all(axis=1)], known.sizes[:2])


PROTOCOLS: dict[str, Callable[[Interactions, int, Dataset], Parts]] = {
    "rating-50/25/25": partial(_rating, train=0.5, valid=0.25),
    "rating-80/10/10": partial(_rating, train=0.8, valid=0.1),
    **{f"u{fold}": partial(_official, fold=f"u{fold}") for fold in range(1, 6)},
    "ranking-per-user": _ranking_per_user,
    "leave-one-out": _leave_one_out,
    "temporal": _temporal,
}
