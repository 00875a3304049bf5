"""Splits an evaluation into groups by what the train part knows of users and items.

Nothing is ranked or predicted again: groups follow from the values per user of an `Evaluation`.
Ranking groups hold users, by their number of train interactions; rating groups hold ratings. The
group `warm` is the fair test of a collaborative model: warm users and, of their relevant items,
those with a train interaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.evaluation.cold_start import Mask, cold_rows
from sif.evaluation.evaluate import Evaluation, pair_matrix

HISTORY = (1, 10, 50)
"""Least train interactions of the groups of warm users: below 10 a list of ten can hold more items
than the model has seen of the user; 50 is about the median history of MovieLens 100K."""
COLD_USER, COLD_ITEM, WARM = "cold-user", "cold-item", "warm"


@dataclass(frozen=True, eq=False)
class Group:
    """A part of an evaluation.

    Attributes:
        evaluation: Of the group alone; `coverage` is not defined for it and left out.
        interactions: Evaluated pairs or ratings in the group.
    """

    evaluation: Evaluation
    interactions: int

    def document(self) -> dict[str, float]:
        """Numbers of users and interactions, and the metrics."""
        counts = {"users": len(self.evaluation.users), "interactions": self.interactions}
        return {**counts, **self.evaluation.metrics}


Groups = Mapping[str, Group]


def cold_shares(train: Interactions, truth: Interactions) -> dict[str, float]:
    """Shares of a part's interactions whose user, and whose item, has no train interaction.

    Returns:
        `interactions`, `cold_user`, `cold_item`, and `warm` where both are known.
    """
    user, item = (cold_rows(train, f)[truth.ids[:, f]] for f in (0, 1))
    return {
        "interactions": len(truth),
        "cold_user": float(user.mean()),
        "cold_item": float(item.mean()),
        "warm": float((~user & ~item).mean()),
    }


def groups_of(evaluation: Evaluation, train: Interactions, truth: Interactions) -> dict[str, Group]:
    """The groups of an evaluation that are not empty.

    Args:
        evaluation: Of a scorer that never recommends a cold item (see `cold_start`), or of ratings.
        train: The part that the scorer was fitted on.
        truth: The part that it was evaluated on.

    Returns:
        For ranking `cold-user`, one group per range of `HISTORY` (together all users), and `warm`:
        warm users with cold items taken out of what there is to find. For ratings `cold-user`,
        `cold-item` (of warm users) and `warm`, together all ratings.
    """
    groups = _rating if "count" in evaluation.per_user else _ranking
    by_name = groups(evaluation, train, truth)
    return {name: group for name, group in by_name.items() if len(group.evaluation.users)}


def history_names() -> list[str]:
    """Names of the groups of warm users, shortest history first."""
    ends = [f"{above - 1}" for above in HISTORY[1:]] + ["up"]
    return [f"history-{low}-{end}" for low, end in zip(HISTORY, ends, strict=True)]


def _ranking(evaluation: Evaluation, train: Interactions, truth: Interactions) -> dict[str, Group]:
    relevant = pair_matrix(truth)
    n_relevant = np.diff(relevant.indptr)[evaluation.users]
    history = np.diff(pair_matrix(train).indptr)[evaluation.users]
    place = np.searchsorted(HISTORY, history, side="right")
    names = [COLD_USER, *history_names()]
    result = {
        name: _users(evaluation, place == number, n_relevant) for number, name in enumerate(names)
    }
    n_warm = np.asarray(relevant[evaluation.users] @ ~cold_rows(train, 1)).astype(np.int64)
    rescaled = _rescaled(evaluation, n_relevant, n_warm)
    return {**result, WARM: _users(rescaled, (place > 0) & (n_warm > 0), n_warm)}


def _users(evaluation: Evaluation, chosen: Mask, n_relevant: NDArray[np.int64]) -> Group:
    per_user = {name: values[chosen] for name, values in evaluation.per_user.items()}
    some = bool(chosen.any())
    metrics = {name: float(v.mean()) for name, v in per_user.items()} if some else {}
    everyone = len(evaluation.users) + evaluation.left_out
    users = evaluation.users[chosen]
    part = Evaluation(metrics, users, per_user, everyone - len(users))
    return Group(part, int(n_relevant[chosen].sum()))


def _rescaled(
    evaluation: Evaluation, before: NDArray[np.int64], after: NDArray[np.int64]
) -> Evaluation:
    """The evaluation if each user had `after` relevant items in place of `before`.

    Only items that were never recommended are removed, so hits stay in place, and only the
    denominators of the metrics change.
    """
    per_user = {}
    for name, values in evaluation.per_user.items():
        metric, _, cut = name.partition("@")
        k = int(cut)
        ideal = {
            "recall": np.arange(max(int(before.max()), 1) + 1, dtype=np.float64),
            "ndcg": np.cumsum(np.r_[0.0, 1 / np.log2(np.arange(2, k + 2))]),
            "map": np.arange(k + 1, dtype=np.float64),
        }.get(metric)
        if ideal is None:
            per_user[name] = values
            continue
        top = len(ideal) - 1
        wanted = ideal[np.clip(after, 1, top)]
        per_user[name] = values * ideal[np.clip(before, 1, top)] / wanted
    return Evaluation(evaluation.metrics, evaluation.users, per_user, evaluation.left_out)


def _rating(evaluation: Evaluation, train: Interactions, truth: Interactions) -> dict[str, Group]:
    del truth  # the sums over cold items are in the evaluation already
    cold_user = cold_rows(train, 0)[evaluation.users]
    names = ("squared_error", "absolute_error", "count")
    everything = np.stack([evaluation.per_user[name] for name in names])
    cold_item = np.stack([evaluation.per_user[f"cold_item_{name}"] for name in names])
    zero = np.zeros_like(everything)
    sums = {
        COLD_USER: np.where(cold_user, everything, zero),
        COLD_ITEM: np.where(cold_user, zero, cold_item),
        WARM: np.where(cold_user, zero, everything - cold_item),
    }
    return {
        name: _ratings(evaluation, dict(zip(names, s, strict=True))) for name, s in sums.items()
    }


def _ratings(evaluation: Evaluation, sums: dict[str, NDArray[np.float64]]) -> Group:
    chosen = sums["count"] > 0
    per_user = {name: values[chosen] for name, values in sums.items()}
    total = per_user["count"].sum()
    metrics = {}
    if total:
        root = float(np.sqrt(max(per_user["squared_error"].sum(), 0.0) / total))
        deviation = evaluation.metrics["rmse_std"] / evaluation.metrics["rmse"] if root else 0.0
        metrics = {
            "rmse": root,
            "rmse_std": root * deviation,
            "mae": float(per_user["absolute_error"].sum() / total),
        }
    everyone = len(evaluation.users) + evaluation.left_out
    users = evaluation.users[chosen]
    return Group(Evaluation(metrics, users, per_user, everyone - len(users)), int(total))
