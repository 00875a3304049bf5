"""Rules that decide which interactions stay: duplicates, rating and activity filters.

A rule that removes interactions adds a note, so that a run can say what it trained on. The result
remembers removed pairs, since a user has these items all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

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


def _error(repeated: Interactions, keys: Int64Array) -> Kept:
    again = int(np.flatnonzero(pd.Series(keys).duplicated())[0])
    raise repeated_pair(repeated, again)


def repeated_pair(interactions: Interactions, row: int) -> DataError:
    """The error for a row whose pair stands in an earlier one."""
    pair = describe(interactions, interactions.ids[row])
    return DataError(f"duplicate pair: expected each pair once, found {pair} again")


# Of the repeated rows: which to keep, and the ratings of all of them from then on; and how the rule
# reads in a note.
DUPLICATE_RULES: dict[str, tuple[Callable[[Interactions, Int64Array], Kept], str]] = {
    "last": (partial(_one_each, keep="last"), "the last by time kept, else the last in the file"),
    "first": (
        partial(_one_each, keep="first"),
        "the first by time kept, else the first in the file",
    ),
    "mean": (_mean, "their mean rating kept, at the last time"),
    "error": (_error, "refused"),
}


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
    check_rule(rule)
    keys = row_keys(interactions.ids, interactions.sizes)
    rows = np.flatnonzero(pd.Series(keys).duplicated(keep=False).to_numpy())
    if len(rows) == 0:
        return interactions, []
    kept, ratings = DUPLICATE_RULES[rule][0](interactions.select(rows), keys[rows])
    if interactions.rating is not None and ratings is not None:
        rating = interactions.rating.copy()
        rating[rows] = ratings
        interactions = replace(interactions, rating=rating)
    is_unique = np.ones(len(interactions), dtype=bool)
    is_unique[rows] = False
    is_unique[rows[kept]] = True
    return interactions.select(is_unique), [merging_note(rule, len(rows) - len(kept))]


def check_rule(rule: str) -> None:
    """Raises a DataError for an unknown rule of repeated pairs."""
    if rule not in DUPLICATE_RULES:
        raise unknown("data.duplicates", rule, DUPLICATE_RULES, DataError)


def merging_note(rule: str, removed: int) -> str:
    """The note on rows that a rule has removed."""
    count = "1 duplicate row" if removed == 1 else f"{removed} duplicate rows"
    return f"{count} of the same pair: {DUPLICATE_RULES[rule][1]}"


def filter_interactions(
    interactions: Interactions, min_rating: float | None, min_user: int, min_item: int,
    keep_ids: bool = False,
) -> tuple[Interactions, list[str]]:  # fmt: skip
    """Keeps ratings of at least `min_rating`, then users and items with enough interactions.

    Removing an item can leave a user with too few, so the two counts are applied until both hold
    (the k-core). Titles and vocabularies are cut down to what is left, unless `keep_ids`.

    Args:
        interactions: Fields of which the first two are user and item.
        min_rating: Lowest rating kept, in rating units; None keeps all.
        min_user: Fewest interactions of a user.
        min_item: Fewest interactions of an item.
        keep_ids: Whether the vocabularies stay as they are.

    Returns:
        The remaining rows in file order, which remember the others as `dropped`, and notes.

    Raises:
        DataError: `min_rating` is given but there are no ratings.
    """
    is_kept, notes = kept_rows(interactions, min_rating, min_user, min_item)
    kept, gone = interactions.select(is_kept), interactions.select(~is_kept)
    return with_dropped(kept if keep_ids else compact(kept), gone), notes


def kept_rows(
    interactions: Interactions, min_rating: float | None, min_user: int, min_item: int,
    among: Mask | None = None,
) -> tuple[Mask, list[str]]:  # fmt: skip
    """The rows (n,) that filters keep, of those `among` (None: of all), and notes.

    Further arguments and errors as in `filter_interactions`.
    """
    notes: list[str] = []
    is_kept = np.ones(len(interactions), dtype=bool) if among is None else among.copy()
    if min_rating is not None:
        if interactions.rating is None:
            raise DataError("data.min_rating: expected a rating column, found none in the data")
        before = int(is_kept.sum())
        is_kept &= interactions.rating >= min_rating
        notes.append(f"{before - int(is_kept.sum())} ratings below {min_rating:g} removed")
    before = left = int(is_kept.sum())
    while min_user > 1 or min_item > 1:
        users, items = activity(interactions, is_kept)
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


def activity(interactions: Interactions, rows: Mask) -> list[Int64Array]:
    """How many of some rows (n,) each id of each field has: (size of the field,) each."""
    counts = [np.zeros(size, dtype=np.int64) for size in interactions.sizes]
    for some in row_slices(len(interactions)):
        for f, size in enumerate(interactions.sizes):
            counts[f] += np.bincount(interactions.ids[some, f][rows[some]], minlength=size)
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
    for vocabulary, column in zip(interactions.vocabularies, interactions.ids.T, strict=True):
        used = np.bincount(column, minlength=len(vocabulary)) > 0
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
    return replace(
        interactions,
        ids=np.stack(columns, axis=1).astype(np.int64),
        vocabularies=tuple(vocabularies),
        titles=titles,
    )


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
