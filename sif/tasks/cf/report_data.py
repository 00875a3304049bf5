"""The page of a job on interactions: the data, groups, and recommendations to look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.baselines import BASELINES
from sif.data.interactions import Interactions, Split
from sif.data.interactions.parts import PART_NAMES
from sif.evaluation.evaluate import MAIN_METRIC, Scorer, evaluated_users, pair_matrix
from sif.evaluation.metrics import merit
from sif.problems.base import SEARCHED
from sif.retrieval.topk import best_columns
from sif.tasks.base import Entry, Results
from sif.tasks.cf.refits import Problems
from sif.tasks.cf.splits import bar, grouped, shown, timeline
from sif.tasks.report_data import few_units, histogram, rounded

Ids = NDArray[np.int64]

USERS = 6
"""Users whose recommendations are shown."""
LISTED, HISTORY = 10, 8
"""Items of a list; items of a history."""
SCORED = 2e7
"""Scores that are computed for the hits by items, at most, of each model."""
MOST_USERS = 5_000
"""Users of these scores, at most."""
RANGES = 5
"""Ranges of items by popularity, of equally many train rows each."""
FAST = 2.0
"""Seconds of a baseline's fit up to which the page fits it again to show its recommendations."""
RATINGS = 40
"""Different ratings up to which they are counted one by one."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A model whose recommendations are shown.

    Attributes:
        name: Of the entrant.
        expression: On one line; empty where the name says it.
        scorer: Of all items, or of ratings.
    """

    name: str
    expression: str
    scorer: Scorer


def page_document(
    results: Results, models: list[Shown], split: Split, tested: Split, metric: str
) -> dict[str, Any]:
    """The data, groups, and recommendations beside those of another model.

    Args:
        results: Of the job.
        models: Whose recommendations are shown, ours first; none: nothing is recommended.
        split: Of the job.
        tested: The same, with what the tested models were fitted on as its train part.
        metric: That decides.
    """
    entries, ranks = results.entries, metric == MAIN_METRIC["ranking"]
    other = models[-1].name if len(models) > 1 else None
    users = chosen_users(entries[SEARCHED], entries.get(other or ""), metric, tested)
    return {
        "data": data_document(split, tested),
        "groups": group_bars(entries, tested, results.verdict, metric),
        "items": item_groups(models, tested) if ranks else None,
        "recommendations": recommendations(models, users, tested, ranks),
        "recommenders": {one.name: one.expression for one in models},
    }


def shown_models(
    results: Results, problems: Problems, metric: str, compared: Collection[str]
) -> list[Shown]:
    """Ours and another one, whose recommendations are shown; none of more than two fields.

    Args:
        results: Of the job.
        problems: On whose train part the tested models were fitted.
        metric: That decides.
        compared: Names that are never served.
    """
    if len(problems.functions.fields) != 2:
        return []

    def trained(name: str) -> Shown:
        design = results.designs[name]
        scorer = problems.scorer(design, results.trained[name].network)
        return Shown(name, problems.of(design).expression(design), scorer)

    ours, against = trained(SEARCHED), results.verdict.against
    name = other_baseline(results.entries, against, metric)
    if name is not None:
        scorer = problems.functions.baseline_fits.fitted(name, results.entries[name].params)
        return [ours, Shown(name, "", scorer)]
    able = against in results.trained and against not in compared
    return [ours, trained(against)] if able and against is not None else [ours]


def data_document(split: Split, tested: Split) -> dict[str, Any]:
    """The data at a glance, as plain numbers.

    Args:
        split: Of the job.
        tested: The same, with what the tested models were fitted on as its train part.
    """
    rows = split.interactions
    counts = {
        field: np.bincount(rows.ids[:, f], minlength=size)
        for f, (field, size) in enumerate(zip(rows.fields, rows.sizes, strict=True))
    }
    pairs = float(rows.sizes[0]) * rows.sizes[1]
    document: dict[str, Any] = {
        "rows": len(rows),
        "sizes": dict(zip(rows.fields, rows.sizes, strict=True)),
        "density": len(rows) / pairs if pairs else None,
        "parts": {name: len(split.rows(k)) for k, name in enumerate(PART_NAMES)},
        "tested_on": len(tested.train),
        "counts": {field: histogram(one) for field, one in counts.items()},
    }  # fmt: skip
    if rows.rating is not None:
        document["ratings"] = _ratings(rows.rating)
    if rows.timestamp is not None and rows.place is None:
        document["timeline"] = timeline(split)
    return document


def _ratings(values: NDArray[np.float32]) -> dict[str, Any]:
    """Rows by rating."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= RATINGS:
        return {"labels": [f"{value:g}" for value in distinct], "counts": counts.tolist()}
    heights, edges = np.histogram(values.astype(np.float64), bins=20)
    return {"labels": [f"{edge:.3g}" for edge in edges[:-1]], "counts": heights.tolist()}


def group_bars(
    entries: Mapping[str, Entry], tested: Split, verdict: Any, metric: str
) -> dict[str, Any]:
    """The metric by group of users, of ours and of those that the verdict looks at."""
    names = shown(entries, verdict, metric)
    groups = {name: grouped(entries[name].test, tested) for name in names}
    return {
        "models": names,
        "groups": [
            {
                "name": group, "users": len(found.evaluation.users), "rows": found.interactions,
                "bars": [
                    bar(few_units(groups[name][group].evaluation, metric), metric)
                    for name in names
                ],
            }
            for group, found in groups[SEARCHED].items()
        ],
    }  # fmt: skip


def other_baseline(entries: Mapping[str, Entry], against: str | None, metric: str) -> str | None:
    """The baseline to show: whom the verdict is against if that is fast to fit, or the best fast.

    None where no baseline is fast.
    """
    fast = {
        name: entry for name, entry in entries.items()
        if name in BASELINES and entry.refit.get("seconds", entry.seconds) <= FAST
    }  # fmt: skip
    if against in fast:
        return against
    return max(fast, key=lambda name: merit(metric, fast[name].valid[metric]), default=None)


def item_groups(models: list[Shown], tested: Split) -> dict[str, Any] | None:
    """How many of the test rows rankings find, by the popularity of their items; None: no models.

    Args:
        models: Ours and others.
        tested: Whose train part they were fitted on.
    """
    if not models:
        return None
    known, relevant = known_pairs(tested), pair_matrix(tested.test)
    popularity = np.bincount(tested.train.ids[:, 1], minlength=known.shape[1])
    place, names = _ranges(popularity)
    users, _ = evaluated_users(tested.test, min(MOST_USERS, max(1, int(SCORED / known.shape[1]))))
    rows = np.bincount(place[relevant[users].indices], minlength=len(names))
    shares, lists = {}, {}
    for one in models:
        hits, offered = np.zeros(len(names)), np.zeros(len(names))
        for start in range(0, len(users), 512):
            some = users[start : start + 512]
            top = top_items(one.scorer, some, known, LISTED)
            offered += np.bincount(place[top[top >= 0]], minlength=len(names))
            for user, items in zip(some, top, strict=True):
                wanted = relevant.indices[relevant.indptr[user] : relevant.indptr[user + 1]]
                found = np.intersect1d(wanted, items)
                hits += np.bincount(place[found], minlength=len(names))
        shares[one.name] = rounded((hits / np.maximum(rows, 1)).tolist())
        lists[one.name] = rounded((offered / max(offered.sum(), 1)).tolist())
    sizes = np.bincount(place, minlength=len(names))
    groups = [
        {"name": name, "items": int(sizes[k]), "rows": int(rows[k])} for k, name in enumerate(names)
    ]
    return {"groups": groups, "recall": shares, "lists": lists, "users": len(users), "cut": LISTED}


def _ranges(popularity: Ids) -> tuple[Ids, list[str]]:
    """(n_items,) the range of each item, and their names: rare items first, none without rows."""
    order = np.argsort(popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    share = before / max(int(popularity.sum()), 1)
    place = np.empty(len(popularity), dtype=np.int64)
    place[order] = np.minimum((share * RANGES).astype(np.int64), RANGES - 1)
    # Items as popular as each other stay together.
    distinct, alike = np.unique(popularity, return_inverse=True)
    first = np.full(len(distinct), RANGES)
    np.minimum.at(first, alike, place)
    place = first[alike]
    kept, place = np.unique(place, return_inverse=True)
    names = []
    for k in range(len(kept)):
        inside = popularity[place == k]
        low, high = int(inside.min()), int(inside.max())
        names.append(f"{low:,}" if low == high else f"{low:,}\N{EN DASH}{high:,}")
    return place, names


def known_pairs(tested: Split) -> sp.csr_matrix:
    """Items that users have before the test, which are not recommended: CSR (n_users, n_items)."""
    return pair_matrix(tested.train) + pair_matrix(tested.valid)


def top_items(scorer: Any, users: Ids, hidden: sp.csr_matrix, count: int) -> Ids:
    """The best items (b, count) of users without those they have, -1 where too few are left."""
    scores = np.array(scorer.scores(users), dtype=np.float32, order="C")
    count = min(count, scores.shape[1])
    values, items = best_columns(scores, count, hidden[users])
    return np.where(values > -np.inf, items, -1)


def chosen_users(ours: Entry, other: Entry | None, metric: str, tested: Split) -> dict[int, str]:
    """Users to look at, with the reason for each: of several lengths of history, and extremes."""
    users, picked = ours.test.users, dict[int, str]()
    if metric in ours.test.per_user and other is not None and len(users):
        gap = ours.test.per_user[metric] - other.test.per_user[metric]
        if gap.max() > 0:
            picked[int(users[int(gap.argmax())])] = f"ours is furthest ahead of {other.name}"
        if gap.min() < 0:
            picked[int(users[int(gap.argmin())])] = f"ours is furthest behind {other.name}"
    counts = np.bincount(tested.train.ids[:, 0], minlength=tested.train.sizes[0])[users]
    order = np.argsort(counts, kind="stable")
    reasons = ("a short history", "a history of usual length", "a long history", "drawn")
    places = (0.1, 0.5, 0.9, 0.35, 0.65, 0.75)
    for place, reason in zip(places, (*reasons, "drawn", "drawn"), strict=True):
        if len(picked) < USERS and len(order):
            picked.setdefault(int(users[order[int(place * (len(order) - 1))]]), reason)
    return picked


def recommendations(
    models: list[Shown], users: Mapping[int, str], tested: Split, ranks: bool
) -> list[dict[str, Any]]:
    """Lists of models for users, side by side.

    Args:
        models: Ours first; none: nothing is shown.
        users: To the reason why each is shown.
        tested: Whose train part the models were fitted on.
        ranks: Whether items are ranked; otherwise ratings of the test part are predicted.
    """
    if not models:
        return []
    rows, titles = tested.interactions, tested.interactions.titles
    names = rows.vocabularies[1].ids
    known, relevant = known_pairs(tested), pair_matrix(tested.test)

    def item(number: int) -> dict[str, Any]:
        name = str(names[number])
        return {"id": name, "title": titles.get(name)}

    documents = []
    for user, reason in users.items():
        wanted = set(relevant[user].indices.tolist())
        mine = np.array([user], dtype=np.int64)
        lists = {}
        for one in models:
            if ranks:
                top = top_items(one.scorer, mine, known, LISTED)[0]
                lists[one.name] = [item(k) | {"hit": k in wanted} for k in top.tolist() if k >= 0]
            else:
                lists[one.name] = _predicted(one.scorer, user, tested, item)
        history = _history(tested.train, user)
        documents.append({
            "user": str(rows.vocabularies[0].ids[user]), "why": reason,
            "history": [item(k) for k in history[:HISTORY]], "known": len(history),
            "held_out": len(wanted), "lists": lists,
        })  # fmt: skip
    return documents


def _history(train: Interactions, user: int) -> list[int]:
    """The items of a user: the latest first where an order is known, or else the best rated."""
    rows = np.flatnonzero(train.ids[:, 0] == user)
    if train.moment is not None:
        rows = rows[np.argsort(-train.moment[rows], kind="stable")]
    elif train.rating is not None:
        rows = rows[np.argsort(-train.rating[rows], kind="stable")]
    items: list[int] = train.ids[rows, 1].tolist()
    return list(dict.fromkeys(items))


def _predicted(scorer: Any, user: int, tested: Split, item: Any) -> list[dict[str, Any]]:
    """Predictions of the ratings that the test part has of a user, the highest first."""
    test = tested.test
    rows = np.flatnonzero(test.ids[:, 0] == user)[:200]
    assert test.rating is not None and tested.train.rating is not None  # noqa: S101
    low, high = float(tested.train.rating.min()), float(tested.train.rating.max())
    predicted = np.clip(scorer.predict(test.ids[rows]), low, high)
    order = np.argsort(-predicted, kind="stable")[:LISTED]
    return [
        item(int(test.ids[rows[k], 1]))
        | {"predicted": round(float(predicted[k]), 2), "rating": float(test.rating[rows[k]])}
        for k in order
    ]
