"""Item-item models of full rank with a zero diagonal, scaled by degrees: EASE and its dropout form.

With X~ = Du^-a X Di^-b and G = X~' X~, P = (G + Lambda)^-1, the weights are B = I - P diag(P)^-1
(EASE, Steck, WWW 2019, equation 8), and scores x Di^-b B Di^b. Lambda is a ridge penalty and
p/(1 - p) times the diagonal of G: what training on histories without a share p of their items comes
to (EDLAE, Steck, NeurIPS 2020, section 3). Where items have features F, c F F' is added to G, as if
every feature were a user who has the items that have it (CEASE, Jeunen, Van Balen and Goethals,
RecSys 2020, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from sif.errors import DivergedError
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.family import DENSE_RATE, SPARSE_RATE, Family, Grid
from sif.spaces.linear.features import add_products
from sif.spaces.linear.inputs import FREQUENT, all_solved, solved_items
from sif.spaces.linear.ridge import TOLERANCE
from sif.spaces.linear.weights import ItemWeights

FEATURES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Weights of features: none, and those beyond which nothing changed on MovieLens 1M. They come
last (`sif.problems.closed_features`)."""


@dataclass(frozen=True)
class ItemItem(Family):
    """EASE with degree exponents, and dropout.

    Attributes:
        l2: Ridge penalty, in mean squares of an item's column.
        dropout: p.
        user: a.
        item: b.
        discount: Power of popularity by which scores are divided.
        frequent: Rows of an item that is solved for; others stand alone (`sif.spaces.linear.
            inputs`). Small catalogs are solved for as a whole.
        features: c, in mean squares of an item's column, which is what a row of features has.
    """

    l2: float = 5.0
    dropout: float = 0.0
    user: float = 0.0
    item: float = 0.0
    discount: float = 0.0
    frequent: float = FREQUENT
    features: float = 0.0

    name: ClassVar[str] = "item-item"
    grids: ClassVar[Mapping[str, Grid]] = {
        "l2": (0.1, 0.2, 0.5, 1.0, 2.0, 3.5, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0, 200.0),
        "dropout": (0.0, 0.1, 0.2, 0.3, 0.5, 0.7),
        "user": (0.0, 0.15, 0.3, 0.5),
        "item": (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        "discount": (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3),
        "frequent": (0.0,),
        "features": (0.0,),
    }
    known: ClassVar[tuple[Mapping[str, float], ...]] = (
        {"l2": 5.0},
        {"l2": 20.0},
        {"l2": 1.0, "dropout": 0.5},
        {"l2": 2.0, "user": 0.3, "item": 0.2},
        {"l2": 5.0, "user": 0.15, "item": 0.1},
        {"l2": 50.0, "user": 0.3},
        {"l2": 0.2, "user": 0.3, "discount": 0.2},
    )
    solves: ClassVar[bool] = True

    @classmethod
    def grids_on(cls, clicks: Clicks) -> Mapping[str, Grid]:
        """With frequent items, where not all are solved for."""
        if all_solved(clicks.n_items):
            return cls.grids
        return {**cls.grids, "frequent": (10.0, 20.0, 50.0)}

    def weights(self, clicks: Clicks) -> ItemWeights:
        """Fits; of a large catalog dense weights from frequent items, sparse from others.

        Raises:
            DivergedError: The penalty is too small.
        """
        items = solved_items(clicks.counts, 1, self.frequent)
        enters, leaves = clicks.item_power(-self.item), clicks.item_power(self.item - self.discount)
        if items is None:
            dense = self._all(clicks)
            found = ItemWeights(dense.numpy(), clicks.n_items)
        else:
            found = self._some(clicks, items)
        found.dense[:] *= (enters if items is None else enters[items])[:, None]
        if found.rest is not None:
            found.rest.data *= np.repeat(enters, np.diff(found.rest.indptr))
        found.scale_items(leaves)
        return found

    def _penalties(self, squares: Tensor) -> Tensor:
        """Lambda's diagonal, of the squares (n,) of the columns."""
        return self.l2 * _level(squares) + self.dropout / (1 - self.dropout) * squares

    def _all(self, clicks: Clicks) -> Tensor:
        """B (n_items, n_items)."""
        scale = torch.from_numpy(clicks.item_power(-self.item))

        def penalized() -> Tensor:
            gram = clicks.gram(self.user)
            gram.mul_(scale[:, None]).mul_(scale)
            penalties = self._penalties(gram.diagonal().clone())
            if self.features:
                weight = self.features * _level(gram.diagonal())
                add_products(gram, clicks.alike, clicks.alike, weight)
            gram.diagonal().add_(penalties)
            return gram

        return _without_own(inverted(penalized))

    def _some(self, clicks: Clicks, items: NDArray[np.int64]) -> ItemWeights:
        """B from frequent items to all, and what each other item says alone."""
        products = clicks.products(items, self.user, self.item)
        scaled = clicks.scaled(self.user, self.item)
        squares = np.zeros(clicks.n_items)
        np.add.at(squares, scaled.indices, scaled.data.astype(np.float64) ** 2)
        penalties = self._penalties(torch.from_numpy(squares)).float()
        cross = products.toarray()
        if self.features:
            weight = self.features * _level(torch.from_numpy(squares))
            add_products(torch.from_numpy(cross), clicks.alike[items], clicks.alike, weight)

        def penalized() -> Tensor:
            gram = torch.from_numpy(cross[:, items])
            gram.diagonal().add_(penalties[items])
            return gram

        inverse = inverted(penalized)
        dense = inverse @ torch.from_numpy(cross)
        dense[:, items] = _without_own(inverse)
        alone = self._alone(clicks, items, squares + penalties.numpy())
        return ItemWeights(dense.numpy(), clicks.n_items, items, alone)

    def _alone(
        self, clicks: Clicks, items: NDArray[np.int64], divisors: NDArray[np.float64]
    ) -> sp.csr_matrix:
        """Rows of all items but some: products with the others, over the item's own divisor.

        There may be tens of millions, so they change in the place where they are made.
        """
        rare = np.setdiff1d(np.arange(clicks.n_items), items)
        found = clicks.products(rare, self.user, self.item)
        for row, item in enumerate(rare):
            own = slice(found.indptr[row], found.indptr[row + 1])
            found.data[own] /= divisors[item]
            found.data[own][found.indices[own] == item] = 0.0
        entries = np.zeros(clicks.n_items, np.int64)
        entries[rare] = np.diff(found.indptr)
        starts = np.concatenate([[0], entries.cumsum()]).astype(found.indptr.dtype)
        shape = (clicks.n_items, clicks.n_items)
        return sp.csr_matrix((found.data, found.indices, starts), shape)

    def seconds(self, clicks: Clicks, users: int) -> float:
        """Seconds of a fit and of scores of some users, by the numbers of multiplications."""
        items = solved_items(clicks.counts, 1, self.frequent)
        solved = clicks.n_items if items is None else len(items)
        targets = 0 if items is None else clicks.n_items
        mean = clicks.pairs.nnz / max(clicks.pairs.shape[0], 1)
        scores = users * mean * clicks.n_items
        dense = float(solved**3 + solved**2 * targets)
        return dense / DENSE_RATE + float(scores) / SPARSE_RATE + clicks.product_seconds

    @property
    def expression(self) -> str:
        """Such as "item-item(l2 5, n_u^-0.3, n_i^-0.2)"."""
        told = [f"{k} {v:g}" for k, v in self.constants.items() if v and k in ("l2", "dropout")]
        told += [f"n_u^{-self.user:g}"] if self.user else []
        told += [f"n_i^{-self.item:g}"] if self.item else []
        told += [f"features {self.features:g}"] if self.features else []
        end = f" / popularity^{self.discount:g}" if self.discount else ""
        return f"item-item({', '.join(told)}){end}"


def _level(squares: Tensor) -> float:
    """The mean of the squares (n,) of the columns that have entries; 1: none has."""
    filled = squares[squares > 0]
    return float(filled.mean()) if len(filled) else 1.0


def inverted(make: Callable[[], Tensor]) -> Tensor:
    """The inverse of a symmetric positive definite matrix, in float32 where that is right.

    Args:
        make: The matrix, float32 (n, n), whose memory is taken; made again for float64.

    Returns:
        float32 (n, n).

    Raises:
        DivergedError: It is not positive definite.
    """
    for kind in (torch.float32, torch.float64):
        inverse = _inverted(make().to(kind))
        if inverse is not None:
            return inverse.float()
    raise DivergedError("item-item: l2 is too small for items that are so alike")


def _inverted(matrix: Tensor) -> Tensor | None:
    """The inverse in the memory of a matrix; None where it is not right for its number type."""
    probe = torch.randn(len(matrix), 1, generator=torch.Generator().manual_seed(0)).to(matrix)
    image, factor = matrix @ probe, matrix.mT  # symmetric; in LAPACK's order nothing is copied
    _, failed = torch.linalg.cholesky_ex(factor, out=(factor, torch.empty((), dtype=torch.int32)))
    if int(failed):
        return None
    inverse = torch.cholesky_inverse(factor, out=factor)
    wrong = float((inverse @ image - probe).norm())
    return inverse if wrong <= TOLERANCE * float(probe.norm()) else None


def _without_own(inverse: Tensor) -> Tensor:
    """I - P diag(P)^-1, in the memory of P."""
    diagonal = inverse.diagonal().clone()
    return inverse.neg_().div_(diagonal).fill_diagonal_(0.0)
