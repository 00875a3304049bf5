"""Closed forms of histories as sets: a family and its constants, chosen on validation.

What a fit costs is known and small, so candidates are fitted and judged as they are
(`sif.problems.halving`), the best one last on all of validation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch

from sif.baselines.forecast import evaluation_seconds
from sif.config import CFConfig
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer
from sif.data.interactions import Interactions, Split
from sif.errors import ConfigError, DivergedError
from sif.evaluation.cold_start import ColdStartRule
from sif.evaluation.cold_start_choice import ColdStartChoice
from sif.evaluation.evaluate import MAIN_METRIC, Evaluation, evaluate, evaluate_on, pair_matrix
from sif.evaluation.goals import judged_features
from sif.evaluation.scorers import FixedHistories, HistoryScorer
from sif.problems.base import TRAINING, Problem, Progress, Session, State, Trained, quiet
from sif.problems.closed_features import with_features
from sif.problems.closed_sample import (
    MOST_PAIRS,
    SCORES,
    WITHOUT,
    ClosedSample,
    fitted_users,
)
from sif.problems.halving import Halving, patience
from sif.problems.interactions import CLOSED_STAGE, InteractionProblem
from sif.problems.part_rows import feature_rows
from sif.problems.plan import OwnCost
from sif.problems.refit import SolvedRefit
from sif.spaces.closed.clicks import Clicks
from sif.spaces.closed.design import FAMILIES, OPEN, closed_design, genotype_of, notation
from sif.spaces.closed.family import Family
from sif.spaces.closed.filters import GraphFilter
from sif.spaces.closed.network import ClosedNetwork
from sif.spaces.linear.inputs import solved_items
from sif.spaces.linear.sequences import Sequences
from sif.tracking import Tracker
from sif.training.loop import Metrics, TrainResult
from sif.utils.device import Runtime, fits_into_memory, torch_threads
from sif.utils.random import derive_seed

CLOSED = CLOSED_STAGE
"""Name of the entrant in jobs."""
JUDGMENTS = 150
"""Of a search, about."""
SMALL = 2_500
"""Items up to which one thread is as fast: more wait for each other as long as they compute."""
MATRICES = 5
"""Of items by the rank of a spectrum: its vectors, both sides of a model, and on the way."""
FIT = "fit_seconds"
"""Entry of the last judgment: seconds of the fit that stands."""


class ClosedProblem(Problem[Genotype, ClosedNetwork]):
    """Which closed form predicts the items of a user from the others.

    Args:
        train_part: What weights are fitted on.
        valid_part: For the family and its constants.
        config: Of the task.
        runtime: Seed and threads; closed forms are solved on the CPU.
        cold_choice: Of the order of items for new users; None: the most popular first.

    Raises:
        ConfigError: Another objective than ranking, or fields beyond user and item.
    """

    format, judged = ".4f", "exported_error"
    memory_settings = ()
    shares: ClassVar[bool] = True

    def __init__(
        self, train_part: Interactions, valid_part: Interactions, config: CFConfig,
        runtime: Runtime, cold_choice: ColdStartChoice | None = None,
    ) -> None:  # fmt: skip
        if config.objective != "ranking" or len(train_part.fields) != 2:
            raise ConfigError("closed: expected rankings of user and item")
        self.train_part, self.valid_part = train_part, valid_part
        self.config, self.runtime = config, runtime
        self.cold_choice = cold_choice or ColdStartChoice()
        self.cold_start = ColdStartRule.of(train_part, self.cold_choice.order)
        self.metric = self.shown = MAIN_METRIC["ranking"]
        self._seed = derive_seed(config.seed, "closed")

    @property
    def _threads(self) -> int:
        return 1 if self.train_part.sizes[1] <= SMALL else self.runtime.threads

    @property
    def patience(self) -> float:
        """The factor by which bounds of seconds are multiplied, see `sif.problems.halving`."""
        return patience(min(len(self.train_part), MOST_PAIRS), self.train_part.sizes[1])

    # A search of gates, which there is none of

    def space(self, mixed: bool = False) -> NoReturn:
        """Refuses: constants are numbers, not gates."""
        raise ConfigError("closed forms: expected a training, which searches; they have no gates")

    def streams(self) -> NoReturn:
        """Refuses."""
        self.space()

    def method_run(self) -> NoReturn:
        """Refuses."""
        self.space()

    def judge(self, space: Any, gates: Any) -> NoReturn:
        """Refuses."""
        self.space()

    def design(self, genotype: Genotype) -> Genotype:
        """The genotype itself."""
        return genotype

    def expression(self, design: Genotype) -> str:
        """The model on one line."""
        return notation(design)

    # Fits

    def network(self, design: Genotype) -> ClosedNetwork:
        """A model whose weights are not computed yet."""
        return ClosedNetwork(design, self.train_part.sizes[1])

    @fits_into_memory("closed forms", WITHOUT)
    def train(
        self, design: Genotype, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress = quiet,
    ) -> Trained[ClosedNetwork]:  # fmt: skip
        """Searches family and constants, and fits the best; an "epoch" is one judgment.

        Args:
            design: `OPEN`, or one with constants, which are not searched any more.
            tracker: Receives each better judgment.
            checkpointer: Keeps all judgments.
            on_epoch: Called with the number of judgments and the best merit.

        Raises:
            DivergedError: No candidate can be fitted, or memory was too small.
        """
        begin, history = time.perf_counter(), list[dict[str, float]]()
        saved = checkpointer.restore() or {"told": {}, "seconds": 0.0}
        tried: list[dict[str, Any]] = list(saved.get("tried", ()))
        features: Mapping[str, Any] = {}
        measure = self.metric  # of some users it is another number than of all

        def seconds() -> float:
            return float(saved["seconds"]) + time.perf_counter() - begin

        def hear(search: Halving) -> None:
            merit = 0.0 if search.best is None else search.best[1]
            if search.judged_by_all and (not history or history[-1][measure] != merit):
                entry = {"epoch": search.judged, "seconds": seconds(), measure: merit}
                history.append(entry)
                if search.is_new:  # an earlier sitting logged its own
                    logged = {"seconds": entry["seconds"], f"valid.{measure}": merit}
                    tracker.log(logged, search.judged)
            if search.is_new and (one := sample.told(search.last)):
                tried.append(one | {"seconds": seconds()})
            on_epoch(search.judged, {self.metric: merit})
            checkpointer.offer(
                lambda: {"told": dict(search.told), "tried": list(tried), "seconds": seconds()}
            )

        with torch_threads(self._threads):
            if design == OPEN:
                sample = ClosedSample(self.train_part, self.valid_part, self._seed)
                measure = self.metric if sample.is_whole else f"{self.metric} of some users"
                families = tuple(FAMILIES.values())
                out_of_time = self.runtime.out_of_time
                search = Halving(
                    sample.judge, families, self._seed, out_of_time, dict(saved["told"]), hear
                )
                best = _best(search, sample)
                found, features = with_features(best, search.finals, sample, measure)
                design = genotype_of(found)
                del sample, search  # before the fit on all, beside which there is no room for them
        started = time.perf_counter()
        network = self.fitted(design, {})
        fit, valid = time.perf_counter() - started, self.validate(network)
        count = int(history[-1]["epoch"]) + 1 if history else 1
        history.append({"epoch": count, "seconds": seconds(), FIT: fit, **valid})
        result = TrainResult(valid, count, count, history, seconds())
        numbers = {**closed_design(design).constants, "parameters": network.item_weights.size}
        return Trained(network, result, numbers, tried=tried, features=features)

    def fit(self, name: str, design: Genotype, session: Session) -> Trained[ClosedNetwork]:
        """Trains as a stage, as `Problem.fit` does; the stage keeps the design that was found."""
        fresh: list[Trained[ClosedNetwork]] = []

        def show(count: int, metrics: Mapping[str, float]) -> None:
            told = f"best {self.describe(metrics)}"
            session.console.progress(f"train {name}", count, max(count, JUDGMENTS), told)

        def work(checkpointer: Checkpointer) -> State:
            child = session.tracker.child(f"train-{name}", name, TRAINING)
            trained = self.train(design, child, checkpointer, show)
            child.describe(f"families and constants in turn; {self.describe(trained.result.valid)}")
            child.close()
            fresh.append(trained)
            session.console.line(self.summary(name, trained))
            return trained.state() | {"genotype": trained.network.genotype.to_json()}

        state = session.stages.run(f"train-{name}", work, self.shares)
        if fresh:
            return fresh[0]
        return Trained.restored(self.network(Genotype.from_json(state["genotype"])), state)

    @fits_into_memory("closed forms", WITHOUT)
    def near(self, design: Genotype) -> Genotype:
        """A known design, its constants moved as far as validation gets better nearby.

        Raises:
            DivergedError: It cannot be fitted.
        """
        with torch_threads(self._threads):
            sample = ClosedSample(self.train_part, self.valid_part, self._seed)
            known = closed_design(design)
            search = Halving(sample.judge, (type(known),), self._seed, self.runtime.out_of_time)
            return genotype_of(search.around(known))

    def trained_design(self, design: Genotype, trained: Trained[ClosedNetwork]) -> Genotype:
        """The family and the constants that validation chose."""
        return trained.network.genotype

    @fits_into_memory("closed forms", WITHOUT)
    def fitted(self, design: Genotype, numbers: Mapping[str, float]) -> ClosedNetwork:
        """A model of chosen constants.

        Args:
            design: With them.
            numbers: Of a first fit, which has no others.

        Raises:
            DivergedError: They allow no solution, or memory was too small.
        """
        with torch_threads(self._threads):
            drawn = fitted_users(self.train_part, self._seed)
            pairs = pair_matrix(self.train_part, drawn)
            clicks = Clicks(pairs, self._seed, feature_rows(self.train_part))
            return self.network(design).take(closed_design(design).weights(clicks))

    def summary(self, name: str, trained: Trained[ClosedNetwork]) -> str:
        """The model on one line, and what it leaves out."""
        result, network = trained.result, trained.network
        apart = "" if network.items is None else self._apart(network.items)
        return (
            f"{name}: {network.expression}, {self.describe(result.valid)} ({result.seconds:.1f} s "
            f"for {result.epochs} judgments){apart}{self._drawn()}"
        )

    def _drawn(self) -> str:
        """The users whose rows are fitted, where they are not all."""
        users = fitted_users(self.train_part, self._seed)
        return "" if users is None else f"; fitted on the rows of {len(users):,} users, drawn"

    def _apart(self, items: torch.Tensor) -> str:
        """The share of the rows whose items are not solved for together."""
        counts = np.bincount(self.train_part.ids[:, 1], minlength=self.train_part.sizes[1])
        share = 1 - counts[items.numpy()].sum() / max(counts.sum(), 1)
        return (
            f"; {len(items):,} of {len(counts):,} items are solved for together, the others, "
            f"{100 * share:.0f} % of the rows, each alone"
        )

    # Measurements

    def scorer(self, network: ClosedNetwork) -> FixedHistories:
        """Scores of users by their train items."""
        users, items = self.train_part.ids[:, :2].T
        n_users, n_items = self.train_part.sizes[:2]
        sequences = Sequences.of(users, items, (n_users, n_items))
        weights: Any = network.item_weights  # those of filters score alike
        return FixedHistories(HistoryScorer(network.histories, sequences, weights, self.cold_start))

    def validate(self, network: ClosedNetwork) -> Metrics:
        """Metrics on the validation part."""
        return evaluate_on(
            self.scorer(network), self.train_part, (self.train_part,), self.valid_part, "ranking",
            self.config.metrics_at, judged_features(self.config.serve_by, self.train_part),
        ).metrics  # fmt: skip

    def test(self, network: ClosedNetwork, part: Split) -> Evaluation:
        """Evaluates a finished model on the test part of a split."""
        return evaluate(self.scorer(network), part, "test", "ranking", self.config.metrics_at)

    # Second fits and costs

    def again(self, rows: Interactions) -> ClosedProblem:
        """The problem of a second fit, on more rows under the same vocabularies."""
        nothing = rows.select(np.zeros(0, dtype=np.int64))
        return ClosedProblem(rows, nothing, self.config, self.runtime, self.cold_choice)

    @fits_into_memory("closed forms", WITHOUT)
    def cost(self) -> tuple[OwnCost, float]:
        """Estimated seconds, and bytes, by multiplications, some of which are measured.

        Raises:
            DivergedError: Memory was too small.
        """
        evaluation = evaluation_seconds(self.train_part, self.valid_part, "ranking")
        sample = ClosedSample(self.train_part, self.valid_part, self._seed)
        judge, clicks, families = sample.judge, sample.clicks, tuple(FAMILIES.values())
        halving = Halving(judge, families, self._seed, self.runtime.out_of_time)
        search = halving.seconds()
        designs = halving.designs()
        rank = max((int(getattr(one, "rank", 0)) for one in designs), default=0)
        begin, few = time.perf_counter(), GraphFilter(phi=0.0)
        if math.isfinite(judge.seconds(few, 0)):  # where there are filters, they tell the pace
            with torch_threads(self._threads):
                judge.merit(few, 0)
            search *= min(1.0, (time.perf_counter() - begin) / max(judge.seconds(few, 0), 1e-3))
        items = solved_items(clicks.counts, 1)
        solves = any(one.solves for one in designs)
        solved = (clicks.n_items if items is None else len(items)) if solves else 0
        numbers = 2.0 * solved * clicks.n_items + 3 * min(sample.users * clicks.n_items, SCORES)
        size = 4 * (numbers + MATRICES * clicks.n_items * clicks.kept_rank(rank))
        if solves and items is not None:  # what others say alone: number and index, and a copy
            lengths = np.diff(clicks.pairs.indptr).astype(np.float64)
            size += 12.0 * min(float((lengths**2).sum()), float(clicks.n_items) ** 2)
        return OwnCost(0.0, search + evaluation, evaluation, searching=None), size


def _best(search: Halving, sample: ClosedSample) -> Family:
    """The design that a search finds; says so where memory was too small for all of them."""
    try:
        return search.run()
    except DivergedError:
        if not sample.lacked_memory:
            raise
        raise DivergedError(f"closed forms: none fits into memory; {WITHOUT}") from None


class ClosedRefit(SolvedRefit[ClosedProblem]):
    """Second fits of closed forms on some rows."""

    def seconds(self, first: TrainResult) -> float:
        """Those of the first fit."""
        return first.history[-1][FIT]


def closed_problem(functions: InteractionProblem) -> ClosedProblem | None:
    """The problem of closed forms beside that of interaction functions.

    Args:
        functions: Gives the data and the settings.

    Returns:
        None where no such stage is asked for, or users and items are not all that is ranked.
    """
    config = functions.config
    asked = functions.kind.stages and CLOSED_STAGE in config.search.stages
    ranked = config.objective == "ranking" and len(functions.fields) == 2
    if not asked or not ranked or not len(functions.valid_part):
        return None
    return ClosedProblem(
        functions.train_part, functions.valid_part, config, functions.runtime,
        functions.cold_choice,
    )  # fmt: skip
