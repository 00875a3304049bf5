"""A folded model beside a fresh fit, on recent pairs that neither has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sif.errors import ConfigError, DataError
from sif.recommender.drift import FEWEST, K, ndcg
from sif.recommender.extend import grown
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel

MOST = 1000
"""Users who are judged, at most."""
Judgments = tuple[NDArray[np.float32], NDArray[np.float32]]


def against_fresh(model: ServedModel, other: Any) -> Judgments:
    """NDCG@10 of users, of the model and of a fresh fit, for one recent pair of each.

    Args:
        model: With a record of recent pairs.
        other: A recommender before its fit, which this fits to all other pairs.

    Raises:
        ConfigError: A model of ratings.
        DataError: Too few users with recent pairs, and others.
    """
    if model.objective != "ranking":
        raise ConfigError("drift: fit=True: expected a model of rankings, found one of ratings")
    users, items = _held(model)
    kept = _without(model.seen, users, items)
    folded = grown(model, 0, model.vocabularies[0].ids[users], kept[users])
    other.settings = {**(other.settings or {}), **_reading(model)}
    other.fit(_frame(model, kept))
    return (
        _judged(IndexedRecommender(folded), model, kept, users, items),
        _judged(other.server(), model, kept, users, items),
    )


def _held(model: ServedModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The latest recent pair of each user who has two more pairs: users and items (n,)."""
    latest = dict(model.folding.recent.tolist())
    lengths = np.diff(model.seen.indptr)
    pairs = [(user, item) for user, item in latest.items() if lengths[user] > 2]
    never = set() if model.rule is None else set(np.flatnonzero(model.rule.never_recommended))
    pairs = [pair for pair in pairs if pair[1] not in never][-MOST:]
    if len(pairs) < FEWEST:
        raise DataError(
            f"drift: expected {FEWEST} users or more with recent rows and others, found "
            f"{len(pairs)}; fold in more"
        )
    found = np.array(sorted(pairs), dtype=np.int64)
    return found[:, 0], found[:, 1]


def _without(
    seen: sparse.csr_array, users: NDArray[np.int64], items: NDArray[np.int64]
) -> sparse.csr_array:
    """Pairs without some."""
    rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    width = seen.shape[1]
    gone = np.isin(rows * width + seen.indices, users * width + items)
    kept = (seen.data[~gone], (rows[~gone], seen.indices[~gone]))
    return sparse.csr_array(kept, shape=seen.shape)


def _reading(model: ServedModel) -> dict[str, Any]:
    """Settings by which pairs of the model are read: they are filtered, and maybe in order."""
    reading: dict[str, Any] = {"data.min_rating": None, "data.since": None, "data.until": None}
    return reading | ({"data.order": "rows"} if model.forgets and not model.reads_time else {})


def _frame(model: ServedModel, pairs: sparse.csr_array) -> pd.DataFrame:
    """Pairs as rows, in their order where the model has one."""
    rows = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    order = np.lexsort((pairs.data, rows)) if model.forgets else np.arange(len(rows))
    users, items = (vocabulary.ids for vocabulary in model.vocabularies)
    frame = pd.DataFrame({"user": users[rows[order]], "item": items[pairs.indices[order]]})
    if model.reads_time:
        frame["timestamp"] = pairs.data[order].astype(np.int64)
    return frame


def _judged(
    server: IndexedRecommender, model: ServedModel, kept: sparse.csr_array,
    users: NDArray[np.int64], items: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """NDCG@10 (n,) of each user's held item, in numbers of the model's items."""
    theirs = server.model
    rows = theirs.vocabularies[0].index(model.vocabularies[0].ids[users])
    names = model.vocabularies[1].ids
    best = server.top(rows, K, theirs.seen[rows]).items
    numbers = np.append(model.vocabularies[1].lookup(theirs.vocabularies[1].ids), -1)
    truth = sparse.csr_array(
        (np.ones(len(users), np.float32), (np.arange(len(users)), items)),
        shape=(len(users), len(names)),
    )
    return ndcg(numbers[best], truth)
