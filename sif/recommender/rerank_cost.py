"""The cost of re-ranking in accuracy, and its gain beyond: the same users with and without."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sif.data.interactions import Interactions
from sif.errors import ConfigError, DataError
from sif.evaluation.beyond import Popularity, beyond_accuracy, calibration, diversity
from sif.evaluation.comparison import compare
from sif.evaluation.evaluate import Evaluation, evaluated_users, pair_matrix
from sif.evaluation.metrics import ranking_metrics
from sif.recommender.answers import best_items
from sif.recommender.arguments import answer_length
from sif.recommender.evaluating import held_out
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.recommender import Recommender
from sif.recommender.reranking import reranked
from sif.recommender.reranking.features import categories_of, similarity_of
from sif.retrieval.engine import Top
from sif.utils.argument_types import checks_types
from sif.utils.device import check_seed

ACCURACY = ("ndcg", "recall")
"""Metrics of accuracy in the table."""


@checks_types
def rerank_cost(
    model: Recommender, data: Any, rerank: Any, n: int = 10, *, features: Any = None,
    categories: Any = None, pool: int | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Measures what re-ranking costs in accuracy and gains beyond it, on held-out interactions.

    Give interactions that the model was not fitted on, such as the validation part of a model that
    was fitted with `refit="none"`: the strength of a step is then chosen on them.

    Args:
        model: Fitted or loaded, of rankings.
        data: Held-out interactions, see `sif.evaluate`.
        rerank: Steps of `sif.recommender.reranking`.
        n: Items per user.
        features: Tell how diverse a list is, see `Mmr`; None: the model's vectors.
        categories: Tell how calibrated a list is, see `Calibrated`; None: that is left out.
        pool: See `Recommender.recommend`.
        seed: Seed of the bootstrap.

    Returns:
        One row per metric: "metric", "plain" and "reranked" (means over users), "difference" with
        "low" and "high", its paired 95 % interval over users, and "outcome": "better", "undecided"
        or "worse". Coverage and the Gini coefficient are of all lists together: their interval is
        NaN, and their outcome "-".

    Raises:
        NotFittedError: There is no model yet.
        ConfigError: A model of ratings, or steps that do not fit it.
        DataError: Nothing is left to evaluate on.

    Examples:
        >>> from sif.recommender.rerank_cost import rerank_cost
        >>> from sif.recommender.reranking import Mmr
        >>> late = pd.DataFrame({"user": ["c0", "c1", "c2"], "item": ["mug0", "tea0", "mug3"]})
        >>> table = rerank_cost(model, late, [Mmr(0.5)], n=3)
        >>> table["metric"].tolist()[:2]
        ['ndcg@3', 'recall@3']
    """
    check_seed(int(seed))
    server = model.server()
    if server.model.objective != "ranking":
        raise ConfigError("rerank_cost: expected a model of rankings, found one of ratings")
    k = answer_length(n, server.model)
    truth, seen = held_out(server.model, data)
    judge = _Judge(server, truth, seen, k, features, categories)
    plain = judge.judged(best_items(server, judge.names, k, "trained", None, refuses=True))
    again = reranked(server, judge.names, k, "trained", None, True, rerank, pool)
    steps = judge.judged(again)
    return pd.DataFrame([_row(metric, plain, steps, int(seed)) for metric in plain.metrics])


class _Judge:
    """Judges lists of the users whose held-out interactions these are.

    Args:
        server: Of the model.
        truth: Held-out interactions in the model's numbers.
        seen: What users had in `fit`.
        k: Items per user.
        features: See `rerank_cost`.
        categories: See `rerank_cost`.

    Raises:
        DataError: Pairs that the model was fitted on.
    """

    def __init__(
        self, server: IndexedRecommender, truth: Interactions, seen: Interactions, k: int,
        features: Any, categories: Any,
    ) -> None:  # fmt: skip
        self._k, self._model = k, server.model
        self._users, self._left_out = evaluated_users(truth)
        self._relevant = pair_matrix(truth, self._users)
        if known := self._relevant.multiply(pair_matrix(seen, self._users)).nnz:
            raise DataError(f"data: expected pairs that the model has not seen, found {known}")
        self._popularity = Popularity.of(
            (seen,), (truth.sizes[0], len(self._model.vocabularies[1]))
        )
        self._similarity = similarity_of(features, server)
        self._shares = None if categories is None else categories_of(categories, server)

    @property
    def names(self) -> NDArray[np.str_]:
        """Ids of the users."""
        return self._model.vocabularies[0].ids[self._users]

    def judged(self, best: Top) -> Evaluation:
        """An evaluation of lists."""
        lists = best.items
        width = self._relevant.shape[1]
        rows = np.arange(len(lists))[:, None]
        relevant = np.repeat(rows.ravel(), np.diff(self._relevant.indptr)) * width
        hits = np.isin(rows * width + lists, relevant + self._relevant.indices) & (lists >= 0)
        accuracy = ranking_metrics(hits, np.diff(self._relevant.indptr))
        values = {name: accuracy[name] for name in (f"{one}@{self._k}" for one in ACCURACY)}
        beyond, by_user = beyond_accuracy(lists, hits, self._popularity, (self._k,))
        values |= {f"diversity@{self._k}": diversity(lists, self._similarity), **by_user}
        if self._shares is not None:
            had = self._model.seen[self._users]
            values[f"calibration@{self._k}"] = calibration(lists, had, self._shares)
        means = {name: float(one.mean()) for name, one in values.items()}
        return Evaluation({**means, **beyond}, self._users, values, self._left_out)


def _row(metric: str, plain: Evaluation, steps: Evaluation, seed: int) -> dict[str, Any]:
    """A line of the table."""
    before, after = plain.metrics[metric], steps.metrics[metric]
    row: dict[str, Any] = {"metric": metric, "plain": before, "reranked": after}
    if metric not in plain.per_user:
        nothing = {"low": math.nan, "high": math.nan, "outcome": "-"}
        return {**row, "difference": after - before, **nothing}
    found = compare(steps, plain, metric, seed=seed)
    named = ("difference", "low", "high", "outcome")
    return {**row, **{name: getattr(found, name) for name in named}}
