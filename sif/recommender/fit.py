"""Makes a served model of interactions, without a run folder: search, train, choose, fit again.

This is the job of the task "cf" without a test: the report of a fit is of the validation part, and
was measured before the last fit on all rows.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, NamedTuple

import torch

from sif.baselines import BASELINES
from sif.config import CFConfig, TrainConfig
from sif.core.genotype import Genotype
from sif.data.features.attach import with_features
from sif.data.interactions import Interactions
from sif.errors import BudgetError, ConfigError, DataError, DivergedError
from sif.evaluation.evaluate import Evaluation, evaluate_on
from sif.problems.base import SEARCHED, Session, Trained
from sif.problems.base import Reporter as QuietReporter
from sif.problems.budget import TimeBudget, fitting, whole_epochs
from sif.problems.controls import FIXED, fixed_multiply
from sif.problems.feature_trial import features_document
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import GridTraining
from sif.problems.order import ORDER
from sif.problems.pair_features import further, with_or_without
from sif.problems.pilots import training_cost
from sif.problems.refit import Refit, SolvedRefit
from sif.recommender.approximation import check_retrieval, with_graph
from sif.recommender.even_level import with_even_level
from sif.recommender.extend import with_owned
from sif.recommender.feature_model import with_feature_model
from sif.recommender.inputs import parts
from sif.recommender.model import ServedModel
from sif.recommender.new_users import with_listed_users
from sif.recommender.own_models import OwnModels, OwnProblem
from sif.recommender.report import Report, Row, part_of
from sif.recommender.user_choice import with_user_choice
from sif.recommender.warm_start import WarmStart
from sif.search.loop import SearchResult
from sif.spaces.interaction.design import has_features
from sif.spaces.interaction.function import InteractionNetwork
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime, torch_threads
from sif.utils.durations import seconds_of
from sif.utils.random import derive_seed

AUTO = {"ranking": ("popularity", "ease"), "rating": ("global-mean", "bias-only")}
"""Baselines that take seconds, by objective."""
EASE_SIDE = 5_000
"""Users or items, whichever are fewer, up to which EASE takes seconds."""

BASELINE_SHARE, PILOT_SHARE, FIXED_SHARE, SEARCH_SHARE = 0.1, 0.1, 0.3, 0.55
"""Shares of the remaining time for baselines, each pilot, fixed multiply and search, once item-item
models are fitted. The searched function gets the rest."""
LEAST = 0.05
"""Share of the whole budget that a training gets even if nothing is left: a function that is hardly
trained is worth nothing."""

_logger = logging.getLogger("sif")


@dataclass(frozen=True)
class Reporter(QuietReporter):
    """Logs remarks, and writes them to standard error where asked to.

    Attributes:
        verbose: Whether messages are written.
    """

    verbose: bool

    def line(self, text: str) -> None:
        """A remark."""
        _logger.info(text)
        if self.verbose:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Reports a remark, also without `verbose`."""
        _logger.warning(text)


class Learned(NamedTuple):
    """The model that serves, validation metrics of its function, and all that was trained."""

    model: ServedModel
    valid: dict[str, float]
    report: Report


def started(budget: float | str | timedelta | None) -> TimeBudget:
    """Starts the clock of a budget, once the modules are loaded that a fit would load on its way.

    Args:
        budget: See `Recommender`.

    Returns:
        The budget, whose clock runs.

    Raises:
        ConfigError: No duration.
    """
    seconds = seconds_of(budget)
    if seconds is not None:
        torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # torch loads its compiler with it
        with contextlib.suppress(ImportError):  # it is optional
            importlib.import_module("numba")
    return TimeBudget(seconds)


def learn(
    data: Any, valid: Any, config: CFConfig, baselines: Sequence[str] | None, budget: TimeBudget,
    reporter: Reporter, warm: WarmStart | None = None, features: Mapping[str, Any] | None = None,
) -> Learned:  # fmt: skip
    """Searches, trains the searched function and fixed multiply, serves the one validation prefers.

    That one is fitted again on all rows, unless the setting `refit` is "none". Torch has the
    configured number of threads meanwhile, and its former number afterwards.

    Args:
        data: See `sif.recommender.inputs.parts`.
        valid: As for `parts`.
        config: All settings.
        baselines: Names of the baselines in the report; None: `AUTO`.
        budget: Of everything.
        reporter: Hears remarks.
        features: Tables of features of "item" and "user", in place of those that settings name.
        warm: From which the fit starts; nothing is searched then. None: from nothing.

    Raises:
        DataError, ConfigError: Data or settings that cannot be used.
    """
    with torch_threads(config.threads):
        known, problem = prepared(data, valid, config, budget, warm, features)
        return _Fit(problem, known, budget, reporter, warm).run(baselines)


def prepared(
    data: Any, valid: Any, config: CFConfig, budget: TimeBudget, warm: WarmStart | None = None,
    features: Mapping[str, Any] | None = None,
) -> tuple[Interactions, InteractionProblem]:  # fmt: skip
    """All interactions, and the problem of their train and validation part.

    Raises:
        DataError, ConfigError: Data or settings that cannot be used.
    """
    with budget.stage("reading"):
        runtime = make_runtime(config.device, config.seed, config.threads)
        runtime = replace(runtime, out_of_time=budget.out_of_time)
        rows = parts(data, valid, config.seed, config.data, config.objective)
        described, notes = with_features(rows[0], config.data, **(features or {}))
        for note in notes:
            _logger.info("%s", note)
        tables = described.item_features, described.user_features
        known, train, held = (
            replace(part, item_features=tables[0], user_features=tables[1]) for part in rows
        )
        if warm is not None:
            config = warm.configured(config)
            train, held = warm.parts(known, train, held)
        problem = InteractionProblem(train, held, config, runtime)
        problem.check_method(config.method)
        check_retrieval(config.retrieval)
    budget.begin_work()
    return known, problem


@dataclass(frozen=True, eq=False)
class _Work:
    """A training, as much of the grid as there was time for, and seconds of one of its epochs."""

    trained: Trained[InteractionNetwork]
    section: TrainConfig
    epoch: float


class _Tried(NamedTuple):
    """Models among which validation chooses, by name, and a line on the search."""

    genotypes: dict[str, Genotype]
    trained: dict[str, Trained[Any]]
    rows: dict[str, Row]
    found: str
    left_out: tuple[str, ...]


class _LastFit(NamedTuple):
    """The training that is served, the problem that it was fitted on, and a line on it."""

    problem: InteractionProblem | OwnProblem
    trained: Trained[Any]
    told: str


@dataclass(frozen=True)
class _Fit:
    """One fit at work."""

    problem: InteractionProblem
    known: Interactions
    budget: TimeBudget
    reporter: Reporter
    warm: WarmStart | None = None

    @cached_property
    def refit(self) -> Refit[InteractionProblem] | None:
        """The last fit on all rows, as the setting has it; there is no test part to keep apart."""
        none = self.problem.config.refit == "none"
        return None if none else Refit.of(self.problem, self.known)

    @cached_property
    def own(self) -> OwnModels:
        """Item-item models."""
        return OwnModels(self.problem, self.budget, self.reporter)

    def _problem_of(self, genotype: Genotype) -> InteractionProblem | OwnProblem:
        return self.own.problems.get(genotype.space, self.problem)

    def run(self, baselines: Sequence[str] | None) -> Learned:
        problem = self.problem
        if self.warm is None:
            rows, evaluations, left_out = self._baselines(baselines)
            tried = self._fresh()
        else:
            rows, evaluations, left_out = self._baselines(baselines or ())
            tried = self._continued(self.warm)
        genotypes, trained, found = tried.genotypes, tried.trained, tried.found
        rows |= tried.rows
        kept = self._kept(trained)
        for name, one in trained.items():
            with self.budget.stage("serving"):
                evaluations[name] = self._evaluated(genotypes[name], one)
            rows[name] = replace(rows[name], metrics=evaluations[name].metrics)
        last = self._last_fit(genotypes[kept], trained[kept])
        with self.budget.stage("serving"):
            served = with_graph(self._served(genotypes[kept], last), problem.config.seed)
        if served.told:
            self.reporter.line(served.told)
        report = Report.of(
            problem.config.objective, rows, evaluations, kept,
            is_fixed=genotypes[kept] == fixed_multiply(problem), search=found,
            left_out=(*left_out, *tried.left_out),
            seconds=self.budget.spent, seed=derive_seed(problem.config.seed, "report"),
            last_fit=last.told, new_users=self._on_new_users(), retrieval=served.told,
            features=self._on_features(trained, kept),
        )  # fmt: skip
        if late := self.budget.verdict():
            self.reporter.warn(late)
        valid = trained[kept].result.valid
        return Learned(replace(served.model, report=report), valid, report)

    def _fresh(self) -> _Tried:
        """Fits item-item models and fixed multiply, searches, and trains what was found."""
        fixed = fixed_multiply(self.problem)
        own, not_fitted = self.own.fitted()
        works = {FIXED: self._trained(FIXED, fixed, FIXED_SHARE)}
        search = self._search(works[FIXED].trained)
        genotypes = {FIXED: fixed}
        if isinstance(search, str):
            works[FIXED] = self._longer(works[FIXED], fixed)
            found = f"no search: {search}"
        else:
            former = works[FIXED] if search.genotype == fixed else None
            work = self._trained(SEARCHED, search.genotype, 1.0, former)
            genotypes[SEARCHED] = self.problem.trained_design(search.genotype, work.trained)
            works[SEARCHED] = work
            found = self._told(search)
        trained: dict[str, Trained[Any]] = {name: work.trained for name, work in works.items()}
        rows = {name: self._row(name, genotypes[name], work) for name, work in works.items()}
        for name, (genotype, one) in own.items():
            genotypes[name], trained[name] = genotype, one
            told = self._problem_of(genotype).expression(genotype)
            rows[name] = Row(name, told, one.result.valid, one.result.seconds, "")
        return _Tried(genotypes, trained, rows, found, tuple(not_fitted))

    def _continued(self, warm: WarmStart) -> _Tried:
        """Fits the earlier model's function, from what it has learned."""
        model, genotype = warm.model, warm.genotype
        if not warm.is_function:
            name = genotype.space
            genotype, one = self.own.continued(genotype, model.constants)
            told = self._problem_of(genotype).expression(genotype)
            row = Row(name, told, one.result.valid, one.result.seconds, "")
            found = f"no search: the design of the earlier model, {model.expression}"
            if name == ORDER:
                found += "; its penalty and powers walked on from the earlier ones"
            else:
                found += "; its constants and their neighbors were solved for"
            return _Tried({name: genotype}, {name: one}, {name: row}, found, ())
        with self.budget.stage("folding in"):
            first = warm.initial(self.problem)
        self.problem.initial, self.problem.start = first, genotype
        work = self._trained(SEARCHED, genotype, 1.0)
        begins = "from its vectors" if first is not None else "from fresh vectors"
        found = (
            f"no search: the function of the earlier model, {model.expression}, trained {begins} "
            f"with its L2 strength for up to {self.problem.config.train.epochs} epochs"
        )
        row = self._row(SEARCHED, genotype, work)
        return _Tried({SEARCHED: genotype}, {SEARCHED: work.trained}, {SEARCHED: row}, found, ())

    def _on_new_users(self) -> str:
        """The order for new users, where validation had a choice; empty: the most popular items."""
        choice = self.problem.cold_choice
        return f"new users: items by {choice.told}" if choice.values else ""

    def _on_features(self, trained: Mapping[str, Trained[Any]], kept: str) -> dict[str, Any]:
        """The trials of features; empty: the data have none."""
        if self.known.item_features is None and self.known.user_features is None:
            return {}
        return features_document({name: one.features for name, one in trained.items()}, kept, {})

    def _last_fit(self, genotype: Genotype, first: Trained[Any]) -> _LastFit:
        """The model fitted again on all rows, or its first fit, and why."""
        problem, refit = self._problem_of(genotype), self._refit_of(genotype)
        if refit is None:
            told = f"last fit: none; served as it was fitted on {len(problem.train_part):,} rows"
            return _LastFit(problem, first, told)
        with self.budget.stage("last fit") as seconds:
            try:
                needed = refit.seconds(first.result)
                if needed > seconds:
                    raise BudgetError(f"expected {needed:.1f} s for it, found {seconds:.1f} s")
                again = refit.network("all", genotype, first, Session(console=self.reporter))
            except (BudgetError, DivergedError) as error:
                rows = len(problem.train_part)
                told = f"last fit: none, {error}; served as it was fitted on {rows:,} rows"
                self.reporter.warn(told)
                return _LastFit(problem, first, told)
        told = (
            f"last fit: after these figures were measured, the served function was fitted again on "
            f"all {len(self.known):,} rows, with what validation chose"
        )
        return _LastFit(refit.problem, again, told)

    def _refit_of(self, genotype: Genotype) -> Refit[InteractionProblem] | SolvedRefit[Any] | None:
        if self.refit is not None and genotype.space in self.own.problems:
            return self.own.again(genotype.space, self.known)
        return self.refit

    def _served(self, genotype: Genotype, last: _LastFit) -> ServedModel:
        network, problem = last.trained.network, last.problem
        if isinstance(problem, OwnProblem):
            model = ServedModel.in_order(problem, genotype, network, self.known)
        else:
            l2 = last.trained.numbers["l2"]
            model = ServedModel.of(problem, genotype, network, l2, self.known)
        model = replace(with_owned(model, self.known.dropped), constants=dict(last.trained.numbers))
        first = problem is self._problem_of(genotype)
        config = self.problem.config
        model = with_feature_model(model, config.seed, self.problem.runtime.threads)
        model = with_even_level(model, config.seed)
        model, choice = with_user_choice(model, config.seed)
        if choice is not None:
            self.reporter.line(choice.told)
        return with_listed_users(model if first else replace(model, fitted_on="all"))

    def _kept(self, trained: Mapping[str, Trained[Any]]) -> str:
        """The name of the model that validation prefers; of equals the searched function."""
        names = (SEARCHED, FIXED, *self.own.problems)
        kept, *others = [name for name in names if name in trained]
        for name in others:
            if self.problem.prefers(trained[name], trained[kept]):
                kept = name
        return kept

    def _told(self, search: SearchResult) -> str:
        """The search on one line."""
        found = self.problem.expression(search.genotype)
        if search.at_rest:
            self.reporter.warn(f"the search did not move: {search.at_rest}")
            return f"the search did not move from {found} ({search.at_rest})"
        return f"found: {found} in {search.seconds:.1f} s of search"

    def _evaluated(self, genotype: Genotype, trained: Trained[Any]) -> Evaluation:
        """On the whole validation part, as the baselines."""
        problem, config = self._problem_of(genotype), self.problem.config
        return evaluate_on(
            problem.scorer(trained.network), problem.train_part, (problem.train_part,),
            problem.valid_part, config.objective, config.metrics_at,
        )  # fmt: skip

    def _row(self, name: str, genotype: Genotype, work: _Work) -> Row:
        whole, done = self.problem.config.train, work.section
        parts = (
            part_of(len(done.l2), len(whole.l2), "settings"),
            part_of(done.epochs, whole.epochs, "epochs"),
        )
        told, result = self.problem.expression(genotype), work.trained.result
        return Row(name, told, result.valid, result.seconds, ", ".join(filter(None, parts)))

    def _trained(
        self, name: str, genotype: Genotype, share: float, former: _Work | None = None
    ) -> _Work:
        """A function trained over as much of the grid of strengths as there is time for.

        The same function's `former` training stands unless there is time for more now.
        """
        section = self.problem.config.train
        epoch = former.epoch if former else self._epoch_seconds(genotype)
        with self.budget.stage(name, share, LEAST) as seconds:
            if math.isfinite(seconds):
                again = 0.0 if self.refit is None else self.refit.share
                more = 0.0  # with features a function is trained once more
                if has_features(genotype):
                    more = whole_epochs(further(section)) / section.epochs
                section = fitting(section, epoch, seconds, again + more)
                self.budget.reserve(min(again * section.epochs * epoch, seconds / 2))
            if former and whole_epochs(section) <= whole_epochs(former.section):
                return former
            if section is not self.problem.config.train:
                self.reporter.line(
                    f"{name}: {seconds:.1f} s allow {section.epochs} epochs and {len(section.l2)} "
                    f"of {len(self.problem.config.train.l2)} strengths of L2"
                )
            problem, session = self.problem, Session(console=self.reporter)

            def train(
                name: str, genotype: Genotype, section: TrainConfig
            ) -> Trained[InteractionNetwork]:
                return GridTraining(section, problem, problem.train, session).train(name, genotype)

            trained = with_or_without(problem, name, genotype, section, train, self.reporter)
            return _Work(trained, section, epoch)

    def _longer(self, work: _Work, genotype: Genotype) -> _Work:
        """Fixed multiply again, with the time that no search took, where that makes it better."""
        again = self._trained(FIXED, genotype, 1.0, work)
        return work if self.problem.prefers(work.trained, again.trained) else again

    def _epoch_seconds(self, genotype: Genotype) -> float:
        """Seconds of an epoch with its share of a validation, measured on a few steps.

        Infinite where nothing is left to measure with: the training then takes a single epoch.
        """
        if self.budget.seconds is None:
            return 0.0
        if self.budget.left <= 0:
            return math.inf
        with self.budget.stage("pilots", PILOT_SHARE):
            cost = training_cost(self.problem, genotype)
        return cost.epoch(self.problem.config.train.evaluate_every)

    def _search(self, trained: Trained[InteractionNetwork]) -> SearchResult | str:
        """The search; the reason where there is no time for one."""
        try:
            return searched(self.problem.followed(trained), self.budget, SEARCH_SHARE)
        except BudgetError as error:
            if self.budget.seconds is None:
                raise
            self.reporter.warn(f"no time for a search, fixed multiply is served: {error}")
            return f"no time ({error})"

    def _baselines(
        self, names: Sequence[str] | None
    ) -> tuple[dict[str, Row], dict[str, Evaluation], tuple[str, ...]]:
        """Tuned baselines; those that cannot be had are left out, with the reasons."""
        rows: dict[str, Row] = {}
        evaluations: dict[str, Evaluation] = {}
        left_out: list[str] = []
        with self.budget.stage("baselines", BASELINE_SHARE):
            for name in self._automatic() if names is None else names:
                try:
                    if self.budget.out_of_time():
                        raise BudgetError("no time")
                    fitted = self.problem.baseline_fits.tuned(name)
                except (ConfigError, DataError) as error:
                    left_out.append(f"left out: baseline {name}: {error}")
                    self.reporter.line(left_out[-1])
                    continue
                parameters = ", ".join(f"{key} {value:g}" for key, value in fitted.params.items())
                whole = max(len(fitted.trials), len(BASELINES[name].grid))
                tried = part_of(len(fitted.trials), whole, "settings")
                rows[name] = Row(name, parameters, fitted.valid.metrics, fitted.seconds, tried)
                evaluations[name] = fitted.valid
        return rows, evaluations, tuple(left_out)

    def _automatic(self) -> list[str]:
        small = min(self.problem.train_part.sizes[:2]) <= EASE_SIDE
        return [name for name in AUTO[self.problem.config.objective] if small or name != "ease"]


def searched(problem: InteractionProblem, budget: TimeBudget, share: float = 1.0) -> SearchResult:
    """Searches a problem within a share of what is left of a budget.

    Raises:
        BudgetError: There is no time for it; the message names the limit that the caller gave.
        DivergedError: The search diverged.
    """
    own = problem.config.search.seconds
    with budget.stage("search", share) as seconds:
        is_limited = math.isfinite(seconds)  # by the budget, not by settings
        try:
            if is_limited:
                problem = _within(problem, budget)
                is_limited = problem.config.search.seconds != own
            found = problem.search(NullTracker(), NoCheckpoint())
        except BudgetError as error:
            if not is_limited:
                raise
            raise BudgetError(_blamed(budget, error)) from error
    if found.at_rest and is_limited:
        return replace(found, at_rest=_blamed(budget, found.at_rest))
    return found


def _blamed(budget: TimeBudget, reason: object) -> str:
    """The reason why a search lacks time, with the budget in place of the setting made of it."""
    _, _, told = str(reason).partition(": ")
    return f"budget: {budget.seconds:g} s leave too little for a search: {told}"


def _within(problem: InteractionProblem, budget: TimeBudget) -> InteractionProblem:
    """The problem with a search that ends in time: by its epochs, or else by CPU seconds.

    A pilot tells what its epochs cost.

    Raises:
        BudgetError: Not even a step fits.
    """
    section = problem.config.search
    if section.steps is not None:
        return problem
    if budget.stage_left <= 0:
        raise BudgetError("search: expected time, found none left")
    cost = problem.method_run().epochs_cost(problem.config.method, budget.stage_left)
    seconds = max(budget.stage_left, 1e-3) * budget.parallel
    if cost <= seconds:
        return problem
    return problem.at(seconds=min(seconds, section.seconds or math.inf))
