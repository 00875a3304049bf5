"""The item-item model in order: a space of closed forms, searched and fitted like any other.

Judging a candidate takes a closed-form fit, so candidates are judged on the most popular items and
on some users; the design that is found is fitted on everything, over grids of a few numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sif.baselines.forecast import evaluation_seconds
from sif.baselines.ordered import (
    Discounted,
    ridge_seconds,
)
from sif.config import CFConfig
from sif.config.sections import FinishSection
from sif.core.gates import Gates
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer
from sif.data.features import Features
from sif.data.interactions import Interactions, Split
from sif.data.interactions.chronological import is_later
from sif.errors import ConfigError, DivergedError
from sif.evaluation.cold_start import ColdStartRule, with_cold_start
from sif.evaluation.cold_start_choice import ColdStartChoice
from sif.evaluation.evaluate import (
    MAIN_METRIC,
    Evaluation,
    RankingScorer,
    evaluate,
    evaluate_on,
)
from sif.evaluation.goals import judged_features
from sif.evaluation.histories import sequences_of
from sif.evaluation.scorers import HistoryScorer
from sif.methods.nasp import NaspSettings
from sif.problems.base import Problem, Progress, State, Trained, quiet
from sif.problems.feature_trial import FeatureTrial, clearly_ahead, not_tried
from sif.problems.interactions import ORDER_STAGE, InteractionProblem
from sif.problems.order_sample import OrderSample
from sif.problems.part_rows import feature_rows
from sif.problems.plan import OwnCost
from sif.problems.refit import SolvedRefit
from sif.search.run import MethodRun
from sif.spaces.linear.design import (
    AHEAD,
    DISCOUNTS,
    LinearDesign,
    blocks_of,
    half_lives_of,
    linear_design,
    with_powers,
)
from sif.spaces.linear.inputs import FREQUENT, all_solved, most_scales
from sif.spaces.linear.network import OrderNetwork
from sif.spaces.linear.ridge import HistorySolver, grid_bytes, set_weights, solution_sizes
from sif.spaces.linear.sequences import Decay
from sif.spaces.linear.supernet import Judged, OrderContext, OrderSpace
from sif.spaces.linear.weights import ItemWeights
from sif.tracking import Tracker
from sif.training.loop import Metrics, TrainResult
from sif.training.optim import adam, constant
from sif.utils.climb import Climb
from sif.utils.device import Runtime, torch_threads
from sif.utils.random import derive_seed

ORDER = ORDER_STAGE
"""Name of the entrant in jobs."""
METHOD = "nasp"
"""Of its search, whatever the job searches functions with: every weight is exact, so that only
methods differ which judge replacements."""
LENGTH = {
    "epochs": 20, "steps": None, "seconds": None, "arch_every": 1, "lr": 0.01,
    "finish": FinishSection(),
}  # fmt: skip
"""Architecture steps at most, one per epoch; the search ends once no replacement is better."""
L2 = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
"""Penalties of the next item, in rows."""
FEATURES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Weights of features of items, in mean squares of an input."""
FREQUENCIES = (20.0, 50.0, 100.0, 200.0)
"""Rows of an item that is solved for, in catalogs where not all are."""
SET_L2 = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Penalties of any item, in interactions."""
SETTINGS = NaspSettings(
    warmup=0.0, arch_start=0.0, explore=0.0, settle_steps=0, score="replacement_loss",
    arch_optimizer="plain", arch_lr=1.0,
)  # fmt: skip
"""Every weight is exact, so nothing warms up, and a step may be as long as a score."""
SINGLE, SET = LinearDesign((Decay(0.8, 16),)), LinearDesign(())
DOUBLE = LinearDesign((Decay(0.8, 16), Decay(0.97, 116)))
"""The designs on which the search chooses its penalties; one that tells what a search costs."""
VISITED = 4
"""Solutions of a fit, mostly: neighbors of the search's penalty and target until none is better."""
DESIGNS = 60
"""Designs that a search judges, about."""


class OrderProblem(Problem[Genotype, OrderNetwork]):
    """Which history predicts what, on a train and a validation part.

    Args:
        train_part: What weights are fitted on.
        valid_part: For the design and the penalty.
        config: Of the task.
        runtime: Seed and threads; closed forms are solved on the CPU.
        cold_choice: Of the order of items for new users; None: the most popular first.

    Raises:
        DataError: Nothing tells the order.
        ConfigError: Another objective than ranking, or fields beyond user and item.
    """

    format, judged = ".4f", "exported_error"
    memory_settings = ()
    shares: ClassVar[bool] = True
    known: Mapping[str, float] | None = None
    """Numbers of an earlier fit, where walks begin; None: where the sample says."""

    def __init__(
        self, train_part: Interactions, valid_part: Interactions, config: CFConfig,
        runtime: Runtime, cold_choice: ColdStartChoice | None = None,
    ) -> None:  # fmt: skip
        if config.objective != "ranking" or len(train_part.fields) != 2:
            raise ConfigError("order: expected rankings of user and item")
        self.sequences = sequences_of(train_part)
        self.train_part, self.valid_part = train_part, valid_part
        section = config.search.model_copy(update=LENGTH)
        self.config, self.runtime = config.model_copy(update={"search": section}), runtime
        self.cold_choice = cold_choice or ColdStartChoice()
        self.metric = self.shown = MAIN_METRIC["ranking"]

    # The search

    @cached_property
    def _sample(self) -> OrderSample:
        seed = derive_seed(self.config.seed, "order", "sample")
        return OrderSample.of(self.train_part, self.valid_part, seed)

    @cached_property
    def _l2(self) -> tuple[float, float]:
        """Penalties of the search: of the next item, where it begins, and of any."""
        sample = self._sample
        set_l2 = min(SET_L2, key=lambda one: sample.judged(SET, one))
        return sample.best_l2(SINGLE, L2, L2[len(L2) // 2]), set_l2

    def judgment_seconds(self) -> float:
        """Seconds of a candidate of two scales on the sample."""
        sample = self._sample
        begin = time.perf_counter()
        sample.judged(DOUBLE, L2[2])
        return time.perf_counter() - begin

    def space(self, mixed: bool = False) -> OrderSpace:
        """The space over the sample, with as many scales as the whole catalog allows.

        Where rows have times, one of the scales may fade by them.
        """
        l2, set_l2 = self._l2
        context = OrderContext(self._sample.train, l2, set_l2, self._sample.error, L2)
        scales = most_scales(self._counts)
        return OrderSpace(context, blocks_of(scales, half_lives_of(self.sequences)))

    def streams(self) -> tuple[_Same, _Same]:
        """A few users for the scale of the scores, which is all that steps train; the sample."""
        return _Same(self._sample.few), _Same(self._sample.batch)

    def method_run(self) -> MethodRun:
        """NASP with settings of its own, until no replacement is better."""
        spaces: list[OrderSpace] = []

        def make(mixed: bool) -> OrderSpace:
            spaces.append(self.space(mixed))
            return spaces[-1]

        def ended() -> bool:
            return self.runtime.out_of_time() or (bool(spaces) and spaces[-1].at_rest)

        return MethodRun(
            make, self.streams, self.judge, self.judged, self.config.search, adam, constant,
            replace(self.runtime, out_of_time=ended), methods={METHOD: SETTINGS.model_dump()},
        )  # fmt: skip

    def judge(self, space: Any, gates: Gates) -> float:
        """1 - NDCG@10 of a selection on the sample."""
        sample, design = self._sample, linear_design(space.genotype(gates))
        return 1 - 1 / sample.error(sample.batch, space.scores(sample.batch, design))

    def design(self, genotype: Genotype) -> Genotype:
        """The genotype itself."""
        return genotype

    def expression(self, design: Genotype) -> str:
        """The model on one line."""
        return linear_design(design).expression

    # Fits

    def refuses(self, genotype: Genotype) -> str:
        """A set is no order: it says what EASE among the baselines says."""
        return (
            ""
            if linear_design(genotype).decays
            else ("the search found that the order of rows does not help")
        )

    def network(self, design: Genotype) -> OrderNetwork:
        """A model whose weights are not computed yet."""
        return OrderNetwork(design, self.sequences.n_items)

    def grids(self, design: Genotype) -> dict[str, tuple[float, ...]]:
        """The numbers that validation chooses, those of the weights one after the other."""
        powers = tuple(map(float, DISCOUNTS))
        if not linear_design(design).decays:
            return {"l2": SET_L2, "discount": powers}
        solved = {} if all_solved(len(self._counts)) else {"frequent": FREQUENCIES}
        return {"l2": L2, **solved, "ahead": tuple(AHEAD.values()), "discount": powers}

    def train(
        self, design: Genotype, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[OrderNetwork]:  # fmt: skip
        """Walks over one number of the weights after the other; an "epoch" is one judgment.

        Every solution is judged under some powers of popularity: which one is best depends on it.

        Raises:
            DivergedError: No penalty of the grid can be solved for.
        """
        judgments = _Judgments(self, design, tracker, on_epoch)
        solver = self._solver(design)
        best, chosen, failed = None, self._first_numbers(design), None
        for name, grid in self.grids(design).items():
            if name == "discount":  # walked over within each fit
                continue
            climb = Climb(grid, chosen[name])
            if judgments.history:
                climb.tell(judgments.best)
            while (value := climb.next()) is not None:
                if judgments.history and self.runtime.out_of_time():
                    break
                try:
                    weights = self._weights(design, {**chosen, name: value}, solver)
                except DivergedError as error:
                    failed = error
                    climb.tell(-math.inf)
                    continue
                merit, numbers = judgments.of(weights, {**chosen, name: value})
                if climb.tell(merit):
                    best, chosen = weights, numbers
                del weights  # or the next ones are made beside these and the best
            if best is None:
                assert failed is not None  # noqa: S101
                raise failed
        assert best is not None  # noqa: S101
        best, chosen, trial = self._with_features(design, best, chosen, solver, judgments)
        return replace(self._trained(design, best, chosen, judgments.history), features=trial)

    def _solver(self, design: Genotype, tried: bool = True) -> HistorySolver:
        features = feature_rows(self.train_part)
        return HistorySolver(self.sequences, linear_design(design).decays, tried, features)

    def _with_features(
        self, design: Genotype, best: ItemWeights, chosen: dict[str, float],
        solver: HistorySolver, judgments: _Judgments,
    ) -> tuple[ItemWeights, dict[str, float], Mapping[str, Any]]:  # fmt: skip
        """The weights, or those with features of items, where these are clearly better.

        Returns:
            The weights, their numbers, and the document of `sif.problems.feature_trial`.
        """
        if self.train_part.item_features is None:
            return best, chosen, {}
        if not linear_design(design).decays:
            return best, chosen, not_tried("the model has no time scales")
        if not solver.alike.nnz:
            return best, chosen, not_tried("no two known items share a feature")
        if self.runtime.out_of_time():
            return best, chosen, not_tried("there was no time left")
        other, numbers = best, chosen
        climb = Climb(FEATURES, FEATURES[len(FEATURES) // 2])
        while (value := climb.next()) is not None and not self.runtime.out_of_time():
            asked = {**chosen, "features": value}
            weights = self._weights(design, asked, solver)
            merit, found = judgments.of(weights, asked)
            if climb.tell(merit):
                other, numbers = weights, found
            del weights
        values, known = (
            self.evaluated(design, weights, one["discount"]).per_user[self.metric]
            for weights, one in ((other, numbers), (best, chosen))
        )
        ahead = clearly_ahead(values, known)
        trial = FeatureTrial.of(self.metric, values, known, ahead).document()
        return (other, numbers, trial) if ahead else (best, chosen, trial)

    def _trained(
        self, design: Genotype, weights: ItemWeights, chosen: dict[str, float],
        history: list[dict[str, float]],
    ) -> Trained[OrderNetwork]:  # fmt: skip
        """The model of the best entry of a history."""
        entry = next(one for one in history if chosen.items() <= one.items())
        valid = {name: v for name, v in entry.items() if name not in ("epoch", "seconds", *chosen)}
        network = self._network(design, weights, chosen["discount"])
        fits = len({(one["l2"], one.get("frequent"), one["ahead"]) for one in history})
        seconds = history[-1]["seconds"]
        result = TrainResult(valid, int(entry["epoch"]), fits, history, seconds)
        tried = [
            {
                "name": ", ".join(f"{name} {one[name]:g}" for name in chosen if name in one),
                "value": one[self.metric], "seconds": one["seconds"],
            }
            for one in history
        ]  # fmt: skip
        return Trained(network, result, {**chosen, "parameters": weights.size}, tried=tried)

    def trained_design(self, design: Genotype, trained: Trained[OrderNetwork]) -> Genotype:
        """With the weight of further items and the power of popularity that validation chose."""
        return with_powers(design, trained.numbers["ahead"], trained.numbers["discount"])

    def _first_numbers(self, design: Genotype) -> dict[str, float]:
        """Where a fit begins: an earlier one chose them, or the sample, which has fewer rows."""
        linear = linear_design(design)
        if self.known is not None and "l2" in self.known:
            usual = {"frequent": float(FREQUENT), "ahead": linear.ahead} | dict(self.known)
            usual["discount"] = self.known.get("discount", linear.discount)
            return {
                name: min(grid, key=lambda value: abs(value - usual[name]))
                for name, grid in self.grids(design).items()
            } | {name: usual[name] for name in ("ahead", "discount")}
        l2 = self._sample.best_l2(linear, L2, self._l2[0]) if linear.decays else self._l2[1]
        solved = {} if all_solved(len(self._counts)) else {"frequent": float(FREQUENT)}
        return {"l2": l2, **solved, "ahead": linear.ahead, "discount": linear.discount}

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Train rows of each item."""
        return np.bincount(self.sequences.items, minlength=self.sequences.n_items)

    def _weights(
        self, design: Genotype, numbers: Mapping[str, float], solver: HistorySolver
    ) -> ItemWeights:
        """Weights before popularity divides them.

        Args:
            design: Its scales.
            numbers: l2, ahead and, of a large catalog, frequent.
            solver: Of the design.
        """
        l2 = numbers["l2"]
        with torch_threads(self.runtime.threads):
            if not linear_design(design).decays:
                return ItemWeights(set_weights(self.sequences, l2).numpy(), len(self._counts))
            features = numbers.get("features", 0.0)
            return solver.weights(l2, numbers["ahead"], numbers.get("frequent", FREQUENT), features)

    def _power(self, discount: float) -> NDArray[np.float32]:
        """Factor (n_items,) of every item's scores."""
        return np.asarray((self._counts + 1.0) ** -discount, dtype=np.float32)

    def _network(self, design: Genotype, weights: ItemWeights, discount: float) -> OrderNetwork:
        """A model of weights, which it takes over."""
        weights.scale_items(self._power(discount))
        return self.network(design).take(weights)

    def fitted(self, design: Genotype, numbers: Mapping[str, float]) -> OrderNetwork:
        """A model of chosen numbers.

        Raises:
            DivergedError: The penalty is too small.
        """
        solver = self._solver(design, tried=False)
        weights = self._weights(design, numbers, solver)
        return self._network(design, weights, numbers["discount"])

    def summary(self, name: str, trained: Trained[OrderNetwork]) -> str:
        """The design with its penalty on one line."""
        result, weight = trained.result, trained.numbers.get("features")
        told = f" and features of weight {weight:g}" if weight else ""
        return (
            f"{name}: {self.expression(self.trained_design(trained.network.genotype, trained))}, "
            f"{self.describe(result.valid)} "
            f"with L2 {trained.numbers['l2']:g}{told} ({result.seconds:.1f} s for {result.epochs} "
            "fits)"
        )

    # Measurements

    def scorer(self, network: OrderNetwork) -> HistoryScorer:
        """Scores of users at the end of their train sequences."""
        return HistoryScorer(
            network.histories, self.sequences, network.item_weights, self.cold_start
        )

    @cached_property
    def cold_start(self) -> ColdStartRule:
        """The rule for what the train part does not have."""
        return ColdStartRule.of(self.train_part, self.cold_choice.order)

    def validate(self, network: OrderNetwork) -> Metrics:
        """Metrics on the validation part."""
        features = judged_features(self.config.serve_by, self.train_part)
        return self._evaluated(self.scorer(network), features).metrics

    def evaluated(self, design: Genotype, weights: ItemWeights, discount: float) -> Evaluation:
        """On the validation part, of weights before popularity divides them."""
        scorer = HistoryScorer(self.network(design).histories, self.sequences, weights)
        return self._evaluated(Discounted(scorer, self._power(discount)))

    def _evaluated(self, scorer: RankingScorer, features: Features | None = None) -> Evaluation:
        ruled = with_cold_start(scorer, self.cold_start)
        return evaluate_on(
            ruled, self.train_part, (self.train_part,), self.valid_part, "ranking",
            self.config.metrics_at, features,
        )  # fmt: skip

    def test(self, network: OrderNetwork, part: Split) -> Evaluation:
        """Evaluates a finished model on the test part of a split, whose valid rows it knows."""
        return evaluate(self.scorer(network), part, "test", "ranking", self.config.metrics_at)

    # Second fits and their costs

    def again(self, rows: Interactions) -> OrderProblem:
        """The problem of a second fit, on more rows under the same vocabularies."""
        nothing = rows.select(np.zeros(0, dtype=np.int64))
        return OrderProblem(rows, nothing, self.config, self.runtime, self.cold_choice)


def order_problem(functions: InteractionProblem) -> OrderProblem | None:
    """The problem of item-item models beside that of interaction functions.

    Args:
        functions: Gives the data and the settings.

    Returns:
        None where no such stage is searched, nothing tells the order, or some valid rows are not
        later than their users' train rows: they are no future of a history.
    """
    config, train = functions.config, functions.train_part
    asked = functions.kind.stages and ORDER_STAGE in config.search.stages
    if not asked or config.objective != "ranking" or not comes_later(functions):
        return None
    return OrderProblem(
        train, functions.valid_part, config, functions.runtime, functions.cold_choice
    )


def comes_later(functions: InteractionProblem) -> bool:
    """True if there are valid rows, and none is earlier than its user's train rows."""
    valid = functions.valid_part
    return len(valid) > 0 and is_later(valid, functions.train_part)


class OrderRefit(SolvedRefit[OrderProblem]):
    """Second fits of item-item models on some rows."""


class _Judgments:
    """Judgments of validation on weights under powers of popularity.

    Args:
        problem: Judges.
        design: Scales of the weights.
        tracker: Is told each judgment.
        on_epoch: Is told how many there are, and the best one.

    Attributes:
        history: One entry per judgment.
    """

    def __init__(
        self, problem: OrderProblem, design: Genotype, tracker: Tracker, on_epoch: Progress
    ) -> None:
        self._problem, self._design = problem, design
        self._tracker, self._on_epoch = tracker, on_epoch
        self._begin, self.history = time.perf_counter(), list[dict[str, float]]()

    @property
    def best(self) -> float:
        """The best merit so far."""
        return max(entry[self._problem.metric] for entry in self.history)

    def of(self, weights: ItemWeights, numbers: dict[str, float]) -> tuple[float, dict[str, float]]:
        """The merit of weights under the power that suits them, and the numbers with this power.

        Args:
            weights: Before popularity divides them.
            numbers: Of the weights, and the power where the walk begins.
        """
        climb = Climb(self._problem.grids(self._design)["discount"], numbers["discount"])
        while (power := climb.next()) is not None:
            climb.tell(self._judged(weights, {**numbers, "discount": power}))
        return climb.merit, {**numbers, "discount": climb.best}

    def _judged(self, weights: ItemWeights, numbers: dict[str, float]) -> float:
        metrics = self._problem.evaluated(self._design, weights, numbers["discount"]).metrics
        count, seconds = len(self.history) + 1, time.perf_counter() - self._begin
        self.history.append({"epoch": count, "seconds": seconds, **numbers, **metrics})
        valid = {f"valid.{name}": value for name, value in metrics.items()}
        self._tracker.log({**numbers, **valid}, count)
        metric = self._problem.metric
        self._on_epoch(count, max(self.history, key=lambda entry: entry[metric]))
        return metrics[metric]


class _Same:
    """One batch, again and again."""

    steps_per_pass = 1

    def __init__(self, batch: Judged) -> None:
        self._batch = batch

    def next(self) -> Judged:
        """The batch."""
        return self._batch

    def state_dict(self) -> State:
        """Nothing."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Takes what `state_dict` gives."""


@dataclass(frozen=True)
class OrderCost:
    """Estimated seconds and memory of an order model.

    Attributes:
        seconds: Of search and fits.
        bytes: Of the dense matrices of a fit and the best one before.
    """

    seconds: OwnCost
    bytes: float


def order_cost(problem: OrderProblem) -> OrderCost:
    """Costs by one candidate and a small factorization: two scales, or one where two do not fit.

    Args:
        problem: Whose fits are told.
    """
    counts = np.bincount(problem.sequences.items, minlength=problem.sequences.n_items)
    scales = min(2, most_scales(counts))
    sizes = solution_sizes(counts, scales)
    evaluation = evaluation_seconds(problem.train_part, problem.valid_part, "ranking")
    search = DESIGNS * problem.judgment_seconds()
    fit = ridge_seconds(sizes)
    own = OwnCost(search, VISITED * (fit + evaluation), fit)
    return OrderCost(own, grid_bytes(counts, scales))
