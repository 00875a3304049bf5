"""Re-ranks answers: the best candidates of the engine, through all steps, to a list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.config.cf import ExcludeSeen
from sif.errors import ConfigError
from sif.recommender.answers import best_items
from sif.recommender.arguments import whole_number
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.reranking.candidates import Candidates
from sif.recommender.reranking.step import Best, Mask, Request, Step, checked_steps
from sif.retrieval.engine import Top

LEAST_POOL, TIMES_N = 100, 10
"""The pool is as many times the list, and at least so many items, where nobody says another."""

USERS_AT_ONCE = 2048
"""Users whose candidates are held at once."""


def reranked(
    server: IndexedRecommender, users: NDArray[np.str_], k: int, how: ExcludeSeen,
    allowed: Mask | None, refuses: bool, steps: Any, pool: int | None = None,
) -> Top:  # fmt: skip
    """The best k items of users, re-ranked; the arguments but the last are as of `best_items`.

    Args:
        server: Of the model.
        users: (b,) ids.
        k: Items per user.
        how: What a user has and does not get again.
        allowed: (n_items,) items to choose among; None: all.
        refuses: Whether an unknown user is refused, and does not get the popular items.
        steps: In the order in which they are applied.
        pool: Candidates of each user; None: 10 k, at least 100.

    Returns:
        (b, k), -1 with minus infinity where nothing is left.

    Raises:
        UnknownIdError, ConfigError, DataError: Steps that do not fit the model, or a small pool.
    """
    if refuses:
        server.model.vocabularies[0].index(users, "user")
    asked = _asked(server, k, allowed, steps, pool)
    found = []
    for start in range(0, max(len(users), 1), USERS_AT_ONCE):
        some = users[start : start + USERS_AT_ONCE]
        model, rows = server.model, server.model.vocabularies[0].lookup(some)
        had = None if how == "none" else _rows_of(model.had if how == "all" else model.seen, rows)
        best = partial(_best_of_users, server, some, how)
        found.append(asked.top(_rows_of(model.seen, rows), had, best))
    items, scores = zip(*((one.items, one.scores) for one in found), strict=True)
    return Top(np.concatenate(items), np.concatenate(scores))


def reranked_new(
    server: IndexedRecommender, pairs: sparse.csr_array, k: int,
    excluded: sparse.csr_array | None, allowed: Mask | None, features: sparse.csr_array | None,
    steps: Any, pool: int | None = None,
) -> Top:  # fmt: skip
    """The same for users outside of the tables.

    Args:
        server: Of the model.
        pairs: CSR (b, n_items), what they have.
        k: Items per user.
        excluded: CSR (b, n_items), items that they do not get; None: there are none.
        allowed: (n_items,) items to choose among; None: all.
        features: CSR (b, m), see `IndexedRecommender.top_of`; None: there are none.
        steps: See `reranked`.
        pool: See `reranked`.
    """

    def best(count: int, among: Mask | None) -> Top:
        return server.top_of(pairs, count, excluded, among, features)

    return _asked(server, k, allowed, steps, pool).top(pairs, excluded, best)


@dataclass(frozen=True, eq=False)
class _Asked:
    """The part of a request that is the same for all users."""

    server: IndexedRecommender
    k: int
    allowed: Mask | None
    steps: tuple[Step, ...]
    pool: int

    def top(
        self, histories: sparse.csr_array, excluded: sparse.csr_array | None, best: Best
    ) -> Top:
        """The pool of some users through all steps."""
        candidates = Candidates.of(best(self.pool, self.allowed))
        request = Request(self.server, self.k, histories, excluded, self.allowed, best)
        for step in self.steps:
            candidates = step.applied(candidates, request)
        return candidates.top(self.k)


def pool_size(k: int, pool: int | None) -> int:
    """Candidates of each user: as many as are named, or 10 k and at least 100.

    Raises:
        ConfigError: Fewer than k.
    """
    if pool is None:
        return max(LEAST_POOL, TIMES_N * k)
    if whole_number(pool, "pool") < k:
        raise ConfigError(f"pool: expected at least n ({k}) candidates, found {pool}")
    return pool


def _asked(
    server: IndexedRecommender, k: int, allowed: Mask | None, steps: Any, pool: int | None
) -> _Asked:  # fmt: skip
    pool = pool_size(k, pool)
    checked = checked_steps(steps)
    for step in checked:
        allowed = step.narrowed(allowed, server)
    return _Asked(server, k, allowed, checked, min(pool, server.engine.n_items))


def _best_of_users(
    server: IndexedRecommender, users: NDArray[np.str_], how: ExcludeSeen, k: int,
    allowed: Mask | None,
) -> Top:  # fmt: skip
    return best_items(server, users, k, how, allowed, refuses=False)


def _rows_of(matrix: sparse.csr_array, rows: NDArray[np.int64]) -> sparse.csr_array:
    """Rows (b, n) of a matrix, empty ones where a number is -1."""
    known = rows >= 0
    found = matrix[rows[known]]
    counts = np.zeros(len(rows), np.int64)
    counts[known] = np.diff(found.indptr)
    edges = np.concatenate([[0], counts.cumsum()])
    return sparse.csr_array((found.data, found.indices, edges), shape=(len(rows), matrix.shape[1]))
