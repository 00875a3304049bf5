"""Maximal marginal relevance: items that are good and unlike those above them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.evaluation.beyond import ItemSimilarity
from sif.recommender.reranking.candidates import Candidates, Places
from sif.recommender.reranking.features import Last, similarity_of
from sif.recommender.reranking.step import Request, Step, number_from


@dataclass(frozen=True)
class Mmr(Step):
    """Diversifies a list: each place gets the item with the best marginal relevance.

    Of all candidates the next one maximizes (1 - strength) * relevance - strength * max over the
    items above it of similarity. Relevance is the score, from 0 to 1 among a user's candidates. Of
    equal ones the first in the former order is taken. Source: Carbonell, Goldstein, *The use of
    MMR*, SIGIR 1998, whose lambda is 1 - strength.

    Args:
        strength: From 0 (the order stays) to 1 (diversity alone).
        features: Tell how alike items are. Labels by item id (Jaccard), a data frame of numbers
            with item ids as its index (cosine), or the name of a column of the model's item
            features; None: cosines of the model's vectors.

    Raises:
        ConfigError: A strength out of range.

    Examples:
        >>> from sif.recommender.reranking import Mmr
        >>> kinds = {item: item[:3] for item in orders["item"]}
        >>> varied = model.recommend("c1", n=2, rerank=[Mmr(0.9, features=kinds)])
        >>> sorted(varied["item"].str[:3])
        ['mug', 'tea']
    """

    strength: float = 0.3
    features: Any = None
    _last: Last[ItemSimilarity] = field(default_factory=Last, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        number_from("Mmr: strength", self.strength, 0, 1)

    def applied(self, candidates: Candidates, request: Request) -> Candidates:
        """The best k by marginal relevance, then the others."""
        server = request.server
        similarity = self._last.of(server, lambda: similarity_of(self.features, server))
        relevance, there = candidates.relevance, candidates.there
        chosen = np.full((len(there), request.k), -1)
        for here, alike in similarity.within(candidates.items):
            asked = relevance[here], alike, there[here], request.k
            chosen[here] = mmr_places(*asked, self.strength)
        return candidates.with_first(chosen)


def mmr_places(
    relevance: NDArray[np.float64], alike: NDArray[np.float32], there: NDArray[np.bool_], k: int,
    strength: float,
) -> Places:  # fmt: skip
    """The greedy choice of maximal marginal relevance.

    Args:
        relevance: (b, p).
        alike: (b, p, p) similarities.
        there: (b, p) which candidates there are.
        k: Items to choose.
        strength: See `Mmr`.

    Returns:
        (b, k) columns, -1 where no candidate is left.
    """
    users = np.arange(len(there))
    left, chosen = there.copy(), np.full((len(there), k), -1)
    closest = np.zeros(there.shape)  # of the first place, which has nothing above it
    for place in range(min(k, there.shape[1])):
        values = (1 - strength) * relevance - strength * closest
        best = np.where(left, values, -np.inf).argmax(axis=1)
        chosen[:, place] = np.where(left[users, best], best, -1)
        left[users, best] = False
        near = alike[users, best].astype(np.float64)
        closest = near if place == 0 else np.maximum(closest, near)
    return chosen
