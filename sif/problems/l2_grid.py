"""Training of a function over the grid of L2 strengths, by successive halving."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sif.config import CFConfig, TrainConfig
from sif.core.genotype import Genotype
from sif.core.stream import Checkpointer
from sif.errors import DivergedError
from sif.problems.base import TRAINING, Problem, Session, State, Trained
from sif.spaces.interaction.function import InteractionNetwork
from sif.spaces.interaction.space_kind import SpaceKind

Work = Callable[..., State]
"""Trains from place, strength, initial state and checkpointer to the result of the loop."""

STEP = 2.0
"""Ratio of the next strength beyond an end of the grid to that end."""
GAIN = 0.002
"""Share of the validation metric that a strength beyond the end must gain to go on: about the
spread over seeds on ML-100K (docs/results/ifc-bench.md)."""


def follows(config: CFConfig, space: SpaceKind) -> bool:
    """True if `search_strength` moves the search's strength.

    Only in spaces that have fixed multiply: learned transforms that start at x + c want other
    strengths than a bare product does. Under the paper's preset following it cost .007 RMSE.
    """
    train = config.train
    choice = len(train.l2) > 1 and train.extend_grid > 0
    return config.search.adapt_l2 and choice and space.has_multiply


def search_strength(config: CFConfig, preferred: float) -> float:
    """`search.l2`, moved as far as the preferred strength lies beyond the ends of `train.l2`.

    A search judges functions that it trains itself. Under a strength that suits other data it
    judges how they tolerate this strength: on generated ratings it chose sums and maxima in place
    of the planted product (docs/results/default-job.md). The strength moves toward the preferred
    one and never past it.

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


class Continued:
    """A loop that continues an earlier stage, or that a later stage continues.

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
        """This stage's state, or the initial one."""
        saved = self._inner.restore()
        return self._start if saved is None else saved

    def offer(self, state: Callable[[], State]) -> None:
        """Saves the state if it is due."""
        self._inner.offer(state)

    def end(self, state: Callable[[], State]) -> None:
        """Keeps a copy of the last state if a later stage continues from it."""
        if self._start is None:
            self.last = copy.deepcopy(state())


@dataclass(frozen=True)
class GridTraining:
    """Trains functions over the L2 grid.

    Attributes:
        config: Strengths, cut and budget.
        problem: Judges, and makes networks of earlier trainings.
        train_one: Trains one strength (`InteractionProblem.train`).
        session: Stores, reports and records the trainings.
    """

    config: TrainConfig
    problem: Problem[Genotype, InteractionNetwork]
    train_one: Callable[..., Trained[InteractionNetwork]]
    session: Session

    def train(self, name: str, genotype: Genotype) -> Trained[InteractionNetwork]:
        """Trains every L2 strength for a while, the better ones to the end; the best by validation.

        Successive halving (Jamieson & Talwalkar, AISTATS 2016) with one cut; every function gets
        the same strengths and the same budget. Where an end of the grid is best, strengths beyond
        it are tried by the same rule for every function.

        Args:
            name: Of the function in this job, and of its stages.
            genotype: The function.

        Returns:
            The best, with the seconds of all strengths. Its numbers are "l2", its strength, and
            "prefers", the last strength that gained more than `GAIN` or was of the grid.
        """
        fresh: dict[float, Trained[InteractionNetwork]] = {}
        work = partial(self._train, name, genotype, fresh)
        finished, dropped = self._halved(name, work)
        best = max(finished, key=self._merit)
        beyond, prefers = self._beyond(name, work, best)
        best = max([best, *beyond], key=self._merit)
        whole = [*finished, *beyond]
        seconds, tried = sum(s["seconds"] for s in (*whole, *dropped)), len(whole) + len(dropped)
        l2 = best["numbers"]["l2"]
        self.session.console.line(
            f"{name}: {self.problem.expression(genotype)}, {self.problem.describe(best['valid'])} "
            f"with L2 {l2:g} "
            f"({seconds:.1f} s for {tried} strengths, {len(whole)} to the end)"
        )
        if fresh:  # in this sitting
            whole_grid = self.session.tracker.child(f"train-{name}", name, TRAINING)
            whole_grid.log_params({"l2": l2})
            whole_grid.describe(f"strengths of L2 tried: {tried}; validation chose {l2:g}")
            whole_grid.close()
        trained = fresh.get(l2) or Trained.restored(self.problem.network(genotype), best)
        result = replace(trained.result, seconds=seconds)
        numbers = {"l2": l2, "prefers": prefers}
        return replace(trained, result=result, numbers=numbers, tried=self._tried(whole, dropped))

    def _tried(self, whole: Sequence[State], dropped: Sequence[State]) -> list[dict[str, Any]]:
        """Every strength, see `Trained`."""
        ends = [*((one, "") for one in whole), *((one, ", dropped") for one in dropped)]
        return [
            {
                "name": f"l2 {one['numbers']['l2']:g}{told}",
                "value": one["valid"][self.problem.metric], "seconds": one["seconds"],
            }
            for one, told in ends
        ]  # fmt: skip

    def _merit(self, state: State) -> float:
        return self.problem.merit(state["valid"])

    def _halved(self, name: str, work: Work) -> tuple[list[State], list[State]]:
        """The grid: those that trained to the end, and those that were dropped at the cut.

        One that diverges is named and left out.

        Raises:
            DivergedError: All diverged.
        """
        strengths = dict(enumerate(self.config.l2))
        diverged: dict[float, DivergedError] = {}

        def tried(l2: float, train: Callable[[], State]) -> State | None:
            try:
                return train()
            except DivergedError as error:
                diverged[l2] = error
                return None

        begun = {
            p: tried(l2, partial(self._start, name, work, p, l2)) for p, l2 in strengths.items()
        }
        first = {place: state for place, state in begun.items() if state is not None}
        order = sorted(first, key=lambda place: -self._merit(first[place]))
        most = max(1, round(len(strengths) * self.config.halving_keep))
        ended: dict[int, State] = {}
        for place in order:
            l2 = strengths[place]
            state = tried(l2, partial(self._end, name, work, place, l2, first[place]))
            if state is not None:
                ended[place] = state
            if len(ended) == most:
                break
        for place in order:  # no later stage continues from here
            self.session.stages.trim(f"{name}-{place}-start", "loop")
        if not ended:
            raise next(iter(diverged.values()))
        for l2, error in diverged.items():
            self.session.console.line(f"left out: {name} with L2 {l2:g}: {error}")
        return list(ended.values()), [first[place] for place in order if place not in ended]

    def _beyond(self, name: str, work: Work, best: State) -> tuple[list[State], float]:
        """Strengths beyond the best end, each `STEP` times further, while they gain.

        One that diverges is the last, and is none of them.
        """
        grid, states = self.config.l2, list[State]()
        l2 = best["numbers"]["l2"]
        if len(grid) == 1 or l2 not in (min(grid), max(grid)):
            return states, l2
        step = STEP if l2 == max(grid) else 1 / STEP
        for place in range(len(grid), len(grid) + self.config.extend_grid):
            if l2 * step == l2:
                break  # 0 has nothing below it
            try:
                first = self._start(name, work, place, l2 * step)
                state = self._end(name, work, place, l2 * step, first)
            except DivergedError:
                break
            self.session.stages.trim(f"{name}-{place}-start", "loop")
            states.append(state)
            if self._merit(state) - self._merit(best) <= GAIN * abs(self._merit(best)):
                break
            best, l2 = state, l2 * step
        return states, l2

    def _start(self, name: str, work: Work, place: int, l2: float) -> State:
        first = partial(work, place, l2, None)
        return self.session.stages.run(f"{name}-{place}-start", first, self.problem.shares)

    def _end(self, name: str, work: Work, place: int, l2: float, first: State) -> State:
        rest = partial(work, place, l2, first["loop"])
        return self.session.stages.run(f"{name}-{place}", rest, self.problem.shares)

    def _train(
        self, name: str, genotype: Genotype, fresh: dict[float, Trained[InteractionNetwork]],
        place: int, l2: float, start: State | None, checkpointer: Checkpointer,
    ) -> State:  # fmt: skip
        """Trains one strength from the beginning to the cut, or on from `start`, a loop's state."""
        config = self.config
        total = config.epochs if start else max(1, round(config.epochs * config.halving_fraction))

        def show(epoch: int, metrics: Mapping[str, float]) -> None:
            best = f"best {self.problem.describe(metrics)}"
            self.session.console.progress(f"{name} L2 {l2:g}", epoch, total, best)

        path = name, TRAINING, f"l2 {l2:g}"
        child = self.session.tracker.child(f"retrain-{name}-{place}", *path)
        child.log_params({"l2": l2, "function": name})
        child.describe(f"one of several trainings, with L2 {l2:g}")
        loop = Continued(checkpointer, start)
        with self.problem.enough_memory("train"):
            trained = self.train_one(
                genotype, child, loop, show, l2=l2, epochs=total, on_end=loop.end
            )
        child.close()
        if start is None:
            return {**vars(trained.result), "numbers": trained.numbers, "loop": loop.last}
        fresh[l2] = trained
        return trained.state()
