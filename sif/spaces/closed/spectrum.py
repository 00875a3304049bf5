"""Ridge regression on the spectrum of the scaled clicks, of low rank.

With X~ = Du^-a X Di^-b = U S V', the ridge solution of X~ from X~ is V g V' with g = s^2 / (s^2 +
lambda); only its first vectors are kept (probabilistic PCA and PureSVD, Cremonesi et al., RecSys
2010, are its ends). Scores are x Di^-c V g V' Di^c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.family import DENSE_RATE, Family, Grid
from sif.spaces.closed.filters import RANKS, sided
from sif.spaces.closed.weights import FilterWeights


@dataclass(frozen=True)
class Spectrum(Family):
    """A shrunk spectrum.

    Attributes:
        user: a.
        item: b.
        shift: c.
        discount: Power of popularity by which scores are divided.
        l2: lambda, over the largest square.
        rank: Vectors at most.
    """

    user: float = 0.3
    item: float = 0.3
    shift: float = 0.3
    discount: float = 0.0
    l2: float = 0.05
    rank: float = 512.0

    name: ClassVar[str] = "spectrum"
    grids: ClassVar[Mapping[str, Grid]] = {
        "user": (0.0, 0.15, 0.3, 0.5),
        "item": (0.0, 0.15, 0.3, 0.5),
        "shift": (-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        "discount": (-0.2, -0.1, 0.0, 0.1, 0.2),
        "l2": (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        "rank": (32.0, *RANKS),
    }
    known: ClassVar[tuple[Mapping[str, float], ...]] = (
        {},
        {"user": 0.15, "item": 0.15, "shift": 0.1, "l2": 0.02},
        {"user": 0.5, "item": 0.5, "l2": 0.2},
        {"user": 0.0, "item": 0.3, "shift": 0.2, "rank": 64.0, "l2": 0.01},
        {"user": 0.3, "item": 0.0, "shift": 0.0, "l2": 0.02},
        {"user": 0.5, "item": 0.3, "shift": 0.3, "l2": 0.1},
    )

    def weights(self, clicks: Clicks) -> FilterWeights:
        """See `Family`."""
        rank = min(int(self.rank), *clicks.pairs.shape)
        values, vectors = clicks.spectrum(self.user, self.item, rank)
        squares = values**2
        most = float(squares.max(initial=0.0)) or 1.0
        gains = squares / np.maximum(squares + np.float32(self.l2 * most), 1e-12)
        none = clicks.item_power(0.0)
        sides = sided(vectors, clicks, self.shift, self.shift - self.discount, gains)
        return FilterWeights(clicks.n_items, None, None, none, none, sides)

    def seconds(self, clicks: Clicks, users: int) -> float:
        """See `Family`."""
        return float(clicks.n_items * self.rank * (users + clicks.pairs.shape[0])) / DENSE_RATE

    @property
    def expression(self) -> str:
        """Such as "spectrum(512 of n_u^-0.3 X n_i^-0.3, l2 0.05, n_i^-0.3)"."""
        exponents = f"n_u^{-self.user:g} X n_i^{-self.item:g}"
        end = f" / popularity^{self.discount:g}" if self.discount else ""
        return f"spectrum({self.rank:g} of {exponents}, l2 {self.l2:g}, n_i^{-self.shift:g}){end}"
