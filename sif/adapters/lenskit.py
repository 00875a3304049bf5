"""A scorer for the pipelines of LensKit.

    pipeline = topn_pipeline(SIFScorer(space="staged"))
    pipeline.train(dataset)

Users whom the model knows are scored by their vectors, unless `user_embeddings` says otherwise;
others are folded in from the history of the query, where it has one. Times of a data set and of a
history tell their order.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, JsonValue
from scipy import sparse

from sif.data.interactions.ids import id_strings
from sif.data.interactions.times import seconds_of
from sif.errors import DataError, EntryError
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.spaces.linear.sequences import moments

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
        user_embeddings: As LensKit's own scorers have it. "prefer": known users are scored by what
            training knew of them. True: by the history of the query where it has one. False: by
            that alone.
    """

    objective: Literal["ranking", "rating"] = "ranking"
    space: str = "staged"
    seed: int = 0
    threads: int | None = None
    settings: dict[str, JsonValue] = {}
    folder: str | None = None
    user_embeddings: bool | Literal["prefer"] = "prefer"


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
        usual = ("user", "item", "rating", "timestamp")
        columns = [name for name in usual if name in frame.columns]
        recommender = Recommender(
            config.objective, space=config.space, baselines=(), seed=seed,
            device=options.device or "auto", threads=config.threads, settings=config.settings,
        )  # fmt: skip
        return recommender.fit(frame[columns])

    def __call__(self, query: QueryInput, items: ItemList) -> ItemList:
        """The items with their scores, in rating units for models of ratings."""
        scores = np.full(len(items), np.nan, dtype=np.float32)
        server = self.recommender_.server()
        asked, how = RecQuery.create(query), self.config.user_embeddings
        whole = _scores(server, asked, how) if len(items) else None
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


def _scores(
    server: IndexedRecommender, query: RecQuery, how: bool | str
) -> NDArray[np.float32] | None:
    """Scores of all items of the model (n_items,); None for a user of whom nothing is known.

    Args:
        server: Answers.
        query: Of one user.
        how: `SIFConfig.user_embeddings`.
    """
    model = server.model
    known = None if query.user_id is None or not how else _known(model, query.user_id)
    if known is None or how != "prefer":
        pairs = _history(model, query.query_items)
        if pairs is not None:
            return np.asarray(server.scores_of(pairs)[0])
    return None if known is None else np.asarray(server.scores(known)[0])


def _known(model: ServedModel, user: Any) -> NDArray[np.int64] | None:
    """The user's row (1,); None: the model does not know him."""
    row = model.vocabularies[0].lookup([user])
    return row if row[0] >= 0 else None


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
    if not known.any():
        return None
    columns, values = columns[known], values[known]
    times = items.field("timestamp") if model.reads_order else None
    if times is None:
        return model.row(columns, values)
    try:
        seconds, _ = seconds_of(np.asarray(times)[known])
    except EntryError as error:
        told = f"{error.expected}, found {error.found}"
        raise DataError(f"history: timestamp {error.row + 1}: {told}") from None
    order = np.argsort(seconds, kind="stable")
    if not model.reads_time:
        return model.row(columns[order], values)
    return _timed(model, columns[order], seconds[order].astype(np.float64))


def _timed(
    model: ServedModel, columns: NDArray[np.int64], seconds: NDArray[np.float64]
) -> sparse.csr_array:
    """The row of items (n,) at times (n,), which ascend; of a repeated item the last one counts."""
    found = moments(np.zeros(len(columns), np.int64), seconds, np.full(1, -np.inf))
    last = dict(zip(columns.tolist(), found.tolist(), strict=True))
    chosen = np.array(sorted(last))
    shape = (1, len(model.vocabularies[1]))
    values = np.array([last[column] for column in chosen.tolist()])
    return sparse.csr_array((values, chosen, [0, len(chosen)]), shape=shape)


def _lookup(model: ServedModel, ids: Any) -> NDArray[np.int64]:
    return model.vocabularies[1].lookup(id_strings(np.asarray(ids)))
