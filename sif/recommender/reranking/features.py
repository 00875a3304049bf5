"""Features and categories of items as steps take them, in the numbers of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from scipy import sparse

from sif.data.features import Features
from sif.data.interactions import Vocabulary
from sif.data.interactions.ids import id_strings
from sif.errors import ConfigError, DataError
from sif.evaluation.beyond import (
    ItemSimilarity,
    category_shares,
    cosine_similarity,
    jaccard_similarity,
)
from sif.evaluation.beyond.by_features import LABELED, labels_of
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.utils.argument_types import shown
from sif.utils.registry import unknown

T = TypeVar("T")
FORMS = "labels by item id, a data frame with item ids as its index, or a column of item features"


class Last(Generic[T]):
    """The last value that was made of a key, which is told by its identity.

    Threads may share one: each gets a value of its own key.
    """

    def __init__(self) -> None:
        self._held: tuple[Any, T] | None = None

    def of(self, key: Any, make: Callable[[], T]) -> T:
        """The value of a key, made where the last key was another."""
        held = self._held
        if held is None or held[0] is not key:
            held = self._held = key, make()
        return held[1]


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Features of a model's items.

    Attributes:
        matrix: (n_items, m), dense or CSR; zeros of an item without features.
        labels: Whether a value says that an item has a feature, and no more.
    """

    matrix: Any
    labels: bool

    @property
    def similarity(self) -> ItemSimilarity:
        """Jaccard's of labels, cosines of numbers."""
        return (jaccard_similarity if self.labels else cosine_similarity)(self.matrix)


def similarity_of(features: Any, server: IndexedRecommender) -> ItemSimilarity:
    """How alike items are.

    Args:
        features: See `table_of`; None: the model's vectors tell.
        server: Of the model.

    Raises:
        ConfigError: Features of another form, or a model without vectors.
    """
    if features is None:
        return _by_vectors(server)
    return table_of(features, server.model).similarity


def categories_of(categories: Any, server: IndexedRecommender) -> sparse.csr_array:
    """Distributions of items over categories, CSR (n_items, n_categories).

    Raises:
        ConfigError: Categories of another form.
        DataError: A weight below 0.
    """
    return category_shares(table_of(categories, server.model).matrix)


def table_of(features: Any, model: ServedModel) -> ItemTable:
    """Features in the numbers of a model's items; ids that it does not know are left out.

    Args:
        features: Item id to a label or several, as a mapping or a series; a data frame of numbers
            with item ids as its index; the name of a column of the item features that the model was
            fitted with; or such features, of which the labels count, if there are any.
        model: Has the vocabulary.

    Raises:
        ConfigError: Another form, or a name that the model's features do not have.
        DataError: Values that are no numbers, or features of none of the items.
    """
    items = model.vocabularies[1]
    if isinstance(features, str):
        return _column(features, model)
    if isinstance(features, Features):
        labels = labels_of(features, items)
        table = features.aligned(items) if labels is None else labels
        return _known(ItemTable(sparse.csr_array(table), labels is not None))
    if isinstance(features, pd.DataFrame):
        return _known(_numbers(features, items))
    if isinstance(features, pd.Series | Mapping):
        return _known(_labels(list(features.items()), items))
    raise ConfigError(f"features: expected {FORMS}, found {shown(features)}")


def _known(table: ItemTable) -> ItemTable:
    """A table with features of at least one of the model's items."""
    if not table.matrix.shape[1] or not (table.matrix != 0).sum():
        raise DataError("features: expected some of the model's items, found none")
    return table


def _column(name: str, model: ServedModel) -> ItemTable:
    """A column of the model's own features."""
    own = model.item_features
    if own is None:
        raise ConfigError(
            f"features: expected a model that was fitted with item features, which have a column "
            f"{name!r}, found none: give {FORMS.rpartition(', or')[0]}"
        )
    columns = {column.name: column for column in own.columns}
    if name not in columns:
        raise unknown("features", name, columns)
    column = columns[name]
    matrix = sparse.csr_array(own.aligned(model.vocabularies[1]))[:, column.start : column.stop]
    return ItemTable(sparse.csr_array(matrix), labels=column.kind in LABELED)


def _numbers(frame: pd.DataFrame, items: Vocabulary) -> ItemTable:
    """Numbers by item id, dense."""
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            "features: expected columns of numbers, with item ids as the index, found others"
        ) from None
    texts = id_strings(frame.index)
    if (twice := pd.Index(texts).duplicated()).any():
        raise DataError(
            f"features: expected each item id once, found {str(texts[twice][0])!r} twice"
        )
    rows = items.lookup(texts)
    matrix = np.zeros((len(items), values.shape[1]))
    matrix[rows[rows >= 0]] = values[rows >= 0]
    return ItemTable(matrix, labels=False)


def _labels(labels: Sequence[tuple[Any, Any]], items: Vocabulary) -> ItemTable:
    """A label, or several, by item id, which may be repeated: 1 for each that an item has."""
    rows = items.lookup(id_strings([item for item, _ in labels]))
    listed = [_listed(value) for _, value in labels]
    names = sorted({label for one in listed for label in one})
    number = {label: n for n, label in enumerate(names)}
    pairs = [
        (row, number[label])
        for row, one in zip(rows, listed, strict=True) if row >= 0
        for label in one
    ]  # fmt: skip
    places = np.array(sorted(set(pairs)), dtype=np.int64).reshape(-1, 2).T
    shape = (len(items), max(len(names), 1))
    return ItemTable(sparse.csr_array((np.ones(places.shape[1]), tuple(places)), shape), True)


def _listed(value: Any) -> list[str]:
    """Labels as texts; a missing one is none."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return [str(one) for one in (value if several else [value]) if not pd.isna(one)]


_VECTORS: WeakKeyDictionary[IndexedRecommender, ItemSimilarity] = WeakKeyDictionary()


def _by_vectors(server: IndexedRecommender) -> ItemSimilarity:
    """Cosines of the model's vectors of items, made once for a model."""
    found = _VECTORS.get(server)
    if found is None:
        vectors = server.model.function.neighborhood(1).detach().cpu().numpy()
        found = _VECTORS[server] = cosine_similarity(vectors)
    return found
