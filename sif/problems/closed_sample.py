"""The users and items on which closed forms are judged: levels of ever more, the last of all."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.data.interactions import Interactions
from sif.errors import DivergedError, RankError
from sif.evaluation.evaluate import evaluated_users, pair_matrix
from sif.evaluation.metrics import ranking_metrics
from sif.problems.halving import Judge, patience
from sif.problems.part_rows import feature_rows
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.family import AnyWeights, Family
from sif.utils.device import lacks_memory
from sif.utils.ranks import sharing

Ids = NDArray[np.int64]

K = 10
"""Cut-off of the metric that decides."""
SCORES, MANY = 1 << 25, 1500
"""Scores of all users at the last level, at most (128 MB), but of so many users in any case; no
more scores are held at once."""
SHARES = (1 / 9, 1 / 3, 1.0)
"""Share of those users at each level."""
FEWEST = 200
"""Users at a level, unless there are fewer."""
SOLVED = (1000, 2500, None)
"""Most popular items at each level of families whose fits take the cube of the items."""
SCORING_SECONDS = 600.0
"""Estimated seconds of the scores of all evaluated users, beyond which a design is no candidate: a
filter goes through all pairs for every user."""
MOST_PAIRS = 20_000_000
"""Pairs that closed forms are fitted on at most: what items have to do with each other is known
well enough by then, and products of items take minutes."""
WITHOUT = "search.stages without closed leaves them out"
"""Advice where there is no memory."""


def fitted_users(train: Interactions, seed: int, most: int = MOST_PAIRS) -> Ids | None:
    """The users whose rows closed forms are fitted on, drawn; None: all.

    Args:
        train: All rows.
        seed: Of the draw.
        most: Largest number of rows; one user is drawn in any case, with all rows.

    Returns:
        int64, ascending.
    """
    if len(train) <= most:
        return None
    users = np.random.default_rng([seed, 0xF17]).permutation(train.sizes[0])
    counts = np.bincount(train.ids[:, 0], minlength=train.sizes[0])[users]
    return np.sort(users[: max(1, int(np.searchsorted(counts.cumsum(), most, "right")))])


class ClosedSample:
    """Judges designs by NDCG@10 of some validation users.

    Args:
        train: What designs are fitted on.
        valid: What they are judged by; users without train rows are left out.
        seed: Of the draw of users, and of spectra.

    Attributes:
        clicks: Of all train rows, or of those of `fitted_users`.
        lacked_memory: Whether a design did not fit into memory.
        is_whole: Whether these are all validation users with train rows.
    """

    def __init__(self, train: Interactions, valid: Interactions, seed: int) -> None:
        drawn = fitted_users(train, seed)
        self._seed = seed
        self.clicks = Clicks(pair_matrix(train, drawn), seed, feature_rows(train))
        wanted = pair_matrix(valid, drawn)
        both = (np.diff(wanted.indptr) > 0) & (np.diff(self.clicks.pairs.indptr) > 0)
        users = np.random.default_rng([seed, 0xC5]).permutation(np.flatnonzero(both))
        most = max(MANY, SCORES // max(self.clicks.n_items, 1))
        self.is_whole = len(users) <= most
        self._users, self._wanted = users[:most], wanted
        self._evaluated = len(evaluated_users(valid)[0])
        self._levels: dict[tuple[int, int | None], _Level] = {}
        self.lacked_memory = False

    @property
    def users(self) -> int:
        """Users at the last level."""
        return len(self._users)

    @cached_property
    def judge(self) -> Judge:
        """For a search."""
        return Judge(
            len(SHARES),
            self._merit,
            self._seconds,
            lambda family: family.grids_on(self.clicks),
            patience(self.clicks.pairs.nnz, self.clicks.n_items),
        )

    def merits(self, design: Family) -> NDArray[np.float64]:
        """NDCG@10 of each user of the last level.

        Raises:
            DivergedError: The design cannot be fitted.
        """
        return self._level(type(design), len(SHARES) - 1).per_user(design)

    def told(self, judged: tuple[Family, int, float] | None) -> dict[str, Any]:
        """A judgment as `Trained.tried` has it, without seconds; empty: nothing was judged."""
        if judged is None or not math.isfinite(judged[2]):
            return {}
        design, level, merit = judged
        some = level < len(SHARES) - 1 or not self.is_whole
        users = {"users": self._count(level)} if some else {}
        return {"name": design.expression, "value": merit, **users}

    def _seconds(self, design: Family, level: int) -> float:
        """Estimated seconds of a judgment; endless where nobody could evaluate the model."""
        fit, evaluated = (design.seconds(self.clicks, n) for n in (0, self._evaluated))
        if evaluated - fit > SCORING_SECONDS:
            return math.inf
        return design.seconds(self.clicks, self._count(level))

    def _merit(self, design: Family, level: int) -> float:
        try:
            return self._level(type(design), level).ndcg(design)
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            if sharing().count > 1:  # where the others wait for this one's part
                raise RankError(f"closed forms: out of memory; {WITHOUT}") from None
            self.lacked_memory = True
            self._levels.clear()  # so that there is more for the next one
            self.clicks.forget()
            raise DivergedError(f"closed forms: out of memory; {WITHOUT}") from None

    def _count(self, level: int) -> int:
        return min(self.users, max(FEWEST, round(SHARES[level] * self.users)))

    def _level(self, family: type[Family], level: int) -> _Level:
        most = SOLVED[level] if family.solves else None
        key = self._count(level), most if most and most < self.clicks.n_items else None
        if key not in self._levels:
            self._levels[key] = self._made(*key)
        return self._levels[key]

    def _made(self, count: int, most: int | None) -> _Level:
        users, clicks, wanted = self._users[:count], self.clicks, self._wanted
        if most is not None:
            items = np.sort(np.argsort(-clicks.counts, kind="stable")[:most])
            clicks, wanted = clicks.only(items), sp.csr_matrix(wanted[:, items])
        rows = clicks.pairs[users], wanted[users]
        inside = np.flatnonzero(np.diff(rows[1].indptr))
        return _Level(clicks, *(sp.csr_matrix(part[inside]) for part in rows))


class _Level:
    """Some users on some items.

    Args:
        clicks: What designs are fitted on.
        histories: CSR (b, n_items) of the judged users.
        truth: CSR (b, n_items), what they want.
    """

    def __init__(self, clicks: Clicks, histories: sp.csr_matrix, truth: sp.csr_matrix) -> None:
        self._clicks, self._lengths = clicks, np.diff(truth.indptr)
        step = max(1, SCORES // max(clicks.n_items, 1))
        self._blocks = [
            (histories[start : start + step], truth[start : start + step])
            for start in range(0, truth.shape[0], step)
        ]
        self._never = np.flatnonzero(clicks.counts == 0)

    def ndcg(self, design: Family) -> float:
        """The mean NDCG@10; 0 where nobody is judged."""
        return float(self.per_user(design).mean()) if self._blocks else 0.0

    def per_user(self, design: Family) -> NDArray[np.float64]:
        """NDCG@10 of each user."""
        if not self._blocks:
            return np.zeros(0)
        weights = design.weights(self._clicks)
        hits = np.concatenate([self._hits(weights, *block) for block in self._blocks])
        found: NDArray[np.float64] = ranking_metrics(hits, self._lengths)[f"ndcg@{hits.shape[1]}"]
        return found

    def _hits(
        self, weights: AnyWeights, histories: sp.csr_matrix, truth: sp.csr_matrix
    ) -> NDArray[np.bool_]:
        """Which of the first items (b, k) are wanted, of some users."""
        scores = weights.scores(histories)
        scores[histories.nonzero()] = -np.inf
        scores[:, self._never] = -np.inf
        k = min(K, scores.shape[1])
        top: NDArray[np.int64] = torch.from_numpy(scores).topk(k).indices.numpy()
        rows = np.repeat(np.arange(len(top)), k)
        return np.asarray(truth[rows, top.ravel()]).reshape(top.shape) > 0
