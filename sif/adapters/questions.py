"""Questions to a served recommender as the rows of a table, and the answers as another.

A row asks one thing: what a known `user` should get, what somebody with a `history` should get, or
what is similar to an `item`. Everything that can be wrong with a table is a `SifError` of one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sif.data.interactions.ids import id_string
from sif.data.interactions.ratings import numbers_of
from sif.errors import DataError, EntryError
from sif.recommender.arguments import exclusion
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.owned import History
from sif.retrieval.engine import Top

Kind = Literal["user", "history", "item"]
KINDS: tuple[Kind, ...] = ("user", "history", "item")
COLUMNS = (*KINDS, "ratings", "n")
COUNT = 10
"""Items per answer where nothing else is asked for."""
MOST_ROWS = MOST_ITEMS = 10_000
"""Questions of a table; items of a history or of an answer."""
MOST_ANSWERS = 1_000_000
"""Questions times items per answer: what a reply may hold."""


@dataclass(frozen=True)
class Question:
    """One row.

    Attributes:
        kind: Kind of question.
        ids: Of the user or the item, one; of the history, any number.
        ratings: One per item of a history, for models of ratings.
        count: Items that are wanted.
    """

    kind: Kind
    ids: tuple[str, ...]
    ratings: tuple[float, ...] | None
    count: int


class Answering:
    """Answers tables of questions; may be used by several threads at once.

    Args:
        model: Served; of user and item alone.

    Raises:
        ConfigError: A model of other fields.
    """

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.server = IndexedRecommender(model)
        self._ask: dict[Kind, Callable[[list[Question], int, bool], Top]] = {
            "user": self._users, "history": self._histories, "item": self._items,
        }  # fmt: skip

    def answers(
        self, table: pd.DataFrame, count: Any = COUNT, filter_already_liked: Any = True
    ) -> pd.DataFrame:
        """One row per question, in their order.

        Args:
            table: Columns `user`, `item`: an id; `history`: a list of item ids; exactly one of them
                in each row. `ratings`: a list, one per item of a history, for models of ratings.
                `n`: items that this row wants. Columns may be absent, cells empty.
            count: Items where a row has no `n`; None: 10.
            filter_already_liked: Leave out items of the user, as the model's setting `exclude_seen`
                says; None: True.

        Returns:
            `items`, a list of ids, best first; `scores`, a list of floats; and where the data have
            titles, `titles`, a list of texts, "" for an item without.

        Raises:
            DataError: A table, a row or a cell that is no question, or too much of anything.
            UnknownIdError: An unknown user or item.
            ConfigError: A function that ranks items alike for everybody.
        """
        liked = True if filter_already_liked is None else filter_already_liked
        if not isinstance(liked, bool | np.bool_):
            raise DataError(f"filter_already_liked: expected true or false, found {_told(liked)}")
        usual = COUNT if count is None else _count(count, "n")
        questions = _questions(table, usual)
        most = max(question.count for question in questions)
        k = min(most, len(self.model.vocabularies[1]))
        if len(questions) * k > MOST_ANSWERS:
            raise DataError(
                f"questions: expected at most {MOST_ANSWERS:,} items in all answers, found "
                f"{len(questions):,} questions for {k:,} items each"
            )
        rows: list[dict[str, list[Any]]] = [{} for _ in questions]
        for kind, ask in self._ask.items():
            places = [i for i, question in enumerate(questions) if question.kind == kind]
            if places:
                best = ask([questions[i] for i in places], k, bool(liked))
                for place, items, scores in zip(places, best.items, best.scores, strict=True):
                    rows[place] = self._row(items, scores, questions[place].count)
        return pd.DataFrame(rows)

    def _row(
        self, items: NDArray[np.int64], scores: NDArray[np.float32], count: int
    ) -> dict[str, list[Any]]:
        left = np.flatnonzero(items >= 0)[:count]
        ids = self.model.vocabularies[1].ids[items[left]].tolist()
        row = {"items": ids, "scores": scores[left].astype(float).tolist()}
        if self.model.titles:
            row["titles"] = [self.model.titles.get(item, "") for item in ids]
        return row

    def _users(self, questions: list[Question], k: int, liked: bool) -> Top:
        self.server.refuse_unpersonalized()
        rows = self.model.vocabularies[0].index([q.ids[0] for q in questions], "user")
        return self.server.top(rows, k, self.model.excluded(rows, exclusion(liked, self.model)))

    def _histories(self, questions: list[Question], k: int, liked: bool) -> Top:
        self.server.refuse_unpersonalized()
        histories = zip(*map(self._history, questions), strict=True)
        had = History(*(sparse.csr_array(sparse.vstack(rows, "csr")) for rows in histories))
        return self.server.top_of(had.pairs, k, had.excluded(exclusion(liked, self.model)))

    def _history(self, question: Question) -> History:
        rated = self.model.objective == "rating"
        values = question.ratings or None
        if rated and values is None and question.ids:
            raise DataError("ratings: expected one per item of a history, found none")
        if not rated and values is not None:
            raise DataError("ratings: expected none for a model of rankings, found some")
        names = np.array(question.ids, dtype=np.str_)
        ones = np.ones(len(names))
        return self.model.history(names, np.asarray(values or ones, np.float64), "item")

    def _items(self, questions: list[Question], k: int, liked: bool) -> Top:
        rows = self.model.vocabularies[1].index([q.ids[0] for q in questions], "item")
        return self.server.similar(1, rows, k)


def _questions(table: pd.DataFrame, count: int) -> list[Question]:
    """The rows of a table, checked."""
    if not 0 < len(table) <= MOST_ROWS:
        raise DataError(
            f"questions: expected 1 to {MOST_ROWS:,} rows with {', '.join(KINDS[:-1])} or "
            f"{KINDS[-1]}, found {len(table):,}"
        )
    names = table.columns.tolist()
    twice = next((name for name in COLUMNS if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"questions: expected every column once, found {twice!r} again")
    columns = {name: table[name].tolist() for name in COLUMNS if name in names}
    return [
        _question({name: cells[place] for name, cells in columns.items()}, count, place + 1)
        for place in range(len(table))
    ]


def _question(row: dict[str, Any], count: int, number: int) -> Question:
    given = {name: value for name, value in row.items() if not _missing(value)}
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        raise DataError(f"row {number}: expected exactly one of {', '.join(KINDS)}, found {found}")
    (kind,) = kinds
    ratings = None
    if kind == "history":
        ids = tuple(id_string(one, f"row {number}: history") for one in _cells(given, kind, number))
        if "ratings" in given:
            ratings = tuple(_ratings(given, len(ids), number))
    else:
        ids = (id_string(given[kind], f"row {number}: {kind}"),)
        if "ratings" in given:
            raise DataError(f"row {number}: ratings: expected with a history, found with {kind}")
    wanted = _count(given["n"], f"row {number}: n") if "n" in given else count
    return Question(kind, ids, ratings, wanted)


def _missing(value: Any) -> bool:
    """Cells that pandas fills in, and nulls."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _cells(given: dict[str, Any], name: str, number: int) -> list[Any]:
    cells = given[name]
    if not isinstance(cells, list | tuple | np.ndarray):
        raise DataError(f"row {number}: {name}: expected a list, found {_told(cells)}")
    if len(cells) > MOST_ITEMS:
        raise DataError(
            f"row {number}: {name}: expected at most {MOST_ITEMS:,} items, found {len(cells):,}"
        )
    return list(cells)


def _ratings(given: dict[str, Any], expected: int, number: int) -> list[float]:
    cells = _cells(given, "ratings", number)
    if len(cells) != expected:
        raise DataError(
            f"row {number}: ratings: expected {expected}, one per item, found {len(cells)}"
        )
    try:
        ratings = numbers_of(cells)
    except EntryError as error:
        raise DataError(f"row {number}: ratings: {error.expected}, found {error.found}") from None
    if not np.isfinite(ratings).all():
        found = _told(cells[int(np.argmin(np.isfinite(ratings)))])
        raise DataError(f"row {number}: ratings: expected finite numbers, found {found}")
    return [float(rating) for rating in ratings]


def _count(value: Any, where: str) -> int:
    whole = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not whole or value not in range(1, MOST_ITEMS + 1):
        raise DataError(
            f"{where}: expected a whole number from 1 to {MOST_ITEMS:,}, found {_told(value)}"
        )
    return int(value)


def _told(value: Any) -> str:
    """A value in an error: short, and on one line."""
    try:
        text = repr(value)
    except ValueError:  # of thousands of digits
        text = f"a {type(value).__name__} of too many digits"
    return text if len(text) <= 40 else f"{text[:40]}..."
