"""The study of interaction functions: the steps and reports that only this task has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.baselines import SIMPLEST_FIRST
from sif.baselines.forecast import TuningSeconds
from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Split
from sif.data.interactions.load import Dataset, Truth
from sif.data.interactions.planted_films import HistoryTruth
from sif.evaluation.choice import Choice
from sif.evaluation.comparison import Comparison
from sif.evaluation.evaluate import Evaluation
from sif.evaluation.goals import Goal, goal_of
from sif.evaluation.populations import Populations
from sif.evaluation.user_groups import cold_shares
from sif.problems.base import SEARCHED, Problem, Reporter, Session, Trained
from sif.problems.closed_forms import CLOSED, ClosedProblem
from sif.problems.controls import FIXED, RANDOM, fixed_multiply
from sif.problems.feature_trial import feature_lines, features_document
from sif.problems.histories import READERS, HistoryProblem
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import follows
from sif.problems.order import ORDER, OrderProblem, comes_later
from sif.problems.plan import Costs, OwnCost
from sif.recommender.alike import TooManyItems
from sif.recommender.even_level import with_even_level
from sif.recommender.extend import with_owned
from sif.recommender.feature_factors import PARAMS
from sif.recommender.feature_model import with_feature_model
from sif.recommender.file_checks import FittedOn
from sif.recommender.model import ServedModel
from sif.recommender.new_users import with_listed_users
from sif.recommender.user_choice import with_user_choice
from sif.spaces.closed.design import OPEN
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.histories.models import HistoryDesign
from sif.spaces.interaction.design import FEATURES_BLOCK
from sif.tasks.base import Entry, Found, Results, Tuned
from sif.tasks.cf import costs as own_costs
from sif.tasks.cf import figures, report_data
from sif.tasks.cf import opening as opening_lines
from sif.tasks.cf import summary_words as words
from sif.tasks.cf.baseline_work import BaselineWork
from sif.tasks.cf.beyond import beyond_table, goal_document
from sif.tasks.cf.columns import columns
from sif.tasks.cf.entrants import FAR_AHEAD, entrants_of, without_prospect
from sif.tasks.cf.new_ids import NewResults, Side, asked_side, tested_new_ids
from sif.tasks.cf.recovery import Recovery, recovery, told_of_product
from sif.tasks.cf.refits import Problems, SecondFits
from sif.tasks.cf.serving import saved, served_document, served_model, unseen_model
from sif.tasks.cf.splits import (
    group_documents,
    group_table,
    told_by_group,
    warm_comparison,
    with_valid_fitted,
)
from sif.tasks.plan import Measurements, Plan
from sif.tasks.study import Study, TrainOne
from sif.utils.device import Runtime
from sif.utils.random import derive_seed

SOON = 30.0
"""Estimated seconds of closed forms up to which they come before the plan."""


@dataclass(eq=False)
class InteractionStudy(Study):
    """The interaction function on interactions.

    Fixed multiply is trained first where its L2 strength tells the search how much the data want;
    controls are trained over the same grid as the searched function, which validation may set aside
    for fixed multiply.

    Attributes:
        config: Of the job.
        label: Name of the data.
        dataset: None where a split file says it all.
        split: All three parts; only evaluation of finished models may look at the third.
        problem: The other two at work.
        test_part: The split, valid rows among the train rows once all models were fitted on both.
        baselines: Names of the classical baselines to train.
        order: The same two parts, where models in order can be fitted; None: they cannot.
        readers: The same two parts for each reader of histories, by the name of its entrant.
        closed: The same two parts for closed forms; None: there are none.
    """

    task, search_stage, draws = "cf", "search", 3
    config: CFConfig
    label: str
    dataset: Dataset | None
    split: Split
    problem: InteractionProblem
    baselines: tuple[str, ...]
    order: OrderProblem | None = None
    readers: Mapping[str, HistoryProblem] = field(default_factory=dict)
    closed: ClosedProblem | None = None

    def __post_init__(self) -> None:
        self._tuning: dict[str, TuningSeconds] = {}
        self._second: SecondFits | None = None  # that are tested; None: the first ones are
        self._retrieval: dict[str, Any] = {}  # how the saved model finds the best items
        self._saved: ServedModel | None = None
        self._recovered: Recovery | None = None
        self._first: Trained[Any] | None = None  # the first fit of ours
        self._new: NewResults | None = None
        self._no_new = ""
        self.data_hash = self.dataset.hash if self.dataset else self.split.hash
        self.split_hash, self.split_name = self.split.hash, self.split.protocol
        self.test_part = self.split
        self._asked, self._why = self.config.refit, ""
        self.legend = (
            f"valid: {self.problem.metric} on the validation part, the others on the test part; "
            "fit s: seconds of training over the whole grid, without the search"
        )
        self._work = BaselineWork(self.problem, self.goal if self.chooses else None)
        in_order, closed = self.order is not None, self.closed is not None
        self.entrants = entrants_of(self.problem, tuple(self.readers), in_order, closed)

    def start(
        self, train: TrainOne, console: Reporter
    ) -> tuple[InteractionProblem, dict[str, Any]]:
        """Fits closed forms; trains fixed multiply where the search needs it, or may be spared."""
        problem, spent = self.problem, 0.0
        if CLOSED in self.entrants.given:
            train(CLOSED, OPEN)
        guided = SEARCHED in self.entrants.methods and follows(self.config, problem.kind)
        rivals = ORDER in self.entrants.methods or CLOSED in self.entrants.given
        if guided or (rivals and FIXED in self.entrants.given):
            fixed = train(FIXED, fixed_multiply(problem))
            if fixed is not None and guided:
                problem, spent = problem.followed(fixed), fixed.result.seconds
        before, l2 = self.config.search.l2, problem.config.search.l2
        if l2 != before:
            console.line(f"note: search.l2 {before:g} becomes {l2:g}")
        return problem, {"l2": l2, "l2_seconds": spent}

    def without_prospect(self, name: str, trained: Mapping[str, Trained[Any] | None]) -> str:
        """Functions of pairs, where one that is solved for is too far ahead of the simplest one."""
        return without_prospect(name, trained, self.problem.metric)

    def start_baselines(self, names: Sequence[str], refits: bool) -> None:
        """Hands the grids to whoever makes the calls of the job."""
        self._work.start(names, refits)

    def baseline(self, name: str) -> Entry:
        """The best of a classical model's grid."""
        return self._work.tested(name, self.split)

    # The problems

    def problem_of(self, design: Genotype | HistoryDesign) -> Problem[Any, Any]:
        """That of readers, of item-item models, or of interaction functions."""
        return self._problems.of(design)

    @property
    def _problems(self) -> Problems:
        """Of the first fits."""
        reader = next(iter(self.readers.values()), None)
        return Problems(self.problem, self.order, reader, self.closed)

    def searched_by(self, name: str) -> OrderProblem | HistoryProblem | None:
        """That of item-item models for its entrant, or of a reader."""
        return self.order if name == ORDER else self.readers.get(name)

    def stage_in_words(self, name: str) -> str:
        """Models in order and closed forms."""
        return FAR_AHEAD.get(name, "")

    # Second fits

    @property
    def refits(self) -> bool:
        """The value of the setting."""
        return self.config.refit != "none"

    @property
    def _tested(self) -> Problems:
        """Whose train part the tested models were fitted on."""
        return self._problems if self._second is None else self._second.problems

    def refit_seconds(self, trained: Iterable[Trained[Any]]) -> float:
        """By the seconds of the first fits; ours may be the fallback's."""
        return self._problems.again(self._with_valid.train).seconds(trained)

    def begin_refits(self) -> None:
        """From here on valid rows are fitted."""
        self.test_part = self._with_valid
        rows = self.test_part.train
        self._second = self._problems.again(rows)
        self.legend += (
            f"\ntested: fitted again on train + valid ({len(rows):,} rows) with what "
            "validation chose; 'valid' is of the first fit"
        )
        if self.config.refit == "all":
            self.legend += f"; saved: fitted on all {len(self.split.interactions):,} rows"

    def skip_refits(self, reason: str) -> None:
        """All models are tested, and ours served, as they are."""
        self._why = reason
        self.legend += "\ntested: the first fits, on train alone, of all models alike"

    @property
    def early(self) -> tuple[str, ...]:
        """Closed forms, unless they take long."""
        if self.closed is None:
            return ()
        return (CLOSED,) if self._closed_cost[0].grid <= SOON * self.closed.patience else ()

    def pace(self, out_of_time: Callable[[], bool]) -> None:
        """Closed forms end in time, too."""
        super().pace(out_of_time)
        if self.closed is not None:
            self.closed = self.closed.at_pace(out_of_time=out_of_time)

    @cached_property
    def _closed_cost(self) -> tuple[OwnCost, float]:
        """Of closed forms in seconds and bytes; endless where there are none."""
        if self.closed is None:
            return OwnCost(0.0, math.inf, 0.0), 0.0
        return own_costs.closed_cost(self.closed)

    def take(self, plan: Plan, runtime: Runtime) -> None:
        """Goes on as planned, maybe without second fits."""
        super().take(plan, runtime)
        self.readers = {
            name: problem.at_pace(out_of_time=runtime.out_of_time)
            for name, problem in self.readers.items()
        }
        self.pace(runtime.out_of_time)
        self._work = BaselineWork(self.problem, self.goal if self.chooses else None)
        if plan.once:
            self.skip_refits("the plan has no time for them")

    @cached_property
    def _with_valid(self) -> Split:
        return with_valid_fitted(self.split)

    def refit(
        self, name: str, design: Any, trained: Trained[Any], session: Session
    ) -> Trained[Any]:
        """On train and valid rows."""
        assert self._second is not None  # noqa: S101
        return self._second.of(design).network(name, design, trained, session)

    def tune(self, name: str) -> Tuned:
        """The best of a classical model's grid."""
        return self._work.tuned(name)

    def refit_baseline(self, tuned: Tuned, keep: bool) -> Entry:
        """On train and valid rows."""
        keep = keep and self.config.refit != "all"
        return self._work.refitted(tuned, self._tested.functions, self.test_part, keep)

    def test(self, design: Genotype | HistoryDesign, network: Any) -> Evaluation:
        """On the test part, by a network of the last fit."""
        return self._tested.of(design).test(network, self.test_part)

    def test_first(self, design: Genotype | HistoryDesign, network: Any) -> Evaluation:
        """On the test part, by a network of the first fit, which knows no valid row."""
        return self._problems.of(design).test(network, self.split)

    def fit_on_all(
        self, design: Any, trained: Trained[Any], session: Session
    ) -> Trained[Any] | None:
        """Test rows included, as the setting has it."""
        if self.config.refit != "all":
            return None
        return self._on_all.of(design).network("all", design, trained, session)

    @property
    def _on_all(self) -> SecondFits:
        """Fits on all rows, test rows included."""
        return self._problems.again(self.split.interactions)

    # The model that is served

    @property
    def chooses(self) -> bool:
        """In rankings of user and item, as the setting has it."""
        config = self.config
        of_items = config.objective == "ranking" and len(self.problem.fields) == 2
        return of_items and config.serve == "best" and bool(self.baselines)

    @cached_property
    def goal(self) -> Goal:
        """The aim of the choice of the served model; usually the metric that validation judges."""
        text = self.config.serve_by
        return Goal(self.problem.metric) if text is None else goal_of(text, self.config.metrics_at)

    def keep_first(self, design: Genotype, trained: Trained[Any]) -> None:
        """Where new ids are asked for, whose constants it chooses."""
        if self._asked_side is not None:
            self._first = trained

    def merits(self, design: Genotype, trained: Trained[Any]) -> NDArray[np.float64]:
        """The metric of the goal of every validation user."""
        return self._problems.merits(design, trained.network, self.goal)

    def choice(
        self, merits: Mapping[str, NDArray[np.float64]], valid: Mapping[str, Mapping[str, float]]
    ) -> Choice:
        """The rule of `sif.evaluation.choice`, under the bounds of the goal."""
        return self.goal.choice(merits, valid, (*SIMPLEST_FIRST, SEARCHED))

    def preferred(self, valid: Mapping[str, Mapping[str, float]]) -> str:
        """By the goal."""
        return super().preferred(valid) if self.config.serve_by is None else self.goal.best(valid)

    def baseline_model(self, name: str, params: Mapping[str, Any]) -> ServedModel:
        """Of the fit that was tested, or fitted on all rows."""
        known, scorer = self.split.interactions, self._work.kept(name)
        if self._second is not None and self.config.refit == "all":
            problem = self._on_all.problems.functions
            return served_model(problem, name, params, None, known, "all")
        rows: FittedOn = "train" if self._second is None else "train+valid"
        return served_model(self._tested.functions, name, params, scorer, known, rows)

    def told_choice(self, results: Results) -> str:
        """The model, and why it is the one."""
        if results.choice is None and self.config.serve_by is None:
            return ""
        served = self._served_document(results)
        return f"served: {served['expression']}: {served['rule']}"

    def _served_document(self, results: Results) -> dict[str, Any]:
        ours = self.expression(results.designs[SEARCHED])
        return served_document(results, self.goal, ours)

    # The plan and the model

    @property
    def optional(self) -> tuple[str, ...]:
        """All but ours, fixed multiply and what is trained; closed forms come last."""
        others = [name for name in super().optional if name not in (FIXED, ORDER, CLOSED)]
        own = {ORDER: self.order, CLOSED: self.closed}
        untrained = (name for name in own if own[name] is not None and name not in self.early)
        return (*others, *untrained)

    def costs(self, measured: Measurements) -> Costs:
        """Costs of the stages, second fits among them."""
        found = super().costs(measured)
        first = len(self.split.train)
        later = len(self.split.train) + len(self.split.valid)
        rows = {"valid": later / first, "all": len(self.split.part) / first}
        settings = {name: cost.setting for name, cost in self._tuning.items()}
        own = {} if self.order is None else {ORDER: own_costs.order_seconds(self.order, measured)}
        for name, reader in self.readers.items():
            own[name] = own_costs.reader_seconds(reader, name, measured)
        if self.closed is not None:
            own[CLOSED] = own_costs.closed_seconds(self._closed_cost, bool(self.early), measured)
        rows = rows if self.refits else {}
        return replace(
            found, settings=settings, rows=rows, own=own, serves=self.chooses,
            paced=self.entrants.paced, twice=self._maybe_with_features,
        )  # fmt: skip

    @property
    def _maybe_with_features(self) -> tuple[str, ...]:
        """Entrants whose functions may have features."""
        return (SEARCHED, RANDOM) if FEATURES_BLOCK in self.problem.stages else ()

    def baseline_seconds(self, measured: Measurements) -> dict[str, float]:
        """Seconds of the tuning of each."""
        self._tuning = own_costs.baseline_seconds(self.problem, self.baselines, measured)
        return {name: cost.grid for name, cost in self._tuning.items()}

    def save(self, folder: Path, results: Results, console: Reporter) -> None:
        """The recommender; a note where it ranks items alike for all users."""
        trained, known = results.trained[SEARCHED], self.split.interactions
        rows = self._served_rows(results)
        if rows == "all":
            console.line("saved: the model that was fitted on all rows, test rows included")
        if results.served is not None:
            trained = results.served
        model = results.baseline
        if model is None:
            problems = self._on_all.problems if rows == "all" else self._tested
            model = problems.served(results.designs[SEARCHED], trained, known)
        model = replace(with_owned(model, known.dropped), fitted_on=rows)
        new = self._new_ids(results)
        factors = PARAMS if new is None else new.factors
        threads = self.problem.runtime.threads
        model = with_feature_model(model, self.config.seed, threads, factors)
        if new is None or new.side.field:
            model, choice = with_user_choice(model, self.config.seed)
            if choice is not None:
                console.line(f"saved: {choice.told}")
        model = with_even_level(model if new is None else new.within(model), self.config.seed)
        model = with_listed_users(model)
        found = saved(model, folder, self.config.seed, console)
        self._retrieval, self._saved = found.document, found.model

    def _served_rows(self, results: Results) -> FittedOn:
        if results.baseline is not None:
            rows: FittedOn = results.baseline.fitted_on
            return rows
        if results.served is not None:
            return "all"
        return "train" if self._second is None else "train+valid"

    def test_saved(self, folder: Path) -> Evaluation:
        """The recommender again."""
        model = unseen_model(folder)
        split = self.split if model.fitted_on == "train" else self._with_valid
        return self.problem.tested(model.scorer_of(split.train), split)

    # What is told

    def opening(self) -> list[str]:
        """The interactions, their parts, and what was done to them."""
        split, fields = self.split, self.problem.fields
        notes = [*(self.dataset.notes if self.dataset else []), *split.notes]
        notes += opening_lines.on_fields(fields, self.baselines)
        notes += opening_lines.on_blocks(self.problem)
        if self.config.objective == "ranking":
            notes += opening_lines.on_times(split, comes_later(self.problem))
            notes += opening_lines.on_drawn_users(split.test)
            known = Populations.of(split, again=self.refits)
            notes += opening_lines.on_new_users(known, self.problem.cold_choice)
        notes += opening_lines.on_readers(self.config.histories.readers, self.readers)
        lines = opening_lines.data_lines(self.config, self.label, split)
        return [*lines, *(f"note: {note}" for note in notes)]

    def protocol(self) -> dict[str, Any]:
        """The protocol of the split."""
        return self.split.description()

    def leaders(
        self, selection: Mapping[str, Sequence[int]], names: Mapping[str, Sequence[str]]
    ) -> str:
        """Names of what is selected."""
        return " ".join(names[block][k] for block, chosen in selection.items() for k in chosen)

    def search_lines(self, name: str, method: str, found: Found) -> list[str]:
        """The function, and how often the search changed its mind."""
        design = (self.searched_by(name) or self.problem).design(found.genotype)
        stage = "search" if name == SEARCHED else f"search {name}"
        return [words.search_words(stage, self.expression(design), found)]

    def search_numbers(self, found: Found) -> dict[str, float]:
        """Diagnostics and loss."""
        return {**found.diagnostics, "found_valid_loss": found.valid_loss}

    def params(self, trained: Trained[Any], found: Found | None) -> dict[str, Any]:
        """The L2 strength that validation chose; of readers the number of weights."""
        numbers = trained.numbers
        if isinstance(trained.network, ClosedNetwork):
            return {"family": trained.network.family.name, **numbers}
        return {"l2": numbers["l2"]} if "l2" in numbers else dict(numbers)

    def further_numbers(self, evaluation: Evaluation) -> dict[str, float]:
        """Groups of users."""
        return {
            f"test.groups/{group}.{name}": float(value)
            for group, numbers in group_documents(evaluation, self.test_part).items()
            for name, value in numbers.items()
        }

    # Table, metrics.json, figures

    def row(self, entry: Entry) -> dict[str, str]:
        """Metrics of the objective."""
        metrics = {name: f"{entry.test.metrics[name]:.4f}" for name in columns(self.config)}
        valid = f"{entry.valid[self.problem.metric]:.4f}"
        return {"valid": valid, **metrics, "fit s": f"{entry.seconds:.1f}"}

    def tables(self, results: Results) -> list[str]:
        """Groups of users, where the split has cold ones; the function of generated data."""
        asked = results.entries, self.test_part, results.verdict, self.problem.metric
        ours = results.named(SEARCHED, SEARCHED)
        groups = [text for text in (group_table(*asked, ours),) if text]
        beyond = beyond_table(results.entries) if self.config.objective == "ranking" else ""
        if self.config.objective == "ranking":
            order = self.problem.cold_choice.order.name
            groups += told_by_group(*asked, self._warm_comparison(results), order, ours)
        told = Populations.of(self.split, self._second is not None).told
        groups += [f"note: {told}"] if told else []
        new = self._new_ids(results)
        groups += [new.text()] if new is not None else [self._no_new] if self._no_new else []
        planted = self._planted(results.found.get(SEARCHED))
        return [text for text in (beyond, "\n".join(groups), planted) if text]

    @cached_property
    def _asked_side(self) -> Side | None:
        return asked_side(self.split) if self.chooses else None

    def _new_ids(self, results: Results) -> NewResults | None:
        """The served model and baselines on new ids, where a protocol keeps some apart."""
        side = self._asked_side
        if side is None or self._new is not None or self._no_new:
            return self._new
        try:
            self._new = tested_new_ids(
                lambda: self._unseen(results, first=True),
                lambda: self._unseen(results, first=False),
                self.split, self.test_part, side, self.config.seed, self.problem.runtime.threads,
            )  # fmt: skip
        except TooManyItems as error:  # hours of work are worth more than this table
            self._no_new = f"note: no figures of new items: {error}"
        return self._new

    def _unseen(self, results: Results, first: bool) -> ServedModel:
        """The served kind of model, fitted on train alone or on what tested models know."""
        problems, part = (self._problems, self.split) if first else (self._tested, self.test_part)
        if results.baseline is not None and results.choice is not None:
            name = results.choice.name
            params, rows = results.entries[name].params, part.train
            return served_model(problems.functions, name, params, None, rows, "train")
        design = results.designs[SEARCHED]
        trained = self._first if first else results.trained[SEARCHED]
        assert trained is not None  # noqa: S101
        return problems.served(design, trained, part.train)

    def _warm_comparison(self, results: Results) -> Comparison | None:
        """Ours against the baseline of the verdict, without what is new."""
        seed = derive_seed(self.config.seed, "verdict")
        metric = self.problem.metric
        return warm_comparison(results.entries, self.test_part, results.verdict, metric, seed)

    @property
    def _truth(self) -> Truth | None:
        """The truth of generated data."""
        return None if self.dataset is None else self.dataset.truth

    def _planted(self, found: Found | None) -> str:
        """The function behind generated data beside the one that the search found."""
        known = self._truth
        if known is None or isinstance(known, HistoryTruth) or found is None:
            return ""
        named = self.problem.expression(found.genotype)
        return told_of_product(known, self.problem.fields, named, moved=not found.at_rest)

    def _recovery(self, results: Results) -> Recovery | None:
        """Our model beside the truth of generated data; None of other data, or without rankings."""
        truth = self._truth
        if self._recovered is not None or truth is None or self.config.objective != "ranking":
            return self._recovered
        design = results.designs[SEARCHED]
        scorer = self._tested.scorer(design, results.trained[SEARCHED].network)
        self._recovered = recovery(truth, design, scorer, self.test_part)
        return self._recovered

    def closing(self, results: Results, folder: Path) -> list[str]:
        """The last words: the function, its worth, and some recommendations."""
        design = results.designs[SEARCHED]
        seed, metric = derive_seed(self.config.seed, "verdict"), self.problem.metric
        against = results.verdict.against
        lines = [
            words.block("Found:", [words.found_words(design, self.expression(design))]),
            words.block("Worth:", words.worth_words(results.entries, against, metric, seed)),
        ]
        lines += [*words.recovery_words(self._recovery(results)), *words.served_words(results)]
        if told := self._on_features(results):
            lines.append(words.block("Features:", feature_lines(told["features"])))
        if self._saved is not None and len(self.problem.fields) == 2:
            lines += words.recommendation_words(self._saved, self.test_part)
        return [*lines, *words.place_words(folder)]

    def genotype(self, results: Results) -> Genotype:
        """The function that is served, which may be fixed multiply."""
        genotype: Genotype = results.designs[SEARCHED]
        return genotype

    def in_document(self, results: Results) -> dict[str, Any]:
        """Users, how cold the test part is, and which rows the tested models were fitted on."""
        ours = results.entries[SEARCHED]
        served = self._served_rows(results)
        recovered, new = self._recovery(results), self._new_ids(results)
        return {
            "users_left_out": ours.test.left_out,
            "cold": cold_shares(self.test_part.train, self.test_part.test),
            "groups": group_documents(ours.test, self.test_part),
            "served": self._served_document(results),
            **({"retrieval": self._retrieval} if self._retrieval else {}),
            **self._on_populations(results),
            **({"new_items": new.document()} if new is not None and new.side.field else {}),
            **({} if recovered is None else {"recovery": recovered.document()}),
            **self._on_features(results),
            "refit": {
                "setting": self._asked,
                "tested": "train" if self._second is None else "train+valid",
                "served": served,
                "rows": len(self.test_part.train),
                **({"skipped": self._why} if self._why else {}),
                **ours.refit,
            },
        }

    def _on_features(self, results: Results) -> dict[str, Any]:
        """The trials of features; empty: the data have none."""
        rows = self.split.train
        if rows.item_features is None and rows.user_features is None:
            return {}
        name = SEARCHED if results.choice is None else results.choice.name
        served = results.named(name, SEARCHED)
        return {"features": features_document(results.features, served, results.left_out)}

    def _on_populations(self, results: Results) -> dict[str, Any]:
        """Users of validation and test, the verdict on known ones, and what new ones get."""
        document = {"populations": Populations.of(self.split, self._second is not None).document()}
        if self.config.objective != "ranking":
            return document
        warm, against = self._warm_comparison(results), results.verdict.against
        new = self._new_ids(results)
        by_features = new.document() if new is not None and new.side.field == 0 else {}
        return {
            **document, "warm_comparison": warm and {"against": against, **vars(warm)},
            "new_users": {**self.problem.cold_choice.document(), **by_features},
        }  # fmt: skip

    def in_search(self, found: Found) -> dict[str, Any]:
        """The searched function, also where fixed multiply is served."""
        genotype = found.genotype
        readers = [name for name, kind in READERS.items() if kind.name == genotype.space]
        design = self.readers[readers[0]].design(genotype) if readers else genotype
        return {"found": self.expression(design)}

    def in_entrant(self, entry: Entry, results: Results) -> dict[str, Any]:
        """Groups of users, and the second fit where there was one."""
        further: dict[str, Any] = {"refit": dict(entry.refit)} if entry.refit else {}
        found = results.found.get(entry.name)
        if found is not None:
            further["search"] = self.search_document(found)
        return {"groups": group_documents(entry.test, self.test_part), **further}

    def in_training(self, results: Results) -> dict[str, Any]:
        """Seconds of the whole grid, and the numbers that were trained."""
        trained = results.trained[SEARCHED]
        sizes = (p.numel() for p in trained.network.parameters() if p.requires_grad)
        numbers, result = trained.numbers, trained.result
        parameters = numbers.get("parameters", sum(sizes))
        return {"seconds": result.seconds, "epochs": result.epochs, "parameters": parameters}

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Search, function, trainings, test and split."""
        found = figures.figure_data(self.problem, results, self.split, self.test_part)
        return {**found, **self._on_goal(results)}

    def _on_goal(self, results: Results) -> dict[str, Any]:
        """The models that the goal chooses among; empty: it has no bounds."""
        goal = self.goal
        return (
            {"goal": goal_document(goal, results, self.entrants.fallbacks)} if goal.bounds else {}
        )

    def page_data(self, results: Results) -> dict[str, Any]:
        """The data, groups, and recommendations beside those of another model."""
        metric, skipped = self.problem.metric, self.entrants.compared
        models = report_data.shown_models(results, self._tested, metric, skipped)
        found = report_data.page_document(results, models, self.split, self.test_part, metric)
        return {**found, **self._on_goal(results)}

    # Records in trackers

    @property
    def run_name(self) -> str:
        """Data, method, seed, and the moment of several."""
        config, moment = self.config, self.config.data.moment
        told = "" if moment is None else f" · moment {moment}"
        return f"{self.label} · {config.method} · seed {config.seed}{told}"

    @property
    def profile(self) -> dict[str, int]:
        """Rows, and values of each field."""
        known = self.split.interactions
        sizes = {f"{name}s": n for name, n in zip(known.fields, known.sizes, strict=True)}
        return {"num_rows": len(known), **sizes}

    def facts(self, name: str) -> dict[str, Any]:
        """Functions of pairs have dimensions; item-item models and readers are spaces of theirs."""
        if name in self.baselines:
            return super().facts(name)
        if name in (ORDER, CLOSED):
            return {**super().facts(name), "space": name}
        if name in self.readers:
            return {**super().facts(name), "space": "histories"}
        return {**super().facts(name), "dimension": self.config.train.dimension}

    def searched_under(self) -> dict[str, Any]:
        """Strength and dimensions of the search."""
        search = self.problem.config.search
        return {"l2": search.l2, "dimension": search.dimension}

    def write_model(self, folder: Path, made: Path, logged: Any) -> None:
        """The recommender, in a form that MLflow serves where it can."""
        if len(self.problem.fields) != 2:
            super().write_model(folder, made, logged)
            return
        from sif.adapters.mlflow_model import save_logged

        save_logged(folder, made, logged)

    def refuses_to_register(self) -> str:
        """It has to be of user and item alone."""
        fields = self.problem.fields
        return "" if len(fields) == 2 else f"MLflow serves no model of {', '.join(fields)}"
