"""Baselines for new items or users, whom features alone tell of: categories, neighbors, iALS.

They are fitted on the interactions of known ids and the features of all. Each scores all items for
all users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """A model of new ids.

    Attributes:
        name: Of the baseline.
        description: One line.
        grids: By field, 0 of new users and 1 of new items: settings that validation chooses among.
        fit: (train, features, field, params, seed, threads) to scores of all items.
    """

    name: str
    description: str
    grids: tuple[tuple[Params, ...], tuple[Params, ...]]
    fit: Callable[[Interactions, FeatureRows, int, Params, int, int], RankingScorer]


@dataclass(frozen=True, eq=False)
class Product:
    """Scores of items by a product: what a user has, or whom he is like, by what that says.

    Attributes:
        left: CSR (n_users, k).
        right: CSR (k, n_items).
    """

    left: sp.csr_matrix
    right: sp.csr_matrix

    def scores(self, users: NDArray[np.int64]) -> Numbers:
        """Scores (b, n_items) for users (b,)."""
        return np.asarray((self.left[users] @ self.right).toarray(), dtype=np.float32)


def category_popularity(
    train: Interactions, features: FeatureRows, field: int, params: Params, seed: int, threads: int
) -> RankingScorer:
    """Popularity within categories, the mean over those of the new id.

    An item's score is the mean number of interactions of known items with its features; for a new
    user it is the share of known users with his features who have it.
    """
    known = ~cold_rows(train, field)
    rows = sp.csr_matrix(features.matrix[known] > 0, dtype=np.float64)
    documents = np.maximum(np.asarray(rows.sum(axis=0)).ravel(), 1)
    own = sp.csr_matrix(features.matrix > 0, dtype=np.float64)
    own = sp.csr_matrix(sp.diags(1 / np.maximum(np.diff(own.indptr), 1)) @ own)
    if field == 0:
        counts = sp.csr_matrix(rows.T @ pair_matrix(train)[known])
        return Product(own, sp.csr_matrix(sp.diags(1 / documents) @ counts))
    counts = np.bincount(train.ids[:, 1], minlength=train.sizes[1])[known].astype(np.float64)
    scores = own @ (rows.T @ counts / documents)
    return TableScorer.of_order(scores.astype(np.float32), train.sizes[0])


def feature_knn(
    train: Interactions, features: FeatureRows, field: int, params: Params, seed: int, threads: int
) -> Product:
    """The k known ids nearest by features count, by their cosines.

    An item counts what those items say that are nearest to it, and a user gets what those have who
    are nearest to him. `idf` is the power of the inverse document frequency of a feature.
    """
    trained = ~cold_rows(train, field)
    known = np.flatnonzero(trained)
    rows = features.weighted(trained, float(params["idf"]))
    n, k = rows.shape[0], int(params["k"])
    parts = []
    for start in range(0, n, _ROWS):
        alike = sp.csr_matrix(rows[start : start + _ROWS] @ rows[known].T)
        parts.append(_nearest(alike, k))
    nearest = sp.csr_matrix(sp.vstack(parts)).tocoo()
    entries = nearest.data, (nearest.row, known[nearest.col])
    alike = sp.csr_matrix(entries, shape=(n, n))
    pairs = pair_matrix(train)
    return Product(pairs, sp.csr_matrix(alike.T)) if field else Product(alike, pairs)


_ROWS = 1024
"""Rows whose neighbors are looked for at once."""


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
    train: Interactions, features: FeatureRows, field: int, params: Params, seed: int, threads: int
) -> FactorScorer:
    """IALS on the interactions with a row for each feature beside them, of the ids that have it.

    Items, or users, then have factors by their features, also where nobody knows them: collective
    matrix factorization (Singh and Gordon, KDD 2008). `weight` is the confidence of a feature over
    that of an interaction.
    """
    rows = features.weighted(~cold_rows(train, field), 1.0)
    used = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]) > 1)
    below = np.float32(params["weight"]) * rows[:, used].T
    pairs = pair_matrix(train) if field else sp.csr_matrix(pair_matrix(train).T)
    others, own = factors_of(sp.csr_matrix(sp.vstack([pairs, below])), params, seed, threads)
    others = others[: train.sizes[1 - field]]
    users, items = (others, own) if field else (own, others)
    return FactorScorer(users, items, np.zeros(train.sizes[1], dtype=np.float32))


def _neighbors_grid() -> tuple[Params, ...]:
    return tuple({"idf": idf, "k": k} for idf in (1.0, 2.0) for k in (20, 50, 100, 200, 1000))


USER_FACTORS = tuple((d, 10.0, w) for d in (8, 32, 128) for w in (1.0, 5.0, 20.0, 50.0))
ITEM_FACTORS = (
    (128, 10.0, 20.0), (128, 30.0, 20.0), (256, 30.0, 20.0), (256, 100.0, 20.0), (256, 30.0, 50.0),
    (512, 100.0, 10.0), (512, 100.0, 20.0), (512, 100.0, 50.0),
)  # fmt: skip
"""Dimensions, L2 and weights of iALS. More dimensions want more L2: with tags of citeulike-a, 512
have NDCG@10 .3369 on new items of validation at 100, and 256 have .3236 at 10 and .3264 at 30."""


def _factors_grid(settings: Sequence[tuple[int, float, float]]) -> tuple[Params, ...]:
    return tuple(
        {"dimension": d, "l2": l2, "alpha": 10.0, "epochs": 15, "weight": weight}
        for d, l2, weight in settings
    )


FEATURE_BASELINES: Mapping[str, FeatureBaseline] = {
    one.name: one
    for one in (
        FeatureBaseline(
            "category-popularity", "popularity among those with the same features", (({},), ({},)),
            category_popularity,
        ),
        FeatureBaseline(
            "feature-knn", "nearest known ids by features", (_neighbors_grid(), _neighbors_grid()),
            feature_knn,
        ),
        FeatureBaseline(
            "feature-als", "iALS on interactions and features",
            (
                _factors_grid(USER_FACTORS), _factors_grid(ITEM_FACTORS),
            ),
            feature_als,
        ),
    )
}  # fmt: skip
"""By name."""
