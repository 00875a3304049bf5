"""Known users who stand for one whom features alone tell of.

Those who are like him stand for him in the shares that kernel ridge regression on features finds
(`sif.spaces.linear.features`): of their vectors, or of the scores that an item-item model makes of
their histories, which are linear in these; and of the histories themselves. Only what sets them
apart from the mean user counts. Beside it stands what all new users get alike: the popular order of
the items, in the units of the mean user's scores. Without the first an answer is thus the popular
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.data.features.table import Features
from sif.problems.part_rows import rows_of_table
from sif.retrieval.engine import ItemEngine, UserVectors
from sif.spaces.linear.features import DIRECT, Alikeness, by_feature

if TYPE_CHECKING:
    from sif.recommender.model import ServedModel

Numbers = NDArray[np.float32]
Mask = NDArray[np.bool_]

ROOM = 1 << 27
"""Numbers that features foretell, at most: half a gigabyte."""


@dataclass(frozen=True, eq=False)
class KnownUsers:
    """Known users by their features, before the ridge of the regression.

    Attributes:
        table: The features; tells columns.
        weights: float32 (m,), of features, see `FeatureRows.weights`.
        used: (m',) numbers of the features that count: the most frequent ones.
        rows: CSR (k, m'), weighted rows of known users.
        sums: float32 (m', d), products of these rows with what sets known users apart from the mean
            one: vectors with their biases, or scores of an item-item model.
        mean: float32 (1, d), the mean user's vector with his bias; his scores.
        linear: Whether these are scores.
        had: float32 (m', n_items), products of the rows with what sets histories apart.
        mean_had: float32 (n_items,), the share of known users who have an item. Histories are
            measured in the spread that scores of the mean user have.
        order: float32 (n_items,), the popular order, the larger the better.
        trained: bool (n_items,), items that have a place in it.
        never: bool (n_items,), items that are never recommended.
    """

    table: Features
    weights: Numbers
    used: NDArray[np.int64]
    rows: sp.csr_matrix
    sums: Numbers
    mean: Numbers
    linear: bool
    had: Numbers
    mean_had: Numbers
    order: Numbers
    trained: Mask
    never: Mask

    @classmethod
    def of(cls, model: ServedModel, idf: float, known: Mask | None = None) -> KnownUsers | None:
        """Those of a model.

        Args:
            model: Of rankings by user and item.
            idf: See `Alikeness`.
            known: bool (n_users,), who counts as known; None: whom training saw.

        Returns:
            None: nobody who is known has features.
        """
        table, rule = model.user_features, model.cold_start
        if table is None or rule is None:
            return None
        every = rows_of_table(table, table.aligned(model.vocabularies[0]))
        known = trained_users(model) if known is None else known
        weights = every.weights(known, idf)
        rows = every.weighted_by(weights)
        users = np.flatnonzero(known & (np.diff(rows.indptr) > 0))
        if not len(users):
            return None
        linear, engine = model.reads_order, model.function.engine
        width = max(engine.dimension, engine.n_items if linear else 0) + engine.n_items + 1
        counts = np.bincount(rows[users].indices, minlength=rows.shape[1])
        most = max(1, min(DIRECT, ROOM // width))
        used = np.sort(np.argsort(-counts, kind="stable")[:most])
        used = used[counts[used] > 0]
        rows = sp.csr_matrix(rows[users][:, used])
        mean, sums = _scores(model, users, rows) if linear else _vectors(model, users, rows)
        common = mean[0] if linear else engine.scores(_user_vectors(mean, model))[0]
        trained = ~rule.never_recommended
        trained[model.untrained[1]] = False
        mean_had, had = _histories(model, users, rows)
        spread = float(mean_had[trained].std())
        scale = np.float32(common[trained].std() / spread if spread > 0 else 0.0)
        return cls(
            table, weights, used, rows, sums, mean, linear, scale * had, scale * mean_had,
            rule.order, trained, rule.never_recommended,
        )  # fmt: skip

    def stand(self, constants: Alikeness) -> UserStand:
        """Those who stand for new users under constants of the same `idf`."""
        width = self.sums.shape[1]
        sums = np.hstack([self.sums, self.had])
        found = by_feature(self.rows, sums, constants.ridge).astype(np.float32)
        return UserStand(self, found[:, :width], found[:, width:], constants)


@dataclass(frozen=True, eq=False)
class UserStand:
    """Known users who stand for those whom features alone tell of.

    Attributes:
        users: The known ones.
        foretold: float32 (m', d), what each feature foretells of vectors or scores.
        had: float32 (m', n_items), what each foretells of histories.
        constants: Of the regression, and the weights of its parts.
    """

    users: KnownUsers
    foretold: Numbers
    had: Numbers
    constants: Alikeness

    def tells(self, features: sp.csr_array) -> Mask:
        """Which rows (b, m) have a feature in common with known users: bool (b,)."""
        return np.asarray(np.diff(self._rows(features).indptr) > 0)

    def scores(self, features: sp.csr_array, model: ServedModel) -> Numbers:
        """Scores (b, n_items) by rows of features (b, m), minus infinity where never recommended.

        Args:
            features: Of the table's columns.
            model: The model, or one that has the same items.
        """
        known, rows = self.users, self._rows(features)
        level, own = np.float32(self.constants.level), np.float32(self.constants.own)
        apart, had = (np.asarray(rows @ part, np.float32) for part in (self.foretold, self.had))
        whole = self._said(known.mean + level * apart, model)
        whole = np.asarray(whole + own * (known.mean_had + level * had), np.float32)
        common = self._said(known.mean, model)[0] + own * known.mean_had
        lift = popular_lift(common, known.order, known.trained)
        whole = whole + np.float32(self.constants.blend) * lift
        return np.where(known.never, np.float32(-np.inf), whole).astype(np.float32)

    def _said(self, whole: Numbers, model: ServedModel) -> Numbers:
        """Scores (b, n_items) of what is foretold of users: scores, or vectors with biases."""
        if self.users.linear:
            return whole
        return model.function.engine.scores(_user_vectors(whole, model))

    def _rows(self, features: sp.csr_array) -> sp.csr_matrix:
        rows = rows_of_table(self.users.table, features).weighted_by(self.users.weights)
        return sp.csr_matrix(rows[:, self.users.used])


def trained_users(model: ServedModel) -> Mask:
    """Users whom training saw: bool (n_users,)."""
    trained = np.ones(len(model.vocabularies[0]), np.bool_)
    trained[model.untrained[0]] = False
    return trained


def popular_lift(common: Numbers, order: Numbers, trained: Mask) -> Numbers:
    """Turns scores that all get alike into the popular order, in the same units.

    Args:
        common: float32 (n_items,), scores of the mean user.
        order: float32 (n_items,), the larger the more popular.
        trained: bool (n_items,); other items have no popularity, and get nothing.

    Returns:
        float32 (n_items,): with it the n-th item of the order has the n-th best score.
    """
    items = np.flatnonzero(trained)
    lift = np.zeros_like(common)
    ordered = items[np.argsort(-order[items], kind="stable")]
    lift[ordered] = np.sort(common[items])[::-1] - common[ordered]
    return lift


def _scores(
    model: ServedModel, users: NDArray[np.int64], rows: sp.csr_matrix
) -> tuple[Numbers, Numbers]:
    """The mean user's scores (1, n_items), and sums (m', n_items) of what sets others apart."""
    engine = model.function.engine
    histories = sp.csr_matrix(model.function.known(users).vectors)
    mean = np.asarray(histories.mean(axis=0), dtype=np.float32)
    totals = np.asarray(rows.sum(axis=0), dtype=np.float32).T
    inputs = (rows.T @ histories).toarray() - totals @ mean
    nothing = _engine_scores(engine, np.zeros_like(mean))
    return _engine_scores(engine, mean), _engine_scores(engine, inputs) - nothing


def _histories(
    model: ServedModel, users: NDArray[np.int64], rows: sp.csr_matrix
) -> tuple[Numbers, Numbers]:
    """The mean history (n_items,), and sums (m', n_items) of what sets others apart."""
    pairs = sp.csr_matrix(model.seen[users], dtype=np.float32)
    pairs.data = np.ones(pairs.nnz, np.float32)  # places and times may be 0
    mean = np.asarray(pairs.mean(axis=0), dtype=np.float32)
    totals = np.asarray(rows.sum(axis=0), dtype=np.float32).T
    return mean[0], np.asarray((rows.T @ pairs).toarray() - totals @ mean, dtype=np.float32)


def _engine_scores(engine: ItemEngine, histories: Numbers) -> Numbers:
    return engine.scores(UserVectors(sp.csr_array(histories.astype(np.float32))))


def _vectors(
    model: ServedModel, users: NDArray[np.int64], rows: sp.csr_matrix
) -> tuple[Numbers, Numbers]:
    """The mean user's vector (1, d + 1), bias last, and sums (m', d + 1); see `_scores`."""
    known = model.function.known(users)
    assert isinstance(known.vectors, torch.Tensor)  # noqa: S101
    vectors = known.vectors.detach().cpu().numpy()
    biases = np.zeros(len(users)) if known.biases is None else known.biases.detach().cpu().numpy()
    whole = np.column_stack([vectors, biases]).astype(np.float32)
    mean = whole.mean(axis=0, keepdims=True)
    return mean, np.asarray(rows.T @ (whole - mean), dtype=np.float32)


def _user_vectors(whole: Numbers, model: ServedModel) -> UserVectors:
    """Vectors with their biases (b, d + 1) for the engine."""
    vectors = torch.from_numpy(np.ascontiguousarray(whole[:, :-1]))
    has_biases = bool(model.network.tables.biases)
    return UserVectors(vectors, torch.from_numpy(whole[:, -1].copy()) if has_biases else None)


def stand_of(model: ServedModel) -> UserStand | None:
    """Those who stand for new users of a model; None: they get the popular items."""
    if model.user_alikeness is None or model.rule is None or len(model.fields) != 2:
        return None
    known = KnownUsers.of(model, model.user_alikeness.idf)
    return None if known is None else known.stand(model.user_alikeness)
