"""Baselines for new items, which features alone tell of: popularity of categories, neighbors, iALS.

They are fitted on the interactions of known items and the features of all. Each scores all items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.baselines.base import Params, TableScorer
from sif.baselines.implicit_models import FactorScorer, factors_of
from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import cold_rows
from sif.evaluation.evaluate import RankingScorer, pair_matrix
from sif.spaces.linear.features import FeatureRows

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureBaseline:
    """A model of new items.

    Attributes:
        name: Of the baseline.
        description: One line.
        grid: Settings that validation chooses among.
        fit: (train, features, params, seed, threads) to scores of all items.
    """

    name: str
    description: str
    grid: tuple[Params, ...]
    fit: Callable[[Interactions, FeatureRows, Params, int, int], RankingScorer]


@dataclass(frozen=True, eq=False)
class HistoryProduct:
    """Scores of items by what they have in common with a history.

    Attributes:
        pairs: CSR (n_users, n_items).
        weights: CSR (n_items, n_items), from items of a history.
    """

    pairs: sp.csr_matrix
    weights: sp.csr_matrix

    def scores(self, users: NDArray[np.int64]) -> Numbers:
        """Scores (b, n_items) for users (b,)."""
        return np.asarray((self.pairs[users] @ self.weights).toarray(), dtype=np.float32)


def category_popularity(
    train: Interactions, features: FeatureRows, params: Params, seed: int, threads: int
) -> TableScorer:
    """An item's score is the mean number of interactions of known items with its features."""
    known = ~cold_rows(train, 1)
    counts = np.bincount(train.ids[:, 1], minlength=train.sizes[1])[known].astype(np.float64)
    rows = sp.csr_matrix(features.matrix[known] > 0, dtype=np.float64)
    documents = np.asarray(rows.sum(axis=0)).ravel()
    means = rows.T @ counts / np.maximum(documents, 1)
    own = sp.csr_matrix(features.matrix > 0, dtype=np.float64)
    scores = own @ means / np.maximum(np.diff(own.indptr), 1)
    return TableScorer.of_order(scores.astype(np.float32), train.sizes[0])


def feature_knn(
    train: Interactions, features: FeatureRows, params: Params, seed: int, threads: int
) -> HistoryProduct:
    """An item counts what the k known items nearest to it by features say, by their cosines.

    `idf` is the power of the inverse document frequency of a feature.
    """
    known = np.flatnonzero(~cold_rows(train, 1))
    rows = features.weighted(~cold_rows(train, 1), float(params["idf"]))
    n, k = rows.shape[0], int(params["k"])
    parts = []
    for start in range(0, n, _ITEMS):
        alike = sp.csr_matrix(rows[start : start + _ITEMS] @ rows[known].T)
        parts.append(_nearest(alike, k))
    nearest = sp.csr_matrix(sp.vstack(parts)).tocoo()
    entries = nearest.data, (known[nearest.col], nearest.row)
    return HistoryProduct(pair_matrix(train), sp.csr_matrix(entries, shape=(n, n)))


_ITEMS = 1024
"""Items whose neighbors are looked for at once."""


def _nearest(alike: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row."""
    starts, indices, data = [0], [], []
    for row in range(alike.shape[0]):
        here = slice(alike.indptr[row], alike.indptr[row + 1])
        values, columns = alike.data[here], alike.indices[here]
        if len(values) > k:
            kept = np.argpartition(-values, k - 1)[:k]
            values, columns = values[kept], columns[kept]
        indices.append(columns)
        data.append(values)
        starts.append(starts[-1] + len(values))
    parts = np.concatenate(data), np.concatenate(indices), np.array(starts)
    return sp.csr_matrix(parts, alike.shape, dtype=np.float32)


def feature_als(
    train: Interactions, features: FeatureRows, params: Params, seed: int, threads: int
) -> FactorScorer:
    """IALS on the interactions with a row below them for each feature, its items those with it.

    Items then have factors by their features, also where nobody has touched them: collective matrix
    factorization (Singh and Gordon, KDD 2008). `weight` is the confidence of a feature over that of
    an interaction.
    """
    rows = features.weighted(~cold_rows(train, 1), 1.0)
    used = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]) > 1)
    weight = np.float32(params["weight"])
    stacked = sp.csr_matrix(sp.vstack([pair_matrix(train), weight * rows[:, used].T]))
    users, items = factors_of(stacked, params, seed, threads)
    offsets = np.zeros(train.sizes[1], dtype=np.float32)
    return FactorScorer(users[: train.sizes[0]], items, offsets)


FEATURE_BASELINES: Mapping[str, FeatureBaseline] = {
    one.name: one
    for one in (
        FeatureBaseline(
            "category-popularity", "popularity of the items with the same features", ({},),
            category_popularity,
        ),
        FeatureBaseline(
            "feature-knn", "nearest known items by features",
            tuple({"idf": idf, "k": k} for idf in (1.0, 2.0) for k in (20, 50, 100, 200, 1000)),
            feature_knn,
        ),
        FeatureBaseline(
            "feature-als", "iALS on interactions and features",
            tuple(
                {"dimension": d, "l2": 10.0, "alpha": 10.0, "epochs": 15, "weight": weight}
                for d in (128, 256) for weight in (5.0, 10.0, 20.0, 50.0)
            ),
            feature_als,
        ),
    )
}  # fmt: skip
"""By name."""
