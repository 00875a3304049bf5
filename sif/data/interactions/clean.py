"""Rules that decide which interactions stay: duplicates, filters by time, rating and activity.

A rule that removes interactions adds a note, so that a run can say what it trained on. The result
remembers removed pairs, since a user has these items all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import (
    Interactions,
    concatenate,
    row_keys,
    row_slices,
)
from sif.data.interactions.parts import rows_of_users
from sif.data.interactions.vocabulary import Vocabulary
from sif.errors import DataError
from sif.utils.registry import unknown

Mask = npt.NDArray[np.bool_]
Kept = tuple[Int64Array, npt.NDArray[np.float32] | None]


def _one_each(repeated: Interactions, keys: Int64Array, keep: Literal["first", "last"]) -> Kept:
    """The first or last row of each key by time; file order breaks ties (lexsort is stable)."""
    time = keys if repeated.moment is None else repeated.moment
    order = np.lexsort((time, keys))
    return order[~pd.Series(keys[order]).duplicated(keep=keep).to_numpy()], repeated.rating


def _mean(repeated: Interactions, keys: Int64Array) -> Kept:
    kept, rating = _one_each(repeated, keys, "last")
    if rating is None:
        return kept, None
    _, groups, counts = np.unique(keys, return_inverse=True, return_counts=True)
    means = np.bincount(groups, weights=rating) / counts
    return kept, means[groups].astype(np.float32)


_MERGE: dict[str, Callable[[Interactions, Int64Array], Kept]] = {
    "last": partial(_one_each, keep="last"),
    "first": partial(_one_each, keep="first"),
    "mean": _mean,
}
"""Of the repeated rows: which to keep, and the ratings of all of them from then on."""
DUPLICATE_RULES = {
    "last": "the last by time kept, else the last in the file",
    "first": "the first by time kept, else the first in the file",
    "mean": "their mean rating kept, at the last time",
    "error": "refused",
}
"""How a rule reads in a note."""


def describe(interactions: Interactions, row: npt.NDArray[np.int64]) -> str:
    """One (k,) row of numbers in the user's own ids: "user '196', item '242'"."""
    return ", ".join(
        f"{name} {str(vocabulary.ids[code])!r}"
        for name, vocabulary, code in zip(
            interactions.fields, interactions.vocabularies, row, strict=True
        )
    )


def merge_duplicates(interactions: Interactions, rule: str) -> tuple[Interactions, list[str]]:
    """Leaves at most one row per combination of ids.

    Args:
        interactions: Any number of fields; all of them make up the combination.
        rule: A key of `DUPLICATE_RULES`.

    Returns:
        The remaining rows in file order, under the same vocabularies, and notes.

    Raises:
        DataError: The rule is unknown, or it is "error" and there are duplicates.
    """
    is_kept, rating, notes = merged_rows(interactions, rule)
    if is_kept is None:
        return interactions, []
    return replace(interactions, rating=rating).select(is_kept), notes


def merged_rows(
    interactions: Interactions, rule: str
) -> tuple[Mask | None, npt.NDArray[np.float32] | None, list[str]]:
    """The rows (n,) that a rule keeps, the ratings (n,) from then on, and notes.

    Arguments and errors as in `merge_duplicates`.

    Returns:
        None in place of the rows where no pair is repeated.
    """
    check_rule(rule)
    is_kept, removed, first_again = None, 0, len(interactions)
    rating = interactions.rating
    for rows in rows_of_users(interactions.ids[:, 0]):
        keys = row_keys(interactions.ids[rows], interactions.sizes)
        repeated = _repeated(keys) if len(keys) else keys
        if not len(repeated):
            continue
        keys = keys[repeated]
        repeated = repeated if isinstance(rows, slice) else rows[repeated]
        if rule == "error":
            again = pd.Series(keys).duplicated().to_numpy()
            first_again = min(first_again, int(repeated[again][0]))
            continue
        kept, ratings = _MERGE[rule](interactions.select(repeated), keys)
        is_kept = np.ones(len(interactions), dtype=bool) if is_kept is None else is_kept
        is_kept[repeated] = False
        is_kept[repeated[kept]] = True
        removed += len(repeated) - len(kept)
        if rule == "mean" and rating is not None:
            rating = rating.copy() if rating is interactions.rating else rating
            rating[repeated] = ratings
    if first_again < len(interactions):
        pair = describe(interactions, interactions.ids[first_again])
        raise DataError(f"duplicate pair: expected each pair once, found {pair} again")
    if is_kept is None:
        return None, rating, []
    count = "1 duplicate row" if removed == 1 else f"{removed} duplicate rows"
    return is_kept, rating, [f"{count} of the same pair: {DUPLICATE_RULES[rule]}"]


def _repeated(keys: Int64Array) -> Int64Array:
    """Places of the keys (n,) that stand in several places, ascending."""
    bits, low = len(keys).bit_length(), int(keys.min())
    if (int(keys.max()) - low + 1) << bits >= 2**63:
        return np.flatnonzero(pd.Series(keys).duplicated(keep=False).to_numpy())
    packed = (keys - low) << bits | np.arange(len(keys))  # sorted in place, faster than hashed
    packed.sort()
    same = packed[1:] >> bits == packed[:-1] >> bits
    among = np.append(same, False) | np.append(False, same)
    return np.sort(packed[among] & ((1 << bits) - 1))


def check_rule(rule: str) -> None:
    """Raises a DataError for an unknown rule of repeated pairs."""
    if rule not in DUPLICATE_RULES:
        raise unknown("data.duplicates", rule, DUPLICATE_RULES, DataError)


@dataclass(frozen=True)
class Filters:
    """Which interactions stay; by default all.

    Attributes:
        min_rating: Lowest rating, in rating units; None: any.
        min_user: Fewest interactions of a user.
        min_item: Fewest interactions of an item.
        since: Earliest time, seconds since 1970; None: any. What is earlier is remembered.
        until: Time from which on nothing has happened yet; None: all has.
    """

    min_rating: float | None = None
    min_user: int = 1
    min_item: int = 1
    since: int | None = None
    until: int | None = None

    def __str__(self) -> str:
        """Those that are set, for messages."""
        usual = vars(Filters())
        rules = {name: value for name, value in vars(self).items() if value != usual[name]}
        return ", ".join(f"{name} {_written(name, value)}" for name, value in rules.items())


def _written(name: str, value: float) -> str:
    return told_time(value) if name in ("since", "until") else f"{value:g}"


def told_time(seconds: float) -> str:
    """Seconds since 1970 as a date, with the time of day unless it is midnight."""
    told = np.datetime_as_string(np.datetime64(int(seconds), "s"))
    return told.removesuffix("T00:00:00")


def before_end(interactions: Interactions, filters: Filters) -> tuple[Mask | None, list[str]]:
    """The rows (n,) that have happened, None for all, and notes.

    Raises:
        DataError: There is an end, and there are no timestamps.
    """
    if filters.until is None:
        return None, []
    has_happened = _times(interactions, "until") < filters.until
    later = len(interactions) - int(has_happened.sum())
    return has_happened, [f"{later} interactions from {told_time(filters.until)} on removed"]


def _times(interactions: Interactions, name: str) -> npt.NDArray[Any]:
    if interactions.timestamp is None:
        raise DataError(f"data.{name}: expected timestamps, found none in the data")
    return interactions.timestamp


def filter_interactions(
    interactions: Interactions, filters: Filters, keep_ids: bool = False
) -> tuple[Interactions, list[str]]:
    """Keeps what is not too early and rated high enough, then users and items with enough of it.

    Removing an item can leave a user with too few, so the two counts are applied until both hold
    (the k-core). Titles and vocabularies are cut down to what is left, unless `keep_ids`.

    Args:
        interactions: Fields of which the first two are user and item.
        filters: Those of the end have been applied before (`before_end`).
        keep_ids: Whether the vocabularies stay as they are.

    Returns:
        The remaining rows in file order, which remember the others as `dropped`, and notes.

    Raises:
        DataError: There are no ratings or no timestamps to filter by.
    """
    is_kept, notes = kept_rows(interactions, filters)
    if is_kept.all():
        return interactions if keep_ids else compact(interactions), notes
    kept, gone = interactions.select(is_kept), interactions.select(~is_kept)
    return with_dropped(kept if keep_ids else compact(kept), gone), notes


def kept_rows(
    interactions: Interactions, filters: Filters, among: Mask | None = None
) -> tuple[Mask, list[str]]:
    """The rows (n,) that filters keep, of those `among` (None: of all), and notes.

    Further arguments and errors as in `filter_interactions`.
    """
    notes: list[str] = []
    is_kept = np.ones(len(interactions), dtype=bool) if among is None else among.copy()
    min_rating, min_user, min_item = filters.min_rating, filters.min_user, filters.min_item
    if filters.since is not None:
        before = int(is_kept.sum())
        is_kept &= _times(interactions, "since") >= filters.since
        removed = before - int(is_kept.sum())
        notes.append(f"{removed} interactions before {told_time(filters.since)} removed")
    if min_rating is not None:
        if interactions.rating is None:
            raise DataError("data.min_rating: expected a rating column, found none in the data")
        before = int(is_kept.sum())
        is_kept &= interactions.rating >= min_rating
        notes.append(f"{before - int(is_kept.sum())} ratings below {min_rating:g} removed")
    before = left = int(is_kept.sum())
    while min_user > 1 or min_item > 1:
        users, items = activity(interactions, is_kept)[:2]  # further fields are no reason
        enough = users >= min_user, items >= min_item
        for rows in row_slices(len(interactions)):
            user, item = interactions.ids[rows, 0], interactions.ids[rows, 1]
            is_kept[rows] &= enough[0][user] & enough[1][item]
        last, left = left, int(is_kept.sum())
        if left == last:
            break
    if left < before:
        notes.append(
            f"{before - left} interactions of users with fewer than {min_user}"
            f" or items with fewer than {min_item} removed"
        )
    return is_kept, notes


def cleaned(
    interactions: Interactions, filters: Filters, duplicates: str, keep_ids: bool = False
) -> tuple[Interactions, list[str]]:
    """The rows that stay: those that have happened, each pair once, after the filters; and notes.

    Arguments and errors as in `merge_duplicates` and `filter_interactions`.
    """
    has_happened, ending = before_end(interactions, filters)
    if has_happened is not None:
        interactions = interactions.select(has_happened)
    merged, merging = merge_duplicates(interactions, duplicates)
    kept, filtering = filter_interactions(merged, filters, keep_ids)
    return kept, [*ending, *merging, *filtering]


def activity(interactions: Interactions, among: Mask | None = None) -> list[Int64Array]:
    """How many of some rows (n,), None for all, each id of each field has: (its size,) each."""
    counts = [np.zeros(size, dtype=np.int64) for size in interactions.sizes]
    for rows in row_slices(len(interactions)):
        for f, size in enumerate(interactions.sizes):
            column = interactions.ids[rows, f]
            some = column if among is None else column[among[rows]]
            counts[f] += np.bincount(some, minlength=size)
    return counts


def with_dropped(kept: Interactions, gone: Interactions) -> Interactions:
    """Interactions that remember, beside what they have dropped before, the pairs of other rows."""
    if not len(gone):
        return kept
    pairs = compact(Interactions(gone.ids[:, :2], ("user", "item"), gone.vocabularies[:2]))
    earlier = [] if kept.dropped is None else [kept.dropped]
    return replace(kept, dropped=concatenate([*earlier, pairs]))


def compact(interactions: Interactions) -> Interactions:
    """Removes ids (and titles) that no row uses; the order of the others stays."""
    vocabularies, columns = [], []
    for vocabulary, column, counts in zip(
        interactions.vocabularies, interactions.ids.T, activity(interactions), strict=True
    ):
        used = counts > 0
        if used.all():
            vocabularies.append(vocabulary)
            columns.append(column)
            continue
        vocabularies.append(Vocabulary(vocabulary.ids[used]))
        columns.append((np.cumsum(used) - 1)[column])
    titles = interactions.titles
    if titles:
        known = set(vocabularies[1].ids.tolist())
        titles = {item: title for item, title in titles.items() if item in known}
    ids = interactions.ids
    if interactions.sizes != tuple(map(len, vocabularies)):
        ids = np.stack(columns, axis=1).astype(ids.dtype)
    return replace(interactions, ids=ids, vocabularies=tuple(vocabularies), titles=titles)


def check_usable(interactions: Interactions, where: str, rules: str = "") -> None:
    """Refuses data that are too few to learn from.

    Args:
        interactions: Left after all filters.
        where: The data set or file, for the message.
        rules: The filters that were applied, for the message.

    Raises:
        DataError: No interactions, a single user or a single item.
    """
    after = f" after filtering ({rules})" if rules else ""
    if len(interactions) == 0:
        raise DataError(f"{where}: expected interactions, found none left{after}")
    for f in (0, 1):
        column = interactions.ids[:, f]
        if column.min() == column.max():
            name = interactions.fields[f]
            raise DataError(
                f"{where}: expected at least 2 {name}s, found 1{after}:"
                f" {describe(interactions, interactions.ids[0])}"
            )
