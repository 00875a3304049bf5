"""The items of each user in their order, and the clock by which histories decay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.errors import ConfigError, DataError, ShapeError

Ids = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Decay:
    """How fast a history is forgotten: one time scale, by rank, by time or by both.

    Attributes:
        gamma: Factor by which an item's weight shrinks per later item, in (0, 1].
        window: Items of the history that count, the latest ones; None: all.
        half_life: Seconds in which a weight halves; None: time does not count.

    Raises:
        ConfigError: A number is out of range.
    """

    gamma: float
    window: int | None = None
    half_life: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"gamma: expected a factor in (0, 1], found {self.gamma:g}")
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window: expected at least 1 item, found {self.window}")
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise ConfigError(f"half-life: expected seconds above 0, found {self.half_life:g}")

    def __str__(self) -> str:
        if self.gamma == 1 and self.window is None and self.half_life is None:
            return "set"
        by_rank = [] if self.gamma == 1 and self.half_life is not None else [f"{self.gamma:g}"]
        by_time = [] if self.half_life is None else [f"half-life {duration(self.half_life)}"]
        last = [] if self.window is None else [f"last {self.window}"]
        return ", ".join(by_rank + by_time + last)

    @property
    def rate(self) -> float:
        """Natural logarithm of the shrinkage per later item."""
        return -float(np.log(self.gamma))

    @property
    def time_rate(self) -> float:
        """Natural logarithm of the shrinkage per second."""
        return 0.0 if self.half_life is None else math.log(2) / self.half_life


UNITS = (("days", 86400.0), ("hours", 3600.0), ("min", 60.0))


def duration(seconds: float) -> str:
    """Seconds for people, such as "3.2 days"."""
    for name, unit in UNITS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


@dataclass(frozen=True, eq=False)
class Sequences:
    """The histories of all users, one after the other, each in its order.

    Attributes:
        items: (n,) item of every place.
        starts: (n_users + 1,) first place of every user.
        n_items: Size of the catalog.
        seconds: (n,) time of every place, ascending within a user; None: not known.
    """

    items: Ids
    starts: Ids
    n_items: int
    seconds: Numbers | None = None

    @classmethod
    def of(
        cls, users: Ids, items: Ids, sizes: tuple[int, int], order: Ids | None = None,
        seconds: Ids | None = None,
    ) -> Sequences:  # fmt: skip
        """From interactions (n,) in any order.

        Args:
            users: User of each.
            items: Item of each.
            sizes: Numbers of users and of items.
            order: Sorts them in time; None: `seconds`, or else the order of the rows. Ties keep
                the order of the rows.
            seconds: Time of each; None: not known.
        """
        if len(users) != len(items):
            raise ShapeError(
                f"sequences: expected an item for each of {len(users)} users, found {len(items)}"
            )
        first = seconds if order is None else order
        places = np.argsort(users, kind="stable") if first is None else np.lexsort((first, users))
        starts = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=sizes[0]))])
        times = None if seconds is None else seconds[places].astype(np.float64)
        return cls(items[places], starts, sizes[1], times)

    @classmethod
    def of_places(cls, places: sp.csr_array) -> Sequences:
        """From a matrix of users and items whose entries tell the order.

        Args:
            places: CSR (n_users, n_items): of a user's items the larger, the later. They are the
                times, in seconds, for those who ask.
        """
        users = np.repeat(np.arange(places.shape[0]), np.diff(places.indptr))
        items = places.indices.astype(np.int64)
        return cls.of(users, items, places.shape, seconds=places.data)

    @property
    def n_users(self) -> int:
        """Number of users, those without an item included."""
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> Ids:
        """(n_users,) items of each user."""
        return np.diff(self.starts)

    @cached_property
    def users(self) -> Ids:
        """(n,) user of every place."""
        return np.repeat(np.arange(self.n_users), self.lengths)

    @cached_property
    def gaps(self) -> Numbers:
        """(k,) seconds between rows of one user that follow each other; empty without times."""
        if self.seconds is None:
            return np.zeros(0)
        within = np.diff(self.users) == 0
        return np.asarray(np.diff(self.seconds)[within], dtype=np.float64)

    @property
    def usual_gap(self) -> float:
        """Median of the gaps; 0 without any."""
        return float(np.median(self.gaps)) if len(self.gaps) else 0.0

    @cached_property
    def left(self) -> Ids:
        """(n,) how many places of the same user come after each."""
        ends: Ids = self.starts[1:][self.users]
        return ends - 1 - np.arange(len(self.items))

    def clock(self, decay: Decay) -> Numbers:
        """(n,) a clock of each user whose differences are negative logarithms of weights.

        Raises:
            DataError: A decay by time, and no times are known.
        """
        clock: Numbers = decay.rate * np.arange(len(self.items), dtype=np.float64)
        return clock if decay.half_life is None else clock + decay.time_rate * self._times(decay)

    def faded(self, decay: Decay, later: Ids, earlier: Ids) -> Numbers:
        """(k,) differences of the clock from earlier to later places, without rounding twice."""
        by_rank: Numbers = decay.rate * (later - earlier).astype(np.float64)
        if decay.half_life is None:
            return by_rank
        times = self._times(decay)
        return by_rank + decay.time_rate * (times[later] - times[earlier])

    def _times(self, decay: Decay) -> Numbers:
        if self.seconds is None:
            raise DataError(f"history({decay}): expected times, found none")
        return self.seconds

    def where(self, kept: NDArray[np.bool_]) -> Sequences:
        """The same users with some of the places (n,) only."""
        counts = np.bincount(self.users[kept], minlength=self.n_users)
        starts = np.concatenate([[0], np.cumsum(counts)])
        seconds = None if self.seconds is None else self.seconds[kept]
        return Sequences(self.items[kept], starts, self.n_items, seconds)

    @classmethod
    def stacked(cls, parts: list[Sequences]) -> Sequences:
        """The users of several, one after the other."""
        ends = np.cumsum([0, *(len(part.items) for part in parts)])
        starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
        items = np.concatenate([part.items for part in parts])
        seconds = [part.seconds for part in parts if part.seconds is not None]
        times = np.concatenate(seconds) if len(seconds) == len(parts) else None
        return cls(items, np.concatenate([*starts, ends[-1:]]), parts[0].n_items, times)

    def of_users(self, users: Ids) -> Sequences:
        """Some users (b,) alone, in their order; one may be named more than once."""
        lengths = self.lengths[users]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        at = np.repeat(self.starts[users] - starts[:-1], lengths) + np.arange(starts[-1])
        seconds = None if self.seconds is None else self.seconds[at]
        return Sequences(self.items[at], starts, self.n_items, seconds)

    def first(self, count: int) -> Sequences:
        """The first users."""
        starts = self.starts[: count + 1]
        seconds = None if self.seconds is None else self.seconds[: starts[-1]]
        return Sequences(self.items[: starts[-1]], starts, self.n_items, seconds)


def ranked(places: sp.csr_array) -> sp.csr_array:
    """The same order with places from 1 within each user: CSR (n_users, n_items)."""
    found = Sequences.of_places(places)
    within = np.arange(len(found.items)) - found.starts[found.users] + 1
    return sp.csr_array((within.astype(np.float32), (found.users, found.items)), shape=places.shape)


TICK = 2.0**-20
"""Seconds between items of one moment, by which their order is told."""


def moments(users: Ids, seconds: Numbers, last: Numbers) -> Numbers:
    """Times that tell the order as well: of one moment each is a tick later than the one before.

    Args:
        users: (n,) user of each row, ascending.
        seconds: (n,) time of each, ascending within a user.
        last: (n_users,) moment behind which a user's rows come, -inf for none.
    """
    later = np.maximum(seconds, last[users])
    places = np.arange(len(users))
    fresh = np.ones(len(users), dtype=bool)
    fresh[1:] = (users[1:] != users[:-1]) | (later[1:] != later[:-1])
    ties = places - np.maximum.accumulate(np.where(fresh, places, 0))
    found: Numbers = later + TICK * (ties + (later == last[users]))
    return found
