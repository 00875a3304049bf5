"""Makes a served model of interactions, without a run folder: search, train, choose.

This is the job of the task "cf" without a test: the report of a fit is of the validation part.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sif.config import CFConfig, TrainConfig
from sif.core.genotype import Genotype
from sif.data.interactions import Interactions
from sif.errors import BudgetError, ConfigError, DataError
from sif.evaluation.evaluate import Evaluation, evaluate_on
from sif.problems.base import SEARCHED, Session, Trained
from sif.problems.base import Reporter as QuietReporter
from sif.problems.controls import FIXED, fixed_multiply
from sif.problems.interactions import InteractionProblem
from sif.problems.l2_grid import GridTraining
from sif.recommender.budget import FitBudget, fitting, whole_epochs
from sif.recommender.inputs import parts
from sif.recommender.model import ServedModel
from sif.recommender.report import Report, Row
from sif.spaces.interaction.function import InteractionNetwork
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint
from sif.utils.device import make_runtime, torch_threads
from sif.utils.random import derive_seed

AUTO = {"ranking": ("popularity", "ease"), "rating": ("global-mean", "bias-only")}
"""Baselines that take seconds, by objective."""
EASE_SIDE = 5_000
"""Users or items, whichever are fewer, up to which EASE takes seconds."""

BASELINE_SHARE, FIXED_SHARE, SEARCH_SHARE = 0.1, 0.3, 0.55
"""Shares of the remaining time for baselines, fixed multiply and search. The searched function gets
the rest."""
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


def learn(
    data: Any, valid: Any, config: CFConfig, baselines: Sequence[str] | None, budget: FitBudget,
    reporter: Reporter,
) -> Learned:  # fmt: skip
    """Searches, trains the searched function and fixed multiply, serves the one validation prefers.

    Torch has the configured number of threads meanwhile, and its former number afterwards.

    Args:
        data: See `sif.recommender.inputs.parts`.
        valid: As for `parts`.
        config: All settings.
        baselines: Names of the baselines in the report; None: `AUTO`.
        budget: Of everything.
        reporter: Hears remarks.

    Raises:
        DataError, ConfigError: Data or settings that cannot be used.
    """
    with torch_threads(config.threads):
        known, problem = prepared(data, valid, config, budget)
        return _Fit(problem, known, budget, reporter).run(baselines)


def prepared(
    data: Any, valid: Any, config: CFConfig, budget: FitBudget
) -> tuple[Interactions, InteractionProblem]:
    """All interactions, and the problem of their train and validation part.

    Raises:
        DataError, ConfigError: Data or settings that cannot be used.
    """
    with budget.stage("reading"):
        runtime = make_runtime(config.device, config.seed, config.threads)
        runtime = replace(runtime, out_of_time=budget.out_of_time)
        known, train, held = parts(data, valid, config.seed, config.data, config.objective)
        problem = InteractionProblem(train, held, config, runtime)
        problem.check_method(config.method)
    budget.begin_work()
    return known, problem


@dataclass(frozen=True, eq=False)
class _Work:
    """A training, as much of the grid as there was time for, and seconds of one of its epochs."""

    trained: Trained[InteractionNetwork]
    section: TrainConfig
    epoch: float


@dataclass(frozen=True)
class _Fit:
    """One fit at work."""

    problem: InteractionProblem
    known: Interactions
    budget: FitBudget
    reporter: Reporter

    def run(self, baselines: Sequence[str] | None) -> Learned:
        config, problem = self.problem.config, self.problem
        rows, evaluations = self._baselines(baselines)
        genotypes = {FIXED: fixed_multiply(problem)}
        works = {FIXED: self._trained(FIXED, genotypes[FIXED], FIXED_SHARE)}
        found = self._found(works[FIXED].trained, genotypes[FIXED])
        genotypes[SEARCHED] = found
        former = works[FIXED] if found == genotypes[FIXED] else None
        works[SEARCHED] = self._trained(SEARCHED, found, 1.0, former)
        trained = {name: work.trained for name, work in works.items()}
        kept = FIXED if problem.prefers(trained[FIXED], trained[SEARCHED]) else SEARCHED
        with self.budget.stage("serving"):
            ours = trained[kept]
            model = ServedModel.of(
                problem, genotypes[kept], ours.network, ours.numbers["l2"], self.known
            )
            for name, one in trained.items():
                # On the whole validation part, as the baselines.
                evaluations[name] = evaluate_on(
                    problem.scorer(one.network), problem.train_part, (problem.train_part,),
                    problem.valid_part, config.objective,
                )  # fmt: skip
                told, seconds = problem.expression(genotypes[name]), one.result.seconds
                rows[name] = Row(name, told, evaluations[name].metrics, seconds)
        report = Report.of(
            config.objective, rows, evaluations, kept, self.budget,
            derive_seed(config.seed, "report"),
        )  # fmt: skip
        if late := self.budget.verdict():
            self.reporter.warn(late)
        return Learned(model, ours.result.valid, report)

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
                section = fitting(section, epoch, seconds)
            if former and whole_epochs(section) <= whole_epochs(former.section):
                return former
            if section is not self.problem.config.train:
                self.reporter.line(
                    f"{name}: {seconds:.1f} s allow {section.epochs} epochs and {len(section.l2)} "
                    f"of {len(self.problem.config.train.l2)} strengths of L2"
                )
            session = Session(console=self.reporter)
            grid = GridTraining(section, self.problem, self.problem.train, session)
            return _Work(grid.train(name, genotype), section, epoch)

    def _epoch_seconds(self, genotype: Genotype) -> float:
        """Seconds of an epoch with its validation, by a training that is thrown away."""
        if self.budget.seconds is None:
            return 0.0
        strengths = sorted(self.problem.config.train.l2)
        l2 = strengths[len(strengths) // 2]
        with self.budget.stage("pilots"):
            tried = self.problem.train(genotype, NullTracker(), NoCheckpoint(), l2=l2, epochs=2)
        result = tried.result
        first, last = result.history[0], result.history[-1]
        if first is last:
            return result.seconds / result.epochs
        return last["seconds"] - first["seconds"]  # the first epoch compiles and allocates

    def _found(self, trained: Trained[InteractionNetwork], fixed: Genotype) -> Genotype:
        """The function that the search finds; fixed multiply where there is no time for one."""
        try:
            return searched(self.problem.followed(trained), self.budget, SEARCH_SHARE)
        except BudgetError as error:
            if self.budget.seconds is None:
                raise
            self.reporter.warn(f"budget: no time for a search, fixed multiply is served: {error}")
            return fixed

    def _baselines(
        self, names: Sequence[str] | None
    ) -> tuple[dict[str, Row], dict[str, Evaluation]]:
        """Tuned baselines; those that cannot be had are left out, and the log says why."""
        rows: dict[str, Row] = {}
        evaluations: dict[str, Evaluation] = {}
        with self.budget.stage("baselines", BASELINE_SHARE):
            for name in self._automatic() if names is None else names:
                if self.budget.out_of_time():
                    self.reporter.line(f"left out: baseline {name}: no time")
                    continue
                try:
                    fitted = self.problem.tuned(name, self.budget.out_of_time)
                except (ConfigError, DataError) as error:
                    self.reporter.line(f"left out: baseline {name}: {error}")
                    continue
                parameters = ", ".join(f"{key} {value:g}" for key, value in fitted.params.items())
                rows[name] = Row(name, parameters, fitted.valid.metrics, fitted.seconds)
                evaluations[name] = fitted.valid
        return rows, evaluations

    def _automatic(self) -> list[str]:
        small = min(self.problem.train_part.sizes[:2]) <= EASE_SIDE
        return [name for name in AUTO[self.problem.config.objective] if small or name != "ease"]


def searched(problem: InteractionProblem, budget: FitBudget, share: float = 1.0) -> Genotype:
    """Searches a problem within a share of what is left of a budget.

    Raises:
        BudgetError: There is no time for it.
        DivergedError: The search diverged.
    """
    with budget.stage("search", share) as seconds:
        if math.isfinite(seconds):
            problem = _within(problem, budget)
        return problem.search(NullTracker(), NoCheckpoint()).genotype


def _within(problem: InteractionProblem, budget: FitBudget) -> InteractionProblem:
    """The problem with a search that ends in time: by its epochs, or else by CPU seconds.

    A pilot tells what its epochs cost.
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
