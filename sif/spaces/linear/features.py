"""Features of items or users: rows whose products say how alike these are, and ridge regression.

Each column of a table counts alike: its rows are weighted by inverse document frequency, divided by
their length, put side by side, and divided by their length again. A product of two rows is then at
most 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float32]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

DIRECT = 3_000
"""Items (or users) or features, whichever are fewer, up to which equations are solved directly."""
ITERATIONS, TOLERANCE = 60, 1e-4
"""Of conjugate gradients, which solve larger ones."""
UNEVEN = 1e-4
"""Share by which new items differ that have the same features."""
COLUMNS = 512
"""Right sides that are solved for at once."""


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Features of all items of a catalog, or of all users.

    Attributes:
        matrix: CSR float32 (n_items, m); zeros where an item has none.
        groups: First number and the one behind the last of each column of the table.
    """

    matrix: sp.csr_matrix
    groups: tuple[tuple[int, int], ...]

    def of(self, items: NDArray[np.int64]) -> FeatureRows:
        """Those of some items alone."""
        return FeatureRows(sp.csr_matrix(self.matrix[items]), self.groups)

    def weighted(self, trained: Mask, idf: float = 1.0) -> sp.csr_matrix:
        """Rows (n_items, m) of length 1, or 0 of items that share nothing with a trained one.

        Args:
            trained: bool (n_items,), the items that count as documents.
            idf: Power of log(documents / documents with the feature).
        """
        return self.weighted_by(self.weights(trained, idf))

    def weights(self, trained: Mask, idf: float = 1.0) -> Numbers:
        """The weight of each feature (m,), 0 of those that no trained item has; see `weighted`."""
        known = sp.csr_matrix(self.matrix[trained])
        documents = np.bincount(known.indices, minlength=known.shape[1])
        found = np.log1p(trained.sum() / np.maximum(documents, 1)) ** idf * (documents > 0)
        return np.asarray(found, dtype=np.float32)

    def weighted_by(self, weights: Numbers) -> sp.csr_matrix:
        """Rows of length 1, or 0, by the weights (m,) of features."""
        parts = []
        for start, stop in self.groups:
            scaled = self.matrix[:, start:stop] @ sp.diags(weights[start:stop])
            parts.append(_normalized(sp.csr_matrix(scaled)))
        return _normalized(sp.csr_matrix(sp.hstack(parts, format="csr")))


def _normalized(rows: sp.csr_matrix) -> sp.csr_matrix:
    rows.eliminate_zeros()
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    lengths = np.maximum(np.sqrt(squares), np.finfo(np.float32).tiny)
    parts = rows.data / np.repeat(lengths, np.diff(rows.indptr)), rows.indices, rows.indptr
    return sp.csr_matrix(parts, rows.shape, dtype=np.float32)


def add_products(
    block: Tensor, rows: sp.csr_matrix, others: sp.csr_matrix, weight: float,
    own: NDArray[np.int64] | None = None,
) -> None:  # fmt: skip
    """Adds products of rows with others, in their place.

    Args:
        block: (n, k), receives them.
        rows: CSR (n, m).
        others: CSR (k, m).
        weight: Times each product.
        own: (n,) the place of each row among the others, whose product with itself is left out.
    """
    turned = sp.csr_matrix(others.T)
    for start in range(0, rows.shape[0], COLUMNS):
        found = (rows[start : start + COLUMNS] @ turned).toarray()
        if own is not None:
            here = own[start : start + COLUMNS]
            found[np.arange(len(here)), here] = 0.0
        target = block[start : start + COLUMNS]
        target.add_(torch.from_numpy(found).to(target), alpha=weight)


def combinations(known: sp.csr_matrix, others: sp.csr_matrix, ridge: float) -> Numbers:
    """Weights by which known items stand for others that are like them: kernel ridge regression.

    Whatever is known of the n items, t (n, ...), is foretold of c others as A' t, where A solves
    (K + ridge I) A = k, K are the products of known rows, and k those of known and other rows
    (Saunders, Gammerman and Vovk, ICML 1998).

    Args:
        known: CSR (n, m) of `FeatureRows.weighted`.
        others: CSR (c, m).
        ridge: Above 0; the larger, the more an average of all that are alike.

    Returns:
        A, float32 (n, c).
    """
    if known.shape[1] <= min(DIRECT, known.shape[0]):  # (F F' + r)^-1 F G' = F (F'F + r)^-1 G'
        return np.asarray(known @ by_feature(known, others.T.toarray(), ridge), dtype=np.float32)
    if known.shape[0] <= DIRECT:
        kernel = (known @ known.T).toarray().astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += ridge
        return np.linalg.solve(kernel, (known @ others.T).toarray()).astype(np.float32)
    found = np.empty((known.shape[0], others.shape[0]), np.float32)
    for start in range(0, others.shape[0], COLUMNS):
        right = (known @ others[start : start + COLUMNS].T).toarray().astype(np.float32)
        found[:, start : start + COLUMNS] = _conjugate(known, right, np.float32(ridge))
    return found


def by_feature(known: sp.csr_matrix, sums: NDArray[Any], ridge: float) -> NDArray[np.float64]:
    """Solves the equations of the regression in features instead of items.

    Where the sums are F' t, of what is known of the items, rows G of others foretell of them G
    times the answer: the same as `combinations`, for all others at once.

    Args:
        known: F, CSR (n, m) of `FeatureRows.weighted`; at most `DIRECT` features.
        sums: (m, ...).
        ridge: Above 0.

    Returns:
        (F'F + ridge I)^-1 sums, (m, ...).
    """
    inner = (known.T @ known).toarray().astype(np.float64)
    inner[np.diag_indices_from(inner)] += ridge
    return np.asarray(np.linalg.solve(inner, sums))


def _conjugate(known: sp.csr_matrix, right: Numbers, ridge: np.float32) -> Numbers:
    """Solves (F F' + ridge I) A = right by conjugate gradients, all columns side by side."""
    turned = sp.csr_matrix(known.T)
    found = right / (1 + ridge)  # the diagonal of F F' is 1
    rest = right - (known @ (turned @ found) + ridge * found)
    step, square = rest.copy(), _squares(rest)
    enough = TOLERANCE**2 * np.maximum(_squares(right), np.finfo(np.float32).tiny)
    for _ in range(ITERATIONS):
        if (square <= enough).all():
            break
        image = known @ (turned @ step) + ridge * step
        size = square / np.maximum((step * image).sum(axis=0), np.finfo(np.float32).tiny)
        found += size * step
        rest -= size * image
        following = _squares(rest)
        step = rest + following / np.maximum(square, np.finfo(np.float32).tiny) * step
        square = following
    return np.asarray(found, dtype=np.float32)


def _squares(columns: Numbers) -> Numbers:
    return np.asarray((columns * columns).sum(axis=0))


def column_groups(bounds: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Bounds of columns that have numbers."""
    return tuple((start, stop) for start, stop in bounds if stop > start)


@dataclass(frozen=True)
class Alikeness:
    """Constants by which features stand for interactions; validation on new ids chooses them.

    Attributes:
        idf: Power of the inverse document frequency of a feature.
        ridge: Of the regression, in products of an item or user with itself.
        own: In item-item models, what a user gets for having an item that is like the new one,
            beside what the weights say, in deviations of what these say. Of new users, what those
            who are like them have counts so much, beside what the model says of it.
        factors: The same of what factors by features say (`sif.recommender.feature_factors`).
        level: Factor on what new items get, beside the trained ones; of new users, on what sets
            them apart from the mean user.
        blend: Of new users, the share of the popular order in what all of them get alike; the rest
            is what the mean user gets.
    """

    idf: float = 1.0
    ridge: float = 3.0
    own: float = 1.0
    factors: float = 2.0
    level: float = 1.0
    blend: float = 1.0


def uneven(items: Ids) -> Numbers:
    """Factors (c,) just below 1, so that items with the same features are in some order."""
    draws = np.random.default_rng(0).random(int(items.max(initial=0)) + 1)
    return (1 - UNEVEN * draws[items]).astype(np.float32)


def shares_of(
    rows: FeatureRows, trained: Mask, items: Ids, constants: Alikeness
) -> tuple[Ids, Ids, NDArray[np.float32]]:
    """By which trained items others are stood for.

    Args:
        rows: Features of all items.
        trained: bool (n_items,).
        items: That are asked about.
        constants: Of the regression.

    Returns:
        Those items (c,) that share a feature with a trained one, the trained items (k,) with
        features, and shares float32 (k, c).
    """
    weighted = rows.weighted(trained, constants.idf)
    lengths = np.diff(weighted.indptr)
    known = np.flatnonzero(trained & (lengths > 0))
    asked = items[lengths[items] > 0]
    found = combinations(weighted[known], weighted[asked], constants.ridge)
    return asked, known, found * uneven(asked)
