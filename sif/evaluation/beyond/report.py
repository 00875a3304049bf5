"""All metrics of lists that need no features, at several cut-offs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sif.evaluation.beyond.exposure import coverage, gini
from sif.evaluation.beyond.lists import Floats, Items
from sif.evaluation.beyond.popularity import Popularity, average_popularity, long_tail, novelty
from sif.evaluation.beyond.serendipity import serendipity

BEYOND = ("coverage", "gini", "novelty", "arp", "long_tail", "serendipity")
"""Names of the metrics, which stand before their cut-off."""


def beyond_accuracy(
    lists: Items, hits: NDArray[np.bool_], popularity: Popularity, cutoffs: Sequence[int]
) -> tuple[dict[str, float], dict[str, Floats]]:
    """The metrics of `BEYOND`.

    Args:
        lists: (n_users, K) numbers of items, -1 where a list is shorter.
        hits: bool (n_users, K), whether an item is relevant.
        popularity: Of the interactions before the evaluated ones.
        cutoffs: Lengths of the lists, at most K.

    Returns:
        Name, such as "novelty@10", to its mean over users, and name to values (n_users,) of those
        that single users have.
    """
    n_items = len(popularity.counts)
    metrics, per_user = dict[str, float](), dict[str, Floats]()
    for k in cutoffs:
        top = lists[:, :k]
        own = {
            "novelty": novelty(top, popularity),
            "arp": average_popularity(top, popularity),
            "long_tail": long_tail(top, popularity),
            "serendipity": serendipity(top, hits[:, :k], popularity),
        }
        named = {f"{name}@{k}": values for name, values in own.items()}
        per_user |= named
        metrics |= {f"coverage@{k}": coverage(top, n_items), f"gini@{k}": gini(top, n_items)}
        metrics |= {name: float(values.mean()) for name, values in named.items()}
    return metrics, per_user
