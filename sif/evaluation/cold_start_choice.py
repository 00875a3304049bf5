"""Validation chooses the order in which new users get the items: one for all models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import cold_rows
from sif.evaluation.evaluate import pair_matrix
from sif.evaluation.item_orders import (
    HALF_LIVES,
    POPULARITY_ORDER,
    FirstItems,
    ItemOrder,
    RecentPopularity,
)
from sif.evaluation.metrics import ranking_metrics

LENGTH = 10
"""Of the lists that are compared, by NDCG."""
IN_ORDER: tuple[ItemOrder, ...] = (*map(RecentPopularity, HALF_LIVES[::-1]), FirstItems(LENGTH))
"""Candidates beside popularity where data have an order."""
LEAST_USERS = 30
"""New users of validation that a choice takes, at least. Two orders differ by .12 to .31 in the
NDCG@10 of one new user (standard deviation; MovieLens 100K and latest-small, validation), so that
with 30 users the standard error of their difference is about .05: as much as there is to win."""


@dataclass(frozen=True)
class ColdStartChoice:
    """The order that all models give to new users.

    Attributes:
        order: Of items.
        users: New users of the validation part.
        values: NDCG@10 over them by the candidates' names; empty: nothing was compared.
        reason: For popularity where nothing was compared.
    """

    order: ItemOrder = POPULARITY_ORDER
    users: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def of(cls, train: Interactions, valid: Interactions) -> ColdStartChoice:
        """The order that is best for the new users of the validation part.

        Args:
            train: Tells the orders, and who is new.
            valid: Decides; under the same vocabularies.

        Returns:
            Popularity where nothing tells the order of rows, or where the validation part has fewer
            than `LEAST_USERS` new users.
        """
        relevant = pair_matrix(valid)
        wanted = np.diff(relevant.indptr)
        new = np.flatnonzero(cold_rows(train, 0) & (wanted > 0))
        if train.moment is None:
            return cls(users=len(new), reason="nothing tells the order of rows")
        if len(new) < LEAST_USERS:
            reason = f"valid has {len(new)} new users, and a choice takes {LEAST_USERS}"
            return cls(users=len(new), reason=reason)
        known = np.flatnonzero(~cold_rows(train, 1))
        values = {}
        for order in (POPULARITY_ORDER, *IN_ORDER):
            best = known[np.argsort(-order.scores(train)[known])[:LENGTH]]
            hits = relevant[new][:, best].toarray() > 0
            ndcg = ranking_metrics(hits, wanted[new])[f"ndcg@{len(best)}"]
            values[order] = float(ndcg.mean())
        chosen = max(values, key=lambda order: values[order])  # the first of equals
        return cls(chosen, len(new), {order.name: value for order, value in values.items()})

    @property
    def told(self) -> str:
        """The order, and why it is this one."""
        if self.reason:
            return f"{self.order.name} ({self.reason})"
        value = f"{self.values[self.order.name]:.4f}"
        if self.order != POPULARITY_ORDER:
            value += f", by popularity {self.values[POPULARITY_ORDER.name]:.4f}"
        return f"{self.order.name} (ndcg@{LENGTH} of {self.users:,} new users of valid {value})"

    def document(self) -> dict[str, Any]:
        """In plain JSON values, for `metrics.json`."""
        found = {"order": self.order.name, "valid_users": self.users, "valid": dict(self.values)}
        return found | ({"reason": self.reason} if self.reason else {})
