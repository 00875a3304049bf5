"""The study of interaction functions: the steps and reports that only this task has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sif.baselines import BASELINES, SIMPLEST_FIRST, fit_best
from sif.baselines.base import Chosen, Fitted, choose
from sif.baselines.forecast import TuningSeconds
from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Split
from sif.data.interactions.load import Dataset
from sif.data.interactions.planted_films import HistoryTruth
from sif.errors import DataError, SifError
from sif.evaluation.choice import Choice, chosen
from sif.evaluation.comparison import Comparison
from sif.evaluation.evaluate import Evaluation, Scorer, evaluate_on, evaluated_users
from sif.evaluation.populations import Population, Populations
from sif.evaluation.user_groups import cold_shares
from sif.problems.base import SEARCHED, Problem, Reporter, Session, Trained
from sif.problems.closed_forms import CLOSED, ClosedProblem
from sif.problems.controls import CONTROLS, FIXED, RANDOM, fixed_multiply
from sif.problems.histories import READERS, HistoryProblem, ReaderCost, reader_cost
from sif.problems.interactions import InteractionProblem, Tuning
from sif.problems.l2_grid import follows
from sif.problems.order import METHOD, ORDER, OrderCost, OrderProblem, order_cost
from sif.problems.plan import Costs, OwnCost
from sif.recommender.approximation import with_graph
from sif.recommender.extend import with_owned
from sif.recommender.file_checks import FittedOn
from sif.recommender.model import ServedModel
from sif.spaces.closed.design import OPEN
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.histories.models import HistoryDesign
from sif.tasks.base import Entrants, Entry, Found, Results, Tuned
from sif.tasks.cf import figures, report_data
from sif.tasks.cf import summary_words as words
from sif.tasks.cf.recovery import Recovery, recovery
from sif.tasks.cf.refits import Problems, SecondFits
from sif.tasks.cf.serving import served_document, served_model
from sif.tasks.cf.splits import (
    group_documents,
    group_table,
    told_by_group,
    warm_comparison,
    with_valid_fitted,
)
from sif.tasks.plan import Measurements, Plan
from sif.tasks.study import Study, TrainOne
from sif.utils.calls import Call
from sif.utils.device import Runtime
from sif.utils.random import derive_seed
from sif.utils.ranks import sharing

NO_DOWNLOAD = (
    "dataset planted: generated here with a known truth; for real data: "
    "dataset ml-100k (downloads), or a CSV, TSV, Parquet or .inter file; "
    "the paper's setting: dataset ml-100k with the preset cf/sif-paper"
)
HOPE = 2 / 3
"""Validation of fixed multiply, over that of a model in order or in closed form, below which no
function of pairs is searched: the most that a search gained on fixed multiply was a third
(docs/results/closed-forms.md)."""
FAR_AHEAD = {ORDER: "model in order", CLOSED: "closed form"}
"""Names in words of what may spare the search of functions."""
SOON = 30.0
"""Estimated seconds of closed forms up to which they come before the plan."""
MORE = ("ndcg", "recall")
"""Metrics that the table also shows at a second cut-off: more would not fit its width."""


def columns(config: CFConfig) -> tuple[str, ...]:
    """Metrics in the table: those at 10, two of them also at the longest other list."""
    if config.objective == "rating":
        return ("rmse", "rmse_std", "mae")
    others = [k for k in config.metrics_at if k != 10][-1:]
    further = [f"{name}@{k}" for k in others for name in MORE]
    return ("ndcg@10", "recall@10", *further, "map@10", "mrr@10", "hit@10")


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
        self._chosen: dict[str, Call[Chosen]] = {}  # baselines that are being tuned
        self._fitted: dict[str, Call[Fitted]] = {}  # where they are not fitted again
        self._kept: dict[str, Scorer] = {}
        self._retrieval: dict[str, Any] = {}  # how the saved model finds the best items
        self._saved: ServedModel | None = None
        self._recovered: Recovery | None = None
        self.data_hash = self.dataset.hash if self.dataset else self.split.hash
        self.split_hash, self.split_name = self.split.hash, self.split.protocol
        self.test_part = self.split
        self._asked, self._why = self.config.refit, ""
        self.legend = (
            f"valid: {self.problem.metric} on the validation part, the others on the test part; "
            "fit s: seconds of training over the whole grid, without the search"
        )
        controls = {name: CONTROLS[name](self.problem) for name in self.config.controls}
        methods = {SEARCHED: self.config.method}
        fallbacks = (FIXED,) if FIXED in controls else ()
        if self.order is not None:  # first, since it is cheap and may spare the other
            methods, fallbacks = {ORDER: METHOD, **methods}, (*fallbacks, ORDER)
        if self.closed is not None:
            controls, fallbacks = {CLOSED: OPEN, **controls}, (*fallbacks, CLOSED)
        methods |= {name: METHOD for name in self.readers if name in READERS}
        given = controls | {name: name for name in self.readers if name not in READERS}
        compared = tuple(self.readers)
        paced = {RANDOM: SEARCHED} if RANDOM in controls else {}
        self.entrants = Entrants(
            methods, given, SEARCHED, fallbacks, compared=compared, paced=paced
        )

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
        """Functions of pairs, where one that is solved for is too far ahead of the simplest one.

        That one has told so, and is not fitted again and tested for it.
        """
        fixed, metric = trained.get(FIXED), self.problem.metric
        solved = {one: found for one in FAR_AHEAD if (found := trained.get(one)) is not None}
        if name not in (SEARCHED, RANDOM, FIXED) or fixed is None or not solved:
            return ""
        best = max(solved, key=lambda one: solved[one].result.valid[metric])
        ahead, behind = solved[best].result.valid[metric], fixed.result.valid[metric]
        if behind >= HOPE * ahead:
            return ""
        return (
            f"no function of pairs comes near the {FAR_AHEAD[best]}: valid {metric} {behind:.4f} "
            f"of {FIXED}, {ahead:.4f} of {best}; search.stages=[encoding,operation,weighting] "
            "searches functions alone"
        )

    def start_baselines(self, names: Sequence[str], refits: bool) -> None:
        """Hands the grids to whoever makes the calls of the job."""
        self._chosen = self.problem.tunings(names, choose) if refits else {}
        self._fitted = {} if refits else self.problem.tunings(names, fit_best)

    def baseline(self, name: str) -> Entry:
        """The best of a classical model's grid."""
        fitted = self._in_time(self._fitted.pop(name).result())
        found = self.problem.tested(fitted.scorer, self.split)
        return Entry(
            name, fitted.valid.metrics, found, fitted.seconds, dict(fitted.params),
            merits=self._able(name, fitted.valid), edge=fitted.edge,
        )  # fmt: skip

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
        try:
            return sharing().once(self.closed.cost)  # one clock decides for all processes
        except SifError:  # as the stage itself may, which is told then
            return OwnCost(0.0, 0.0, 0.0, searching=None), 0.0

    def take(self, plan: Plan, runtime: Runtime) -> None:
        """Goes on as planned, maybe without second fits."""
        super().take(plan, runtime)
        self.readers = {
            name: problem.at_pace(out_of_time=runtime.out_of_time)
            for name, problem in self.readers.items()
        }
        self.pace(runtime.out_of_time)
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
        fitted = self._in_time(self._chosen.pop(name).result())
        return Tuned(
            name, fitted.valid.metrics, fitted.seconds, dict(fitted.params),
            self._able(name, fitted.valid), fitted.edge,
        )  # fmt: skip

    def _in_time(self, found: Tuning) -> Tuning:
        """The result; it is noted where the time was over, also on another process's clock."""
        if found.cut:
            self.problem.runtime.out_of_time()
        return found

    def refit_baseline(self, tuned: Tuned, keep: bool) -> Entry:
        """On train and valid rows."""
        begin = time.perf_counter()
        scorer = self._tested.functions.baseline(tuned.name, tuned.params)
        refit = {"seconds": time.perf_counter() - begin}
        found = self.problem.tested(scorer, self.test_part)
        if keep and self.config.refit != "all":
            self._kept = {tuned.name: scorer}
        return Entry(
            tuned.name, tuned.valid, found, tuned.seconds, tuned.params, refit, tuned.merits,
            tuned.edge,
        )  # fmt: skip

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

    def _able(self, name: str, valid: Evaluation) -> NDArray[np.float64] | None:
        """Merits of a baseline that may be served."""
        serving = BASELINES[name].serving
        n_items = self.problem.train_part.sizes[1]
        if not self.chooses or serving is None or n_items > serving.most_items:
            return None
        return valid.per_user[self.problem.metric]

    def merits(self, design: Genotype, trained: Trained[Any]) -> NDArray[np.float64]:
        """NDCG@10 of every validation user."""
        problem = self.problem_of(design)
        assert isinstance(problem, InteractionProblem | OrderProblem | ClosedProblem)  # noqa: S101
        found = evaluate_on(
            problem.scorer(trained.network), problem.train_part, (problem.train_part,),
            problem.valid_part, self.config.objective, self.config.metrics_at,
        )  # fmt: skip
        return found.per_user[self.problem.metric]

    def choice(self, merits: Mapping[str, NDArray[np.float64]]) -> Choice:
        """The rule of `sif.evaluation.choice`."""
        return chosen(merits, (*SIMPLEST_FIRST, SEARCHED))

    def baseline_model(self, name: str, params: Mapping[str, Any]) -> ServedModel:
        """Of the fit that was tested, or fitted on all rows."""
        known, scorer = self.split.interactions, self._kept.pop(name, None)
        if self._second is not None and self.config.refit == "all":
            problem = self._on_all.problems.functions
            return served_model(problem, name, params, None, known, "all")
        rows: FittedOn = "train" if self._second is None else "train+valid"
        return served_model(self._tested.functions, name, params, scorer, known, rows)

    def told_choice(self, results: Results) -> str:
        """The model, and why it is the one."""
        if results.choice is None:
            return ""
        served = self._served_document(results)
        return f"served: {served['expression']}: {served['rule']}"

    def _served_document(self, results: Results) -> dict[str, Any]:
        ours = self.expression(results.designs[SEARCHED])
        return served_document(results, self.problem.metric, ours)

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
        costs = super().costs(measured)
        first = len(self.split.train)
        later = len(self.split.train) + len(self.split.valid)
        rows = {"valid": later / first, "all": len(self.split.part) / first}
        settings = {name: cost.setting for name, cost in self._tuning.items()}
        own = {} if self.order is None else {ORDER: self._order_costs(measured)}
        own |= {name: self._reader_costs(name, measured) for name in self.readers}
        own |= {} if self.closed is None else {CLOSED: self._closed_costs(measured)}
        rows = rows if self.refits else {}
        return replace(
            costs, settings=settings, rows=rows, own=own, serves=self.chooses,
            paced=self.entrants.paced,
        )  # fmt: skip

    def _reader_costs(self, name: str, measured: Measurements) -> OwnCost:
        """Of a reader of histories, by a few steps."""
        unknown = ReaderCost(OwnCost(0.0, 0.0, 0.0, closed=False), 0.0)
        measure = partial(reader_cost, self.readers[name], name)
        cost = measured.of(f"train {name}", measure, unknown)
        measured.memory[f"search {name}"] = measured.memory[f"train {name}"]
        return cost.seconds

    def _order_costs(self, measured: Measurements) -> OwnCost:
        """Of the item-item model, by a small factorization."""
        assert self.order is not None  # noqa: S101
        unknown = OrderCost(OwnCost(0.0, 0.0, 0.0), 0.0)
        cost = measured.of(f"train {ORDER}", partial(order_cost, self.order), unknown)
        for stage in ("search", "train"):
            memory = measured.memory[f"train {ORDER}"]
            measured.memory[f"{stage} {ORDER}"] = memory
        measured.memory[f"train {ORDER}"] += cost.bytes / 2**20
        return cost.seconds

    def _closed_costs(self, measured: Measurements) -> OwnCost:
        """Of closed forms, by what they multiply; the early ones are trained."""
        cost, size = self._closed_cost
        measured.of(f"train {CLOSED}", lambda: cost, cost)
        measured.memory[f"train {CLOSED}"] += size / 2**20
        return replace(cost, grid=0.0, training="done") if self.early else cost

    def baseline_seconds(self, measured: Measurements) -> dict[str, float]:
        """Seconds of the tuning of each."""
        sizes = self.problem.train_part.sizes[:2]
        self._tuning = {}
        for name, measure in self.problem.tuning_seconds(self.baselines):
            stage = f"baseline {name}"
            self._tuning[name] = measured.of(stage, measure, TuningSeconds(0.0, 0.0))
            measured.memory[stage] += 4 * BASELINES[name].matrices(*sizes) / 2**20
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
            model = self._model(results.designs[SEARCHED], trained, rows == "all")
        model = replace(with_owned(model, known.dropped), fitted_on=rows)
        model.save(folder)
        found = with_graph(model, self.config.seed)
        self._retrieval, self._saved = found.document, found.model
        if found.told:
            console.line(found.told)
        if found.model.graph is not None:
            found.model.save(folder)
        if not model.is_personalized:
            told = "ranks items alike for all users; its recommendations are refused"
            if results.baseline is not None:
                told = "is one order of the items; all users get it, without what they have"
            console.line(f"note: {model.expression} {told}")

    def _model(self, design: Genotype, trained: Trained[Any], on_all: bool) -> ServedModel:
        """A served model of ours, fitted on all rows or as it was tested."""
        known = self.split.interactions
        problem = (self._on_all.problems if on_all else self._tested).of(design)
        if isinstance(problem, OrderProblem | ClosedProblem):
            return ServedModel.in_order(problem, design, trained.network, known)
        assert isinstance(problem, InteractionProblem)  # noqa: S101
        return ServedModel.of(problem, design, trained.network, trained.numbers["l2"], known)

    def _served_rows(self, results: Results) -> FittedOn:
        if results.baseline is not None:
            rows: FittedOn = results.baseline.fitted_on
            return rows
        if results.served is not None:
            return "all"
        return "train" if self._second is None else "train+valid"

    def test_saved(self, folder: Path) -> Evaluation:
        """The recommender again."""
        model = ServedModel.load(folder)
        if model.fitted_on == "all":
            raise DataError(
                f"{folder}: expected a model that has not seen the test part, found one that was "
                "fitted on all rows; what the test said before is in metrics.json"
            )
        split = self.split if model.fitted_on == "train" else self._with_valid
        return self.problem.tested(model.scorer_of(split.train), split)

    # What is told

    def opening(self) -> list[str]:
        """The interactions, their parts, and what was done to them."""
        split, config, fields = self.split, self.config, self.problem.fields
        lines = []
        if config.dataset == "planted" and config.data.split_file is None:
            lines.append(NO_DOWNLOAD)
        sizes = ", ".join(
            f"{size:,} {f}s" for f, size in zip(fields, split.interactions.sizes, strict=True)
        )
        parts = f"{len(split.train):,} / {len(split.valid):,} / {len(split.test):,}"
        lines.append(
            f"{self.label}: {len(split.interactions):,} interactions, {sizes}; "
            f"{split.protocol}, train / valid / test {parts}, split {split.hash}"
        )
        notes = [*(self.dataset.notes if self.dataset else []), *split.notes]
        if fields[2:] and self.baselines:
            notes.append(
                f"the classical baselines see users and items, not {', '.join(fields[2:])}"
            )
        notes += self._on_blocks()
        notes += self._on_drawn_users()
        notes += self._on_new_users()
        if config.histories.readers:
            named = ", ".join(self.readers or dict.fromkeys(config.histories.readers))
            left_out = "left out: valid rows have to come later than their users' train rows"
            told = "compared, not served" if self.readers else left_out
            notes.append(f"readers of histories ({named}): {told}")
        return [*lines, *(f"note: {note}" for note in notes)]

    def _on_blocks(self) -> list[str]:
        """The blocks of users in which histories are read, where there are several."""
        if not self.problem.encodes:
            return []
        named = (("search", self.problem.searched), ("training", self.problem))
        return [
            f"histories, {name}: {problem.block_plan.told} (train.block_bytes)"
            for name, problem in named
            if problem.block_plan.blocks > 1
        ]

    def _on_drawn_users(self) -> list[str]:
        """Says where rankings are tested for some of the users alone."""
        if self.config.objective != "ranking":
            return []
        truth = self.split.test
        drawn, without = evaluated_users(truth)
        those = truth.sizes[0] - without
        if len(drawn) == those:
            return []
        some = f"{len(drawn):,} of {those:,} users"
        return [f"test: ranked for {some}, drawn, the same for all models"]

    def _on_new_users(self) -> list[str]:
        """Their numbers and the order in which they get the items, where there are any."""
        choice = self.problem.cold_choice
        if self.config.objective != "ranking":
            return []
        known = self._populations(again=self.refits)
        if not (known.valid.new_users or known.test.new_users):
            return []
        counts = ", ".join(
            f"{p.new_users:,} of {p.users:,} in {name}"
            for name, p in (("valid", known.valid), ("test", known.test))
        )
        who = f"new users, without a fitted row: {counts}"
        return [f"{who}; every model ranks the items for them by {choice.told}"]

    def _populations(self, again: bool) -> Populations:
        """Of validation, and of the test of first fits or of those that were fitted again."""
        train, valid = self.split.train, self.split.valid
        fitted = (train, valid) if again else (train,)
        return Populations(Population.of((train,), valid), Population.of(fitted, self.split.test))

    @property
    def _tested_again(self) -> bool:
        """True once models that were fitted again are tested."""
        return self.test_part is not self.split

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
        counts, summary = found.diagnostics, found.summary
        design = (self.searched_by(name) or self.problem).design(found.genotype)
        stage = "search" if name == SEARCHED else f"search {name}"
        text = (
            f"{stage}: {self.expression(design)} after {summary['epochs']} epochs "
            f"in {summary['seconds']:.1f} s ({counts['flips']:.0f} changes of mind, "
            f"margin {counts['margin']:.2f})"
        )
        return [text]

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
        if self.config.objective == "ranking":
            order = self.problem.cold_choice.order.name
            groups += told_by_group(*asked, self._warm_comparison(results), order, ours)
        told = self._populations(self._tested_again).told
        groups += [f"note: {told}"] if told else []
        planted = self._planted(results.found.get(SEARCHED))
        return [text for text in ("\n".join(groups), planted) if text]

    def _warm_comparison(self, results: Results) -> Comparison | None:
        """Ours against the baseline of the verdict, without what is new."""
        seed = derive_seed(self.config.seed, "verdict")
        metric = self.problem.metric
        return warm_comparison(results.entries, self.test_part, results.verdict, metric, seed)

    def _planted(self, found: Found | None) -> str:
        """The function behind generated data beside the one that the search found."""
        known = None if self.dataset is None else self.dataset.truth
        if known is None or isinstance(known, HistoryTruth) or found is None:
            return ""
        truth = known["truth"]
        fields = (
            field if transform == "identity" else f"{transform}({field})"
            for field, transform in zip(self.problem.fields, truth.transforms, strict=False)
        )
        planted = f"{truth.operation}({', '.join(fields)})"
        named = self.problem.expression(found.genotype)
        told = "found it" if named == planted else f"found {named}"
        if found.at_rest:
            told = f"did not move from {named}"
        return f"planted: the data were generated by {planted}; the search {told}"

    def _recovery(self, results: Results) -> Recovery | None:
        """Our model beside the truth of generated data; None of other data, or without rankings."""
        truth = None if self.dataset is None else self.dataset.truth
        if truth is None or self.config.objective != "ranking":
            return None
        design = results.designs[SEARCHED]
        problem = self._tested.of(design)
        if not isinstance(problem, InteractionProblem | OrderProblem | ClosedProblem):
            return None
        scorer = problem.scorer(results.trained[SEARCHED].network)
        return recovery(truth, design, scorer, self.test_part)

    def closing(self, results: Results, folder: Path) -> list[str]:
        """The last words: the function, its worth, and some recommendations."""
        design = results.designs[SEARCHED]
        seed, metric = derive_seed(self.config.seed, "verdict"), self.problem.metric
        against = results.verdict.against
        lines = [
            words.block("Found:", [words.found_words(design, self.expression(design))]),
            words.block("Worth:", words.worth_words(results.entries, against, metric, seed)),
            *words.recovery_words(self._recovered),
            *words.served_words(results),
        ]
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
        self._recovered = self._recovery(results)
        return {
            "users_left_out": ours.test.left_out,
            "cold": cold_shares(self.test_part.train, self.test_part.test),
            "groups": group_documents(ours.test, self.test_part),
            "served": self._served_document(results),
            **({"retrieval": self._retrieval} if self._retrieval else {}),
            **self._on_populations(results),
            **({} if self._recovered is None else {"recovery": self._recovered.document()}),
            "refit": {
                "setting": self._asked,
                "tested": "train" if self._second is None else "train+valid",
                "served": served,
                "rows": len(self.test_part.train),
                **({"skipped": self._why} if self._why else {}),
                **ours.refit,
            },
        }

    def _on_populations(self, results: Results) -> dict[str, Any]:
        """Users of validation and test, the verdict on known ones, and what new ones get."""
        document: dict[str, Any] = {"populations": self._populations(self._tested_again).document()}
        if self.config.objective == "ranking":
            warm = self._warm_comparison(results)
            document["warm_comparison"] = warm and {
                "against": results.verdict.against,
                **vars(warm),
            }
            document["new_users"] = self.problem.cold_choice.document()
        return document

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
        return figures.figure_data(self.problem, results, self.split, self.test_part)

    def page_data(self, results: Results) -> dict[str, Any]:
        """The data, groups, and recommendations beside those of another model."""
        entries, metric, tested = results.entries, self.problem.metric, self.test_part
        models, ranks = self._shown_models(results), self.config.objective == "ranking"
        other = models[-1].name if len(models) > 1 else None
        users = report_data.chosen_users(
            entries[SEARCHED], entries.get(other or ""), metric, tested
        )
        return {
            "data": report_data.data_document(self.split, tested),
            "groups": report_data.group_bars(entries, tested, results.verdict, metric),
            "items": report_data.item_groups(models, tested) if ranks else None,
            "recommendations": report_data.recommendations(models, users, tested, ranks),
            "recommenders": {one.name: one.expression for one in models},
        }

    def _shown_models(self, results: Results) -> list[report_data.Shown]:
        """Ours and another one, whose recommendations are shown; none of more than two fields."""
        if len(self.problem.fields) != 2:
            return []

        def trained(name: str) -> report_data.Shown:
            design = results.designs[name]
            problem: Any = self._tested.of(design)
            scorer = problem.scorer(results.trained[name].network)
            return report_data.Shown(name, self.expression(design), scorer)

        ours, against = trained(SEARCHED), results.verdict.against
        name = report_data.other_baseline(results.entries, against, self.problem.metric)
        if name is not None:
            params = results.entries[name].params
            scorer = self._tested.functions.baseline(name, params)
            return [ours, report_data.Shown(name, "", scorer)]
        able = against in results.trained and against not in self.entrants.compared
        return [ours, trained(against)] if able and against is not None else [ours]

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
