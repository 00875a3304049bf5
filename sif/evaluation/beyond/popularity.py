"""Novelty of lists, and their bias toward popular items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sif.data.interactions.interactions import Interactions
from sif.errors import DataError
from sif.evaluation.beyond.lists import Floats, checked, list_means

HEAD = 0.8
"""Share of the interactions that the popular items have together; all others are the long tail."""


@dataclass(frozen=True, eq=False)
class Popularity:
    """Numbers of users who have each item.

    Attributes:
        counts: int64 (n_items,) users of each item.
        n_users: Users with an item at all.

    Examples:
        >>> import numpy as np
        >>> from sif.evaluation.beyond import Popularity
        >>> Popularity(np.array([8, 1, 1]), n_users=8).tail().tolist()
        [False, True, True]
    """

    counts: NDArray[np.int64]
    n_users: int

    @classmethod
    def of(cls, parts: Iterable[Interactions], sizes: Sequence[int]) -> Popularity:
        """Of interactions; a pair of user and item counts once in each part.

        Args:
            parts: Parts under the same vocabularies, without common pairs.
            sizes: Numbers of users and of items.
        """
        n_users, n_items = sizes[:2]
        counts, has = np.zeros(n_items, np.int64), np.zeros(n_users, np.bool_)
        for part in parts:
            users, items = part.ids[:, 0], part.ids[:, 1]
            if len(part.fields) > 2:  # further fields may repeat a pair
                pairs = np.unique(users.astype(np.int64) * n_items + items)
                users, items = pairs // n_items, pairs % n_items
            counts += np.bincount(items, minlength=n_items)
            has[users] = True
        return cls(counts, int(has.sum()))

    def tail(self, head: float = HEAD) -> NDArray[np.bool_]:
        """The long tail, bool (n_items,).

        The head is the fewest most popular items that have at least the share `head` of all
        interactions; of equally popular ones the lower number comes first.

        Args:
            head: Share of the interactions, above 0, at most 1.

        Raises:
            DataError: A share outside of that range.
        """
        if not 0 < head <= 1:
            raise DataError(f"head: expected a share above 0, at most 1, found {head}")
        order = np.argsort(-self.counts, kind="stable")
        before = np.cumsum(self.counts[order]) - self.counts[order]
        tail = np.ones(len(order), np.bool_)
        # The total is exact in float64, so that a share of 1 leaves no item with users out.
        tail[order[before < head * self.counts.sum()]] = False
        return tail


def novelty(lists: ArrayLike, popularity: Popularity) -> Floats:
    """Mean self-information of the items of each list, in bits.

    Novelty@k(u) = mean over i in L(u) of -log2(users(i) / users). An item that nobody has counts as
    one that one user has. Source: Zhou et al., *Solving the apparent diversity-accuracy dilemma of
    recommender systems*, PNAS 2010. RecTools calls it MeanInvUserFreq.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        popularity: Of the interactions before the evaluated ones.

    Returns:
        (n_users,) float64, the higher the more novel; 0 of an empty list.

    Raises:
        ShapeError: Lists of another form.

    Examples:
        >>> import numpy as np
        >>> from sif.evaluation.beyond import Popularity, novelty
        >>> novelty([[0, 1]], Popularity(np.array([4, 1, 2]), n_users=4)).tolist()
        [1.0]
    """
    items = checked(lists, len(popularity.counts))
    shares = np.maximum(popularity.counts, 1) / max(popularity.n_users, 1)
    return list_means(-np.log2(shares), items)


def average_popularity(lists: ArrayLike, popularity: Popularity) -> Floats:
    """Mean number of users who have the items of each list (ARP).

    ARP@k(u) = mean over i in L(u) of users(i). Source: Yin et al., *Challenging the long tail
    recommendation*, VLDB 2012. RecTools calls it AvgRecPopularity.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        popularity: Of the interactions before the evaluated ones.

    Returns:
        (n_users,) float64 in users, the higher the more popular; 0 of an empty list.

    Raises:
        ShapeError: Lists of another form.

    Examples:
        >>> import numpy as np
        >>> from sif.evaluation.beyond import Popularity, average_popularity
        >>> average_popularity([[0, 1]], Popularity(np.array([4, 1, 2]), n_users=4)).tolist()
        [2.5]
    """
    items = checked(lists, len(popularity.counts))
    return list_means(popularity.counts.astype(np.float64), items)


def long_tail(lists: ArrayLike, popularity: Popularity, head: float = HEAD) -> Floats:
    """Share of each list that is of the long tail (APLT).

    APLT@k(u) = |L(u) and tail| / |L(u)|, with the tail of `Popularity.tail`. Source:
    Abdollahpouri et al., *Managing popularity bias in recommender systems with personalized
    re-ranking*, FLAIRS 2019.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        popularity: Of the interactions before the evaluated ones.
        head: Share of the interactions that the popular items have together.

    Returns:
        (n_users,) float64; 0 of an empty list.

    Raises:
        ShapeError: Lists of another form.
        DataError: A share that is none.

    Examples:
        >>> import numpy as np
        >>> from sif.evaluation.beyond import Popularity, long_tail
        >>> long_tail([[0, 1]], Popularity(np.array([8, 1, 1]), n_users=8)).tolist()
        [0.5]
    """
    items = checked(lists, len(popularity.counts))
    return list_means(popularity.tail(head).astype(np.float64), items)
