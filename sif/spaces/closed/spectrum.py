"""Ridge regression on the spectrum of the scaled clicks, of low rank.

With X~ = Du^-a X Di^-b = U S V' and targets Y = Du^-e X, the ridge solution of Y from X~ is
W = V S / (S^2 + lambda) U'Y; only the first vectors are kept, as in PureSVD (Cremonesi et al.,
RecSys 2010), which is lambda = 0. Scores are x Di^-(b + c) W Di^c, divided by a power of
popularity. A user's weight in the fit, e, need not be that of his history, a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sif.spaces.closed.clicks import FAINT, Clicks
from sif.spaces.closed.family import DENSE_RATE, SPARSE_RATE, Family, Grid
from sif.spaces.closed.filters import RANKS
from sif.spaces.closed.weights import FilterWeights

WHOLE = 2048.0
"""A rank that is all of a small spectrum."""


@dataclass(frozen=True)
class Spectrum(Family):
    """A shrunk spectrum.

    Attributes:
        user: a.
        item: b.
        target: e.
        shift: c, of the items beside b, where they enter and leave.
        discount: Power of popularity by which scores are divided.
        l2: lambda, over the largest square.
        rank: Vectors at most.
    """

    user: float = 0.5
    item: float = 0.3
    target: float = 0.3
    shift: float = 0.0
    discount: float = 0.1
    l2: float = 0.05
    rank: float = WHOLE

    name: ClassVar[str] = "spectrum"
    grids: ClassVar[Mapping[str, Grid]] = {
        "user": (0.0, 0.15, 0.3, 0.5),
        "item": (0.0, 0.15, 0.3, 0.5),
        "target": (-0.15, 0.0, 0.15, 0.3, 0.5),
        "shift": (-0.2, -0.1, 0.0, 0.1, 0.2),
        "discount": (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3),
        "l2": (0.0, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.07, 0.1, 0.15, 0.2, 0.35, 0.5),
        "rank": (32.0, *RANKS),
    }
    known: ClassVar[tuple[Mapping[str, float], ...]] = (
        {},
        {"target": 0.0, "l2": 0.1},
        {"user": 0.15, "item": 0.15, "l2": 0.2, "discount": 0.0},
        {"user": 0.0, "target": 0.0, "rank": 64.0, "l2": 0.01, "discount": 0.0},
        {"user": 0.3, "target": 0.3, "shift": 0.1, "rank": 32.0, "l2": 0.0, "discount": 0.2},
        {"user": 0.0, "item": 0.15, "target": 0.5, "l2": 0.2},
    )

    @classmethod
    def grids_on(cls, clicks: Clicks) -> Mapping[str, Grid]:
        """With all ranks, where these are kept: they cost the same."""
        return {**cls.grids, "rank": (*cls.grids["rank"], WHOLE)} if clicks.whole else cls.grids

    def weights(self, clicks: Clicks) -> FilterWeights:
        """Fits; a filter or spectrum stays factors and sparse clicks, never items by items."""
        rank = min(int(self.rank), *clicks.pairs.shape)
        values, vectors = clicks.spectrum(self.user, self.item, rank)
        squares = values**2
        most = float(squares.max(initial=0.0)) or 1.0
        gains = 1 / np.maximum(squares + np.float32(self.l2 * most), np.float32(1e-12 * most))
        gains[squares <= FAINT**2 * most] = 0.0
        # S U'Y = (X~ V)' Y
        leaves = clicks.scaled(self.target, 0.0).T @ (clicks.scaled(self.user, self.item) @ vectors)
        sides = (
            clicks.item_power(-self.item - self.shift)[:, None] * vectors * gains,
            clicks.item_power(self.shift - self.discount)[:, None] * leaves,
        )
        none = clicks.item_power(0.0)
        return FilterWeights(clicks.n_items, None, None, none, none, sides)

    def seconds(self, clicks: Clicks, users: int) -> float:
        """Seconds of a fit and of scores of some users, by the numbers of multiplications."""
        rank = float(min(self.rank, *clicks.pairs.shape))
        dense = float(clicks.n_items * rank * (users + clicks.pairs.shape[0]))
        return dense / DENSE_RATE + 2 * float(clicks.pairs.nnz) * rank / SPARSE_RATE

    @property
    def expression(self) -> str:
        """Such as "spectrum(512 of n_u^-0.5 X n_i^-0.3 to n_u^-0.3 X, l2 0.05)"."""
        rows = f"n_u^{-self.user:g} X n_i^{-self.item:g} to n_u^{-self.target:g} X"
        rows += f", n_i^{-self.shift:g}" if self.shift else ""
        end = f" / popularity^{self.discount:g}" if self.discount else ""
        rank = "all" if self.rank == WHOLE else f"{self.rank:g}"
        return f"spectrum({rank} of {rows}, l2 {self.l2:g}){end}"
