"""Evaluates fitted recommenders on unseen interactions: metrics and paired comparisons."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sif.data.interactions import Interactions, Split, Vocabulary
from sif.errors import ConfigError, DataError
from sif.evaluation import comparison
from sif.evaluation.evaluate import MAIN_METRIC, Evaluation, Scorer, evaluate_on
from sif.evaluation.user_groups import metrics_of
from sif.recommender.inputs import further_interactions
from sif.recommender.model import ServedModel
from sif.recommender.recommender import Recommender
from sif.utils.argument_types import checks_types
from sif.utils.device import check_seed
from sif.utils.registry import unknown

_logger = logging.getLogger("sif")


@checks_types
def evaluate(model: Recommender, data: Any) -> Evaluation:
    """Metrics of a fitted recommender on unseen interactions.

    Rankings are over all items but those that a user had in `fit`; an item that the model does not
    know is one that it misses. Rows of users whom it does not know are left out, and so are rows of
    unknown items where ratings are predicted; the log says how many.

    Args:
        model: Fitted or loaded.
        data: Held-out interactions, as `Recommender.fit` takes them, or a `Split`, of which the
            test part is taken and the train and validation part are masked as well. Histories of
            a model in order are what the model knows: `Recommender.partial_fit` tells it more.

    Returns:
        `metrics` has "ndcg@10", "recall@10" and others, or "rmse" and "mae".

    Raises:
        NotFittedError: There is no model yet.
        DataError: Nothing is left to evaluate on, or pairs that the model was fitted on.

    Examples:
        >>> late = pd.DataFrame({"user": ["c0", "c1", "c2"], "item": ["mug0", "tea0", "mug3"]})
        >>> 0 <= sif.evaluate(model, late).metrics["ndcg@10"] <= 1
        True
    """
    return _evaluated(model.fitted_model(), data)[0]


@checks_types
def compare(
    models: Mapping[str, Recommender], data: Any, against: str | None = None,
    metric: str | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Compares fitted recommenders on the same held-out interactions, user by user.

    Args:
        models: Name to recommender; all of one objective.
        data: Held-out interactions, see `evaluate`. Users whom one of the models does not know are
            left out for all.
        against: Name of the one that the others are compared with; None: the first.
        metric: To compare by; None: "ndcg@10", or "rmse".
        seed: Seed of the bootstrap.

    Returns:
        One row per model: "model", the metric, "difference" to the reference with "low" and "high",
        its 95 % interval over users, and "outcome": "better", "undecided", "worse" or "reference".

    Raises:
        NotFittedError: A model before `fit`.
        ConfigError: No models, an unknown `against` or `metric`, or different objectives.
        DataError: For the reasons of `evaluate`, or there are no common users.

    Examples:
        >>> late = pd.DataFrame({"user": ["c0", "c1", "c2"], "item": ["mug0", "tea0", "mug3"]})
        >>> sif.compare({"ours": model, "the same": model}, late)["outcome"].tolist()
        ['reference', 'undecided']
    """
    check_seed(int(seed))
    served = {name: model.fitted_model() for name, model in models.items()}
    objectives = {model.objective for model in served.values()}
    if len(objectives) != 1:
        names = ", ".join(sorted(objectives)) or "none"
        raise ConfigError(f"models: expected some of one objective, found {names}")
    against = next(iter(served)) if against is None else against
    if against not in served:
        raise unknown("against", against, served)
    metric = MAIN_METRIC[objectives.pop()] if metric is None else metric
    results = _on_common_users({name: _evaluated(model, data) for name, model in served.items()})
    known = results[against].metrics
    if metric not in known:
        raise unknown("metric", metric, known)
    rows = []
    for name, evaluation in results.items():
        row: dict[str, Any] = {"model": name, metric: evaluation.metrics.get(metric)}
        row |= {"difference": 0.0, "low": 0.0, "high": 0.0, "outcome": "reference"}
        if name != against:
            row |= vars(comparison.compare(evaluation, results[against], metric, seed=seed))
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Padded:
    """Scores of a model with further, unknown items, which it never recommends."""

    model: ServedModel
    further: int

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        known = self.model.scorer.scores(users)
        return np.pad(known, ((0, 0), (0, self.further)), constant_values=-np.inf)


def _evaluated(model: ServedModel, data: Any) -> tuple[Evaluation, NDArray[np.str_]]:
    """An evaluation, and the ids of its users."""
    split = data if isinstance(data, Split) else None
    truth, train = held_out(model, split.test if split else data)
    scorer: Scorer = model.scorer
    if model.objective == "ranking":
        scorer = _Padded(model, truth.sizes[1] - len(model.vocabularies[1]))
    before = () if split is None else (split.train, split.valid)
    parts = (train, *(_translated(part, truth.vocabularies, "history") for part in before))
    history = (_together(parts),) if before else parts
    evaluation = evaluate_on(scorer, train, history, truth, model.objective)
    return evaluation, model.vocabularies[0].ids[evaluation.users]


def held_out(model: ServedModel, data: Any) -> tuple[Interactions, Interactions]:
    """Held-out interactions in a model's numbers, and what its users had in `fit`.

    Args:
        model: Served.
        data: Interactions in any form.

    Returns:
        Both under vocabularies in which items that a model of rankings does not know come last.

    Raises:
        DataError: Data that cannot be used, or of unknown users alone.
    """
    interactions = further_interactions(data, model.reading, model.objective)
    vocabularies = list(model.vocabularies)
    if model.objective == "ranking":
        unknown = vocabularies[1].lookup(interactions.vocabularies[1].ids) < 0
        unknown_ids = interactions.vocabularies[1].ids[unknown]
        vocabularies[1] = Vocabulary(np.concatenate([vocabularies[1].ids, unknown_ids]))
    truth = _translated(interactions, tuple(vocabularies), "evaluation")
    return truth, _seen(model, truth.vocabularies)


def _translated(
    data: Interactions, vocabularies: tuple[Vocabulary, ...], what: str
) -> Interactions:
    """Interactions in a model's numbers, without rows of unknown ids."""
    if data.fields != ("user", "item") and len(data.fields) != len(vocabularies):
        raise DataError(f"data: expected {len(vocabularies)} fields, found {len(data.fields)}")
    numbers = np.stack(
        [
            model_vocabulary.lookup(data_vocabulary.ids)[data.ids[:, field]]
            for field, (data_vocabulary, model_vocabulary) in enumerate(
                zip(data.vocabularies, vocabularies, strict=True)
            )
        ],
        axis=1,
    )
    known = (numbers >= 0).all(axis=1)
    if not known.all():
        _logger.info("%s: left out %d rows of unknown ids", what, int((~known).sum()))
    if not known.any():
        raise DataError("data: expected users whom the model knows, found none")
    rating = None if data.rating is None else data.rating[known]
    return Interactions(numbers[known], data.fields, vocabularies, rating)


def _seen(model: ServedModel, vocabularies: tuple[Vocabulary, ...]) -> Interactions:
    """Interactions of users in `fit`, with their ratings."""
    pairs = sparse.coo_array(model.seen)
    ids = np.stack([c.astype(np.int64) for c in pairs.coords], axis=1)
    ratings = model.scale.mean + model.scale.deviation * pairs.data
    return Interactions(ids, ("user", "item"), vocabularies[:2], ratings.astype(np.float32))


def _together(parts: Sequence[Interactions]) -> Interactions:
    """The pairs of several parts, each once."""
    n_items = parts[0].sizes[1]
    pairs = np.unique(np.concatenate([part.ids[:, 0] * n_items + part.ids[:, 1] for part in parts]))
    ids = np.stack([pairs // n_items, pairs % n_items], axis=1)
    return Interactions(ids, ("user", "item"), parts[0].vocabularies[:2])


def _on_common_users(
    evaluations: Mapping[str, tuple[Evaluation, NDArray[np.str_]]],
) -> dict[str, Evaluation]:
    """The evaluations on the users that they have in common, in one order."""
    common = np.sort(reduce(np.intersect1d, (names for _, names in evaluations.values())))
    if not len(common):
        raise DataError("data: expected users whom all models know, found none")
    return {name: _some(*pair, common) for name, pair in evaluations.items()}


def _some(evaluation: Evaluation, names: NDArray[np.str_], common: NDArray[np.str_]) -> Evaluation:
    """An evaluation on some of its users, its metrics with them."""
    rows = pd.Index(names).get_indexer(common)
    per_user = {name: values[rows] for name, values in evaluation.per_user.items()}
    metrics = {**evaluation.metrics, **metrics_of(per_user, evaluation)}
    return Evaluation(metrics, np.arange(len(common)), per_user, evaluation.left_out)
