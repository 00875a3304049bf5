"""New items under a protocol that keeps some out of train: how features answer for them.

The constants by which features stand for interactions are chosen on the new items of validation, by
a fit that knows neither these nor those of test. Baselines by features are tuned on the same items.
All are then fitted on train and validation, and asked once for the new items of test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sif.baselines.base import Params, TableScorer, told
from sif.baselines.by_features import FEATURE_BASELINES
from sif.data.interactions import Interactions, Split
from sif.errors import DataError
from sif.evaluation.cold_start import cold_rows
from sif.evaluation.comparison import Comparison, compare
from sif.evaluation.evaluate import Evaluation, RankingScorer, pair_matrix
from sif.evaluation.item_orders import POPULARITY_ORDER
from sif.evaluation.new_items import evaluate_new, new_items, rows_of_new
from sif.problems.part_rows import feature_rows
from sif.recommender.alike import Stand, answering
from sif.recommender.feature_model import with_feature_model
from sif.recommender.model import ServedModel
from sif.spaces.linear.features import Alikeness
from sif.spaces.linear.network import OrderNetwork
from sif.tasks.console import table
from sif.utils.climb import Climb
from sif.utils.random import derive_seed

OURS, RULE = "served", "popularity"
METRIC = "ndcg@10"
"""That validation decides by."""
SHOWN = ("recall@20", "ndcg@10", "ndcg@20")
USERS = 2_000
"""Validation users that constants are chosen by, drawn where there are more."""
GRIDS: Mapping[str, tuple[float, ...]] = {
    "ridge": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "factors": (0.0, 0.5, 1.0, 2.0, 4.0),
    "own": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0),
    "idf": (0.0, 0.5, 1.0, 1.5, 2.0),
}
"""Constants in the order in which they are walked over; `own` and `factors` only in item-item
models."""
ITEM_ITEM = ("own", "factors")
SWEEPS = 2


@dataclass(frozen=True, eq=False)
class NewItem:
    """A model of new items, tuned and tested.

    Attributes:
        name: Of the model.
        expression: With its constants.
        valid: Value of `METRIC` on validation.
        test: On the new items of test.
    """

    name: str
    expression: str
    valid: float
    test: Evaluation


@dataclass(frozen=True, eq=False)
class NewItemResults:
    """All models of new items.

    Attributes:
        items: Number of new items in test.
        models: Ours first, then baselines.
        comparisons: Name to ours against it.
        alikeness: The constants that validation chose.
    """

    items: int
    models: tuple[NewItem, ...]
    comparisons: Mapping[str, Comparison]
    alikeness: Alikeness

    def text(self) -> str:
        """A table, and what it is of."""
        rows = [
            [
                one.name, one.expression, f"{one.valid:.4f}",
                *(f"{one.test.metrics[name]:.4f}" for name in SHOWN), self._against(one.name),
            ]
            for one in self.models
        ]  # fmt: skip
        head = ["new items", "constants", "valid", *SHOWN, "ours, recall@20"]
        users = len(self.models[0].test.users)
        return (
            f"{table(head, rows)}\n"
            f"{self.items:,} items that no training saw, ranked among themselves for {users:,} "
            f"users; valid: {METRIC} of other new items"
        )

    def _against(self, name: str) -> str:
        one = self.comparisons.get(name)
        if one is None:
            return ""
        return f"{one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f})"

    def document(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "items": self.items,
            "users": len(self.models[0].test.users),
            "alikeness": vars(self.alikeness),
            "models": {
                one.name: {
                    "expression": one.expression,
                    "valid": {METRIC: one.valid},
                    "test": dict(one.test.metrics),
                    **(
                        {"comparison": vars(self.comparisons[one.name])}
                        if one.name in self.comparisons
                        else {}
                    ),
                }
                for one in self.models
            },
        }


def asks_for_new_items(split: Split) -> bool:
    """True if a split has new items with features in validation and in test."""
    if split.interactions.item_features is None or not split.protocol.startswith("cold-items"):
        return False
    return all(len(rows_of_new(split.train, part)) for part in (split.valid, split.test))


def tested_new_items(
    first: Callable[[], ServedModel], last: Callable[[], ServedModel], split: Split, tested: Split,
    seed: int, threads: int,
) -> NewItemResults:  # fmt: skip
    """Chooses constants and settings on validation, and tests all models once.

    Args:
        first: The served kind of model, fitted on the train part.
        last: The same, fitted on the train part of `tested`.
        split: Of the job.
        tested: The same, with valid rows among the train rows.
        seed: Of draws.
        threads: Of baselines.
    """
    known = with_feature_model(first(), seed, threads)
    constants, value = chosen_alikeness(known, split.train, split.valid, seed)
    told_constants = f"ridge {constants.ridge:g}, idf {constants.idf:g}"
    model = replace(with_feature_model(last(), seed, threads), alikeness=constants)
    if isinstance(model.trained, OrderNetwork):
        told_constants += f", own {constants.own:g}, factors {constants.factors:g}"
    ours = answering(model).scorer_of(tested.train)
    assert isinstance(ours, RankingScorer)  # noqa: S101
    found = evaluate_new(ours, tested.train, tested.test)
    models = [NewItem(OURS, told_constants, value, found)]
    models += _baselines(split, tested, seed, threads)
    comparisons = {
        one.name: compare(found, one.test, "recall@20", seed=derive_seed(seed, "new-items"))
        for one in models[1:]
    }
    items = int(new_items(tested.train, tested.test).sum())
    return NewItemResults(items, tuple(models), comparisons, constants)


def _baselines(split: Split, tested: Split, seed: int, threads: int) -> Iterator[NewItem]:
    """Baselines by features, and the rule that holds without them."""
    first, last = feature_rows(split.train), feature_rows(tested.train)
    assert first is not None and last is not None  # noqa: S101
    for name, one in FEATURE_BASELINES.items():
        best: tuple[float, Params] | None = None
        for params in one.grid:
            scorer = one.fit(split.train, first, params, seed, threads)
            value = evaluate_new(scorer, split.train, split.valid).metrics[METRIC]
            if best is None or value > best[0]:
                best = value, params
        assert best is not None  # noqa: S101
        scorer = one.fit(tested.train, last, best[1], seed, threads)
        found = evaluate_new(scorer, tested.train, tested.test)
        yield NewItem(name, told(best[1]), best[0], found)
    rules = [
        TableScorer.of(POPULARITY_ORDER, part.train) for part in (split, tested)
    ]  # what every item without a row gets alike: all ties, which count against a model
    value = evaluate_new(rules[0], split.train, split.valid).metrics[METRIC]
    yield NewItem(RULE, "", value, evaluate_new(rules[1], tested.train, tested.test))


def chosen_alikeness(
    model: ServedModel, train: Interactions, valid: Interactions, seed: int
) -> tuple[Alikeness, float]:
    """The constants that rank the new items of validation best among themselves.

    Args:
        model: Fitted on the train part.
        train: Known rows.
        valid: Has new items.
        seed: Draws users where there are many.

    Returns:
        The constants, and their value of `METRIC`.

    Raises:
        DataError: Nothing new has a feature in common with what is known.
    """
    choice = _Choice(model, train, valid, seed)
    best, merit = Alikeness(), -np.inf
    for _ in range(SWEEPS):
        before = merit
        for name, grid in choice.grids.items():
            climb = Climb(grid, getattr(best, name))
            while (value := climb.next()) is not None:
                climb.tell(choice.merit(replace(best, **{name: value})))
            best, merit = replace(best, **{name: climb.best}), climb.merit
        if merit <= before:
            break
    return best, float(merit)


class _Choice:
    """Scores of known items, from which those of new ones follow.

    Args:
        model: Fitted on the train part.
        train: Known rows.
        valid: Has new items.
        seed: Draws users where there are many.
    """

    def __init__(
        self, model: ServedModel, train: Interactions, valid: Interactions, seed: int
    ) -> None:
        truth = rows_of_new(train, valid)
        users = np.unique(truth.ids[:, 0])
        if len(users) > USERS:
            draws = np.random.default_rng(derive_seed(seed, "new-items"))
            users = np.sort(draws.choice(users, USERS, replace=False))
        self.users, self._model, self._train = users, model, train
        self.trained, rows = ~cold_rows(train, 1), feature_rows(train)
        scorer = model.scorer_of(train)
        assert rows is not None and isinstance(scorer, RankingScorer)  # noqa: S101
        self.rows = rows
        self.scores = np.where(self.trained, scorer.scores(users), np.float32(0))
        self.truth = truth.select(np.isin(truth.ids[:, 0], users))
        self.new = np.flatnonzero(new_items(train, self.truth))
        self.histories = pair_matrix(train, users)
        self._told: dict[Alikeness, float] = {}
        self._stands: dict[tuple[float, float], Stand] = {}

    @property
    def grids(self) -> Mapping[str, tuple[float, ...]]:
        """Of the constants that make a difference."""
        left_out = () if self.is_item_item else ITEM_ITEM
        return {name: grid for name, grid in GRIDS.items() if name not in left_out}

    @property
    def scales(self) -> tuple[float, float]:
        """Of the model."""
        return self._model.alike_scales

    @property
    def is_item_item(self) -> bool:
        """True if the model reads histories."""
        return isinstance(self._model.trained, OrderNetwork)

    def stand(self, constants: Alikeness) -> Stand:
        """The known items that stand for the new ones; what the regression finds is kept."""
        key = constants.ridge, constants.idf
        if key not in self._stands:
            factors = self._model.feature_factors
            whole = replace(constants, factors=1.0)
            found = Stand.of(self.rows, self.trained, self.new, whole, factors)
            if not len(found.items):
                raise DataError(
                    "item features: expected new items to share some with known ones, found none"
                )
            self._stands = {key: found}
        return replace(self._stands[key], constants=constants)

    def merit(self, constants: Alikeness) -> float:
        """The value of `METRIC`."""
        if constants not in self._told:
            found = evaluate_new(_Stood(self, constants), self._train, self.truth, (10,))
            self._told[constants] = found.metrics[METRIC]
        return self._told[constants]


class _Stood:
    """Scores of new items by what stands for them."""

    def __init__(self, choice: _Choice, constants: Alikeness) -> None:
        stand = choice.stand(constants)
        found = choice.scores[:, stand.known] @ stand.shares
        if choice.is_item_item:
            here = sp.csr_matrix(choice.histories[:, stand.known])
            found = found + here @ stand.own(choice.scales)
        self._users, self._items, self._found = choice.users, stand.items, found
        self._n_items = len(choice.trained)

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items), minus infinity but of new items."""
        found = np.full((len(users), self._n_items), -np.inf, np.float32)
        found[:, self._items] = self._found[np.searchsorted(self._users, users)]
        return found
