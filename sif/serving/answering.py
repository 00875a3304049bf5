"""Answers to many questions at once, by one model.

Questions of several requests that want the same kind of thing are one call of the engine. A bad
question spoils no other: each gets its answer or its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.data.interactions.ids import id_strings
from sif.errors import EntryError, SifError
from sif.recommender import answers
from sif.recommender.arguments import exclusion
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.owned import History
from sif.retrieval.engine import Top
from sif.serving.questions import ExplainQuestion, RecommendQuestion, Refused, SimilarQuestion
from sif.spaces.linear.sequences import moments
from sif.utils.argument_types import shown

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Q = TypeVar("Q", RecommendQuestion, SimilarQuestion, ExplainQuestion)

SMALL = 64
"""Up to this many items per answer questions share a call; the engine is fastest there."""


@dataclass(frozen=True)
class Answer:
    """The answer to one question, best first.

    Attributes:
        field: 0: the answers are users, 1: items.
        ids: (m,).
        scores: (m,).
        further: Further columns by name, such as "age".
    """

    field: int
    ids: list[str]
    scores: list[float]
    further: dict[str, list[Any]] = field(default_factory=dict)


Result = Answer | Refused


class Answering:
    """A model that answers questions.

    Args:
        model: Served; of user and item alone.
        unknown: Answer to an unknown user: "error", or "popular" items.
        version: Name of the model in replies.

    Attributes:
        model, version: See the arguments.

    Raises:
        ConfigError: A model of other fields.
    """

    def __init__(self, model: ServedModel, unknown: str, version: str) -> None:
        self.model, self.unknown, self.version = model, unknown, version
        self.server = IndexedRecommender(model)

    def warm(self) -> None:
        """Answers once, so that the first request does not wait for what is made at first use."""
        if len(self.model.vocabularies[0]):
            user = str(self.model.vocabularies[0].ids[0])
            self.recommend([RecommendQuestion(user=user)])

    # Items for users

    def recommend(self, questions: Sequence[RecommendQuestion]) -> list[Result]:
        """The best items for users and histories."""
        asked = _Asked(self.model, questions)
        users = asked.numbers(0, lambda q: [] if q.user is None else [q.user])
        histories = asked.numbers(1, lambda q: q.history or ())
        excluded = asked.numbers(1, lambda q: q.exclude_items or (), "exclude_items")
        items = asked.numbers(1, lambda q: q.items or (), "items")
        groups: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
        for place, question in enumerate(questions):
            if asked.results[place] is not None:
                continue
            try:
                self.server.refuse_unpersonalized()
                row = self._row(question, users[place], histories[place], excluded[place])
                how = exclusion(question.exclude_seen, self.model)
                where = _where(question)
                among = None if question.items is None else items[place].tobytes()
            except (SifError, Refused) as error:
                asked.results[place] = refused(error)
                continue
            row.place, row.items, row.question = place, items[place], question
            row.count = min(question.n, max(self.server.engine.n_items, 1))
            size = SMALL if row.count <= SMALL else row.count
            groups[row.history is None, how, size, among, where].append(row)
        for (_, how, *_), rows in groups.items():
            _in_parts(asked, rows, lambda some, how=how: self._best(some, how))
        return asked.finished()

    def _row(
        self, question: RecommendQuestion, user: Numbers, history: Numbers, further: Numbers
    ) -> _Row:
        if (question.user is None) == (question.history is None):
            found = "both" if question.user is not None else "neither"
            raise Refused(422, f"expected either user or history, found {found}")
        if question.history is None:
            for name in ("times", "ratings"):
                if getattr(question, name) is not None:
                    raise Refused(422, f"{name}: expected with a history, found with a user")
            if user[0] >= 0:
                return _Row(further, int(user[0]))
            if self.unknown == "error":
                raise Refused(422, unknown_id(self.model, 0, question.user))
        return _Row(further, None, self._history(question, history))

    def _history(self, question: RecommendQuestion, columns: Numbers) -> History:
        model, names = self.model, question.history or ()
        for name in ("times", "ratings"):
            given = getattr(question, name)
            if given is not None and len(given) != len(names):
                raise Refused(
                    422, f"{name}: expected {len(names)}, one per item, found {len(given)}"
                )
        if model.objective == "rating" and len(names) and not question.ratings:
            raise Refused(422, "ratings: expected one per item of the history, found none")
        if model.objective != "rating" and question.ratings:
            raise Refused(422, "ratings: expected none for a model of rankings, found some")
        values = np.asarray(question.ratings or np.ones(len(names)), np.float64)
        order = np.arange(len(names))
        if question.times is not None:
            order = np.argsort(question.times, kind="stable")
        columns, values = columns[order], values[order]
        if (columns < 0).any():
            texts = np.array([str(names[place]) for place in order])
            dropped = model.owned.items.lookup(texts[columns < 0]) >= 0
            if not dropped.all():
                lost = texts[columns < 0][np.argmin(dropped)]
                raise Refused(422, unknown_id(model, 1, str(lost), "history"))
            order, values = order[columns >= 0], values[columns >= 0]
            columns = columns[columns >= 0]
        pairs = model.row(columns, values)
        if question.times is not None and model.reads_time:
            pairs = _at_times(pairs, columns, np.asarray(question.times, np.float64)[order])
        had = np.unique(columns)
        ones = np.ones(len(had), np.float32)
        return History(pairs, sparse.csr_array((ones, had, [0, len(had)]), shape=pairs.shape))

    def _best(self, rows: list[_Row], how: Any) -> list[Answer]:
        first, k = rows[0], max(row.count for row in rows)
        allowed = self._allowed(first)
        if first.history is None:
            numbers = np.array([row.user for row in rows], dtype=np.int64)
            excluded = self.model.excluded(numbers, how)
            best = self.server.top(numbers, k, _joined(excluded, rows, self._width), allowed)
        else:
            histories = [row.history for row in rows if row.history is not None]
            had = History(*map(_stacked, zip(*histories, strict=True)))
            excluded = had.excluded(how)
            best = self.server.top_of(had.pairs, k, _joined(excluded, rows, self._width), allowed)
        return self._answers(best, rows, 1)

    @property
    def _width(self) -> int:
        return self.server.engine.n_items

    def _allowed(self, row: _Row) -> Mask | None:
        question, mask = row.question, None
        if question.items is not None:
            mask = np.zeros(self._width, np.bool_)
            mask[row.items] = True
        for name, values in (question.where or {}).items():
            having = self._having(name, values)
            mask = having if mask is None else mask & having
        return mask

    def _having(self, name: str, values: list[Any]) -> Mask:
        """The items that have one of some values of a feature."""
        features = getattr(self.model, "item_features", None)
        if features is None:
            raise Refused(422, "where: expected a model with features of items, found one without")
        mask = np.zeros(self._width, np.bool_)
        for value in values:
            mask |= features.having(name, value, self.model.vocabularies[1])
        return mask

    # Neighbors

    def similar(self, questions: Sequence[SimilarQuestion]) -> list[Result]:
        """The users or items that are most alike."""
        asked = _Asked(self.model, questions)
        groups: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
        found = {
            field: (
                asked.numbers(field, lambda q, f=field: _own(q, f), ("user", "item")[field]),
                asked.numbers(field, lambda q, f=field: _excluded(q, f), "exclude"),
            )
            for field in (0, 1)
        }
        for place, question in enumerate(questions):
            if (question.item is None) == (question.user is None):
                both = "both" if question.item is not None else "neither"
                line = f"expected either item or user, found {both}"
                asked.results[place] = asked.results[place] or Refused(422, line)
            if asked.results[place] is not None:
                continue
            field = 0 if question.item is None else 1
            own, others = found[field][0][place], found[field][1][place]
            row = _Row(others, int(own[0]), place=place)
            row.count = min(question.n, len(self.model.vocabularies[field]))
            groups[field, others.tobytes()].append(row)
        for (field, _), rows in groups.items():
            _in_parts(asked, rows, lambda some, field=field: self._nearest(some, field))
        return asked.finished()

    def _nearest(self, rows: list[_Row], field: int) -> list[Answer]:
        numbers = np.array([row.user for row in rows], dtype=np.int64)
        allowed = None
        if len(rows[0].further):
            allowed = np.ones(len(self.model.vocabularies[field]), np.bool_)
            allowed[rows[0].further] = False
        k = max(row.count for row in rows)
        return self._answers(self.server.similar(field, numbers, k, allowed=allowed), rows, field)

    # Reasons

    def explain(self, questions: Sequence[ExplainQuestion]) -> list[Result]:
        """The items of users that carry scores."""
        asked = _Asked(self.model, questions)
        asked.numbers(0, lambda q: [q.user], "user")
        asked.numbers(1, lambda q: [q.item], "item")
        rows = [
            _Row(np.zeros(0, np.int64), place=place)
            for place in range(len(questions))
            if asked.results[place] is None
        ]
        for row in rows:
            _in_parts(asked, [row], lambda some: [self._reasons(questions[some[0].place])])
        return asked.finished()

    def _reasons(self, question: ExplainQuestion) -> Answer:
        frame = answers.reasons(self.server, question.user, question.item, question.n, False)
        further = {
            name: frame[name].tolist() for name in ("age", "seconds") if name in frame.columns
        }
        return Answer(1, frame["item"].tolist(), frame["score"].tolist(), further)

    def _answers(self, best: Top, rows: list[_Row], field: int) -> list[Answer]:
        names, found = self.model.vocabularies[field].ids, []
        ids = names[best.items] if len(names) else best.items.astype(np.str_)
        left = (best.items >= 0).sum(axis=1)
        for row, texts, scores, most in zip(
            rows, ids.tolist(), best.scores.tolist(), left.tolist(), strict=True
        ):
            count = min(row.count, most)
            found.append(Answer(field, texts[:count], scores[:count]))
        return found


@dataclass
class _Row:
    """One question in numbers of the model.

    Attributes:
        further: Numbers that are left out beside what is had.
        user: Number of the user, or of the thing that neighbors are asked of.
        history: In place of a user.
        items: Numbers to choose among.
        place: Of the question.
        count: Answers that are wanted.
        question: The question.
    """

    further: Numbers
    user: int | None = None
    history: History | None = None
    items: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    place: int = 0
    count: int = 0
    question: Any = None


class _Asked:
    """Questions of one kind, and their results so far."""

    def __init__(self, model: ServedModel, questions: Sequence[Q]) -> None:
        self.model, self.questions = model, questions
        self.results: list[Result | None] = [None] * len(questions)

    def numbers(
        self, field: int, ids_of: Callable[[Any], Iterable[Any]], needed: str = ""
    ) -> list[Numbers]:
        """Numbers of ids of each question, by one look-up; a bad id is the end of its question.

        Args:
            field: Of the ids.
            ids_of: Gives those of a question.
            needed: Name of the ids in the line that refuses an unknown one; empty: it is -1.
        """
        lists = [
            [] if done is not None else list(map(str, ids_of(question)))
            for question, done in zip(self.questions, self.results, strict=True)
        ]
        while True:
            edges = np.cumsum([0, *map(len, lists)])
            try:
                texts = id_strings([one for some in lists for one in some])
                break
            except EntryError as error:
                place = int(np.searchsorted(edges, error.row, "right")) - 1
                name = needed or ("user", "history")[field]
                self.results[place] = Refused(422, f"{name}: {error.expected}, found {error.found}")
                lists[place] = []
        found = self.model.vocabularies[field].lookup(texts) if len(texts) else texts.astype(int)
        parts = np.split(found, edges[1:-1])
        for place, some in enumerate(parts):
            if needed and self.results[place] is None and (some < 0).any():
                lost = lists[place][int(np.argmax(some < 0))]
                self.results[place] = Refused(422, unknown_id(self.model, field, lost, needed))
        return parts

    def finished(self) -> list[Result]:
        """All results."""
        return [one or Refused(500, "the question got no answer") for one in self.results]


def _in_parts(
    asked: _Asked, rows: list[_Row], answer: Callable[[list[_Row]], list[Answer]]
) -> None:
    """Answers rows in one call; where that fails, one by one, so that each has its own reason."""
    try:
        for row, found in zip(rows, answer(rows), strict=True):
            asked.results[row.place] = found
    except (SifError, Refused) as error:
        if len(rows) == 1:
            asked.results[rows[0].place] = refused(error)
            return
        for row in rows:
            _in_parts(asked, [row], answer)


def refused(error: SifError | Refused) -> Refused:
    """An error of the library as a refusal."""
    return error if isinstance(error, Refused) else Refused(422, str(error))


def unknown_id(model: ServedModel, field: int, found: Any, name: str = "") -> str:
    """The line on an unknown id; no near one is looked for, which takes milliseconds."""
    known = model.vocabularies[field].ids
    first = f" (the first is {str(known[0])!r})" if len(known) else ""
    told = shown(str(found))
    return f"{name or 'user'}: expected one of {len(known):,} known ids{first}, found {told}"


def _own(question: SimilarQuestion, field: int) -> list[Any]:
    value = question.item if field else question.user
    return [] if value is None else [value]


def _excluded(question: SimilarQuestion, field: int) -> list[Any]:
    return (question.exclude or []) if _own(question, field) else []


def _where(question: RecommendQuestion) -> Any:
    where = question.where or {}
    return tuple((name, *map(repr, values)) for name, values in where.items())


def _at_times(
    pairs: sparse.csr_array, columns: Numbers, seconds: NDArray[np.float64]
) -> sparse.csr_array:
    """A history's pairs (1, n_items) with the times of its items in order; the last one counts."""
    when = moments(np.zeros(len(columns), np.int64), seconds, np.array([-np.inf]))
    latest = dict(zip(columns.tolist(), when.tolist(), strict=True))
    data = np.array([latest[column] for column in pairs.indices.tolist()], pairs.data.dtype)
    return sparse.csr_array((data, pairs.indices, pairs.indptr), shape=pairs.shape)


def _stacked(rows: Sequence[sparse.csr_array]) -> sparse.csr_array:
    """Rows (1, n) as one matrix; quicker than scipy's for a few short ones."""
    edges = np.cumsum([0, *(len(row.data) for row in rows)])
    parts = (np.concatenate([getattr(row, name) for row in rows]) for name in ("data", "indices"))
    return sparse.csr_array((*parts, edges), shape=(len(rows), rows[0].shape[1]))


def _joined(
    excluded: sparse.csr_array | None, rows: list[_Row], width: int
) -> sparse.csr_array | None:
    """What is left out of each row, with the further items that its question names."""
    if not any(len(row.further) for row in rows):
        return excluded
    parts = []
    for place, row in enumerate(rows):
        had = row.further
        if excluded is not None:
            start, stop = excluded.indptr[place], excluded.indptr[place + 1]
            had = np.concatenate([excluded.indices[start:stop], had])
        parts.append(np.unique(had))
    edges = np.cumsum([0, *map(len, parts)])
    indices = np.concatenate(parts)
    ones = np.ones(len(indices), np.float32)
    return sparse.csr_array((ones, indices, edges), shape=(len(rows), width))
