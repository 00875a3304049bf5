"""Business rules: items that are pinned, boosted, buried or never shown, and caps on categories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import ConfigError
from sif.recommender.arguments import listed, whole_number
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.reranking.candidates import Candidates
from sif.recommender.reranking.features import Last, table_of
from sif.recommender.reranking.step import Mask, Request, Step, number_from

Ids = str | Iterable[Any]


@dataclass(frozen=True)
class Pin(Step):
    """Puts an item at a place of everybody's list, also one that the model would not recommend.

    The others move down. A shorter list has it at its end. Items that a user does not get, since
    the user has them or they are excluded, are not pinned for that user. A later step may move the
    item again.

    Args:
        item: One id.
        place: From 1.

    Raises:
        ConfigError: A place below 1.

    Examples:
        >>> from sif.recommender.reranking import Pin
        >>> model.recommend("c1", n=3, rerank=[Pin("mug3", place=2)])["item"].tolist()[1]
        'mug3'
    """

    item: Any
    place: int = 1

    def __post_init__(self) -> None:
        whole_number(self.place, "Pin: place")

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The candidates with the item among them."""
        item = int(numbers_of([self.item], request.server, "Pin: item")[0])
        wanted = request.may_have(item)
        if not (wanted <= (candidates.items == item).any(axis=1)).all():
            candidates = _with_item(candidates, item, wanted, request)
        pinned = candidates.items == item
        others = candidates.there & ~pinned
        behind = np.cumsum(others, axis=1) - 1
        behind += behind >= self.place - 1
        at = np.minimum(self.place - 1, others.sum(axis=1))[:, None]
        return candidates.by(np.where(pinned, at, behind))


@dataclass(frozen=True)
class Boost(Step):
    """Raises or lowers the scores of items, and sorts by them.

    A score s becomes s + (factor - 1) * |s| + offset: a factor above 1 raises it, also one below 0.
    Only items of the pool can rise. Answers show the scores of the model. Equal scores keep their
    former order.

    Args:
        items: Ids, or one.
        factor: At least 0.
        offset: In the unit of scores.

    Raises:
        ConfigError: A number that is not finite, or a factor below 0.

    Examples:
        >>> from sif.recommender.reranking import Boost
        >>> model.recommend("c1", n=3, rerank=[Boost(["mug3"], offset=99)])["item"].tolist()[0]
        'mug3'
    """

    items: Ids
    factor: float = 1.0
    offset: float = 0.0
    reads_weights_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        number_from("Boost: factor", self.factor, 0)
        number_from("Boost: offset", self.offset)
        object.__setattr__(self, "items", kept(self.items))

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The candidates by their new scores."""
        numbers = numbers_of(self.items, request.server, "Boost: item")
        weights = candidates.weights
        finite = np.isfinite(weights)
        known = np.where(finite, weights, 0.0)
        raised = known + (self.factor - 1) * np.abs(known) + self.offset
        chosen = np.isin(candidates.items, numbers) & finite
        weights = np.where(chosen, raised, weights)
        return Candidates(candidates.items, candidates.scores, weights).by(-weights)


@dataclass(frozen=True)
class Bury(Step):
    """Puts items behind all others, in their former order.

    Args:
        items: Ids, or one.

    Examples:
        >>> from sif.recommender.reranking import Bury
        >>> first = model.recommend("c1", n=1)["item"][0]
        >>> first in model.recommend("c1", n=1, rerank=[Bury(first)])["item"].tolist()
        False
    """

    items: Ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", kept(self.items))

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The candidates, the buried ones last."""
        numbers = numbers_of(self.items, request.server, "Bury: item")
        return candidates.by(np.isin(candidates.items, numbers))


@dataclass(frozen=True)
class Never(Step):
    """Shows items to nobody, wherever in the steps it stands; not even a pin does.

    Args:
        items: Ids, or one.

    Examples:
        >>> from sif.recommender.reranking import Never
        >>> first = model.recommend("c1", n=1)["item"][0]
        >>> first in model.recommend("c1", n=16, rerank=[Never(first)])["item"].tolist()
        False
    """

    items: Ids

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", kept(self.items))

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The candidates as they are: the items are not among them."""
        return candidates

    def narrowed(self, allowed: Mask | None, server: IndexedRecommender) -> Mask:
        """All but the items."""
        left = np.ones(server.engine.n_items, np.bool_) if allowed is None else allowed.copy()
        left[numbers_of(self.items, server, "Never: item")] = False
        return left


@dataclass(frozen=True)
class AtMost(Step):
    """Lists with at most so many items of each category.

    Candidates are taken in their order; one of a category that is full is left out. An item of
    several categories needs room in all of them. One without a category is always taken. Put this
    step behind those that choose, since these see only what it leaves.

    Args:
        count: At least 1.
        categories: Labels by item id, a data frame of numbers with item ids as its index, or the
            name of a column of the model's item features.

    Raises:
        ConfigError: A count below 1.

    Examples:
        >>> from sif.recommender.reranking import AtMost
        >>> kinds = {item: item[:3] for item in orders["item"]}
        >>> shares = model.recommend("c1", n=2, rerank=[AtMost(1, kinds)])["item"].str[:3]
        >>> sorted(shares)
        ['mug', 'tea']
    """

    count: int
    categories: Any
    _last: Last[sparse.csr_array] = field(
        default_factory=Last, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        whole_number(self.count, "AtMost: count")

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The candidates without what is too much."""
        model = request.server.model
        has = self._last.of(
            request.server, lambda: sparse.csr_array(table_of(self.categories, model).matrix != 0)
        )
        return candidates.without(too_many(candidates.items, has, self.count))


def too_many(items: NDArray[np.int64], has: sparse.csr_array, count: int) -> Mask:
    """Candidates of a category that is full.

    Args:
        items: (b, p) numbers of items, best first, -1 for none.
        has: CSR bool (n_items, n_categories).
        count: Items of each category at most.

    Returns:
        Bool (b, p).
    """
    gone = np.zeros(items.shape, np.bool_)
    taken = [dict[int, int]() for _ in items]
    for row, place in zip(*np.nonzero(items >= 0), strict=True):
        item, own = items[row, place], taken[row]
        labels = has.indices[has.indptr[item] : has.indptr[item + 1]].tolist()
        if any(own.get(label, 0) >= count for label in labels):
            gone[row, place] = True
            continue
        for label in labels:
            own[label] = own.get(label, 0) + 1
    return gone


def kept(items: Ids) -> Any:
    """Ids that can be read more than once."""
    return items if isinstance(items, str) or hasattr(items, "__len__") else tuple(items)


def numbers_of(items: Ids, server: IndexedRecommender, name: str) -> NDArray[np.int64]:
    """Numbers of items.

    Raises:
        UnknownIdError: One that the model does not have.
        ConfigError: No ids.
    """
    texts, _ = listed(items, name)
    if not len(texts):
        raise ConfigError(f"{name}: expected at least one id, found none")
    return server.model.vocabularies[1].index(texts, name)


def _with_item(candidates: Candidates, item: int, wanted: Mask, request: Request) -> Candidates:
    """The candidates with the item behind them, where a user should get it and it is missing."""
    missing = wanted & ~(candidates.items == item).any(axis=1)
    scores = np.where(missing, request.scores_of(item), np.float32(-np.inf))
    columns = [
        np.concatenate([whole, column[:, None].astype(whole.dtype)], axis=1)
        for whole, column in (
            (candidates.items, np.where(missing, item, -1)),
            (candidates.scores, scores), (candidates.weights, scores),
        )
    ]  # fmt: skip
    return Candidates(*columns).by(np.zeros(columns[0].shape))
