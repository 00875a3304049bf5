"""The level at which items that features answer for get as many places as items like them.

A new item's scores come from others, so nothing says yet how they stand beside scores of known
items. Known items tell: some are answered for by their features, as if they were new. At the level
they are among the first of as many users' lists as their own scores bring them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.recommender.alike import Ids, Mask, Stand, feature_rows
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.spaces.linear.network import OrderNetwork
from sif.utils.random import derive_seed

Numbers = NDArray[np.float32]
USERS, ITEMS = 1_000, 256
"""Users and trained items, at most a quarter of all, that tell."""
PLACES = 10
"""First places of a list, which count."""
LEAST, MOST = 0.1, 10.0
"""Bounds of the level."""


def with_even_level(model: ServedModel, seed: int) -> ServedModel:
    """The model whose new items get as many places as known ones like them.

    Args:
        model: Of rankings by user and item, with all by which features answer. One without
            features of items stays as it is.
        seed: Draws users and items.
    """
    table, rule = model.item_features, model.cold_start
    if table is None or rule is None or len(model.fields) != 2:
        return model
    trained = np.ones(len(model.vocabularies[1]), np.bool_)
    trained[model.untrained[1]] = False
    draws = np.random.default_rng(derive_seed(seed, "features", "level"))
    items, others = apart(trained, draws)
    constants = replace(model.alikeness, level=1.0)
    rows = feature_rows(table, model)
    stand = Stand.of(rows, others, items, constants, model.feature_factors)
    users = np.flatnonzero(np.diff(sp.csr_matrix(model.seen).indptr))
    if not len(stand.items) or not len(users):
        return model
    users = np.sort(draws.permutation(users)[:USERS])
    level = _level(model, stand, trained, users)
    return replace(model, alikeness=replace(constants, level=level))


def apart(trained: Mask, draws: np.random.Generator) -> tuple[Ids, Mask]:
    """Some trained items (c,), and the other ones as bool (n_items,)."""
    known = np.flatnonzero(trained)
    items = draws.permutation(known)[: min(ITEMS, max(1, len(known) // 4))]
    others = trained.copy()
    others[items] = False
    return items, others


def _level(model: ServedModel, stand: Stand, trained: Mask, users: Ids) -> float:
    scores = IndexedRecommender(model).scores(users)
    pairs = sp.csr_matrix(model.seen)[users]
    told = scores[:, stand.known] @ stand.shares
    if isinstance(model.trained, OrderNetwork):
        ones = sp.csr_matrix(pairs[:, stand.known] > 0, dtype=np.float32)
        told = (told + ones @ stand.own(model.alike_scales)) / stand.parts
    scores[pairs.nonzero()] = -np.inf
    scores[:, ~trained] = -np.inf
    k = min(PLACES, int(trained.sum()))
    last = np.partition(scores, -k, axis=1)[:, -k]
    return even(scores[:, stand.items], told, last)


def even(own: Numbers, told: Numbers, last: Numbers) -> float:
    """The factor by which others' scores bring items onto as many lists as their own.

    Args:
        own: (b, c) scores of items; minus infinity where a user has one.
        told: (b, c) what others say of them.
        last: (b,) scores of the last place of each user's list.

    Examples:
        >>> import numpy as np
        >>> from sif.recommender.even_level import even
        >>> own = np.array([[4.0, 1.0], [1.0, 1.0]], np.float32)
        >>> even(own, own / 2, np.array([2.0, 2.0], np.float32))
        1.0
    """
    free = np.isfinite(own) & np.isfinite(last)[:, None]
    wanted = int((own >= last[:, None])[free].sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.where((told > 0) & (last[:, None] > 0), last[:, None] / told, np.inf)[free]
    if not wanted:
        return 1.0
    return float(np.clip(np.partition(needed, wanted - 1)[wanted - 1], LEAST, MOST))
