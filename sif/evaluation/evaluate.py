"""Evaluation protocols: a scorer and a split in, metrics and their per-user parts out.

Ranking is over all items: parts before the evaluated one are masked; a relevant item loses every
tie with an irrelevant one; users without relevant items are left out and counted. Rating errors are
of predictions clipped to the train part's rating range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sif.data.features import Features
from sif.data.interactions.interactions import Interactions
from sif.data.interactions.parts import TEST
from sif.data.interactions.split import Split
from sif.errors import ConfigError, DataError, NotNumberError, ShapeError
from sif.evaluation.beyond import Popularity, beyond_accuracy, beyond_by_features
from sif.evaluation.histories import HistoryReader
from sif.evaluation.metrics import mae, ranking_metrics, rmse
from sif.retrieval.topk import best_columns
from sif.utils.ranks import sharing

Part = Literal["valid", "test"]
Objective = Literal["ranking", "rating"]
Ids = NDArray[np.int64]

# What validation decides by.
MAIN_METRIC: dict[Objective, str] = {"ranking": "ndcg@10", "rating": "rmse"}

CUTOFFS = (10, 20)
"""Lengths of the lists that ranking metrics look at, unless a job names others."""

# Scores held at once: 2^22 float32 values are 16 MB.
_CHUNK_ELEMENTS = 1 << 22

MOST_USERS = 100_000
"""Users that are ranked for. Of more, as many are drawn, the same ones for every model. Metrics
between 0 and 1 deviate by at most 1/2, so that the standard error of a mean is below .0016."""


@runtime_checkable
class RankingScorer(Protocol):
    """Scores every item for a user."""

    def scores(self, users: Ids) -> NDArray[np.float32]:
        """Scores of all items for users (b,): (b, n_items), higher is better."""
        ...


@runtime_checkable
class RatingScorer(Protocol):
    """Predicts a rating for a combination of ids."""

    def predict(self, ids: Ids) -> NDArray[np.float32]:
        """Predictions (b,) in rating units for ids (b, n_fields)."""
        ...


Scorer = RankingScorer | RatingScorer


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one scorer on one part.

    Attributes:
        metrics: name to mean value over all evaluated users (ranking) or ratings (rating).
        users: evaluated users, ascending, int64 (n,).
        per_user: arrays (n,) along `users`; the ranking metrics themselves, or for ratings
            `squared_error` and `absolute_error` sums and the `count` of ratings behind them, and
            with the prefix `cold_item_` the same of items without a train rating.
        left_out: users of the vocabulary that have nothing to predict in this part.
        unit: Kind of `users`, for texts; "images" for a classifier.
    """

    metrics: dict[str, float]
    users: Ids
    per_user: dict[str, NDArray[np.float64]]
    left_out: int
    unit: str = "users"

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"Evaluation({values}; {len(self.users)} {self.unit}, {self.left_out} left out)"


def pair_matrix(interactions: Interactions, users: Ids | None = None) -> sp.csr_matrix:
    """The occurring (user, item) pairs, other fields merged.

    Args:
        interactions: Any rows.
        users: Distinct users (b,), int64, whose pairs are asked for; None: all.

    Returns:
        0/1 float32 CSR (n_users, n_items), or (b, n_items) with a row for each of `users`.
    """
    user, item = interactions.ids[:, 0], interactions.ids[:, 1]
    n_users, n_items = interactions.sizes[:2]
    if users is not None:
        place = np.full(n_users, -1)
        place[users] = np.arange(len(users))
        kept = np.flatnonzero((place >= 0)[user])
        user, item, n_users = place[user[kept]], item[kept], len(users)
    ones = np.ones(len(user), dtype=np.float32)
    pairs = sp.csr_matrix((ones, (user, item)), shape=(n_users, n_items))
    pairs.sum_duplicates()
    pairs.data[:] = 1.0
    return pairs


def evaluated_users(truth: Interactions, most: int = MOST_USERS) -> tuple[Ids, int]:
    """The users that a ranking is evaluated for.

    Args:
        truth: The evaluated part.
        most: Their number at most; of more, as many are drawn, always the same ones.

    Returns:
        Users with a relevant item (n,), ascending, and the number of all users that have none.
    """
    users = np.flatnonzero(np.bincount(truth.ids[:, 0], minlength=truth.sizes[0])).astype(np.int64)
    left_out = truth.sizes[0] - len(users)
    if len(users) > most:
        users = np.sort(np.random.default_rng(0).choice(users, most, replace=False))
    return users, left_out


def evaluate(
    scorer: Scorer, split: Split, part: Part, objective: Objective,
    cutoffs: Sequence[int] = CUTOFFS,
) -> Evaluation:  # fmt: skip
    """Evaluates by the protocol of the objective.

    Args:
        scorer: Scores users, or predicts ratings.
        split: Its train part fitted the scorer.
        part: The one that is evaluated; in rankings those before it are masked, and scorers that
            read histories know them.
        objective: "ranking" or "rating".
        cutoffs: Of ranking metrics.

    Raises:
        ConfigError: The scorer cannot do it.
    """
    is_valid = part == "valid"
    history = (split.train,) if is_valid else (split.train, split.valid)
    truth = split.valid if is_valid else split.test
    rows = split.interactions
    if not is_valid and rows.moment is not None and isinstance(scorer, HistoryReader):
        scorer = scorer.knowing(rows.select(split.part != TEST))
    features = None if is_valid else rows.item_features
    return evaluate_on(scorer, split.train, history, truth, objective, cutoffs, features)


def evaluate_on(
    scorer: Scorer,
    train: Interactions,
    history: tuple[Interactions, ...],
    truth: Interactions,
    objective: Objective,
    cutoffs: Sequence[int] = CUTOFFS,
    features: Features | None = None,
) -> Evaluation:
    """`evaluate` on parts given one by one, for callers that must never hold the test part.

    The scorer was fitted on `train`; in rankings the pairs of the parts in `history` are masked.
    """
    if objective == "ranking" and isinstance(scorer, RankingScorer):
        return rank_all_items(scorer, history, truth, cutoffs, features=features)
    if objective == "rating" and isinstance(scorer, RatingScorer):
        return sharing().told(rating_errors(scorer, train, truth))
    raise ConfigError(f"objective {objective}: {type(scorer).__name__} has no method for it")


def rank_all_items(
    scorer: RankingScorer,
    history: tuple[Interactions, ...],
    truth: Interactions,
    cutoffs: Sequence[int] = CUTOFFS,
    chunk: int | None = None,
    features: Features | None = None,
) -> Evaluation:
    """Ranks all items for every user with a relevant item in the part (`evaluated_users`).

    Its lists are judged beyond accuracy too (`sif.evaluation.beyond`), by the popularity in the
    history.

    Args:
        scorer: gives (b, n_items) scores; minus infinity means "never recommend".
        history: parts before the evaluated one, whose pairs are masked.
        truth: the evaluated part.
        cutoffs: lengths of the list at which every metric is taken.
        chunk: users scored at once; None lets 16 MB of scores decide.
        features: of items, by which lists are diverse and calibrated; None: that is not measured.

    Raises:
        DataError: The part is empty, meets the masked history, or a score is not a number.
        ShapeError: The scorer returned another shape than (b, n_items).
    """
    users, left_out = evaluated_users(truth)
    if not len(users):
        raise DataError("evaluation: expected interactions in the evaluated part, found none")
    hidden, relevant = _hidden_and_relevant(history, truth, users)
    n_items = truth.sizes[1]
    step = chunk or max(1, _CHUNK_ELEMENTS // n_items)
    depth = max(cutoffs)
    hits = np.zeros((len(users), depth), dtype=np.bool_)
    lists = np.zeros((len(users), depth), dtype=np.int32)  # numbers of items from 1; 0: none

    def rank_own() -> None:
        for start in sharing().own(range(0, len(users), step)):
            here = slice(start, start + step)
            scores = _checked_scores(scorer, users[here], n_items)
            is_hit, top = _top_k(scores, hidden[here], relevant[here], min(depth, n_items))
            hits[here, : is_hit.shape[1]] = is_hit
            lists[here, : top.shape[1]] = top + 1

    sharing().together(rank_own)
    hits, top = _of_all(hits.astype(np.int32)) > 0, _of_all(lists).astype(np.int64) - 1
    per_user, metrics = dict[str, NDArray[np.float64]](), dict[str, float]()
    for k in cutoffs:
        at_k = ranking_metrics(hits[:, :k], np.diff(relevant.indptr))
        metrics |= {name: float(values.mean()) for name, values in at_k.items()}
        per_user |= at_k
    popularity = Popularity.of(history, truth.sizes)
    beyond, beyond_per_user = beyond_accuracy(top, hits, popularity, cutoffs)
    if features is not None:
        had, items = sp.csr_array(hidden - relevant), truth.vocabularies[1]
        had.eliminate_zeros()
        more = beyond_by_features(top, had, features, items, cutoffs)
        beyond |= {name: float(values.mean()) for name, values in more.items()}
        beyond_per_user |= more
    return Evaluation(metrics | beyond, users, per_user | beyond_per_user, left_out)


def _hidden_and_relevant(
    history: tuple[Interactions, ...], truth: Interactions, users: Ids
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Pairs of some users (b,) in the history or the evaluated part, and those of the part alone.

    Returns:
        Two CSR matrices (b, n_items).

    Raises:
        DataError: A pair is in both.
    """
    relevant = pair_matrix(truth, users)
    masked = sum((pair_matrix(part, users) for part in history), sp.csr_matrix(relevant.shape))
    hidden = masked + relevant
    if overlap := masked.nnz + relevant.nnz - hidden.nnz:
        raise DataError(
            f"evaluation: expected no pair both in the history and in the evaluated part, "
            f"found {overlap}"
        )
    return hidden, relevant


def _of_all(mine: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sums over the processes that share the work, of which all but one have 0."""
    ranks = sharing()
    if ranks.count == 1:
        return mine
    counts = torch.from_numpy(mine)
    ranks.add(counts)
    return counts.numpy()


def rating_errors(scorer: RatingScorer, train: Interactions, truth: Interactions) -> Evaluation:
    """Errors of ratings on a part: `rmse`, `mae`, and `rmse_std` in deviations of the train part.

    Raises:
        DataError: A part is empty or has no ratings, the train ratings are all equal, or a
            prediction is not a number.
    """
    known, target = ratings(train), ratings(truth, "evaluated part")
    low, high, deviation = known.min(), known.max(), known.std()
    if low == high:
        raise DataError(f"train part: rating: expected two different values, found only {low:g}")
    raw = np.asarray(scorer.predict(truth.ids), dtype=np.float64)
    if raw.shape != target.shape:
        raise ShapeError(f"predictions: expected shape {target.shape}, found {raw.shape}")
    if np.isnan(raw).any():
        raise NotNumberError(f"predictions: expected numbers, found {int(np.isnan(raw).sum())} NaN")
    prediction = np.clip(raw, low, high)
    user = truth.ids[:, 0]
    n_users = truth.sizes[0]
    count = _user_sums(user, np.ones(len(user)), n_users)
    users = np.flatnonzero(count).astype(np.int64)
    error = prediction - target
    cold = np.bincount(train.ids[:, 1], minlength=train.sizes[1])[truth.ids[:, 1]] == 0
    per_user: dict[str, NDArray[np.float64]] = {}
    for prefix, counted in (("", np.ones(len(user))), ("cold_item_", cold.astype(np.float64))):
        for name, value in (("squared_error", error**2), ("absolute_error", np.abs(error))):
            per_user[prefix + name] = _user_sums(user, value * counted, n_users)[users]
        per_user[f"{prefix}count"] = _user_sums(user, counted, n_users)[users]
    root = rmse(prediction, target)
    metrics = {"rmse": root, "rmse_std": float(root / deviation), "mae": mae(prediction, target)}
    return Evaluation(metrics, users, per_user, n_users - len(users))


def ratings(interactions: Interactions, where: str = "train part") -> NDArray[np.float64]:
    """Ratings (n,) of a part; DataError if there are none."""
    if interactions.rating is None:
        raise DataError(f"{where}: rating: expected a column of numbers, found none")
    if len(interactions) == 0:
        raise DataError(f"{where}: expected interactions, found none")
    return interactions.rating.astype(np.float64)


def _user_sums(user: Ids, value: NDArray[np.float64], n_users: int) -> NDArray[np.float64]:
    return np.asarray(np.bincount(user, value, n_users), dtype=np.float64)


def _checked_scores(scorer: RankingScorer, users: Ids, n_items: int) -> NDArray[np.float32]:
    raw = np.asarray(scorer.scores(users))
    if raw.shape != (len(users), n_items):
        raise ShapeError(f"scores: expected shape {(len(users), n_items)}, found {raw.shape}")
    if np.isnan(raw).any():
        row = int(np.argmax(np.isnan(raw).any(axis=1)))
        raise NotNumberError(f"scores of user {users[row]}: expected numbers, found NaN")
    return np.array(raw, dtype=np.float32, order="C")


def _top_k(
    scores: NDArray[np.float32], hidden: sp.csr_matrix, relevant: sp.csr_matrix, k: int
) -> tuple[NDArray[np.bool_], Ids]:
    """Best k items per row, ties to irrelevant items first and then to the lowest index.

    The best irrelevant items are found first; few items are relevant, and are merged into these.

    Args:
        scores: (b, n_items), overwritten.
        hidden: CSR (b, n_items) of masked and of relevant items.
        relevant: CSR (b, n_items), indices ascending.
        k: At most n_items.

    Returns:
        Hits (b, k) and items (b, k), -1 where too few are left.
    """
    counts = np.diff(relevant.indptr)
    rows = np.repeat(np.arange(len(scores)), counts)
    places = k + np.arange(len(rows)) - np.repeat(relevant.indptr[:-1], counts)
    shape = (len(scores), k + int(counts.max()))
    values, items = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    values[rows, places] = scores[rows, relevant.indices]
    items[rows, places] = relevant.indices
    values[:, :k], items[:, :k] = best_columns(scores, k, hidden)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    allowed = np.take_along_axis(values, order, axis=1) > -np.inf
    return (order >= k) & allowed, np.where(allowed, np.take_along_axis(items, order, axis=1), -1)
