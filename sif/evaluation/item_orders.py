"""Orders of all items that are the same for every user, most popular first.

Popularity baselines rank by them, and so does the rule for new users
(`sif.evaluation.cold_start`), whose order validation chooses (`sif.evaluation.cold_start_choice`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.parts import place_in_group
from sif.evaluation.evaluate import pair_matrix


class ItemOrder(Protocol):
    """Ranks all items by what a train part tells of them."""

    @property
    def name(self) -> str:
        """For people, such as "popularity"."""
        ...

    def scores(self, train: Interactions) -> NDArray[np.float32]:
        """Minus the place of every item: (n_items,), the first has 0.

        Places instead of counts: equal counts are common, and a tie would count against a ranking.
        """
        ...


@dataclass(frozen=True)
class Popularity:
    """Items by their number of users."""

    name = "popularity"

    def scores(self, train: Interactions) -> NDArray[np.float32]:
        """Minus places (n_items,); of equals the first item comes first."""
        return _minus_places(_users(train))


@dataclass(frozen=True)
class RecentPopularity:
    """Items by their rows, which weigh half as much with every half-life of age.

    Attributes:
        half_life: Share of the train part's time.
    """

    half_life: float

    @property
    def name(self) -> str:
        """With the half-life."""
        share = Fraction(self.half_life).limit_denominator(1000)
        return f"popularity with a half-life of {share} of the train part's time"

    def scores(self, train: Interactions) -> NDArray[np.float32]:
        """Minus places (n_items,); of equals the more popular comes first.

        Raises:
            DataError: Nothing tells the order.
        """
        weights = np.bincount(train.ids[:, 1], train.recency(self.half_life), train.sizes[1])
        return _minus_places(weights, _users(train))


@dataclass(frozen=True)
class FirstItems:
    """Items by how many users took them among their first ones.

    Attributes:
        rows: Of each user that count.
    """

    rows: int

    @property
    def name(self) -> str:
        """With the number of rows."""
        return f"popularity among the first {self.rows} items of each user"

    def scores(self, train: Interactions) -> NDArray[np.float32]:
        """Minus places (n_items,); of equals the more popular comes first.

        Raises:
            DataError: Nothing tells the order.
        """
        rows = train.order
        users = train.ids[rows, 0]
        place, _ = place_in_group(users, np.argsort(users, kind="stable"))
        first = train.ids[rows[place < self.rows], 1]
        return _minus_places(np.bincount(first, minlength=train.sizes[1]), _users(train))


HALF_LIVES = (1 / 64, 1 / 16, 1 / 4)
"""Of `RecentPopularity`, to choose from."""
POPULARITY_ORDER = Popularity()
"""The order of everybody, without time."""


def _users(train: Interactions) -> NDArray[np.int64]:
    """(n_items,) number of users of each item."""
    if len(train.fields) == 2:  # no pair is there twice
        return np.bincount(train.ids[:, 1], minlength=train.sizes[1])
    count = np.asarray(pair_matrix(train).sum(axis=0)).ravel()
    return count.astype(np.int64)


def _minus_places(*keys: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float32]:
    """Minus the places (n) by the first key, of equals by the next; the largest has 0."""
    place = np.empty(len(keys[0]), dtype=np.float32)
    place[np.lexsort([-key for key in reversed(keys)])] = np.arange(len(place))
    return 0 - place  # the first has 0, not -0
