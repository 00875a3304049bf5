"""Bounds on the popularity of a list."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sif.evaluation.beyond import Popularity
from sif.evaluation.beyond.popularity import HEAD
from sif.recommender.model import ServedModel
from sif.recommender.reranking.candidates import Candidates, Places
from sif.recommender.reranking.features import Last
from sif.recommender.reranking.step import Request, Step, number_from

_ROUNDING = 1e-9
"""Of sums, relative to the bound."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TailShare(Step):
    """A list of which at least a share is of the long tail.

    The list is the first one, by the former order of its items, that keeps the bound. If the pool
    has too few items of the tail, all of these are in the list.

    Args:
        least: Share of the list, from 0 to 1.
        head: Share of the interactions that the popular items have together; all others are the
            tail, see `sif.evaluation.beyond.Popularity.tail`.

    Raises:
        ConfigError: A share out of range.

    Examples:
        >>> from sif.recommender.reranking import TailShare
        >>> len(model.recommend("c1", n=3, rerank=[TailShare(0.5)]))
        3
    """

    least: float
    head: float = HEAD
    _last: Last[Floats] = field(default_factory=Last, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number_from("TailShare: least", self.least, 0, 1)
        number_from("TailShare: head", self.head, 1e-9, 1)

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The first list with few enough popular items, then the others."""
        model = request.server.model
        popular = self._last.of(
            model, lambda: (~_popularity(model).tail(self.head)).astype(np.float64)
        )
        return _bounded(candidates, popular, request.k, 1 - self.least)


@dataclass(frozen=True)
class MeanPopularity(Step):
    """A list whose items have on average at most a share of the users.

    The list is the first one, by the former order of its items, that keeps the bound. If none does,
    the list has the least popular candidates.

    Args:
        most: Mean share of the users who have an item, from 0 to 1.

    Raises:
        ConfigError: A share out of range.

    Examples:
        >>> from sif.recommender.reranking import MeanPopularity
        >>> len(model.recommend("c1", n=3, rerank=[MeanPopularity(0.5)]))
        3
    """

    most: float
    _last: Last[Floats] = field(default_factory=Last, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number_from("MeanPopularity: most", self.most, 0, 1)

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The first list that is unpopular enough, then the others."""
        model = request.server.model
        counts = self._last.of(model, lambda: _popularity(model).counts.astype(np.float64))
        users = _popularity_users(model)
        return _bounded(candidates, counts, request.k, self.most * users)


def bounded_places(values: Floats, there: NDArray[np.bool_], k: int, most: float) -> Places:
    """The first list of k candidates whose mean value is at most a bound.

    Lists are compared by the columns of their items, in ascending order, the first one first. Where
    no list keeps the bound, it is the lowest mean that any list has.

    Args:
        values: (b, p) of at least 0.
        there: (b, p) which candidates there are.
        k: Items to choose; of a user with fewer candidates all.
        most: The bound.

    Returns:
        (b, k) columns in ascending order, -1 where no candidate is left.
    """
    users, n = np.arange(len(there)), np.minimum(k, there.sum(axis=1))
    left, chosen = there.copy(), np.full((len(there), k), -1)
    lowest = _sums_of_lowest(values, left)[users, n]
    room = np.maximum(n * most, lowest)
    room += _ROUNDING * np.maximum(room, 1)
    for place in range(min(k, there.shape[1])):
        due = place < n
        rest = np.maximum(n - place - 1, 0)  # places that are still to be filled after this one
        reserved = _sums_of_lowest(values, left)[users, np.where(due, rest, 0)]
        fits = left & (values <= (room - reserved)[:, None])
        best = fits.argmax(axis=1)
        chosen[:, place] = np.where(due, best, -1)
        left[users[due], best[due]] = False
        room = room - np.where(due, values[users, best], 0.0)
    return np.where(chosen < 0, -1, np.sort(np.where(chosen < 0, there.shape[1], chosen), axis=1))


def _bounded(candidates: Candidates, values: Floats, k: int, most: float) -> Candidates:
    """The first list under a bound on items' values (n_items,), then the others."""
    there = candidates.there
    own = np.where(there, values[candidates.items], 0.0)
    return candidates.with_first(bounded_places(own, there, k, most))


def _sums_of_lowest(values: Floats, left: NDArray[np.bool_]) -> Floats:
    """(b, p + 1): the sum of the lowest 0, 1, ... values that are left; infinite beyond them."""
    ordered = np.sort(np.where(left, values, np.inf), axis=1)
    return np.concatenate([np.zeros((len(values), 1)), ordered.cumsum(axis=1)], axis=1)


def _popularity(model: ServedModel) -> Popularity:
    """Of what users have in the model."""
    counts = np.bincount(model.seen.indices, minlength=model.seen.shape[1])
    return Popularity(counts.astype(np.int64), _popularity_users(model))


def _popularity_users(model: ServedModel) -> int:
    return int((np.diff(model.seen.indptr) > 0).sum())
