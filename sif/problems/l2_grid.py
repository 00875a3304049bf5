"""Training of a function over the grid of L2 strengths, by successive halving."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sif.config import CFConfig, TrainConfig
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer
from sif.errors import DivergedError
from sif.evaluation.metrics import higher_is_better
from sif.problems.interactions import Fitted, Problem
from sif.spaces.interaction.design import FunctionSpec, expression
from sif.tracking import Tracker

State = dict[str, Any]
Work = Callable[..., State]
"""Place, strength and where to go on from, then what keeps a loop's state, to what came of it."""

STEP = 2.0
"""From an end of the grid to the next strength beyond it."""
GAIN = 0.002
"""Share of the validation metric that a strength beyond the end must gain to go on: about what
seeds move it by on ML-100K (docs/ifc-bench.md)."""


def follows(config: CFConfig, spec: FunctionSpec) -> bool:
    """Whether the search's strength is moved by `search_strength`.

    Only in spaces that have fixed multiply: learned transforms that start at x + c want other
    strengths than a bare product does. Under the paper's preset following it cost .007 RMSE.
    """
    train = config.train
    choice = len(train.l2) > 1 and train.extend_grid > 0
    return config.search.adapt_l2 and choice and bool(spec.transforms or spec.stages)


def search_strength(config: CFConfig, preferred: float) -> float:
    """`search.l2`, moved as far as what the data prefer lies beyond the ends of `train.l2`.

    A search judges functions that it trains itself. Under a strength that suits other data it
    judges how they stand that: on generated ratings it took sums and maxima for the planted product
    (docs/results.md). It is moved toward the preferred strength and never past it.

    Args:
        config: Of the job.
        preferred: Strength that validation chose for fixed multiply.
    """
    l2, grid = config.search.l2, config.train.l2
    end = min(max(preferred, min(grid)), max(grid))
    moved = l2 * (preferred / end) if end > 0 else l2
    if preferred < end:
        return min(l2, max(preferred, moved))
    return max(l2, min(preferred, moved))


class StageStore(Protocol):
    """Keeps what is done, so that a killed job goes on from there."""

    def run(self, name: str, work: Callable[[Any], State]) -> State:
        """The result of some named work, which gets something to keep its loop's state with."""
        ...

    def trim(self, name: str, key: str) -> None:
        """Drops one entry of a result."""
        ...


class Reporter(Protocol):
    """Tells people how far things are."""

    def line(self, text: str) -> None:
        """A remark."""
        ...

    def progress(self, stage: str, done: int, total: int, text: str) -> None:
        """How far a stage is."""
        ...


class Continued:
    """A loop that goes on from where an earlier stage left it, or that a later stage goes on with.

    Args:
        inner: Keeps the state of this stage.
        start: The earlier stage's; None: from the beginning.

    Attributes:
        last: The state in which a loop from the beginning ended.
    """

    def __init__(self, inner: Checkpointer, start: State | None) -> None:
        self._inner, self._start = inner, start
        self.last: State | None = None

    def restore(self) -> State | None:
        """This stage's state, or the one to start from."""
        saved = self._inner.restore()
        return self._start if saved is None else saved

    def offer(self, state: Callable[[], State]) -> None:
        """Saves the state if it is time to."""
        self._inner.offer(state)

    def end(self, state: Callable[[], State]) -> None:
        """Keeps a copy of the last state, unless nothing goes on from here."""
        if self._start is None:
            self.last = copy.deepcopy(state())


@dataclass(frozen=True)
class GridTraining:
    """What it takes to train a function over the L2 grid.

    Attributes:
        config: Strengths, cut and budget.
        problem: Trains.
        stages: Keeps what is done.
        console: Is told.
        tracker: Of the job; every strength logs into a child.
    """

    config: TrainConfig
    problem: Problem
    stages: StageStore
    console: Reporter
    tracker: Tracker

    def better(self, one: State, other: State) -> bool:
        """Whether validation prefers the first of two trained functions."""
        return self._value(one) > self._value(other)

    def _value(self, state: State) -> float:
        metric = self.problem.metric
        return float(state["valid"][metric]) * (1 if higher_is_better(metric) else -1)

    def train(self, name: str, genotype: Genotype) -> State:
        """Trains every L2 strength for a while, the better ones to the end; the best by validation.

        Successive halving (Jamieson & Talwalkar, AISTATS 2016) with one cut; every function gets
        the same strengths and the same budget. Where an end of the grid is best, strengths beyond
        it are tried by the same rule for every function.

        Args:
            name: Of the function in this job, and of its stages.
            genotype: The function.

        Returns:
            Of the best: "l2", "valid", "history", "seconds" (of all strengths), "epochs",
            "best_epoch", "parameters" (numbers that were trained) and "network", the weights;
            and "prefers", the last strength that gained more than `GAIN` or was of the grid.
        """
        work = partial(self._train, name, genotype)
        finished, dropped = self._halved(name, work)
        best = max(finished, key=self._value)
        further, prefers = self._beyond(name, work, best)
        best = max([best, *further], key=self._value)
        whole = [*finished, *further]
        seconds = sum(s["seconds"] for s in (*whole, *dropped))
        metric = self.problem.metric
        self.console.line(
            f"{name}: {expression(genotype, self.problem.fields)}, valid {metric} "
            f"{best['valid'][metric]:.4f} with L2 {best['l2']:g} "
            f"({seconds:.1f} s for {len(whole) + len(dropped)} strengths, {len(whole)} to the end)"
        )
        return {**best, "seconds": seconds, "prefers": prefers}

    def _halved(self, name: str, work: Work) -> tuple[list[State], list[State]]:
        """The grid: those that trained to the end, and those that were dropped at the cut."""
        strengths = dict(enumerate(self.config.l2))
        first = {place: self._start(name, work, place, l2) for place, l2 in strengths.items()}
        order = sorted(first, key=lambda place: -self._value(first[place]))
        kept = order[: max(1, round(len(order) * self.config.halving_keep))]
        states = [self._end(name, work, place, strengths[place], first[place]) for place in kept]
        for place in order:  # nothing goes on from here any more
            self.stages.trim(f"{name}-{place}-start", "loop")
        return states, [first[place] for place in order if place not in kept]

    def _beyond(self, name: str, work: Work, best: State) -> tuple[list[State], float]:
        """Strengths beyond the end that is best, each `STEP` times further, while they gain.

        One that diverges is the last, and is none of them.
        """
        grid, found = self.config.l2, list[State]()
        if len(grid) == 1 or best["l2"] not in (min(grid), max(grid)):
            return found, best["l2"]
        step = STEP if best["l2"] == max(grid) else 1 / STEP
        for place in range(len(grid), len(grid) + self.config.extend_grid):
            l2 = best["l2"] * step
            if l2 == best["l2"]:
                break  # 0 has nothing below it
            try:
                first = self._start(name, work, place, l2)
                further = self._end(name, work, place, l2, first)
            except DivergedError:
                break
            self.stages.trim(f"{name}-{place}-start", "loop")
            found.append(further)
            if self._value(further) - self._value(best) <= GAIN * abs(self._value(best)):
                break
            best = further
        return found, best["l2"]

    def _start(self, name: str, work: Work, place: int, l2: float) -> State:
        return self.stages.run(f"{name}-{place}-start", partial(work, place, l2, None))

    def _end(self, name: str, work: Work, place: int, l2: float, first: State) -> State:
        return self.stages.run(f"{name}-{place}", partial(work, place, l2, first["loop"]))

    def _train(
        self, name: str, genotype: Genotype, place: int, l2: float, start: State | None,
        checkpointer: Checkpointer,
    ) -> State:  # fmt: skip
        """One strength from the beginning to the cut, or on from `start`, a loop's state."""
        config, metric = self.config, self.problem.metric
        total = config.epochs if start else max(1, round(config.epochs * config.halving_fraction))

        def show(epoch: int, metrics: Mapping[str, float]) -> None:
            best = f"best valid {metric} {metrics[metric]:.4f}"
            self.console.progress(f"{name} L2 {l2:g}", epoch, total, best)

        child = self.tracker.child(f"retrain-{name}-{place}")
        child.log_params({"l2": l2, "function": name})
        loop = Continued(checkpointer, start)
        fitted: Fitted = self.problem.train(genotype, l2, child, loop, show, total, loop.end)
        child.close()
        result = fitted.result
        found: State = {
            "l2": l2,
            "valid": result.valid,
            "history": result.history,
            "seconds": result.seconds,
            "epochs": result.epochs,
            "best_epoch": result.best_epoch,
            "parameters": sum(p.numel() for p in fitted.network.parameters() if p.requires_grad),
        }
        last = {"loop": loop.last} if start is None else {"network": fitted.network.state_dict()}
        return found | last
