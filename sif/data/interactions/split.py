"""Train, valid and test: every protocol, seeded and hashed.

Users with fewer than three interactions stay in train under the per-user protocols. Two results are
comparable only if their split hashes agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from sif.data.interactions.chronological import ROLLING, last_item, temporal, time_cut
from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions, content_hash, row_keys
from sif.data.interactions.load import Dataset
from sif.data.interactions.new_ids import new_ids
from sif.data.interactions.parts import (
    PART_NAMES,
    TEST,
    TRAIN,
    VALID,
    Drawn,
    InParts,
    Parts,
    generator,
    ordered_places,
    random_places,
    tenth,
)
from sif.data.interactions.readers import read_interactions
from sif.errors import DataError, ShapeError
from sif.utils.registry import unknown


@dataclass(frozen=True, eq=False)
class Split(InParts[Interactions]):
    """Interactions and the part each row belongs to.

    Attributes:
        interactions: All rows, n of them.
        part: (n,) int8: 0 train, 1 valid, 2 test.
        protocol: A key of `PROTOCOLS`, or "file".
        seed: Seed of the draw; unused by "last-item", "temporal" and "file" with a valid part.
        hash: 16 hex digits over ids, ratings, timestamps and parts.
        notes: What was done to the data or drawn, one line each.
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
    if protocol == ROLLING:
        raise DataError(
            f"data.protocol: {ROLLING} makes several splits, expected one; use time-cut, or"
            " rolling_splits for all of them"
        )
    if protocol not in PROTOCOLS:
        raise unknown("data.protocol", protocol, PROTOCOLS, DataError)
    part, notes = PROTOCOLS[protocol](dataset.interactions, seed, dataset)
    where = f"{dataset.name} under protocol {protocol}"
    split = build_split(dataset.interactions, part, protocol=protocol, seed=seed, where=where)
    return replace(split, notes=notes)


def _rating(
    interactions: Interactions, seed: int, dataset: Dataset, *, train: float, valid: float
) -> Drawn:
    """Uniformly at random over all rows, sizes rounded to the nearest row."""
    if interactions.rating is None:
        raise DataError(f"{dataset.name}: a rating protocol expects a rating column, found none")
    n = len(interactions)
    n_train, n_valid = round(n * train), round(n * valid)
    part = np.full(n, TEST, dtype=np.int8)
    order = generator(seed).permutation(n)
    part[order[:n_train]] = TRAIN
    part[order[n_train : n_train + n_valid]] = VALID
    return part, ()


def _ranking_per_user(interactions: Interactions, seed: int, dataset: Dataset) -> Drawn:
    """Gives floor(n / 10), at least one, of a user's n rows to valid and to test, at random."""
    part = np.full(len(interactions), TRAIN, dtype=np.int8)
    for rows, place, held_out in random_places(interactions.ids[:, 0], seed):
        part[rows] = np.where(place < held_out, TEST, np.where(place < 2 * held_out, VALID, TRAIN))
    return part, ()


def held_out(interactions: Interactions, seed: int) -> npt.NDArray[np.bool_]:
    """(n,): the rows that `ranking-per-user` tests on."""
    is_test = np.zeros(len(interactions), dtype=np.bool_)
    for rows, place, held_out in random_places(interactions.ids[:, 0], seed):
        is_test[rows] = place < held_out
    return is_test


def held_out_last(interactions: Interactions) -> npt.NDArray[np.bool_]:
    """(n,): the last tenth of each user's rows, at least one of three; of data with an order."""
    assert interactions.moment is not None  # noqa: S101
    is_last = np.zeros(len(interactions), dtype=np.bool_)
    for rows, place, n in ordered_places(interactions.ids[:, 0], interactions.moment):
        is_last[rows] = place >= n - tenth(n)
    return is_last


def _official(interactions: Interactions, seed: int, dataset: Dataset, *, fold: str) -> Drawn:
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
    rest = generator(seed).permutation(np.flatnonzero(~in_test))
    part[rest[: round(len(rest) / 10)]] = VALID
    return part, ()


def _keys_of(other: Interactions, known: Interactions) -> Int64Array:
    """Keys of the pairs of `other` in the numbers of `known`, without those filtered away there."""
    pairs = zip(known.vocabularies[:2], other.vocabularies, strict=True)
    columns = [first.lookup(second.ids)[other.ids[:, f]] for f, (first, second) in enumerate(pairs)]
    ids = np.stack(columns, axis=1)
    return row_keys(ids[(ids >= 0).all(axis=1)], known.sizes[:2])


PROTOCOLS: dict[str, Callable[[Interactions, int, Dataset], Drawn]] = {
    "rating-50/25/25": partial(_rating, train=0.5, valid=0.25),
    "rating-80/10/10": partial(_rating, train=0.8, valid=0.1),
    **{f"u{fold}": partial(_official, fold=f"u{fold}") for fold in range(1, 6)},
    "ranking-per-user": _ranking_per_user,
    "last-item": last_item,
    "time-cut": time_cut,
    "temporal": temporal,
    **{
        f"cold-{what}s{suffix}": partial(new_ids, field=field, by_time=bool(suffix))
        for field, what in enumerate(("user", "item"))
        for suffix in ("", "-time")
    },
}
