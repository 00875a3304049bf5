"""The items of each user in their order, and the clock by which histories decay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.errors import ConfigError, ShapeError

Ids = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Decay:
    """How fast a history is forgotten: one time scale.

    Attributes:
        gamma: Factor by which an item's weight shrinks per unit of the clock, in (0, 1].
        window: Items of the history that count, the latest ones; None: all.
        unit: Seconds of a unit of the clock; None: every item is one unit, whatever the time.

    Raises:
        ConfigError: A number is out of range.
    """

    gamma: float
    window: int | None = None
    unit: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"gamma: expected a factor in (0, 1], found {self.gamma:g}")
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window: expected at least 1 item, found {self.window}")
        if self.unit is not None and not 0 < self.unit < math.inf:
            raise ConfigError(f"unit: expected seconds above 0, found {self.unit:g}")

    def __str__(self) -> str:
        if self.gamma == 1 and self.window is None:
            return "set"
        last = "" if self.window is None else f", last {self.window}"
        clock = "" if self.unit is None else f" per {self.unit:g} s"
        return f"{self.gamma:g}{clock}{last}"

    @property
    def rate(self) -> float:
        """Natural logarithm of the shrinkage per unit."""
        return -float(np.log(self.gamma))


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
            places: CSR (n_users, n_items): of a user's items the larger, the later.
        """
        users = np.repeat(np.arange(places.shape[0]), np.diff(places.indptr))
        return cls.of(users, places.indices.astype(np.int64), places.shape, places.data)

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
    def left(self) -> Ids:
        """(n,) how many places of the same user come after each."""
        ends: Ids = self.starts[1:][self.users]
        return ends - 1 - np.arange(len(self.items))

    def clock(self, decay: Decay) -> Numbers:
        """(n,) time of every place in the units of a decay."""
        if decay.unit is None:
            return np.arange(len(self.items), dtype=np.float64)
        if self.seconds is None:
            raise ShapeError(f"decay {decay}: expected times, found none")
        return self.seconds / decay.unit

    def where(self, kept: NDArray[np.bool_]) -> Sequences:
        """The same users with some of the places (n,) only."""
        counts = np.bincount(self.users[kept], minlength=self.n_users)
        starts = np.concatenate([[0], np.cumsum(counts)])
        seconds = None if self.seconds is None else self.seconds[kept]
        return Sequences(self.items[kept], starts, self.n_items, seconds)

    @classmethod
    def stacked(cls, parts: list[Sequences]) -> Sequences:
        """The users of several, one after the other, without times."""
        ends = np.cumsum([0, *(len(part.items) for part in parts)])
        starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
        items = np.concatenate([part.items for part in parts])
        return cls(items, np.concatenate([*starts, ends[-1:]]), parts[0].n_items)


def ranked(places: sp.csr_array) -> sp.csr_array:
    """The same order with places from 1 within each user: CSR (n_users, n_items)."""
    found = Sequences.of_places(places)
    within = np.arange(len(found.items)) - found.starts[found.users] + 1
    return sp.csr_array((within.astype(np.float32), (found.users, found.items)), shape=places.shape)
