"""Constants by which features answer for new users, and whether they do.

They are chosen on users whose rows the answer does not see. Features are left aside unless their
lists beat the popular order by two standard errors of the mean difference. So that the choice
itself wins nothing, each half of the users judges the constants that are best for the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.evaluation.metrics import ranking_metrics
from sif.recommender.model import ServedModel
from sif.recommender.user_stand import KnownUsers, UserStand, trained_users
from sif.spaces.linear.features import Alikeness
from sif.utils.climb import Climb
from sif.utils.random import derive_seed

LENGTH = 10
"""Of the lists that are compared, by NDCG."""
GRIDS: Mapping[str, tuple[float, ...]] = {
    "ridge": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "own": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "level": (0.5, 1.0, 2.0, 4.0),
    "blend": (0.0, 0.5, 1.0),
    "idf": (0.0, 1.0, 2.0),
}
"""Constants in the order in which they are walked over."""
FIRST = Alikeness(ridge=10.0)
"""Where the walk begins."""
SWEEPS = 2
AHEAD = 2.0
"""Standard errors by which features have to be ahead of the popular order."""
USERS, LEAST = 2_000, 10
"""Users who are asked about, at most and at least."""
SCORES = 1 << 25
"""Scores of theirs, at most, that are made at once."""
SHARE = 5
"""A fit asks every fifth known user as if he were new."""


@dataclass(frozen=True)
class UserChoice:
    """The worth of features to new users.

    Attributes:
        constants: The best ones; None: features are of no use, the popular order stays.
        tried: The best ones, of use or not; None: nothing could be tried.
        value: NDCG@10 of the lists by these.
        popular: NDCG@10 of the popular order.
        users: Users who decided.
    """

    constants: Alikeness | None = None
    tried: Alikeness | None = None
    value: float = 0.0
    popular: float = 0.0
    users: int = 0

    @property
    def told(self) -> str:
        """The choice on one line."""
        if self.tried is None:
            return (
                f"new users: popular items, since {self.users:,} users with features are too few "
                "to choose by"
            )
        values = (
            f"ndcg@{LENGTH} of {self.users:,} users {self.value:.4f}, by popularity "
            f"{self.popular:.4f}"
        )
        if self.constants is None:
            return f"new users: popular items, features are not clearly better ({values})"
        return f"new users: by their features ({values})"


def drawn(users: NDArray[np.int64], n_items: int, seed: int) -> NDArray[np.int64]:
    """Some users, as many as a choice takes."""
    most = min(USERS, max(LEAST, SCORES // max(n_items, 1)))
    if len(users) <= most:
        return users
    draws = np.random.default_rng(derive_seed(seed, "new-users"))
    return np.sort(draws.choice(users, most, replace=False))


def chosen_constants(
    model: ServedModel, users: NDArray[np.int64], truth: sp.csr_matrix, known: NDArray[np.bool_]
) -> UserChoice:
    """The constants whose lists are best for some users, against the popular order.

    Args:
        model: Fitted without the rows of these users, or as good as that.
        users: (b,) numbers of theirs.
        truth: CSR (b, n_items), what they take.
        known: bool (n_users,), who stands for them.
    """
    assert model.cold_start is not None and model.user_features is not None  # noqa: S101
    features = model.user_features.rows(model.vocabularies[0].ids[users])
    telling = np.diff(features.indptr) > 0
    features, truth = features[np.flatnonzero(telling)], truth[np.flatnonzero(telling)]
    if features.shape[0] < LEAST or KnownUsers.of(model, FIRST.idf, known) is None:
        return UserChoice(users=features.shape[0])
    order = np.tile(model.cold_start.order, (features.shape[0], 1))
    popular = _ndcg(order, truth)
    walk = _Walk(model, features, truth, known)
    first = np.arange(features.shape[0]) % 2 == 0
    unseen = np.where(
        first, walk.values(walk.best(~first)), walk.values(walk.best(first))
    )  # fmt: skip
    best = walk.best(np.ones_like(first))
    found, ahead = walk.values(best), is_ahead(unseen - popular)
    return UserChoice(
        best if ahead else None, best, float(found.mean()), float(popular.mean()), len(found)
    )


def is_ahead(differences: NDArray[np.float64]) -> bool:
    """True if the mean is above 0 by `AHEAD` standard errors."""
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return bool(differences.mean() > AHEAD * error)


class _Walk:
    """Values of constants, each asked for once."""

    def __init__(
        self, model: ServedModel, features: sp.csr_array, truth: sp.csr_matrix,
        known: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        self._model, self._features, self._truth, self._known = model, features, truth, known
        self._values: dict[Alikeness, NDArray[np.float64]] = {}
        self._users: tuple[float, KnownUsers | None] = (np.nan, None)
        self._stand: tuple[float, UserStand | None] = (np.nan, None)

    def best(self, some: NDArray[np.bool_]) -> Alikeness:
        """The constants that are best for some users (b,)."""
        best, merit = FIRST, float(self.values(FIRST)[some].mean())
        for _ in range(SWEEPS):
            before = merit
            for name, grid in GRIDS.items():
                climb = Climb(grid, getattr(best, name))
                while (value := climb.next()) is not None:
                    told = self.values(replace(best, **{name: value}))[some]
                    climb.tell(float(told.mean()))
                best, merit = replace(best, **{name: climb.best}), climb.merit
            if merit <= before:
                break
        return best

    def values(self, constants: Alikeness) -> NDArray[np.float64]:
        """NDCG of every user (b,)."""
        if constants not in self._values:
            scores = self._stand_of(constants).scores(self._features, self._model)
            self._values[constants] = _ndcg(scores, self._truth)
        return self._values[constants]

    def _stand_of(self, constants: Alikeness) -> UserStand:
        """The last one again, where the regression is the same."""
        if self._users[0] != constants.idf:
            self._users = constants.idf, KnownUsers.of(self._model, constants.idf, self._known)
            self._stand = np.nan, None
        if self._stand[0] != constants.ridge:
            assert self._users[1] is not None  # noqa: S101
            self._stand = constants.ridge, self._users[1].stand(constants)
        assert self._stand[1] is not None  # noqa: S101
        return replace(self._stand[1], constants=constants)


def _ndcg(scores: NDArray[np.float32], truth: sp.csr_matrix) -> NDArray[np.float64]:
    """NDCG@10 of users (b,) by scores (b, n_items), or of as many items as there are."""
    k = min(LENGTH, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, best, axis=1)
    best = np.take_along_axis(best, np.argsort(-values, axis=1, kind="stable"), axis=1)
    hits = np.asarray(truth[np.arange(len(best))[:, None], best].todense()) > 0
    found: NDArray[np.float64] = ranking_metrics(hits, np.diff(truth.indptr))[f"ndcg@{k}"]
    return found


def with_user_choice(model: ServedModel, seed: int) -> tuple[ServedModel, UserChoice | None]:
    """The model that answers new users by their features, where that is worth it.

    Known users are asked about as if they were new; the others stand for them.

    Args:
        model: Fitted.
        seed: Draws users.

    Returns:
        The model with its choice; None: it has no features of users, or is of ratings.
    """
    table = model.user_features
    if table is None or model.rule is None or len(model.fields) != 2:
        return model, None
    pairs = sp.csr_matrix(model.seen)
    has = np.diff(table.aligned(model.vocabularies[0]).indptr) > 0
    users = np.flatnonzero(trained_users(model) & has & (np.diff(pairs.indptr) > 0))
    mixed = np.random.default_rng(derive_seed(seed, "as-new-users")).permutation(users)
    users = drawn(np.sort(mixed[: len(mixed) // SHARE]), len(model.vocabularies[1]), seed)
    known = trained_users(model)
    known[users] = False
    truth = pairs[users]
    truth.data = np.ones(truth.nnz, np.float32)  # places and times may be 0
    choice = chosen_constants(model, users, truth, known)
    return replace(model, user_alikeness=choice.constants), choice
