"""Weighted squared error over all pairs (Hu, Koren & Volinsky, ICDM 2008, equation 3).

Weight 1 + a on observed pairs with target 1, weight 1 on every other pair with target 0.
"""

from __future__ import annotations

from torch import Tensor

from sif.spaces.interaction.losses.base import (
    Batch,
    LossKind,
    LossSettings,
    Scored,
    leave_one_out,
)
from sif.spaces.interaction.pair_products import weighted_gram


def whole_data(interaction: Scored, batch: Batch, settings: LossSettings) -> Tensor:
    """Weighted square loss over every combination, per observed pair.

    Exact where the batch carries the part's graph and the function factors: with scores A B^T the
    sum of all squares is <A^T A, B^T B> (as in iALS; Rendle et al., RecSys 2022), so no negative
    is ever drawn. Otherwise the background is a uniform sample, weighted to stand for the whole.
    """
    exact = batch.graph is not None and interaction.is_factorized
    factors = interaction.factors() if exact else None
    weighting = settings.weighting
    if factors is not None and batch.graph is not None:
        a, b = factors
        graph = batch.graph
        scores, observed = leave_one_out(interaction, graph)
        place, age = (graph.rows, graph.columns), None
        users, items = None, None
        if weighting is not None:
            age, users, items = batch.age_on_graph(), weighting.user, weighting.item
        pairs = max(len(graph), 1)  # users of a block may have none
        everything = (weighted_gram(a, users) * weighted_gram(b, items)).sum() / pairs
    else:
        ids, age = batch.ids, batch.age
        place = ids[:, 0], ids[:, 1]
        observed = interaction.pairs(ids, batch.in_history)
        scores = interaction.pairs(ids) if interaction.uses_history else observed
        unobserved = batch.background_weight * interaction.pairs(batch.background) ** 2
        if weighting is not None:
            user, item = batch.background[:, 0], batch.background[:, 1]
            unobserved = unobserved * weighting.user[user] * weighting.item[item]
        everything = unobserved.sum()
    return _observed_part(scores, observed, place, age, batch, settings) + everything


def _observed_part(
    scores: Tensor, observed: Tensor, place: tuple[Tensor, Tensor], age: Tensor | None,
    batch: Batch, settings: LossSettings,
) -> Tensor:  # fmt: skip
    """The loss that observed pairs add to the background, or replace in it, per pair."""
    weighting, (user, item) = settings.weighting, place
    even: Tensor | float = 1.0 if weighting is None else weighting.item[item]
    further: Tensor | float = settings.positive_weight
    if weighting is not None:
        further = further * weighting.recency(age)
    positive = (even + further) * (observed - 1) ** 2
    if batch.observed_in_background:
        positive = positive - even * scores**2
    weighted = positive if weighting is None else weighting.user[user] * positive
    # A block of users may have drawn combinations alone.
    return weighted.mean() if len(weighted) else weighted.sum()


WHOLE_DATA = LossKind(whole_data, ("ranking",), background=True, graph=True)
