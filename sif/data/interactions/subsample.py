"""Samples of users, for validation on fewer users and for a search on less data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sif.data.interactions.interactions import Interactions
from sif.data.interactions.vocabulary import Vocabulary


def some_users(
    train: Interactions, valid: Interactions, n: int, rng: np.random.Generator
) -> tuple[Interactions, Interactions]:
    """Both parts with the rows of at most n users of the validation part, ids unchanged.

    Args:
        train: Under the same vocabularies as `valid`.
        valid: Its users are drawn from.
        n: Users at most.
        rng: Draws the users.
    """
    users = np.unique(valid.ids[:, 0])
    if len(users) <= n:
        return train, valid
    chosen = np.zeros(train.sizes[0], dtype=bool)
    chosen[rng.choice(users, n, replace=False)] = True
    return train.select(chosen[train.ids[:, 0]]), valid.select(chosen[valid.ids[:, 0]])


def few_users(
    train: Interactions, valid: Interactions, n: int, rng: np.random.Generator
) -> tuple[Interactions, Interactions]:
    """Both parts with all rows of random users who have at most n train rows together.

    Args:
        train: Rows are counted here.
        valid: Under the same vocabularies.
        n: Train rows at most; one user is there in any case.
        rng: Draws the users.

    Returns:
        Both parts. Users are renumbered in their old order; other fields keep their vocabularies.
    """
    counts = np.bincount(train.ids[:, 0], minlength=train.sizes[0])
    order = rng.permutation(len(counts))
    order = order[counts[order] > 0]
    last = max(1, int(np.searchsorted(np.cumsum(counts[order]), n, side="right")))
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[order[:last]] = True
    vocabulary = Vocabulary(train.vocabularies[0].ids[chosen])
    return _renumbered(train, chosen, vocabulary), _renumbered(valid, chosen, vocabulary)


def _renumbered(
    part: Interactions, chosen: npt.NDArray[np.bool_], vocabulary: Vocabulary
) -> Interactions:
    kept = part.select(chosen[part.ids[:, 0]])
    ids = kept.ids.copy()
    ids[:, 0] = (np.cumsum(chosen) - 1)[ids[:, 0]]
    return replace(kept, ids=ids, vocabularies=(vocabulary, *part.vocabularies[1:]))
