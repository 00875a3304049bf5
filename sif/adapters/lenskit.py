"""A scorer for the pipelines of LensKit.

    pipeline = topn_pipeline(SIFScorer(space="staged"))
    pipeline.train(dataset)

Users whom the model knows are scored by their vectors; others are folded in from the history of the
query, where it has one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue
from scipy import sparse

from sif.data.interactions.ids import id_strings
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender

try:
    from lenskit.data import Dataset, ItemList, QueryInput, RecQuery, Vocabulary
    from lenskit.pipeline import Component
    from lenskit.training import Trainable, TrainingOptions
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "sif.adapters.lenskit needs LensKit: pip install 'sif[lenskit]'", name=error.name
    ) from error


class SIFConfig(BaseModel, extra="forbid"):
    """Configuration of `SIFScorer`; names as of `Recommender`.

    Attributes:
        objective: "ranking", or "rating" to predict ratings.
        space: Of the search.
        seed: Root of all randomness, unless the training options bring a generator.
        threads: Of the CPU; None: torch's default.
        settings: Further settings by their names, such as {"train.epochs": 50}.
        folder: Of a saved model to serve unchanged; None: training fits one.
    """

    objective: Literal["ranking", "rating"] = "ranking"
    space: str = "staged"
    seed: int = 0
    threads: int | None = None
    settings: dict[str, JsonValue] = {}
    folder: str | None = None


class SIFScorer(Component[ItemList], Trainable):  # type: ignore[misc, unused-ignore]
    """Scores items by a searched interaction function.

    An item that the model does not know, or that no training saw, has the score NaN. So have all
    items for an unknown user without a history of known items. A model of ratings needs the ratings
    of that history, too. Ids are compared as texts: 5 and "5" are one item.

    Attributes:
        config: The settings of the scorer, a `SIFConfig`.
        recommender_: The fitted recommender, once there is one.

    Examples:
        >>> from lenskit.pipeline import topn_pipeline
        >>> from sif.adapters.lenskit import SIFScorer
        >>> pipeline = topn_pipeline(SIFScorer.of(model), n=5)
    """

    config: SIFConfig
    recommender_: Recommender
    _given: bool = False
    _items: Vocabulary | None = None
    _columns: NDArray[np.int64]

    @classmethod
    def of(cls, recommender: Recommender) -> SIFScorer:
        """A scorer of a fitted recommender; training leaves it as it is."""
        model = recommender.fitted_model()
        scorer = cls(SIFConfig(objective=model.objective, space=model.genotype.space))
        scorer.recommender_, scorer._given = recommender, True
        return scorer

    def train(self, data: Dataset, options: TrainingOptions | None = None) -> None:
        """Searches and trains on a data set's interactions, unless a fitted model was given.

        Raises:
            DataError, ConfigError: Data or settings that cannot be used.
            CheckpointError: The configured folder has no model.
        """
        options = TrainingOptions() if options is None else options
        fitted = hasattr(self, "recommender_")
        if self.config.folder is not None and not fitted:
            self.recommender_ = Recommender.load(self.config.folder)
        elif not self._given and not (fitted and not options.retrain) and not self.config.folder:
            self.recommender_ = self._fitted(data, options)
        # A candidate list is numbered by this vocabulary, which is quicker to map than its ids.
        self._items = data.items
        self._columns = _lookup(self.recommender_.fitted_model(), data.items.ids())

    def _fitted(self, data: Dataset, options: TrainingOptions) -> Recommender:
        config = self.config
        seed = config.seed
        if options.rng is not None:
            seed = int(options.random_generator().integers(2**31))
        frame = data.interaction_matrix(format="pandas", original_ids=True)
        frame = frame.rename(columns={"user_id": "user", "item_id": "item"})
        columns = [name for name in ("user", "item", "rating") if name in frame.columns]
        recommender = Recommender(
            config.objective, space=config.space, baselines=(), seed=seed,
            device=options.device or "auto", threads=config.threads, settings=config.settings,
        )  # fmt: skip
        return recommender.fit(frame[columns])

    def __call__(self, query: QueryInput, items: ItemList) -> ItemList:
        """The items with their scores, in rating units for models of ratings."""
        scores = np.full(len(items), np.nan, dtype=np.float32)
        server = self.recommender_.server()
        whole = _scores(server, RecQuery.create(query)) if len(items) else None
        if whole is None:
            return ItemList(items, scores=scores)
        columns = self._columns_of(items, server.model)
        known = columns >= 0
        scores[known] = whole[columns[known]]
        rule = server.cold_start
        if rule is not None:
            scores[known] = np.where(rule.never_recommended[columns[known]], np.nan, scores[known])
        return ItemList(items, scores=scores)

    def _columns_of(self, items: ItemList, model: ServedModel) -> NDArray[np.int64]:
        if self._items is None:
            return _lookup(model, items.ids())
        numbers = items.numbers(vocabulary=self._items, missing="negative")
        columns: NDArray[np.int64] = np.append(self._columns, -1)[numbers]
        if (numbers < 0).any():
            columns[numbers < 0] = _lookup(model, items.ids()[numbers < 0])
        return columns


def _scores(server: IndexedRecommender, query: RecQuery) -> NDArray[np.float32] | None:
    """Scores of all items of the model (n_items,); None for a user of whom nothing is known."""
    if query.user_id is not None:
        row = server.model.vocabularies[0].lookup([query.user_id])
        if row[0] >= 0:
            return np.asarray(server.scores(row)[0])
    pairs = _history(server.model, query.query_items)
    return None if pairs is None else np.asarray(server.scores_of(pairs)[0])


def _history(model: ServedModel, items: ItemList | None) -> sparse.csr_array | None:
    """A row (1, n_items) of targets; None where there is nothing to fold in."""
    if items is None or not len(items):
        return None
    columns = _lookup(model, items.ids())
    known, values = columns >= 0, np.ones(len(columns))
    if model.objective == "rating":
        ratings = items.field("rating")
        if ratings is None:
            return None
        values = np.asarray(ratings, dtype=np.float64)
        known &= np.isfinite(values)
    return model.row(columns[known], values[known]) if known.any() else None


def _lookup(model: ServedModel, ids: Any) -> NDArray[np.int64]:
    return model.vocabularies[1].lookup(id_strings(np.asarray(ids)))
