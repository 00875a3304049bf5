"""The parts of a served model by which features answer for items that nobody has touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from sif.recommender.alike import Mask, Stand, feature_rows
from sif.recommender.even_level import USERS, apart
from sif.recommender.feature_factors import PARAMS, FeatureFactors
from sif.recommender.model import ServedModel
from sif.spaces.linear.features import Alikeness, FeatureRows
from sif.spaces.linear.network import OrderNetwork
from sif.utils.random import derive_seed


def with_feature_model(
    model: ServedModel, seed: int, threads: int, params: Mapping[str, Any] = PARAMS
) -> ServedModel:
    """The model with factors by features, and the scales of what is beside its weights.

    Args:
        model: As it was fitted. One of vectors needs neither, and stays as it is.
        seed: Of first factors and draws.
        threads: Of the CPU.
        params: Of the factorization.
    """
    table, rule = model.item_features, model.cold_start
    if table is None or rule is None or not isinstance(model.trained, OrderNetwork):
        return model
    trained = ~rule.never_recommended
    rows = feature_rows(table, model)
    weighted = rows.weighted(trained)
    if not weighted.nnz:
        return model
    pairs = _ones(sp.csr_matrix(model.seen))
    factors = FeatureFactors.fit(pairs, weighted, params, derive_seed(seed, "features"), threads)
    scales = _scales(model.trained, rows, trained, factors, pairs, seed)
    return replace(model, feature_factors=factors, alike_scales=scales)


def _scales(
    network: OrderNetwork, rows: FeatureRows, trained: Mask, factors: FeatureFactors,
    pairs: sp.csr_matrix, seed: int,
) -> tuple[float, float]:  # fmt: skip
    """Deviation of scores by the weights over those by shares and by factors, on known items."""
    draws = np.random.default_rng(derive_seed(seed, "features", "scales"))
    items, others = apart(trained, draws)
    stand = Stand.of(rows, others, items, Alikeness(), factors)
    if not len(stand.items) or stand.factors is None:
        return 0.0, 0.0  # nothing tells, so nothing is added
    users = np.flatnonzero(np.diff(pairs.indptr))
    some = pairs[users[:: max(1, len(users) // USERS)]]
    weights: Any = network.item_weights
    width = network.design.scales * network.n_items
    latest = sp.csr_matrix((some.data, some.indices, some.indptr), (some.shape[0], width))
    said = float(np.std(weights.scores(latest)[:, stand.known] @ stand.shares))
    here = some[:, stand.known]
    spreads = (float(np.std(here @ part)) for part in (stand.shares, stand.factors))
    first, second = (said / spread if spread else 0.0 for spread in spreads)
    return first, second


def _ones(pairs: sp.csr_matrix) -> sp.csr_matrix:
    parts = np.ones(pairs.nnz, np.float32), pairs.indices, pairs.indptr
    return sp.csr_matrix(parts, pairs.shape)
