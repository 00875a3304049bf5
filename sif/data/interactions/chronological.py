"""Splits by what came first: each user's last rows, or one moment for all users.

`Interactions.moment` says it, seconds or places of rows. A history at test then holds what was
known at that moment: `evaluate` gives and masks the train and the valid part, never a later row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sif.data.interactions.columns import Int64Array
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.load import Dataset
from sif.data.interactions.parts import (
    MIN_PER_USER,
    TEST,
    TRAIN,
    VALID,
    Drawn,
    generator,
    ordered_places,
    rows_of_users,
)
from sif.errors import DataError

Mask = npt.NDArray[np.bool_]
_LEAST = 0.1  # of a window, to be drawn from it
_NEAR = 0.01  # difference of shares that needs no draw
ROLLING = "rolling"
"""The protocol of several moments, see `sif.data.interactions.rolling`."""


def last_item(interactions: Interactions, seed: int, dataset: Dataset) -> Drawn:
    """Each user's last row to test, the one before to valid; users with fewer than 3 stay in train.

    Of one moment, the row that stands later is the later one.
    """
    moment = moments_of(interactions, dataset.name, "last-item")
    users = interactions.ids[:, 0]
    part = np.full(len(users), TRAIN, dtype=np.int8)
    for rows, place, n in ordered_places(users, moment):
        from_end = np.where(n >= MIN_PER_USER, n - place, 0)
        part[rows] = np.where(from_end == 1, TEST, np.where(from_end == 2, VALID, TRAIN))
    return part, _ties(users, moment)


def temporal(interactions: Interactions, seed: int, dataset: Dataset) -> Drawn:
    """Two cuts at 80 % and 90 % of the rows; rows of one moment stay together."""
    moment = moments_of(interactions, dataset.name, "temporal")
    part = np.full(len(moment), TRAIN, dtype=np.int8)
    part[moment >= moment_after(moment, 0.8)] = VALID
    part[moment >= moment_after(moment, 0.9)] = TEST
    return part, ()


def time_cut(interactions: Interactions, seed: int, dataset: Dataset) -> Drawn:
    """The last 10 % of the rows to test, and before them a valid part of the same population.

    See `cut_at`; rows of one moment stay together.
    """
    moment = moments_of(interactions, dataset.name, "time-cut")
    refuse_counts(interactions, dataset.name, "time-cut")
    where = f"{dataset.name} under protocol time-cut"
    return cut_at(interactions, int(moment_after(moment, 0.9)), seed, where)


def cut_at(interactions: Interactions, cut: int, seed: int, where: str) -> Drawn:
    """Everything from a moment on to test, and before it a valid part of the same population.

    The validation window ends with the last row before the cut and is as long as the test part. Its
    share of rows of new users (without a row before the window) is made that of the test part
    (without a row before the cut): one of the two groups is valid as a whole, of the other one
    users are drawn. What is not drawn stays in train: it is the newest that a model can learn from.

    Users are drawn whole, not row by row. So a user's train rows all come before his valid rows,
    and a new user is as unknown to a model at validation as at test. Train rows of other users can
    be as late as valid rows; none is as late as a test row.

    Args:
        interactions: Whose order is known.
        cut: The first moment of the test part.
        seed: Of the draw.
        where: The data, for messages.

    Raises:
        DataError: No row lies before the cut, or before the validation window.
    """
    moment = moments_of(interactions, where, "time-cut")
    users = interactions.ids[:, 0]
    is_test = moment >= cut
    window = _window(interactions, moment, is_test, where)
    new_in_test = _of_new_users(users, is_test, ~is_test)
    new = _of_new_users(users, window, ~is_test & ~window)
    share = float(new_in_test.sum() / is_test.sum())
    is_valid = _mirrored(users, new, window & ~new, share, seed)
    part = np.full(len(users), TRAIN, dtype=np.int8)
    part[is_valid], part[is_test] = VALID, TEST
    n, left = int(window.sum()), int((window & ~is_valid).sum())
    drawn = (
        f"drawn from a window with {new.sum() / n:.1%}; {left:,} of its {n:,} rows stay in train"
    )
    if not left and abs(new.sum() / n - share) > _NEAR:
        drawn = f"a whole window of {n:,} rows, which has too few of one kind to be drawn like test"
    reached = float(new[is_valid].mean())
    note = f"rows of new users: {share:.1%} of test, {reached:.1%} of valid, {drawn}"
    return part, (note, *_ties(users, moment))


def _window(interactions: Interactions, moment: Int64Array, is_test: Mask, where: str) -> Mask:
    """(n,): the rows before the test part within a time of its length."""
    if is_test.all():
        raise DataError(f"{where}: expected rows before the test part, found all in one moment")
    span = int(moment[is_test].max() - moment[is_test].min())
    window: Mask = ~is_test & (moment >= moment[~is_test].max() - span)
    if not (~is_test & ~window).any():
        unit = "seconds" if interactions.place is None else "rows"
        raise DataError(
            f"{where}: expected rows before the validation window, which is as long as the test"
            f" part, found none: the last {is_test.mean():.0%} of the rows take {span:,} of the"
            f" {int(np.ptp(moment)):,} {unit}; use temporal or last-item"
        )
    return window


def _of_new_users(users: Int64Array, rows: Mask, before: Mask) -> Mask:
    """(n,): those of the rows whose user has none of the rows before."""
    new: Mask = rows & ~np.isin(users, np.unique(users[before]))
    return new


def _mirrored(users: Int64Array, new: Mask, known: Mask, share: float, seed: int) -> Mask:
    """(n,): as many rows of the two groups as there can be with a share of new ones.

    All rows of both where that would be fewer than a tenth of them: too few to choose by.
    """
    sizes = [int(group.sum()) / part for group, part in ((new, share), (known, 1 - share)) if part]
    size = min(sizes)
    if size < _LEAST * (new | known).sum():
        return new | known
    rng = generator(seed)
    drawn = _some_users(users, new, size * share, rng)
    return drawn | _some_users(users, known, size * (1 - share), rng)


def _some_users(users: Int64Array, group: Mask, wanted: float, rng: np.random.Generator) -> Mask:
    """(n,): the rows of a group of random users, nearly as many as wanted, each user's all."""
    rows = np.bincount(users[group], minlength=int(users.max()) + 1)
    order = rng.permutation(np.flatnonzero(rows))
    chosen, taken = np.zeros(len(rows), dtype=np.bool_), 0
    for user, n in zip(order.tolist(), rows[order].tolist(), strict=True):
        if abs(taken + n - wanted) < abs(taken - wanted):
            chosen[user] = True
            taken += n
    some: Mask = group & chosen[users]
    return some


def moments_of(interactions: Interactions, where: str, protocol: str) -> Int64Array:
    """(n,) `Interactions.moment`, or one line on what to do without."""
    if interactions.moment is None:
        raise DataError(
            f"{where}: protocol {protocol} expects a timestamp column, found none; set"
            " data.order=rows if the rows stand in order, or use ranking-per-user"
        )
    return interactions.moment


def moment_after(moment: Int64Array, share: float) -> np.int64:
    """The first moment after a share of the rows."""
    n = len(moment)
    after: np.int64 = np.sort(moment)[min(round(share * n), n - 1)]
    return after


def refuse_counts(interactions: Interactions, where: str, protocol: str) -> None:
    """Refuses timestamps that count each user's rows (0, 1, 2, ...): they have no common moment."""
    times = interactions.moment
    if times is not None and counts_rows(interactions):
        raise DataError(
            f"{where}: protocol {protocol} expects times, found each user's rows counted from"
            f" {int(times.min())}; use last-item"
        )


def counts_rows(interactions: Interactions) -> bool:
    """True if timestamps count each user's rows, so that users have no moment in common."""
    times, users = interactions.moment, interactions.ids[:, 0]
    if times is None or interactions.place is not None or not len(times):
        return False
    start, most = None, 0
    for rows, place, n in ordered_places(users, times):
        counted = times[rows] - place
        start = counted[0] if start is None else start
        if (counted != start).any():
            return False
        most = max(most, int(n.max()))
    return most > 1


def is_later(later: Interactions, earlier: Interactions) -> bool:
    """True if no row of a part is earlier than one of its user in another part.

    Args:
        later: Part under the same vocabularies; False if nothing tells the order.
        earlier: The other part.
    """
    if later.moment is None or earlier.moment is None:
        return False
    last = np.full(earlier.sizes[0], np.iinfo(np.int64).min)
    np.maximum.at(last, earlier.ids[:, 0], earlier.moment)
    return bool((later.moment >= last[later.ids[:, 0]]).all())


def _ties(users: Int64Array, moment: Int64Array) -> tuple[str, ...]:
    """A note on rows of one user at one moment, if there are any."""
    tied = 0
    for rows in rows_of_users(users):
        some, times = users[rows], moment[rows]
        order = np.lexsort((times, some))
        same = (np.diff(some[order]) == 0) & (np.diff(times[order]) == 0)
        tied += int((np.r_[same, False] | np.r_[False, same]).sum())
    if not tied:
        return ()
    return (f"{tied:,} rows share their time with others of their user: the order of rows decides",)
