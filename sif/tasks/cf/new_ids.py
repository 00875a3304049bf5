"""New items or users under a protocol that keeps some out of train: how features answer for them.

The constants by which features stand for interactions are chosen on the new ids of validation, by a
fit that knows neither these nor those of test. Baselines by features are tuned on the same ids. All
are then fitted on train and validation, and asked once about the new ids of test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
from sif.evaluation.new_ids import evaluate_new, new_ids, rows_of_new
from sif.problems.part_rows import feature_rows
from sif.recommender.alike import Stand, answering
from sif.recommender.even_level import with_even_level
from sif.recommender.feature_factors import PARAMS
from sif.recommender.feature_model import with_feature_model
from sif.recommender.indexed import IndexedRecommender
from sif.recommender.model import ServedModel
from sif.recommender.user_choice import chosen_constants, drawn, with_user_choice
from sif.recommender.user_stand import trained_users
from sif.spaces.linear.features import Alikeness
from sif.spaces.linear.network import OrderNetwork
from sif.tasks.cf.beside_known import LEVELS, BesideKnown, merit, tested_beside_known
from sif.tasks.console import table
from sif.utils.climb import Climb
from sif.utils.random import derive_seed

OURS, RULE, FACTORS = "served", "popularity", "feature-als"
METRIC = "ndcg@10"
"""That validation decides by."""
USERS = 2_000
"""Validation users that constants are chosen by, drawn where there are more."""
GRIDS: Mapping[str, tuple[float, ...]] = {
    "ridge": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "factors": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    "own": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0),
    "idf": (0.0, 0.5, 1.0, 1.5, 2.0),
}
"""Constants in the order in which they are walked over; `own` and `factors` only in item-item
models."""
ITEM_ITEM = ("own", "factors")
SWEEPS = 2


@dataclass(frozen=True)
class Side:
    """Users or items, as a protocol keeps some of them out of train.

    Attributes:
        field: 0 of users, 1 of items.
        what: Name of the new ids.
        how: How they are ranked.
        shown: Metrics of the table.
        compared: Metric of the comparisons.
    """

    field: int
    what: str
    how: str
    shown: tuple[str, ...]
    compared: str


SIDES = (
    Side(0, "users", "who get known items", ("ndcg@10", "ndcg@20", "recall@20"), "ndcg@10"),
    Side(
        1, "items", "ranked among themselves for", ("recall@20", "ndcg@10", "ndcg@20"), "recall@20"
    ),
)
"""By their field."""


@dataclass(frozen=True, eq=False)
class NewModel:
    """A model of new ids, tuned and tested.

    Attributes:
        name: Of the model.
        expression: With its constants.
        valid: Value of `METRIC` on validation.
        test: On the new ids of test.
    """

    name: str
    expression: str
    valid: float
    test: Evaluation


@dataclass(frozen=True, eq=False)
class NewResults:
    """All models of new ids.

    Attributes:
        side: Which ids they are.
        count: Number of new ids in test.
        models: Ours first, then baselines.
        comparisons: Name to ours against it.
        alikeness: The constants that validation chose; None: new users get the popular items.
        beside: New items in lists of the whole catalog; None of users.
    """

    side: Side
    count: int
    models: tuple[NewModel, ...]
    comparisons: Mapping[str, Comparison]
    alikeness: Alikeness | None
    beside: BesideKnown | None = None
    factors: Params = field(default_factory=lambda: PARAMS)
    """Settings of factors by features, which validation chose for the baseline."""

    def text(self) -> str:
        """A table, and what it is of."""
        side = self.side
        rows = [
            [
                one.name, one.expression, f"{one.valid:.4f}",
                *(f"{one.test.metrics[name]:.4f}" for name in side.shown), self._against(one.name),
            ]
            for one in self.models
        ]  # fmt: skip
        head = [f"new {side.what}", "constants", "valid", *side.shown, f"ours, {side.compared}"]
        users = f" {len(self.models[0].test.users):,} users" if side.field else ""
        beside = "" if self.beside is None else f"\n\n{self.beside.text()}"
        return (
            f"{table(head, rows)}\n"
            f"{self.count:,} {side.what} that no training saw, {side.how}{users}; "
            f"valid: {METRIC} of other new {side.what}{beside}"
        )

    def _against(self, name: str) -> str:
        one = self.comparisons.get(name)
        if one is None:
            return ""
        return f"{one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f})"

    def document(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            self.side.what: self.count,
            "users": len(self.models[0].test.users),
            "alikeness": None if self.alikeness is None else vars(self.alikeness),
            "compared": self.side.compared,
            **({} if self.beside is None else {"beside_known": self.beside.document()}),
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

    def within(self, model: ServedModel) -> ServedModel:
        """A model with the constants that were chosen."""
        if self.side.field == 0:
            return replace(model, user_alikeness=self.alikeness)
        return model if self.alikeness is None else replace(model, alikeness=self.alikeness)


def asked_side(split: Split) -> Side | None:
    """The new ids, with features, that a split has in validation and in test; None: none."""
    tables = split.interactions.user_features, split.interactions.item_features
    for side in SIDES:
        if tables[side.field] is None or not split.protocol.startswith(f"cold-{side.what}"):
            continue
        parts = (rows_of_new(split.train, part, side.field) for part in (split.valid, split.test))
        if all(len(rows) for rows in parts):
            return side
    return None


def tested_new_ids(
    first: Callable[[], ServedModel], last: Callable[[], ServedModel], split: Split, tested: Split,
    side: Side, seed: int, threads: int,
) -> NewResults:  # fmt: skip
    """Chooses constants and settings on validation, and tests all models once.

    Args:
        first: The served kind of model, fitted on the train part.
        last: The same, fitted on the train part of `tested`.
        split: Of the job.
        tested: The same, with valid rows among the train rows.
        side: Which ids are new.
        seed: Of draws.
        threads: Of baselines.
    """
    tuned = _tuned(split, side, seed, threads)
    factors = tuned[FACTORS][1] if side.field else PARAMS
    known = with_feature_model(first(), seed, threads, factors)
    choose = _chosen_for_items if side.field else _chosen_for_users
    constants, value, told_constants = choose(known, split, seed)
    model = with_feature_model(last(), seed, threads, factors)
    ours: Any
    beside = None
    if side.field and constants is not None:
        ours = answering(replace(model, alikeness=constants)).scorer_of(tested.train)
        served = with_even_level(replace(model, alikeness=constants), seed)
        scorers: dict[str, tuple[float | None, Any]] = {
            "as many new items as known": (
                served.alikeness.level, answering(served).scorer_of(tested.train)
            ),
            "as validation likes best": (constants.level, ours),
            "no new items": (None, model.scorer_of(tested.train)),
        }  # fmt: skip
        beside = tested_beside_known(scorers, tested.train, tested.test)
    else:
        ours = IndexedRecommender(replace(model, user_alikeness=constants))
    found = evaluate_new(ours, tested.train, tested.test, side.field)
    models = [NewModel(OURS, told_constants, value, found)]
    models += _baselines(tuned, tested, side, seed, threads)
    models.append(_by_rule(known, model, split, tested, side))
    comparisons = {
        one.name: compare(found, one.test, side.compared, seed=derive_seed(seed, "new-items"))
        for one in models[1:]
    }
    count = int(new_ids(tested.train, tested.test, side.field).sum())
    return NewResults(side, count, tuple(models), comparisons, constants, beside, factors)


def _chosen_for_items(
    model: ServedModel, split: Split, seed: int
) -> tuple[Alikeness | None, float, str]:
    """Constants, their value on validation, and words on them."""
    constants, value = chosen_alikeness(model, split.train, split.valid, seed)
    words = f"ridge {constants.ridge:g}, idf {constants.idf:g}"
    if isinstance(model.trained, OrderNetwork):
        words += f", own {constants.own:g}, factors {constants.factors:g}"
    return constants, value, words


def _chosen_for_users(
    model: ServedModel, split: Split, seed: int
) -> tuple[Alikeness | None, float, str]:
    """The same; None: the popular order stays."""
    rows = rows_of_new(split.train, split.valid, 0)
    users = drawn(np.unique(rows.ids[:, 0]), split.train.sizes[1], seed)
    choice = chosen_constants(model, users, pair_matrix(rows, users), trained_users(model))
    if choice.tried is None:  # too few new users: known ones are asked as if they were new
        choice = with_user_choice(model, seed)[1] or choice
    constants = choice.constants
    server = IndexedRecommender(replace(model, user_alikeness=constants))
    value = evaluate_new(server, split.train, split.valid, 0).metrics[METRIC]
    if constants is None:
        return None, value, "the popular order, features are not clearly better"
    words = (
        f"ridge {constants.ridge:g}, idf {constants.idf:g}, own {constants.own:g}, "
        f"level {constants.level:g}, blend {constants.blend:g}"
    )
    return constants, value, words


def _tuned(split: Split, side: Side, seed: int, threads: int) -> Mapping[str, tuple[float, Params]]:
    """Value of `METRIC` on validation, and settings, of each baseline by features."""
    features, tuned = feature_rows(split.train, side.field), {}
    assert features is not None  # noqa: S101
    for name, one in FEATURE_BASELINES.items():
        best: tuple[float, Params] | None = None
        for params in one.grids[side.field]:
            scorer = one.fit(split.train, features, side.field, params, seed, threads)
            value = evaluate_new(scorer, split.train, split.valid, side.field).metrics[METRIC]
            if best is None or value > best[0]:
                best = value, params
        assert best is not None  # noqa: S101
        tuned[name] = best
    return tuned


def _baselines(
    tuned: Mapping[str, tuple[float, Params]], tested: Split, side: Side, seed: int, threads: int
) -> Iterator[NewModel]:
    """Baselines by features, on test."""
    features = feature_rows(tested.train, side.field)
    assert features is not None  # noqa: S101
    for name, (value, params) in tuned.items():
        fit = FEATURE_BASELINES[name].fit
        scorer = fit(tested.train, features, side.field, params, seed, threads)
        found = evaluate_new(scorer, tested.train, tested.test, side.field)
        yield NewModel(name, told(params), value, found)


def _by_rule(
    known: ServedModel, model: ServedModel, split: Split, tested: Split, side: Side
) -> NewModel:
    """The rule that holds without features, of a first and a last fit."""
    parts, words = (split.train, tested.train), ""
    if side.field == 0:
        assert known.cold_start is not None and model.cold_start is not None  # noqa: S101
        rules, words = (known.cold_start, model.cold_start), known.cold_start.name
        scorers = [
            TableScorer.of_order(rule.order, part.sizes[0])
            for rule, part in zip(rules, parts, strict=True)
        ]
        words = "" if words == RULE else words
    else:  # every item without a row gets the same: all ties, which count against a model
        scorers = [TableScorer.of(POPULARITY_ORDER, part) for part in parts]
    value = evaluate_new(scorers[0], split.train, split.valid, side.field).metrics[METRIC]
    found = evaluate_new(scorers[1], tested.train, tested.test, side.field)
    return NewModel(RULE, words, value, found)


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
    climb = Climb(LEVELS, 1.0)
    while (value := climb.next()) is not None:
        climb.tell(choice.beside(replace(best, level=value)))
    return replace(best, level=climb.best), float(merit)


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
        truth = rows_of_new(train, valid, 1)
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
        self._all_truth = valid.select(np.isin(valid.ids[:, 0], users))
        self.new = np.flatnonzero(new_ids(train, self.truth, 1))
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
            found = evaluate_new(_Stood(self, constants), self._train, self.truth, 1, (10,))
            self._told[constants] = found.metrics[METRIC]
        return self._told[constants]

    def beside(self, constants: Alikeness) -> float:
        """The same of lists of the whole catalog, by all rows of these users."""
        return merit(_Stood(self, constants, self.scores), self._train, self._all_truth)


class _Stood:
    """Scores of new items by what stands for them.

    Args:
        choice: Of the constants.
        constants: Of the new items.
        known: Scores (b, n_items) of known items, for the users of the choice; None: these are not
            recommended.
    """

    def __init__(
        self, choice: _Choice, constants: Alikeness, known: NDArray[np.float32] | None = None
    ) -> None:
        stand = choice.stand(constants)
        found = choice.scores[:, stand.known] @ stand.shares
        level = constants.level
        if choice.is_item_item:
            here = sp.csr_matrix(choice.histories[:, stand.known])
            found, level = found + here @ stand.own(choice.scales), level / stand.parts
        self._scores = np.full(choice.scores.shape, -np.inf, np.float32)
        if known is not None:
            self._scores[:, choice.trained] = known[:, choice.trained]
        self._scores[:, stand.items] = np.float32(level) * found
        self._users = choice.users

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores (b, n_items), minus infinity of what is not recommended."""
        return self._scores[np.searchsorted(self._users, users)]
