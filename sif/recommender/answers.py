"""Answers of a served model: from ids that somebody asks about to a data frame or arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sif.config.cf import ExcludeSeen
from sif.errors import ConfigError, DataError
from sif.recommender.arguments import allowed_ids, answer_length, listed, rows_of
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.retrieval.engine import Top
from sif.spaces.linear.sequences import ranked

Answer = Any
"""A data frame, or a pair of arrays where `as_arrays` asks for them."""


def arrays_of(best: Top, names: NDArray[np.str_], one: bool) -> Answer:
    """Ids, by number in `names`, and scores.

    Both are (m,) where a single id was asked about, m at most n; otherwise (b, n), "" and minus
    infinity where nothing is left.
    """
    if one:
        left = best.items[0] >= 0
        return names[best.items[0][left]], best.scores[0][left]
    left = best.items >= 0
    ids = np.where(left, names[best.items], "")
    return ids, best.scores


def frame_of(
    best: Top, names: NDArray[np.str_], answered: str, queries: Mapping[str, NDArray[np.str_]],
    titles: Mapping[str, str],
) -> pd.DataFrame:  # fmt: skip
    """A row for each answer, best first.

    Args:
        best: Numbers (b, n) with scores, -1 where nothing is left.
        names: Ids by number.
        answered: Name of the column of answers.
        queries: Name of the column of ids (b,) that were asked about; empty: a single one.
        titles: Id to title; empty: no such column.
    """
    rows, places = np.nonzero(best.items >= 0)
    ids = names[best.items[rows, places]].astype(object)
    columns: dict[str, Any] = {
        name: column.astype(object)[rows] for name, column in queries.items()
    }
    columns |= {answered: ids, "score": best.scores[rows, places], "rank": places + 1}
    if titles:
        columns["title"] = [titles.get(name, "") for name in ids]
    # The arrays are new: nothing else would change with the frame.
    return pd.DataFrame(columns, index=pd.RangeIndex(len(ids)), copy=False)


def answer(
    model: ServedModel, best: Top, asked: NDArray[np.str_] | None, as_arrays: bool, field: int = 1,
    column: str = "user",
) -> Answer:  # fmt: skip
    """An answer about the ids that were asked about; None: about a single one."""
    names = model.vocabularies[field].ids
    if as_arrays:
        return arrays_of(best, names, one=asked is None)
    titles = model.titles if field == 1 else {}
    columns = {} if asked is None else {column: asked}
    return frame_of(best, names, ("user", "item")[field], columns, titles)


def best_items(
    server: IndexedRecommender, users: NDArray[np.str_], k: int, how: ExcludeSeen,
    allowed: NDArray[np.bool_] | None, refuses: bool,
) -> Top:  # fmt: skip
    """The best items of users.

    Args:
        server: Of the model.
        users: (b,) ids.
        k: Items per user.
        how: What a user has and does not get again.
        allowed: (n_items,) items to choose among; None: all.
        refuses: Whether an unknown user is refused, and does not get the popular items.
    """
    vocabulary = server.model.vocabularies[0]
    if len(users) == 1 and (row := vocabulary.number(str(users[0]))) >= 0:
        return server.top_of_one(row, k, how, allowed)
    rows = vocabulary.index(users, "user") if refuses else vocabulary.lookup(users)
    return best_of_rows(server, rows, k, how, allowed)


def best_of_rows(
    server: IndexedRecommender, rows: NDArray[np.int64], k: int, how: ExcludeSeen,
    allowed: NDArray[np.bool_] | None,
) -> Top:  # fmt: skip
    """The best items of users by number (b,), -1 of an unknown one; see `best_items`."""
    model, known = server.model, rows >= 0
    excluded = model.excluded(np.where(known, rows, 0), how)
    best = server.top(np.where(known, rows, 0), k, excluded, allowed)
    if not known.all():
        nothing = sparse.csr_array((int((~known).sum()), len(model.vocabularies[1])))
        popular = server.top_of(nothing, k, None, allowed)
        best.items[~known], best.scores[~known] = popular.items, popular.scores
    return best


def in_order(
    server: IndexedRecommender, users: NDArray[np.str_], items: Iterable[Any], refuses: bool
) -> Top:  # fmt: skip
    """Given items in each user's order; those that are never recommended come last.

    Args:
        server: Of the model.
        users: (b,) ids.
        items: Ids; of a repeated one the first counts.
        refuses: See `best_items`.
    """
    columns, _, _ = rows_of(server.model, 1, items, "items")
    columns = columns[np.sort(np.unique(columns, return_index=True)[1])]
    count, allowed = len(columns), np.isin(np.arange(server.engine.n_items), columns)
    best = best_items(server, users, max(count, 1), "none", allowed, refuses)
    if server.cold_start is not None:
        never = columns[server.cold_start.never_recommended[columns]]
        best.items[:, count - len(never) : count] = never
    return Top(best.items[:, :count], best.scores[:, :count])


def predicted(model: ServedModel, *given: Any) -> NDArray[np.float32]:
    """Scores (b,) of combinations of ids, or a number for single ids.

    Args:
        model: The model.
        given: One id or b ids of each field.

    Raises:
        UnknownIdError: An unknown id.
        ConfigError: Ids of another number of fields, or sequences of unequal lengths.
        DataError: A score that is not a number.
    """
    names = ("users", "items", *model.fields[2:], *("context" for _ in given[2:]))
    columns = [listed(ids, name) for ids, name in zip(given, names, strict=False)]
    lengths = {len(ids) for ids, one in columns if not one} or {1}
    if len(columns) != len(model.fields) or len(lengths) > 1:
        raise ConfigError(
            f"predict: expected {len(model.fields)} sequences of one length, or single ids "
            f"({', '.join(model.fields)}), found lengths {[len(ids) for ids, _ in columns]}"
        )
    (length,) = lengths
    fields = zip(model.fields, model.vocabularies, columns, strict=True)
    rows = [
        np.broadcast_to(vocabulary.index(ids, field), length)
        for field, vocabulary, (ids, _) in fields
    ]
    scores = model.scorer.predict(np.stack(rows, axis=1))
    if model.rule is not None:
        scores = model.rule.of_pairs(scores, rows[0], rows[1])
        scores = _by_features(model, scores, rows[0], rows[1])
    for lost in np.flatnonzero(np.isnan(scores))[:1]:
        pair = ", ".join(
            f"{field} {str(ids[0 if one else lost])!r}"
            for field, (ids, one) in zip(model.fields, columns, strict=True)
        )
        raise DataError(f"predict: score of {pair}: expected a number, found NaN")
    return scores[0] if all(one for _, one in columns) else scores


def _by_features(
    model: ServedModel, scores: NDArray[np.float32], users: NDArray[np.int64],
    items: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """Scores (n,) of pairs, those of users without interactions by their features."""
    if model.user_features is None or model.user_stand is None or model.rule is None:
        return scores
    asked = np.flatnonzero(model.rule.cold_users[users])
    if not len(asked):
        return scores
    names, place = np.unique(users[asked], return_inverse=True)
    features = model.user_features.rows(model.vocabularies[0].ids[names])
    tells, found = model.user_stand.tells(features), scores.copy()
    for row in np.flatnonzero(tells):
        here = asked[place == row]
        found[here] = model.user_stand.scores(features[[row]], model)[0][items[here]]
    return found


def neighbors(
    server: IndexedRecommender, field: int, ids: Any, n: int, excluded: Any, as_arrays: bool
) -> Answer:
    """Users or items whose vectors point most alike.

    Args:
        server: Of the model.
        field: 0: users, 1: items.
        ids: One id or several.
        n: Neighbors of each.
        excluded: Ids that are nobody's neighbors; None: none.
        as_arrays: Answer with arrays.
    """
    model = server.model
    rows, names, one = rows_of(model, field, ids, f"{model.fields[field]}s")
    allowed = allowed_ids(model, field, excluded)
    nearest = server.similar(field, rows, answer_length(n, model), allowed=allowed)
    return answer(model, nearest, None if one else names, as_arrays, field, "similar_to")


def reasons(server: IndexedRecommender, user: Any, item: Any, n: int, as_arrays: bool) -> Answer:
    """The items of a user that carry the score of an item, most first.

    Args:
        server: Of the model.
        user: One id.
        item: One id.
        n: Number of items.
        as_arrays: Answer with arrays.
    """
    model = server.model
    pairs = model.seen[rows_of(model, 0, [user], "user")[0]]
    carried = server.explained(pairs, int(rows_of(model, 1, [item], "item")[0][0]))
    order = np.argsort(-carried, kind="stable")
    order = order[carried[order] != 0][: answer_length(n, model)]
    best = Top(pairs.indices[None, order].astype(np.int64), carried[None, order])
    found = answer(model, best, None, as_arrays)
    if model.forgets and not as_arrays:
        found["age"] = (pairs.nnz - ranked(pairs).data[order] + 1).astype(np.int64)
    if model.reads_time and not as_arrays:
        latest = pairs.data.max(initial=-np.inf)  # times before 1970 are below 0
        found["seconds"] = (latest - pairs.data[order]).round()
    return found
