"""Graph filters: a polynomial of the items' similarity, beside an ideal low pass.

P = Di^-b X' Du^-2a X Di^-b, divided by its largest eigenvalue; scores x Di^-c f(P) Di^c + phi
x Di^-1/2 V V' Di^1/2, with V the first right singular vectors of Du^-1/2 X Di^-1/2. One pass with
exponents of .5 and phi is GF-CF (Shen et al., CIKM 2021, equation 9); P - P^2/2 the second filter
of Turbo-CF (Park et al., SIGIR 2024), and a larger factor sharpens as BSPM (Choi et al., SIGIR
2023); exponents that are not .5 are those of LightGCN++ (Lee et al., RecSys 2024). The polynomial
of Chebyshev is ChebyCF's (Kim et al., SIGIR 2025): it interpolates a plateau at the nodes of his
polynomials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.polynomial import chebyshev

from sif.spaces.closed.clicks import MOST_RANK, Clicks
from sif.spaces.closed.family import DENSE_RATE, SPARSE_RATE, Family, Grid
from sif.spaces.closed.weights import Chebyshev, FilterWeights, Polynomial, Powers

HALF = 0.5
"""Exponents of the ideal low pass (GF-CF)."""
RANKS = (64.0, 128.0, 256.0, float(MOST_RANK))
EXPONENTS: Mapping[str, Grid] = {
    "user": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "item": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "shift": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    "phi": (0.0, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "rank": RANKS,
}


@dataclass(frozen=True)
class _Filter(Family):
    """The constants and the low pass that both filters have.

    Attributes:
        user: a.
        item: b.
        shift: c.
        phi: Weight of the ideal low pass.
        rank: Singular vectors that it lets pass.
    """

    user: float = 0.5
    item: float = 0.5
    shift: float = 0.3
    phi: float = 0.1
    rank: float = 256.0

    def _polynomial(self, clicks: Clicks) -> Polynomial:
        raise NotImplementedError

    @property
    def passes(self) -> int:
        """Products with P."""
        raise NotImplementedError

    def weights(self, clicks: Clicks) -> FilterWeights:
        """Fits; a filter or spectrum stays factors and sparse clicks, never items by items."""
        rank = min(int(self.rank), *clicks.pairs.shape) if self.phi else 0
        if rank:
            _, vectors = clicks.spectrum(HALF, HALF, rank)
            sides = (
                clicks.item_power(-HALF)[:, None] * vectors * np.float32(self.phi),
                clicks.item_power(HALF)[:, None] * vectors,
            )
        else:
            none = np.zeros((clicks.n_items, 0), np.float32)
            sides = none, none
        return FilterWeights(
            clicks.n_items, clicks.scaled(self.user, self.item), self._polynomial(clicks),
            clicks.item_power(-self.shift), clicks.item_power(self.shift), sides,
        )  # fmt: skip

    def seconds(self, clicks: Clicks, users: int) -> float:
        """Seconds of a fit and of scores of some users, by the numbers of multiplications."""
        passes = float(2 * self.passes * clicks.pairs.nnz * users)
        low = clicks.n_items * self.rank * users if self.phi else 0.0
        return passes / SPARSE_RATE + low / DENSE_RATE

    def _told(self, function: str) -> str:
        low = f" + {self.phi:g} low pass({self.rank:g})" if self.phi else ""
        exponents = f"n_u^{-self.user:g}, n_i^{-self.item:g}, n_i^{-self.shift:g}"
        return f"filter({function}; {exponents}){low}"


@dataclass(frozen=True)
class GraphFilter(_Filter):
    """A polynomial of degree 1 to 3.

    Attributes:
        second: Factor of P^2, beside 1 of P.
        third: Of P^3.
    """

    second: float = 0.0
    third: float = 0.0

    name: ClassVar[str] = "filter"
    grids: ClassVar[Mapping[str, Grid]] = {
        **EXPONENTS,
        "second": (-1.2, -1.05, -0.9, -0.75, -0.5, -0.25, 0.0, 0.3),
        "third": (0.0, 0.33),
    }
    known: ClassVar[tuple[Mapping[str, float], ...]] = (
        {"user": 0.4},
        {"shift": 0.5, "phi": 0.3},
        {"user": 0.3, "item": 0.6, "phi": 0.3},
        {"second": -0.5, "phi": 0.0},
        {"user": 0.4, "item": 0.4, "second": -0.9, "phi": 0.0},
        {"user": 0.4, "item": 0.4, "second": -1.05, "third": 0.33, "phi": 0.0},
        {"user": 0.4, "shift": 0.2, "second": 0.3},
        {"user": 0.2, "item": 0.4, "shift": 0.4, "phi": 1.0, "rank": 64.0},
    )

    @property
    def _factors(self) -> tuple[float, ...]:
        if self.third:
            return 1.0, self.second, self.third
        return (1.0, self.second) if self.second else (1.0,)

    def _polynomial(self, clicks: Clicks) -> Polynomial:
        return Powers(clicks.largest(self.user, self.item), self._factors)

    @property
    def passes(self) -> int:
        """The degree."""
        return len(self._factors)

    @property
    def expression(self) -> str:
        """Such as "filter(P - 0.5 P^2; n_u^-0.5, n_i^-0.5, n_i^-0.3) + 0.1 low pass(256)"."""
        further = zip((self.second, self.third), ("P^2", "P^3"), strict=True)
        terms = [f"{'-' if c < 0 else '+'} {abs(c):g} {power}" for c, power in further if c]
        return self._told(" ".join(["P", *terms]))


@dataclass(frozen=True)
class ChebyshevFilter(_Filter):
    """A plateau, interpolated.

    Attributes:
        degree: Of the polynomial.
        flatness: The larger, the flatter is the middle of the spectrum; 1: a line, which is P.
    """

    degree: float = 8.0
    flatness: float = 2.0

    name: ClassVar[str] = "chebyshev"
    grids: ClassVar[Mapping[str, Grid]] = {
        **EXPONENTS, "degree": (2.0, 4.0, 8.0), "flatness": (1.5, 2.0, 3.0, 5.0),
    }  # fmt: skip
    known: ClassVar[tuple[Mapping[str, float], ...]] = (
        {"user": 0.4},
        {"degree": 4.0, "phi": 0.3},
        {"degree": 2.0, "user": 0.3, "item": 0.4},
        {"degree": 4.0, "flatness": 1.5, "phi": 0.0},
    )

    def _polynomial(self, clicks: Clicks) -> Polynomial:
        factors = interpolated(self.degree, self.flatness)
        return Chebyshev(clicks.largest(self.user, self.item), factors)

    @property
    def passes(self) -> int:
        """The degree."""
        return int(self.degree)

    @property
    def expression(self) -> str:
        """Such as "filter(chebyshev(8, flatness 2); ...)"."""
        return self._told(f"chebyshev({self.degree:g}, flatness {self.flatness:g})")


def interpolated(degree: float, flatness: float) -> tuple[float, ...]:
    """Chebyshev coefficients of (1 + sign(t) |t|^flatness) / 2, t from -1 to 1."""
    nodes = chebyshev.chebpts1(int(degree) + 1)
    plateau = (1 + np.sign(nodes) * np.abs(nodes) ** flatness) / 2
    return tuple(float(c) for c in chebyshev.chebfit(nodes, plateau, int(degree)))
