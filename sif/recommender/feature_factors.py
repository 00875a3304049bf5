"""Factors of items that features have a part in, and of items that features alone tell of.

iALS on the interactions with a row below them for each feature, its items those that have it
(collective matrix factorization, Singh and Gordon, KDD 2008). An item that nobody has touched gets
the factors that its features give it, with everything else as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.baselines.implicit_models import factors_of

Numbers = NDArray[np.float32]

PARAMS: Mapping[str, float] = {
    "dimension": 128, "l2": 10.0, "alpha": 10.0, "epochs": 15, "weight": 20.0,
}  # fmt: skip
"""Of the factorization where validation has no new items to choose them by. The weight is the
confidence of a feature over that of an interaction, shared by the features of an item."""
LEAST = 2
"""Items that a feature has at least."""


@dataclass(frozen=True, eq=False)
class FeatureFactors:
    """Factors of known items and of features.

    Attributes:
        items: float32 (n, d), of all items at the time of the fit.
        used: (m',) numbers of the features that have factors.
        features: float32 (m', d).
        gram: float32 (d, d), the product of the factors of all users and features.
        l2: Of the factorization.
        confidence: Of a feature: alpha times weight.
    """

    items: Numbers
    used: NDArray[np.int64]
    features: Numbers
    gram: Numbers
    l2: float
    confidence: float

    @classmethod
    def fit(
        cls, pairs: sp.csr_matrix, rows: sp.csr_matrix, params: Mapping[str, Any], seed: int,
        threads: int,
    ) -> FeatureFactors:  # fmt: skip
        """Fits.

        Args:
            pairs: CSR (n_users, n) of ones.
            rows: CSR (n, m), features of length 1, also of items without interactions: features
                that come together tell of one another there, too.
            params: Settings of the factorization, as `PARAMS`.
            seed: Of the first factors.
            threads: Of the CPU.
        """
        used = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]) >= LEAST)
        below = np.float32(params["weight"]) * rows[:, used].T
        stacked = sp.csr_matrix(sp.vstack([pairs, below]), dtype=np.float32)
        left, items = factors_of(stacked, params, seed, threads)
        gram = (left.T @ left).astype(np.float32)
        features = np.asarray(left[pairs.shape[0] :])
        confidence = float(params["alpha"]) * float(params["weight"])
        return cls(np.asarray(items), used, features, gram, float(params["l2"]), confidence)

    def folded(self, rows: sp.csr_matrix) -> Numbers:
        """Factors (c, d) of items by their features alone, CSR (c, m): half a step of iALS."""
        asked = sp.csr_matrix(rows[:, self.used])
        found = np.zeros((rows.shape[0], self.features.shape[1]), np.float32)
        base = self.gram + np.float32(self.l2) * np.eye(len(self.gram), dtype=np.float32)
        for row in range(asked.shape[0]):
            here = slice(asked.indptr[row], asked.indptr[row + 1])
            confidence = np.float32(self.confidence) * asked.data[here]
            known = self.features[asked.indices[here]]
            more = (known.T * (confidence - 1)) @ known
            found[row] = np.linalg.solve(base + more, known.T @ confidence)
        return found

    def weights(self, known: NDArray[np.int64], folded: Numbers) -> Numbers:
        """Weights from known items to others, by which a history says what its user likes.

        A user's factors are nearly (Q'Q + l2)^-1 times the sum of those of his items: half a step
        of iALS where the confidence of his few items is left out of the matrix.

        Args:
            known: (k,) numbers of the known items.
            folded: (c, d) of `folded`.

        Returns:
            float32 (k, c).
        """
        inner = (self.items.T @ self.items).astype(np.float64)
        inner[np.diag_indices_from(inner)] += self.l2
        return (self.items[known] @ np.linalg.solve(inner, folded.T)).astype(np.float32)

    def state(self) -> list[NDArray[Any]]:
        """Arrays for a file."""
        numbers = np.array([self.l2, self.confidence])
        return [self.items, self.used, self.features, self.gram, numbers]

    @classmethod
    def restored(cls, state: list[NDArray[Any]]) -> FeatureFactors:
        """Of the arrays of a file.

        Raises:
            ValueError: They do not fit one another.
        """
        items, used, features, gram, *more = state
        numbers = more[0] if more else _FORMER
        d = gram.shape[0]
        fits = items.ndim == features.ndim == 2 and gram.shape == (d, d)
        if not fits or items.shape[1] != d or features.shape != (len(used), d):
            raise ValueError("expected factors of items and features of one length")
        if len(more) > 1 or np.shape(numbers) != (2,):
            raise ValueError("expected L2 and confidence of the factors of features")
        l2, confidence = (float(number) for number in numbers)
        return cls(items, used, features, gram, l2, confidence)


_FORMER = np.array([10.0, 200.0])
"""L2 and confidence of files that do not have them."""
