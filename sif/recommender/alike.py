"""Items that nobody has touched, answered for by their features.

Such an item stands for a combination of trained items that are like it, found by kernel ridge
regression on features (`sif.spaces.linear.features`): it gets the combination of their vectors, or
of their weights in an item-item model. Its scores are then in the units of all others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.data.features.read import further_features
from sif.data.features.table import Features
from sif.errors import ConfigError
from sif.problems.part_rows import rows_of_table
from sif.recommender.extend import with_bare, with_item_rows
from sif.recommender.feature_factors import FeatureFactors
from sif.recommender.fold_in import Rows
from sif.recommender.model import ServedModel
from sif.spaces.closed.weights import FilterWeights
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.linear.features import (
    Alikeness,
    FeatureRows,
    shares_of,
    uneven,
)
from sif.spaces.linear.grown import longer, with_columns
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.weights import ItemWeights

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]
_logger = logging.getLogger("sif")
WRITTEN = 20_000
"""Items of a filter whose weights are written out, so that new ones can be added: 1.6 GB."""


class TooManyItems(ConfigError):
    """New items for a filter of more items than all pairs of them have room for."""


@dataclass(frozen=True, eq=False)
class Stand:
    """Trained items, in shares, that stand for items that nobody has touched.

    Attributes:
        items: (c,).
        known: (k,) trained items.
        shares: float32 (k, c), see `sif.spaces.linear.features`.
        factors: float32 (k, c), products of factors by features; None: there are none.
        constants: Weights of all these.
    """

    items: Ids
    known: Ids
    shares: Numbers
    factors: Numbers | None
    constants: Alikeness

    @classmethod
    def of(
        cls, rows: FeatureRows, trained: Mask, items: Ids, constants: Alikeness,
        factors: FeatureFactors | None,
    ) -> Stand:  # fmt: skip
        """For those of some items that share a feature with a trained one."""
        asked, known, shares = shares_of(rows, trained, items, constants)
        if factors is None or not constants.factors:
            return cls(asked, known, shares, None, constants)
        kept = known[known < len(factors.items)]
        folded = factors.folded(rows.weighted(trained)[asked])
        products = np.zeros_like(shares)
        products[: len(kept)] = factors.weights(kept, folded)
        return cls(asked, known, shares, products * uneven(asked), constants)

    @property
    def parts(self) -> float:
        """Deviations that the parts of an item-item model's answer add up to, at most.

        Divided by them, a new item's scores are as far apart as the weights alone say.
        """
        constants = self.constants
        return 1 + constants.own + (0.0 if self.factors is None else constants.factors)

    def own(self, scales: tuple[float, float]) -> Numbers:
        """Weights from known items for the others, beside their share of the weights.

        Args:
            scales: See `ServedModel.alike_scales`.

        Returns:
            float32 (k, c).
        """
        found = np.float32(self.constants.own * scales[0]) * self.shares
        if self.factors is not None:
            found = found + np.float32(self.constants.factors * scales[1]) * self.factors
        return found


def answered(
    network: InteractionNetwork | OrderNetwork, stand: Stand, scales: tuple[float, float]
) -> InteractionNetwork | OrderNetwork:
    """A network where some items stand for combinations of known ones; the given one is left alone.

    Args:
        network: Trained.
        stand: What stands for them.
        scales: See `ServedModel.alike_scales`.

    Raises:
        TooManyItems: A filter of more items than weights between all of them have room for.
    """
    level = stand.constants.level
    if isinstance(network, InteractionNetwork):
        vectors = torch.from_numpy(np.float32(level) * stand.shares)
        return _with_vectors(network, stand.items, stand.known, vectors)
    factor = np.float32(level / stand.parts)
    shares, own = factor * stand.shares, factor * stand.own(scales)
    columns = with_columns(between_items(network), stand.items, stand.known, shares, own)
    return fresh(network).take(columns).compact(network.precision)


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
        TooManyItems: There is no room for those.
    """
    weights: Any = network.item_weights
    if not isinstance(weights, FilterWeights):
        return network.item_weights
    n = network.n_items
    if n > WRITTEN:
        raise TooManyItems(
            f"new items: expected a catalog of at most {WRITTEN:,} items where a filter is served, "
            f"whose weights are then written out for all pairs of items, found {n:,}; models of "
            "search.stages without closed have no such limit"
        )
    ones = sp.csr_matrix(sp.identity(n, np.float32, "csr"))
    return ItemWeights(np.ascontiguousarray(weights.scores(ones), dtype=np.float32), n)


def fresh(network: OrderNetwork, n_items: int | None = None) -> OrderNetwork:
    """A network of the same design without weights."""
    size = network.n_items if n_items is None else n_items
    if type(network) is OrderNetwork:
        return OrderNetwork(network.genotype, size, network.design)
    return type(network)(network.genotype, size)


def with_items(model: ServedModel, table: Any, id_column: str | None = None) -> ServedModel:
    """The model with the items of a further table of features, which need no interactions.

    Args:
        model: Fitted with features of items.
        table: As for `sif.data.features.read_features`, with the same columns; those that are
            missing are as values that are.
        id_column: Of the table; None: recognized by its name.

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
    further, notes = further_features(table, "item", known, id_column)
    names = further.vocabulary.ids
    fresh_names = names[model.vocabularies[1].lookup(names) < 0]
    longer_model = with_room(model, fresh_names)
    longer_model = replace(longer_model, item_features=known.joined(further))
    asked = longer_model.vocabularies[1].lookup(names)
    touched = np.intersect1d(asked, touched_items(model))
    if len(touched):
        told = "1 item has" if len(touched) == 1 else f"{len(touched):,} items have"
        notes = (*notes, f"{told} interactions, which go on to answer")
    for note in notes:
        _logger.warning("add_items: %s", note)
    bare = np.setdiff1d(np.intersect1d(asked, longer_model.untrained[1]), touched)
    return answering(longer_model, bare)


def touched_items(model: ServedModel) -> Ids:
    """Numbers of the items with interactions, those that came after the fit among them."""
    trained = np.ones(len(model.vocabularies[1]), np.bool_)
    trained[model.untrained[1]] = False
    return np.union1d(np.flatnonzero(trained), np.unique(model.seen.indices))


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
    stand = Stand.of(rows, trained, untrained, model.alikeness, model.feature_factors)
    if not len(stand.items):
        return model
    network = answered(model.trained, stand, model.alike_scales)
    longer_rule = rule.with_items(len(trained), stand.items)
    return replace(model, trained=network, cold_start=longer_rule, graph=None)


def feature_rows(table: Features, model: ServedModel) -> FeatureRows:
    """Features of all items of a model."""
    return rows_of_table(table, table.aligned(model.vocabularies[1]))


def with_room(model: ServedModel, names: NDArray[np.str_]) -> ServedModel:
    """The model with rows that say nothing for further items."""
    if not len(names):
        return model
    if isinstance(model.trained, OrderNetwork):
        size = len(model.vocabularies[1]) + len(names)
        weights = longer(between_items(model.trained), size)
        trained = fresh(model.trained, size).take(weights)
        model = replace(model, trained=trained.compact(model.trained.precision))
    return with_bare(model, 1, names)
