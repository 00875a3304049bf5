"""Each feature of an item or user without interactions, with what it adds to a score."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.data.features.columns import Column
from sif.data.features.table import Features
from sif.data.interactions import Vocabulary
from sif.errors import ConfigError
from sif.recommender.alike import answering, touched_items, with_room
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.user_stand import UserStand

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
        score: The score less that without the feature.
        of: "item" or "user", whose feature it is.
    """

    feature: str
    value: str
    score: float
    of: str


def feature_reasons(model: ServedModel, user: int, item: int) -> list[FeatureReason]:
    """The features of an item or user that no training saw, or of both, most first.

    Args:
        model: Fitted with features.
        user: Number of the user.
        item: Number of the item.

    Raises:
        ConfigError: A model without features; or neither the item nor the user is one that features
            answer for.
    """
    is_cold = model.rule is not None and bool(model.rule.cold_users[user])
    is_bare = item not in touched_items(model)
    if refusal := _refusal(model, user, item, is_cold, is_bare):
        raise ConfigError(f"explain_features: {refusal}")
    found = list[FeatureReason]()
    if is_bare and model.item_features is not None:
        found += _of_item(model, model.item_features, user, item)
    if is_cold and model.user_features is not None and model.user_stand is not None:
        found += _of_user(model, model.user_features, model.user_stand, user, item)
    return sorted(found, key=lambda reason: -reason.score)


def _refusal(model: ServedModel, user: int, item: int, is_cold: bool, is_bare: bool) -> str:
    """Why features have no part in a score; empty: they have."""
    names = [str(model.vocabularies[field].ids[n]) for field, n in enumerate((user, item))]
    if model.item_features is None and model.user_features is None:
        return "expected a model that was fitted with item_features or user_features, found neither"
    if model.rule is None or len(model.fields) != 2:
        return "expected a model of rankings by user and item"
    if is_cold and (why := _why_popular(model, user)):
        return (
            f"expected a user with interactions or telling features, found {names[0]!r}, who gets "
            f"the popular items in their order, since {why}"
        )
    if is_bare and model.rule.never_recommended[item]:
        return (
            f"expected an item that may be recommended, found {names[1]!r}, which nobody has and "
            "which has no feature in common with a trained item"
        )
    if not is_cold and not is_bare:
        return (
            f"expected an item that no training saw, found {names[1]!r}, whose interactions "
            "answer for it; explain tells which"
        )
    return ""


def _why_popular(model: ServedModel, user: int) -> str:
    """Why features choose nothing for a user without interactions; empty: they do."""
    table, stand = model.user_features, model.user_stand
    if table is None:
        return "the model was fitted without user_features"
    if stand is None:
        return "features were not clearly better"
    if not stand.tells(table.rows(model.vocabularies[0].ids[[user]]))[0]:
        return "no known user has one of his features"
    return ""


def _of_item(model: ServedModel, table: Features, user: int, item: int) -> list[FeatureReason]:
    whole = table.aligned(Vocabulary([str(model.vocabularies[1].ids[item])]))
    parts = [part for column in table.columns for part in _parts(column, whole)]
    without = _without(whole, [places for _, _, places in parts])
    ids = [f"{_PREFIX}{n}" for n in range(len(parts))]
    some = replace(table, vocabulary=Vocabulary(ids), matrix=without)
    longer = replace(with_room(model, np.array(ids)), item_features=table.joined(some))
    numbers = longer.vocabularies[1].lookup(ids)
    scores = IndexedRecommender(answering(longer, numbers)).scores(np.array([user]))[0]
    rest = np.where(np.isfinite(scores[numbers]), scores[numbers], np.float32(0))
    return _reasons(parts, float(scores[item]) - rest, "item")


def _of_user(
    model: ServedModel, table: Features, stand: UserStand, user: int, item: int
) -> list[FeatureReason]:
    whole = table.rows(model.vocabularies[0].ids[[user]])
    parts = [part for column in table.columns for part in _parts(column, whole)]
    without = _without(whole, [places for _, _, places in parts])
    base, rest = (stand.scores(rows, model)[:, item] for rows in (whole, without))
    return _reasons(parts, base - rest, "user")


def _reasons(
    parts: list[tuple[str, str, NDArray[np.int64]]], added: NDArray[np.floating], of: str
) -> list[FeatureReason]:
    """A reason for each part, with what it adds (b,)."""
    return [
        FeatureReason(feature, value, float(score), of)
        for (feature, value, _), score in zip(parts, added, strict=True)
    ]


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
