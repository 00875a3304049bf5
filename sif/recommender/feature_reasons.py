"""Each feature of an item that nobody has touched, with what it adds to its score for a user."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.data.features.columns import Column
from sif.data.interactions import Vocabulary
from sif.errors import ConfigError
from sif.recommender.alike import answering, with_room
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel

_PREFIX = "\x02without "
"""Begins ids of the item without a feature, which no data have."""
LABELED = ("category", "tags")
"""Kinds of columns whose values are told apart; others count as a whole."""


@dataclass(frozen=True)
class FeatureReason:
    """A feature with its part of a score.

    Attributes:
        feature: Name of the column.
        value: The label of a category or tag; "" for a whole column.
        score: The item's score less that of the item without the feature.
    """

    feature: str
    value: str
    score: float


def feature_reasons(model: ServedModel, user: int, item: int) -> list[FeatureReason]:
    """The features of an item with what they add to its score for a user, most first.

    Args:
        model: Fitted with features of items.
        user: Number of a known user.
        item: Number of an item that no training saw.

    Raises:
        ConfigError: A model without features, or an item that was trained, whose interactions
            answer for it.
    """
    table = model.item_features
    name = str(model.vocabularies[1].ids[item])
    if table is None:
        raise ConfigError("explain_features: expected a model with item_features, found none")
    if item not in model.untrained[1]:
        raise ConfigError(
            f"explain_features: expected an item that no training saw, found {name!r}, whose "
            "interactions answer for it; explain tells which"
        )
    whole = table.aligned(Vocabulary([name]))
    parts = [part for column in table.columns for part in _parts(column, whole)]
    without = _without(whole, [places for _, _, places in parts])
    ids = [f"{_PREFIX}{n}" for n in range(len(parts))]
    some = replace(table, vocabulary=Vocabulary(ids), matrix=without)
    longer = replace(with_room(model, np.array(ids)), item_features=table.joined(some))
    numbers = longer.vocabularies[1].lookup(ids)
    scores = IndexedRecommender(answering(longer, numbers)).scores(np.array([user]))[0]
    base = float(scores[item])
    found = []
    for (feature, value, _), number in zip(parts, numbers, strict=True):
        rest = float(scores[number]) if np.isfinite(scores[number]) else 0.0
        found.append(FeatureReason(feature, value, base - rest))
    return sorted(found, key=lambda reason: -reason.score)


def _parts(column: Column, row: sparse.csr_array) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Name, value and numbers of each feature of a row (1, m) in a column."""
    inside = row.indices[(row.indices >= column.start) & (row.indices < column.stop)]
    if not len(inside):
        return []
    if column.kind not in LABELED:
        return [(column.name, "", inside.astype(np.int64))]
    return [
        (column.name, column.labels[place - column.start], np.array([place])) for place in inside
    ]


def _without(row: sparse.csr_array, parts: list[NDArray[np.int64]]) -> sparse.csr_array:
    """The row (1, m) once for each part, without its numbers: CSR (b, m)."""
    dense = [row.data * ~np.isin(row.indices, places) for places in parts]
    found = sparse.csr_array(
        (
            np.concatenate([*dense, np.zeros(0, np.float32)]).astype(np.float32),
            np.tile(row.indices, len(parts)),
            np.arange(len(parts) + 1) * row.nnz,
        ),
        shape=(len(parts), row.shape[1]),
    )
    found.eliminate_zeros()
    return found
