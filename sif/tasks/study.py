"""A study: a problem, its test part, and the compared models; all that distinguishes tasks."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sif.config import CommonConfig
from sif.core.genotype import Genotype
from sif.evaluation.choice import Choice
from sif.evaluation.evaluate import Evaluation
from sif.problems.base import Problem, Reporter, Session, Trained
from sif.problems.plan import Costs
from sif.tasks.base import Entrants, Entry, Found, InTurn, Results, Tuned
from sif.tasks.figures import Draw, curves
from sif.tasks.plan import FIGURES, Measurements, Plan
from sif.utils.device import Runtime

TrainOne = Callable[[str, Any], Trained[Any] | None]
"""Trains a design under a name; None where a control diverged."""


class Study(ABC):
    """The subject of a job, and how the job reports on it.

    The defaults tell of networks that are searched, sized and trained once, such as cells. A task
    overrides what is different about it.

    Attributes:
        task: Name of the task.
        search_stage: Name of the stage of a search, with a place for the entrant's.
        draws: Drawn designs that a plan measures, where not all cost the same.
        config: Of the job.
        problem: Train and validation part at work.
        entrants: Models and methods to compare.
        baselines: Models without a network that are compared as well.
        label: Name of the data.
        data_hash: 16 hex digits of their content.
        split_hash: The same of the content and its parts.
        split_name: Name of the split.
        test_part: For `Problem.test`; nothing but finished networks may see it.
        legend: A line below the table of models.
    """

    task: ClassVar[str]
    search_stage: ClassVar[str] = "search-{}"
    draws: ClassVar[int] = 1
    config: Any
    problem: Problem[Any, Any]
    entrants: Entrants
    baselines: Sequence[str] = ()
    label: str
    data_hash: str
    split_hash: str
    split_name: str
    test_part: Any
    legend: str = "valid: of the validation part, which chose the epoch; then of the test part"

    # Work

    def start(self, train: TrainOne, console: Reporter) -> tuple[Problem[Any, Any], dict[str, Any]]:
        """The problem that is searched, and what to add to the search's summary.

        Args:
            train: For designs that the search has to wait for.
            console: Receives reports.
        """
        return self.problem, {}

    def start_baselines(self, names: Sequence[str], refits: bool) -> None:  # noqa: B027 (optional)
        """Begins the tuning of some of `baselines`, where that need not be one after the other.

        Args:
            names: Of those that `baseline` or `tune` will be asked for.
            refits: Whether it will be `tune`.
        """

    def baseline(self, name: str) -> Entry:
        """Fits and tests one of `baselines`.

        Raises:
            ConfigError, DataError: It cannot be fitted here, and is left out.
        """
        raise NotImplementedError(name)

    def without_prospect(self, name: str, trained: Mapping[str, Trained[Any] | None]) -> str:
        """Reason not to search or train an entrant that cannot be served any more; empty: none.

        Args:
            name: Of the entrant.
            trained: Entrants that were trained before; None: one diverged.
        """
        return ""

    def problem_of(self, design: Any) -> Problem[Any, Any]:
        """The problem that a design is trained on."""
        return self.problem

    def searched_by(self, name: str) -> Problem[Any, Any] | None:
        """The problem that an entrant searches; None: the one of all."""
        return None

    def stage_in_words(self, name: str) -> str:
        """An entrant that is a stage of the search by itself; empty for others."""
        return ""

    def expression(self, design: Any) -> str:
        """A design on one line."""
        return self.problem_of(design).expression(design)

    def test(self, design: Any, network: Any) -> Evaluation:
        """Evaluates a finished network of a design on the test part."""
        return self.problem.test(network, self.test_part)

    def test_first(self, design: Any, network: Any) -> Evaluation:
        """Evaluates a first fit on the test part, also where others are fitted again."""
        return self.test(design, network)

    # Second fits, which a task may make of everything once all is chosen

    @property
    def refits(self) -> bool:
        """True if all models are fitted again before the test."""
        return False

    def refit_seconds(self, trained: Iterable[Trained[Any]]) -> float:
        """Estimated seconds of the second fits of networks."""
        raise NotImplementedError

    def begin_refits(self) -> None:
        """Prepares second fits; the test and all that is told are of these from here on."""
        raise NotImplementedError

    def skip_refits(self, reason: str) -> None:
        """Goes on with the first fits."""
        raise NotImplementedError

    def refit(
        self, name: str, design: Any, trained: Trained[Any], session: Session
    ) -> Trained[Any]:
        """Fits a network again, resumable after an interruption.

        Raises:
            DivergedError: The training diverged.
        """
        raise NotImplementedError(name)

    def tune(self, name: str) -> Tuned:
        """Tunes one of `baselines` without a test.

        Raises:
            ConfigError, DataError: It cannot be fitted here, and is left out.
        """
        raise NotImplementedError(name)

    def refit_baseline(self, tuned: Tuned, keep: bool) -> Entry:
        """Fits a baseline again, and tests it.

        Args:
            tuned: As validation chose it.
            keep: Whether `baseline_model` will probably be asked for this one.

        Raises:
            ConfigError, DataError: It cannot be fitted here, and is left out.
        """
        raise NotImplementedError(tuned.name)

    def fit_on_all(
        self, design: Any, trained: Trained[Any], session: Session
    ) -> Trained[Any] | None:
        """Fits our network on all rows after the test; None: the tested one is served.

        Raises:
            DivergedError: The training diverged.
        """
        return None

    # The model that is served, which a task may choose among ours and the baselines

    @property
    def chooses(self) -> bool:
        """True if baselines may be served."""
        return False

    def keep_first(self, design: Any, trained: Trained[Any]) -> None:
        """Is given the first fit of ours, beside which another model may be served."""
        del design, trained  # of no use but to rankings with new items

    def merits(self, design: Any, trained: Trained[Any]) -> NDArray[np.float64]:
        """Merits (n,) of a first fit by user of the validation part."""
        raise NotImplementedError

    def choice(
        self, merits: Mapping[str, NDArray[np.float64]], valid: Mapping[str, Mapping[str, float]]
    ) -> Choice:
        """The model that is served, of those with these merits, ours among them.

        Args:
            merits: Name to merits by user of the validation part.
            valid: Name to metrics on validation.
        """
        raise NotImplementedError

    def preferred(self, valid: Mapping[str, Mapping[str, float]]) -> str:
        """The entrant that validation prefers, of equals the first.

        Args:
            valid: Name to metrics on validation.
        """
        return max(valid, key=lambda name: self.problem.merit(valid[name]))

    def baseline_model(self, name: str, params: Mapping[str, Any]) -> Any:
        """A baseline to save, fitted as it was tested or on all rows, as the study has it.

        Raises:
            ConfigError, DataError: It cannot be fitted here.
        """
        raise NotImplementedError(name)

    def told_choice(self, results: Results) -> str:
        """A line on the model that is served; empty: ours is, without a choice."""
        return ""

    @abstractmethod
    def save(self, folder: Path, results: Results, console: Reporter) -> None:
        """Writes the model that is served."""

    @abstractmethod
    def test_saved(self, folder: Path) -> Evaluation:
        """Evaluates a model that `save` wrote on the test part.

        Raises:
            CheckpointError: It cannot be read.
        """

    # The plan

    def costs(self, measured: Measurements) -> Costs:
        """Costs of the stages of the job, measured on a few steps."""
        methods = self.measured_methods
        trainings = measured.trainings(self.measured_given, tuple(methods), self.draws)
        tests = sum(cost.test for cost in trainings.values())
        return Costs(
            measured.searches(methods), trainings, self.baseline_seconds(measured),
            FIGURES + tests, self.config.train.epochs,
        )  # fmt: skip

    @property
    def measured_methods(self) -> Mapping[str, str]:
        """Methods by entrant, of those that search the problem of all."""
        methods = self.entrants.methods.items()
        return {name: one for name, one in methods if self.searched_by(name) is None}

    @property
    def measured_given(self) -> Mapping[str, Any]:
        """Given designs by entrant, of those that are trained on the problem of all."""
        given = self.entrants.given.items()
        return {name: one for name, one in given if self.problem_of(one) is self.problem}

    def baseline_seconds(self, measured: Measurements) -> dict[str, float]:
        """Seconds of each of `baselines`."""
        return {}

    @property
    def early(self) -> tuple[str, ...]:
        """Names of given designs that take seconds: they are trained before anything is planned."""
        return ()

    def pace(self, out_of_time: Callable[[], bool]) -> None:
        """Goes on with a problem whose loops end in time."""
        self.problem = self.problem.at_pace(out_of_time=out_of_time)

    def take(self, plan: Plan, runtime: Runtime) -> None:
        """Goes on as planned.

        Args:
            plan: Of the job.
            runtime: Of the problem from here on, with the end of its time.
        """
        self.config = plan.applied(self.config)
        self.problem = self.problem.changed(config=self.config, runtime=runtime)
        self.baselines = tuple(name for name in self.baselines if name not in plan.left_out)
        methods, given = (
            {name: one for name, one in entrants.items() if name not in plan.left_out}
            for entrants in (self.entrants.methods, self.entrants.given)
        )
        self.entrants = replace(self.entrants, methods=methods, given=given)

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of the entrants that a plan may leave out, unless they are the only ones."""
        others = (*self.entrants.methods, *self.entrants.given, *self.baselines)
        return tuple(name for name in others if name != self.entrants.ours)

    # What is told

    @abstractmethod
    def opening(self) -> list[str]:
        """Lines about the data."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """The split, for metrics.json."""

    def leaders(
        self, selection: Mapping[str, Sequence[int]], names: Mapping[str, Sequence[str]]
    ) -> str:
        """The selection of an epoch, for the progress line.

        Args:
            selection: Block to the numbers of chosen operations.
            names: Block to names of its operations.
        """
        return ""

    def watched(self, design: Any) -> dict[str, float]:
        """Shares that tell a collapsed search."""
        return {}

    def search_lines(self, name: str, method: str, found: Found) -> list[str]:
        """Lines about a search that ended."""
        problem, counts = self.problem, found.diagnostics
        design = problem.design(found.genotype)
        shares = "".join(f"; {k} {100 * v:.0f} %" for k, v in self.watched(design).items())
        judged = f"{found.judged(problem.judged):{problem.format}}{problem.unit}"
        lines = [
            (
                f"{name}: {method} found {problem.expression(design)} in "
                f"{found.summary['seconds']:.1f} s; {problem.shown} of exactly that selection with "
                f"the search's weights, valid {judged}"
            ),
            (
                f"{name}: the selection changed in {counts['flips']:,} of {counts['arch_steps']:,} "
                f"architecture steps, {counts['ties']:,} ties{shares}"
            ),
        ]
        for block, steps in found.trained_steps.items():
            told = ", ".join(f"{operation} {n:,}" for operation, n in steps.items())
            lines.append(f"{name}: {block}, weight steps per operation: {told}")
        return lines

    def search_numbers(self, found: Found) -> dict[str, float]:
        """Numbers of a search that ended, for the tracker."""
        numbers = {**found.diagnostics, **self.watched(self.problem.design(found.genotype))}
        for block, steps in found.trained_steps.items():
            numbers |= {f"trained.{block}.{name}": float(n) for name, n in steps.items()}
        return numbers | {self.problem.judged: found.judged(self.problem.judged)}

    def params(self, trained: Trained[Any], found: Found | None) -> dict[str, Any]:
        """Numbers of an entrant beside its metrics."""
        return {**trained.numbers, "search_seconds": found.summary["seconds"] if found else 0.0}

    def further_numbers(self, evaluation: Evaluation) -> dict[str, float]:
        """Numbers of an evaluation beside its metrics, for the tracker."""
        return {}

    # Table, metrics.json, figures

    def row(self, entry: Entry) -> dict[str, str]:
        """A model in the table, behind its name: header to text."""
        shown, params = self.problem.shown, dict(entry.params)
        searched = params.pop("search_seconds")
        return {
            f"valid {shown}": f"{entry.valid[shown]:{self.problem.format}}",
            **{name: f"{value:.4g}" for name, value in entry.test.metrics.items()},
            **{f"{name.replace('_', ' ')} M": f"{n / 1e6:.3f}" for name, n in params.items()},
            "search s": f"{searched:.1f}",
            "train s": f"{entry.seconds:.1f}",
        }

    def tables(self, results: Results) -> list[str]:
        """Texts below the table of models."""
        return []

    def closing(self, results: Results, folder: Path) -> list[str]:
        """The last words of a job, once everything is in its folder."""
        return []

    def genotype(self, results: Results) -> Genotype | None:
        """The content of genotype.json; None: no search was made."""
        found = results.found.get(self.entrants.ours)
        return None if found is None else found.genotype

    def in_document(self, results: Results) -> dict[str, Any]:
        """Further entries of metrics.json."""
        return {}

    def in_search(self, found: Found) -> dict[str, Any]:
        """Further entries of a search in metrics.json."""
        judged = self.problem.judged
        watched = self.watched(self.problem.design(found.genotype))
        return {judged: found.judged(judged), "watched": watched}

    def in_entrant(self, entry: Entry, results: Results) -> dict[str, Any]:
        """Further entries of somebody else in metrics.json."""
        return {"search": self.search_document(results.found.get(entry.name))}

    def in_training(self, results: Results) -> dict[str, Any]:
        """Our training in metrics.json."""
        ours = results.entries[self.entrants.ours]
        return {"seconds": ours.seconds, **ours.params}

    def search_document(self, found: Found | None) -> dict[str, Any] | None:
        """A search in metrics.json."""
        if found is None:
            return None
        return {
            **found.summary,
            **found.diagnostics,
            "valid_loss": found.valid_loss,
            **self.in_search(found),
            "trained": found.trained_steps,
        }

    def figure_data(self, results: Results) -> dict[str, Any]:
        """Everything that is drawn, as JSON."""
        return {"task": self.task, **curves(self.problem, results)}

    def page_data(self, results: Results) -> dict[str, Any]:
        """The content of the page beside the figures, as JSON, see docs/how-to/report.md."""
        return {}

    # Records in trackers

    @property
    def run_name(self) -> str:
        """Name of the job's run, such as 'digits · nasp · seed 0'."""
        ours = self.entrants.ours
        given = getattr(self.config, "cells", None) or ours
        method = self.entrants.methods.get(ours) or Path(given).stem
        return f"{self.label} · {method} · seed {self.config.seed}"

    @property
    def profile(self) -> dict[str, int]:
        """Sizes of the data."""
        return {}

    def facts(self, name: str) -> dict[str, Any]:
        """Parameters of an entrant that are known before its work: see `sif.tracking.COMMON`.

        Args:
            name: Of the entrant; where it is none, of a baseline.
        """
        if name in self.baselines:
            return {"space": "none", "method": "baseline"}
        return {"space": self.space, "method": self.entrants.methods.get(name, "given")}

    @property
    def space(self) -> str:
        """Name of the space that is searched; "none": the task has no such setting."""
        return str(getattr(self.config, "space", "none"))

    def searched_under(self) -> dict[str, Any]:
        """Parameters of the search that are not those of what it finds."""
        return {}

    def write_model(self, folder: Path, made: Path, logged: Any) -> None:
        """Makes what trackers keep of the saved model.

        Args:
            folder: Of the saved model.
            made: A new folder, which receives it.
            logged: The store's record of the model.
        """
        shutil.copytree(folder, made, dirs_exist_ok=True)

    def refuses_to_register(self) -> str:
        """Why no server takes the model; empty: one does."""
        return f"MLflow serves no model of {self.task}"


@dataclass(frozen=True)
class Task:
    """A kind of job, as it is registered.

    Attributes:
        config: Model of its settings.
        prepare: Configuration and runtime to the study, or an error for the user, before anything
            is written.
        draw: Data of figures and folder to the paths of the figures drawn.
        in_turn: Configuration to what runs the jobs that it stands for; None: it is one job.
    """

    config: type[CommonConfig]
    prepare: Callable[[Any, Runtime], Study]
    draw: Draw
    in_turn: Callable[[Any], InTurn | None] = lambda config: None
