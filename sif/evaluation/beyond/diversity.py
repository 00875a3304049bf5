"""Diversity within a list."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sif.evaluation.beyond.lists import Floats, checked
from sif.evaluation.beyond.similarity import ItemSimilarity


def diversity(lists: ArrayLike, similarity: ItemSimilarity) -> Floats:
    """Mean distance of the pairs of items in each list (ILD).

    ILD@k(u) = mean over i < j in L(u) of 1 - sim(i, j). Pairs with an item without features do not
    count. Sources: Smyth, McClave, *Similarity vs. diversity*, ICCBR 2001. As a similarity: Ziegler
    et al., *Improving recommendation lists through topic diversification*, WWW 2005.

    Args:
        lists: (n_users, k) numbers of items, -1 where a list is shorter.
        similarity: `cosine_similarity` or `jaccard_similarity` of features, or of vectors.

    Returns:
        (n_users,) float64, the higher the more diverse; 0 of a list without two items that have
        features.

    Raises:
        ShapeError: Lists of another form.

    Examples:
        >>> from sif.evaluation.beyond import diversity, jaccard_similarity
        >>> genres = jaccard_similarity([[1, 0], [1, 0], [0, 1]])
        >>> diversity([[0, 1, 2]], genres).round(3).tolist()
        [0.667]
    """
    items = checked(lists, similarity.n_items)
    found = np.zeros(len(items))
    if not items.size:
        return found
    counts = ((items >= 0) & similarity.described[items]).sum(axis=1)
    pairs = counts * (counts - 1) / 2
    for here, alike in similarity.within(items):
        own = np.diagonal(alike, axis1=1, axis2=2).sum(axis=1, dtype=np.float64)
        found[here] = (alike.sum(axis=(1, 2), dtype=np.float64) - own) / 2
    return np.where(pairs > 0, 1 - found / np.maximum(pairs, 1), 0.0)
