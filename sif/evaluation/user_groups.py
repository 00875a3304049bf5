"""An evaluation told apart by what the train part knows of users and items.

Nothing is ranked or predicted again: everything follows from the values per user that an
`Evaluation` holds. Ranking groups are of users, by their number of train interactions; rating
groups are of ratings. The group `warm` is what a collaborative model can be asked for: warm users
and, of what they met, the items with a train interaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sif.data.interactions.interactions import Interactions
from sif.evaluation.beyond import BEYOND, BY_FEATURES
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
        evaluation: Of the group alone, without the metrics of `BEYOND`.
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


def groups_of(found: Evaluation, train: Interactions, truth: Interactions) -> dict[str, Group]:
    """The groups of an evaluation that hold anything.

    Args:
        found: Of a scorer that never recommends a cold item (see `cold_start`), or of ratings.
        train: The part that the scorer was fitted on.
        truth: The part that it was evaluated on.

    Returns:
        For ranking `cold-user`, one group per range of `HISTORY` (together all users), and `warm`:
        warm users with cold items taken out of what there is to find. For ratings `cold-user`,
        `cold-item` (of warm users) and `warm`, together all ratings.
    """
    groups = _rating if "count" in found.per_user else _ranking
    named = groups(found, train, truth)
    return {name: group for name, group in named.items() if len(group.evaluation.users)}


def metrics_of(per_user: Mapping[str, NDArray[np.float64]], whole: Evaluation) -> dict[str, float]:
    """Metrics of some users, without coverage.

    Args:
        per_user: Of these users, at least one, as in `Evaluation`.
        whole: The evaluation of all users.
    """
    if "count" not in per_user:
        return {name: float(values.mean()) for name, values in per_user.items()}
    count = per_user["count"].sum()
    root = float(np.sqrt(max(per_user["squared_error"].sum(), 0.0) / count))
    deviation = whole.metrics["rmse_std"] / whole.metrics["rmse"] if root else 0.0
    absolute = float(per_user["absolute_error"].sum() / count)
    return {"rmse": root, "rmse_std": root * deviation, "mae": absolute}


def history_names() -> list[str]:
    """Names of the groups of warm users, shortest history first."""
    ends = [f"{above - 1}" for above in HISTORY[1:]] + ["up"]
    return [f"history-{low}-{end}" for low, end in zip(HISTORY, ends, strict=True)]


def _ranking(found: Evaluation, train: Interactions, truth: Interactions) -> dict[str, Group]:
    relevant = pair_matrix(truth, found.users)
    n_relevant = np.diff(relevant.indptr)
    history = np.diff(pair_matrix(train, found.users).indptr)
    place = np.searchsorted(HISTORY, history, side="right")
    names = [COLD_USER, *history_names()]
    accuracy = {
        name: values for name, values in found.per_user.items()
        if name.partition("@")[0] not in (*BEYOND, *BY_FEATURES)
    }  # fmt: skip
    found = replace(found, per_user=accuracy)
    result = {
        name: _group(found, found.per_user, place == number, n_relevant)
        for number, name in enumerate(names)
    }
    n_warm = np.asarray(relevant @ ~cold_rows(train, 1)).astype(np.int64)
    asked = _rescaled(found, n_relevant, n_warm)
    warm = _group(asked, asked.per_user, (place > 0) & (n_warm > 0), n_warm)
    return {**result, WARM: warm}


def _group(
    found: Evaluation, per_user: Mapping[str, NDArray[np.float64]], chosen: Mask,
    interactions: NDArray[np.int64] | NDArray[np.float64],
) -> Group:  # fmt: skip
    """Some of the users of an evaluation, by values and interactions of all of them."""
    kept = {name: values[chosen] for name, values in per_user.items()}
    metrics = metrics_of(kept, found) if chosen.any() else {}
    everyone, users = len(found.users) + found.left_out, found.users[chosen]
    part = Evaluation(metrics, users, kept, everyone - len(users))
    return Group(part, int(interactions[chosen].sum()))


def _rescaled(found: Evaluation, before: NDArray[np.int64], after: NDArray[np.int64]) -> Evaluation:
    """The evaluation if each user had `after` relevant items in place of `before`.

    Only items that were never recommended are taken away, so the hits stay where they are, and of
    the metrics only what they are divided by changes.
    """
    per_user = {}
    for name, values in found.per_user.items():
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
    return Evaluation(found.metrics, found.users, per_user, found.left_out)


def _rating(found: Evaluation, train: Interactions, truth: Interactions) -> dict[str, Group]:
    del truth  # the sums over cold items are in the evaluation already
    cold_user = cold_rows(train, 0)[found.users]
    names = ("squared_error", "absolute_error", "count")
    everything = np.stack([found.per_user[name] for name in names])
    cold_item = np.stack([found.per_user[f"cold_item_{name}"] for name in names])
    zero = np.zeros_like(everything)
    sums = {
        COLD_USER: np.where(cold_user, everything, zero),
        COLD_ITEM: np.where(cold_user, zero, cold_item),
        WARM: np.where(cold_user, zero, everything - cold_item),
    }
    return {
        name: _group(found, dict(zip(names, some, strict=True)), some[-1] > 0, some[-1])
        for name, some in sums.items()
    }
