"""Items that nobody has touched, answered for by their features.

Such an item stands for a combination of trained items that are like it, found by kernel ridge
regression on features (`sif.spaces.closed.features`): it gets the combination of their vectors, or
of their weights in an item-item model. Its scores are then in the units of all others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.data.features.read import further_features
from sif.data.features.table import Features
from sif.errors import ConfigError
from sif.recommender.extend import with_bare_items, with_item_rows
from sif.recommender.fold_in import Rows
from sif.recommender.model import ServedModel
from sif.spaces.closed.features import FeatureRows, column_groups, shares_of
from sif.spaces.closed.weights import FilterWeights
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.grown import longer, with_combinations
from sif.spaces.linear.inputs import MAX_SIDE
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


def answered(
    network: InteractionNetwork | OrderNetwork, items: Ids, known: Ids,
    shares: NDArray[np.float32], own: float,
) -> InteractionNetwork | OrderNetwork:  # fmt: skip
    """A network where some items stand for combinations of known ones; the given one is left alone.

    Raises:
        ConfigError: A filter of more items than weights between all of them have room for.
    """
    if isinstance(network, InteractionNetwork):
        return _with_vectors(network, items, known, torch.from_numpy(shares))
    weights = with_combinations(between_items(network), items, known, shares, own)
    return fresh(network).take(weights)


@torch.no_grad()
def _with_vectors(
    network: InteractionNetwork, items: Ids, known: Ids, shares: torch.Tensor
) -> InteractionNetwork:
    tables, at = network.tables, torch.from_numpy(known)
    biases = shares.T @ tables.biases[1].detach()[at] if tables.biases else None
    vectors = shares.T @ tables.embeddings[1].detach()[at]
    return with_item_rows(network, items, Rows(vectors, biases))


def between_items(network: OrderNetwork) -> ItemWeights:
    """The weights of an item-item model from item to item; those of a filter are written out.

    Raises:
        ConfigError: There is no room for those.
    """
    weights: Any = network.item_weights
    if not isinstance(weights, FilterWeights):
        return network.item_weights
    n = network.n_items
    if n > MAX_SIDE:
        raise ConfigError(
            f"features: expected at most {MAX_SIDE:,} items in a filter that takes in new items, "
            f"found {n:,}; search.stages without closed"
        )
    ones = sp.csr_matrix(sp.identity(n, np.float32, "csr"))
    return ItemWeights(np.ascontiguousarray(weights.scores(ones), dtype=np.float32), n)


def fresh(network: OrderNetwork, n_items: int | None = None) -> OrderNetwork:
    """A network of the same design without weights."""
    size = network.n_items if n_items is None else n_items
    if type(network) is OrderNetwork:
        return OrderNetwork(network.genotype, size, network.design)
    return type(network)(network.genotype, size)


def with_items(model: ServedModel, table: Any) -> ServedModel:
    """The model with the items of a further table of features, which need no interactions.

    Args:
        model: Fitted with features of items.
        table: As for `sif.data.features.read_features`, with the same columns; those that are
            missing are as values that are.

    Raises:
        DataError: A table that cannot be used.
        ConfigError: The model knows no features, or is of further fields.
    """
    known = model.item_features
    if known is None:
        raise ConfigError(
            "add_items: expected a model that was fitted with item_features, found one without"
        )
    if len(model.fields) != 2 or model.cold_start is None:
        raise ConfigError("add_items: expected a model of rankings by user and item")
    further = further_features(table, "item", known)
    names = further.vocabulary.ids
    fresh_names = names[model.vocabularies[1].lookup(names) < 0]
    longer_model = _with_room(model, fresh_names)
    longer_model = replace(longer_model, item_features=known.joined(further))
    untrained = np.unique(longer_model.untrained[1])
    asked = longer_model.vocabularies[1].lookup(names)
    return answering(longer_model, np.intersect1d(asked, untrained))


def answering(model: ServedModel, items: Ids | None = None) -> ServedModel:
    """The model where untrained items with features are answered for by these.

    Args:
        model: Of rankings by user and item.
        items: Which of them; None: all.
    """
    table, rule = model.item_features, model.cold_start
    if table is None or rule is None or len(model.fields) != 2:
        return model
    untrained = np.unique(model.untrained[1]) if items is None else items
    trained = np.ones(len(model.vocabularies[1]), np.bool_)
    trained[model.untrained[1]] = False
    if not len(untrained) or not trained.any():
        return model
    rows = feature_rows(table, model)
    asked, known, shares = shares_of(rows, trained, untrained, model.alikeness)
    if not len(asked):
        return model
    network = answered(model.trained, asked, known, shares, model.alikeness.own)
    return replace(
        model, trained=network, cold_start=rule.with_items(len(trained), asked), graph=None
    )


def feature_rows(table: Features, model: ServedModel) -> FeatureRows:
    """Features of all items of a model."""
    groups = column_groups([(column.start, column.stop) for column in table.columns])
    return FeatureRows(sp.csr_matrix(table.aligned(model.vocabularies[1])), groups)


def _with_room(model: ServedModel, names: NDArray[np.str_]) -> ServedModel:
    """The model with rows that say nothing for further items."""
    if not len(names):
        return model
    if isinstance(model.trained, OrderNetwork):
        size = len(model.vocabularies[1]) + len(names)
        weights = longer(between_items(model.trained), size)
        model = replace(model, trained=fresh(model.trained, size).take(weights))
    return with_bare_items(model, names)
