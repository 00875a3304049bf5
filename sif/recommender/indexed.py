"""Answers of a served model in numbers of its vocabularies: best items, neighbors, reasons."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sif.config.cf import ExcludeSeen
from sif.errors import ConfigError, DataError, ScoreError
from sif.recommender.item_filter import ItemFilter
from sif.recommender.item_precision import precision_of
from sif.recommender.model import ServedModel
from sif.retrieval.approximate import ApproximateEngine
from sif.retrieval.engine import LARGEST_SORTED, MEMORY, Engine, Top, UserVectors
from sif.retrieval.neighbors import Neighbors
from sif.retrieval.single import SingleEngine, UserSides

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


class IndexedRecommender:
    """A model of user and item with its engine.

    Args:
        model: Served.

    Attributes:
        cold_start: The rule for untrained users and items that answers are under; None: none.
        filter: Finds items by their features.

    Raises:
        ConfigError: A model of other fields.
    """

    def __init__(self, model: ServedModel) -> None:
        if len(model.fields) != 2:
            raise ConfigError(
                f"recommend: expected a model of user and item alone, found one of "
                f"{', '.join(model.fields)}; use predict"
            )
        self.model, self.filter = model, ItemFilter(model)
        self._function = model.function
        self.engine = self._function.engine
        graph = model.graph
        self._best = self.engine if graph is None else ApproximateEngine(self.engine, graph)
        self.cold_start = model.rule
        self._neighbors: dict[int, Neighbors] = {}

    def refuse_unpersonalized(self) -> None:
        """Raises ConfigError where a function of vectors ranks items alike for everybody.

        Popularity is meant to.
        """
        model = self.model
        alike = model.objective == "ranking" and not self.engine.is_personalized
        if alike and not model.reads_order:
            raise ConfigError(
                f"recommend: {self.model.expression} ranks items alike for all users; search with "
                "another space or operation, or recommend the popular"
            )

    def top(
        self, rows: Rows, k: int, excluded: sparse.csr_array | None = None,
        allowed: Mask | None = None,
    ) -> Top:  # fmt: skip
        """Best items of known users (b,); cold ones get the popular.

        Raises:
            DataError: Scores that are not numbers; the message names the user's id.
        """
        if len(rows) == 1 and self._has_shape(excluded, allowed):
            hidden = None if excluded is None else excluded.indices
            if (best := self._one(int(rows[0]), k, hidden, allowed)) is not None:
                return best
        with self._naming_rows(0, rows, "scores"):
            users, cold = self._known(rows)
            best = self._top(users, cold, k, excluded, allowed)
            return self._by_features(best, cold, self._features(rows, cold), excluded, allowed)

    def top_of_one(self, row: int, k: int, how: ExcludeSeen, allowed: Mask | None = None) -> Top:
        """Best items of a known user, less what he has; see `top`.

        Args:
            row: The user's number.
            k: Items that are wanted.
            how: What of the user's items is left out.
            allowed: bool (n_items,), items to choose among; None: all.
        """
        best = self._one(row, k, self.model.had_by(row, how), allowed)
        if best is not None:
            return best
        rows = np.array([row])
        return self.top(rows, k, self.model.excluded(rows, how), allowed)

    def _one(
        self, row: int, k: int, hidden: NDArray[np.integer[Any]] | None, allowed: Mask | None
    ) -> Top | None:
        """The same without the items (h,) that are hidden; None: a batch of one is needed."""
        single, rule = self._single, self.cold_start
        is_usual = 0 < k <= min(LARGEST_SORTED, self.engine.n_items)
        if single is None or not is_usual or (rule is not None and rule.cold_users[row]):
            return None
        servable = self._servable_among(allowed)
        with self._naming_rows(0, np.array([row]), "scores"):
            scores, items = single.top(self._sides[row], k, hidden, servable)
        return Top(items, self._in_units(scores))

    def _has_shape(self, excluded: sparse.csr_array | None, allowed: Mask | None) -> bool:
        """True if masks are of one user and of all items; the engine says what is wrong."""
        n_items = self.engine.n_items
        is_mask = allowed is None or (allowed.shape == (n_items,) and allowed.dtype == np.bool_)
        is_row = excluded is None or (excluded.format == "csr" and excluded.shape == (1, n_items))
        return is_mask and is_row

    @cached_property
    def _single(self) -> SingleEngine | None:
        """Answers one user at a time; None: a batch of one does."""
        return self._best.single if isinstance(self._best, Engine) else None

    @cached_property
    def _sides(self) -> UserSides:
        engine = self.engine
        assert isinstance(engine, Engine)  # noqa: S101
        return UserSides(lambda rows: engine.sides(engine.vectors(rows)), engine.n_users)

    def _servable_among(self, allowed: Mask | None) -> Mask | None:
        """Items that may be recommended, of those that are allowed; None: all."""
        if allowed is None or self.cold_start is None:
            return self._servable if allowed is None else allowed
        return self.cold_start.servable(allowed)

    @cached_property
    def _servable(self) -> Mask | None:
        """Items that may be recommended; None: all."""
        rule = self.cold_start
        return None if rule is None or not rule.never_recommended.any() else rule.servable()

    def top_of(
        self, pairs: sparse.csr_array, k: int, excluded: sparse.csr_array | None = None,
        allowed: Mask | None = None, features: sparse.csr_array | None = None,
    ) -> Top:  # fmt: skip
        """Best items of users outside of the tables, from their interactions (b, n_items).

        Args:
            pairs: CSR (b, n_items), what they have.
            k: Items that are wanted.
            excluded: CSR (b, n_items), items that they do not get; None: there are none.
            allowed: bool (n_items,), items to choose among; None: all.
            features: CSR (b, m), by which those are answered whose interactions tell nothing; None:
                they get the popular items.

        Raises:
            DataError: Some interactions give no finite vector, or scores that are not numbers.
        """
        users, cold = self._folded(pairs)
        best = self._top(users, cold, k, excluded, allowed)
        return self._by_features(best, cold, features, excluded, allowed)

    def _top(
        self, users: UserVectors, cold: Mask, k: int, excluded: sparse.csr_array | None,
        allowed: Mask | None,
    ) -> Top:  # fmt: skip
        rule = self.cold_start
        servable = self._servable_among(allowed)
        best = self._best.top(users, k, excluded=excluded, allowed=servable)
        best = Top(best.items, self._in_units(best.scores))
        return best if rule is None else rule.with_popular(best, cold, excluded, allowed)

    def _features(self, rows: Rows, cold: Mask) -> sparse.csr_array | None:
        """Features (b, m) of known users (b,), where somebody stands for cold ones."""
        table = self.model.user_features
        if table is None or not cold.any() or self.model.user_stand is None:
            return None
        return table.rows(self.model.vocabularies[0].ids[rows])

    def _by_features(
        self, best: Top, cold: Mask, features: sparse.csr_array | None,
        excluded: sparse.csr_array | None, allowed: Mask | None,
    ) -> Top:  # fmt: skip
        """The best items (b, k), those of cold users by their features (b, m) where these tell."""
        if features is None:
            return best
        servable = self._servable_among(allowed)
        items, scores, k = best.items.copy(), best.scores.copy(), best.items.shape[1]
        for rows, found in self._told_scores(cold, features):
            if servable is not None:
                found[:, ~servable] = -np.inf
            for row, values in zip(rows, found, strict=True):
                if excluded is not None:
                    values[excluded[[row]].indices] = -np.inf
                order = np.argsort(-values, kind="stable")[:k]
                order = order[np.isfinite(values[order])]
                items[row], scores[row] = -1, -np.inf
                items[row, : len(order)], scores[row, : len(order)] = order, values[order]
        return Top(items, scores)

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """All scores (b, n_items) of known users (b,), in rating units for models of ratings.

        Under the cold-start rule: minus infinity where an item is never recommended.
        """
        users, cold = self._known(rows)
        scores, features = self._scores(users, cold), self._features(rows, cold)
        for some, found in self._told_scores(cold, features):
            scores[some] = found
        return scores

    def _told_scores(
        self, cold: Mask, features: sparse.csr_array | None
    ) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        """Numbers and scores of the cold rows whose features (b, m) somebody knows."""
        stand, rows = self.model.user_stand if features is not None else None, np.flatnonzero(cold)
        if stand is None or features is None or not len(rows):
            return
        rows = rows[stand.tells(features[rows])]
        step = max(1, MEMORY // (4 * max(self.engine.n_items, 1)))
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            yield some, stand.scores(features[some], self.model)

    def scores_of(self, pairs: sparse.csr_array) -> NDArray[np.float32]:
        """The same for users outside of the tables, from their interactions (b, n_items).

        Raises:
            DataError: Some user's interactions give no finite vector.
        """
        return self._scores(*self._folded(pairs))

    def _scores(self, users: UserVectors, cold: Mask) -> NDArray[np.float32]:
        scores = self._in_units(self.engine.scores(users))
        return scores if self.cold_start is None else self.cold_start.applied(scores, cold)

    def _in_units(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        scale = self.model.scale
        if scale.mean == 0 and scale.deviation == 1:
            return scores + np.float32(0)  # no score is written as -0
        return (scale.mean + scale.deviation * scores).astype(np.float32, copy=False)

    def _known(self, rows: Rows) -> tuple[UserVectors, Mask]:
        """Vectors of known users (b,), and which of them are cold."""
        rule, vectors = self.cold_start, self._function.known(rows)
        return vectors, np.zeros(len(rows), np.bool_) if rule is None else rule.cold_users[rows]

    def _folded(self, pairs: sparse.csr_array) -> tuple[UserVectors, Mask]:
        """The same for users outside of the tables."""
        users, rule = self._function.folded(pairs), self.cold_start
        cold = np.zeros(len(users), np.bool_) if rule is None else rule.without_known_pairs(pairs)
        return users, cold

    @contextlib.contextmanager
    def _naming_rows(self, field: int, rows: Rows, what: str) -> Iterator[None]:
        """Within the block, errors on scores that are no numbers name the row's original id."""
        try:
            yield
        except ScoreError as error:
            name = str(self.model.vocabularies[field].ids[rows[error.row]])
            raise DataError(
                f"{what} of {self.model.fields[field]} {name!r}: expected numbers, found NaN"
            ) from None

    def similar(
        self, field: int, rows: Rows, k: int, itself: bool = False, allowed: Mask | None = None
    ) -> Top:
        """Nearest rows of the same field by the cosine of their vectors.

        Those are of `ServedFunction.neighborhood`.
        Untrained rows are never neighbors and have none, in ratings as well; a row is
        its own neighbor where `itself` asks for that.

        Raises:
            DataError: Cosines that are not numbers; the message names the row's id.
        """
        with self._naming_rows(field, rows, "cosines"):
            return self._neighbors_of(field).top(rows, k, itself, allowed)

    def _neighbors_of(self, field: int) -> Neighbors:
        if field not in self._neighbors:
            cold_start = self.model.cold_start
            untrained = None if cold_start is None else cold_start.untrained(field)
            self._neighbors[field] = Neighbors(
                self._function.neighborhood(field), untrained,
                precision="float32" if field == 0 else precision_of(self.model.trained),
            )  # fmt: skip
        return self._neighbors[field]

    def explained(self, pairs: sparse.csr_array, item: int) -> NDArray[np.float32]:
        """Share of an item's score that each of a user's pairs (1, n_items) carries, in order."""
        carried = self._function.carried(pairs, item)
        return (self.model.scale.deviation * carried).astype(np.float32)
