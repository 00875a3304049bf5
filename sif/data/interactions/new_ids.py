"""Splits that keep some items or users out of train: what a model says of somebody new.

A fifth of the ids goes to test and a tenth to valid, with all their rows: drawn, or those that came
last. Of the rows of all others each user gives a tenth to test and to valid, so that a model is
chosen and judged by what it says of known ids as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sif.data.interactions.chronological import moments_of
from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.load import Dataset
from sif.data.interactions.parts import TEST, TRAIN, VALID, Drawn, generator, random_places
from sif.errors import DataError

SHARES = {TEST: 0.2, VALID: 0.1}
"""Of the ids. A fifth of the items, as in the cold-start studies on CiteULike (Wang and Blei, KDD
2011, cut them into five)."""


def new_ids(
    interactions: Interactions, seed: int, dataset: Dataset, *, field: int, by_time: bool
) -> Drawn:
    """A fifth of the users or items to test, a tenth to valid, and a tenth of the others' rows.

    Args:
        interactions: All rows.
        seed: Of the draws.
        dataset: Gives its name to messages.
        field: 0: users, 1: items.
        by_time: Whether the ids are those that came last, and not drawn.

    Raises:
        DataError: Nothing tells the order, or there are too few ids.
    """
    order = _order(interactions, seed, dataset.name, field, by_time)
    what = interactions.fields[field]
    counts = {part: int(share * len(order)) for part, share in SHARES.items()}
    if not all(counts.values()):
        raise DataError(f"{dataset.name}: expected at least 10 {what}s, found {len(order)}")
    of_id = np.full(interactions.sizes[field], TRAIN, dtype=np.int8)
    of_id[order[: counts[TEST]]] = TEST
    of_id[order[counts[TEST] : counts[TEST] + counts[VALID]]] = VALID
    part: npt.NDArray[np.int8] = of_id[interactions.ids[:, field]]
    others = np.flatnonzero(part == TRAIN)
    users = interactions.ids[others, 0]
    for rows, place, held_out in random_places(users, seed):
        drawn = np.where(place < held_out, TEST, np.where(place < 2 * held_out, VALID, TRAIN))
        part[others[rows]] = drawn
    how = "that came last" if by_time else "drawn"
    note = (
        f"new {what}s, {how}: {counts[TEST]:,} in test and {counts[VALID]:,} in valid alone; "
        "of the rows of all others a tenth of each user's in either"
    )
    return part, (note,)


def _order(
    interactions: Interactions, seed: int, name: str, field: int, by_time: bool
) -> Int64Array:
    """Ids that have rows: those of test first, then those of valid."""
    ids = np.unique(interactions.ids[:, field]).astype(np.int64)
    if not by_time:
        return generator(seed).permutation(ids)
    moment = moments_of(interactions, name, f"cold-{interactions.fields[field]}s-time")
    first = np.full(interactions.sizes[field], np.iinfo(np.int64).max)
    np.minimum.at(first, interactions.ids[:, field], moment)
    return ids[np.argsort(-first[ids], kind="stable")]
