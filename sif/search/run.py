"""One search by the name of a method, whatever the space: what tasks hand over, and the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sif.config import SearchSection
from sif.config.cells import CellSearchSection
from sif.config.sections import Section
from sif.core.gates import Gates
from sif.core.method import AskTell, ChoosesAtEnd, LearnsArchitecture, Method, Plan
from sif.core.selections import Selections
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import ConfigError
from sif.methods.registry import METHODS, MethodKind, method_named
from sif.search.budget import (
    alpha_rests,
    first_arch_step,
    per_candidate,
    pilot,
    planned,
    steps_that_fit,
)
from sif.search.candidates import SampleSettings, sample
from sif.search.loop import SearchResult, SearchSettings, search
from sif.tracking import Tracker
from sif.training.optim import MakeOptimizer, Schedule
from sif.utils.device import Runtime, enough_memory
from sif.utils.random import generator

Progress = Callable[[int, Any], None]


@dataclass(frozen=True, eq=False)
class MethodRun:
    """What any method searches with, as functions, so that each candidate can have it afresh.

    Attributes:
        make_space: A space with fresh weights, always the same; the argument says whether mixtures
            of all operations will run.
        streams: Fresh batches of the weights and of alpha, always the same.
        judge: Error on the whole validation part of a selection of a space with its weights.
        judged: Name of that number.
        section: Of the configuration.
        make_optimizer: Of the weights.
        schedule: Of their step size.
        runtime: Gives the random numbers of the method.
        steps_per_epoch: Weight steps; None: one pass.
        max_norm: Bound on the gradient's norm; None: none.
        judges: Whether every epoch's selection is judged, off the clock.
    """

    make_space: Callable[[bool], Space]
    streams: Callable[[], tuple[Stream, Stream]]
    judge: Callable[[Space, Gates], float]
    judged: str
    section: SearchSection
    make_optimizer: MakeOptimizer
    schedule: Schedule
    runtime: Runtime
    steps_per_epoch: int | None = None
    max_norm: float | None = None
    judges: bool = True

    def run(
        self, name: str, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress,
        kind: MethodKind | None = None,
    ) -> SearchResult:  # fmt: skip
        """Searches with a method: that of the name, unless another one is given.

        Raises:
            DivergedError: The search diverged.
            ConfigError: A method that nobody has, that the space does not allow, or that needs a
                library or a larger budget.
        """
        kind = kind or method_named(name)
        if kind.samples:
            return self._sample(name, kind, tracker, checkpointer, on_epoch)
        return self._search(name, kind, tracker, checkpointer, on_epoch)

    def check(self, name: str) -> None:
        """Raises ConfigError for what `run` would refuse before its first step."""
        kind = method_named(name)
        rests, every_space = self._rests(kind), name in METHODS and kind.own_weights
        if every_space and not rests:
            return
        space = self.make_space(kind.mixes)
        if every_space and not _by_chance(space):
            return
        method = self._made(name, kind, space, Plan(1))
        if kind.samples:
            per_candidate(self.section, self._per_epoch())
        elif rests:
            self._refuse_rest(space, method, kind, self.section.steps)

    def epochs_cost(self, name: str, seconds: float) -> float:
        """CPU seconds that a search by the section's epochs takes, by a pilot.

        Args:
            name: Of the method. Samplers use whatever time there is: infinite.
            seconds: Of which the pilot takes a small share.

        Raises:
            ConfigError: Not even one step fits into the seconds.
        """
        kind = method_named(name)
        if kind.samples:
            return math.inf
        timed = replace(self, section=self.section.model_copy(update={"seconds": seconds}))
        found = timed._measured(name, kind)
        reserve: float = found["reserve"]
        of_step: float = (seconds - found["spent"] - reserve) / found["steps"]
        return of_step * self.section.epochs * self._per_epoch() + reserve

    def _rests(self, kind: MethodKind) -> bool:
        """Whether the search is known to end before alpha moves."""
        section = self.section
        if not kind.warms_up or section.seconds is not None:
            return False
        per_epoch = self._per_epoch() if section.steps is None else 1
        plan, rests = planned(section, per_epoch, True, section.steps)
        return first_arch_step(rests, kind.every(section)) >= plan.steps

    def _refuse_rest(
        self, space: Space, method: Any, kind: MethodKind, steps: int | None
    ) -> None:  # fmt: skip
        """Raises ConfigError for a method that would learn, had it a step to do so."""
        if isinstance(method, LearnsArchitecture) and _by_chance(space):
            per_epoch = self._per_epoch()
            raise ConfigError(alpha_rests(self.section, per_epoch, kind.every(self.section), steps))

    def _per_epoch(self) -> int:
        return self.steps_per_epoch or self.streams()[0].steps_per_pass

    def _made(self, name: str, kind: MethodKind, space: Space, plan: Plan) -> Any:
        draws = generator(self.runtime, "search", "method", device=torch.device("cpu"))
        return kind.made(name, space, self.section, plan, draws)

    def _loop(self, epochs: int, **further: Any) -> SearchSettings:
        section = self.section
        return SearchSettings(
            epochs, section.lr, max_norm=self.max_norm, make_optimizer=self.make_optimizer,
            schedule=self.schedule, steps_per_epoch=self.steps_per_epoch, **further,
        )  # fmt: skip

    def _search(
        self, name: str, kind: MethodKind, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> SearchResult:  # fmt: skip
        section, per_epoch = self.section, self._per_epoch()
        budget: dict[str, Any] = {"steps": section.steps}
        if section.seconds is not None:
            saved = checkpointer.restore()
            budget = saved["budget"] if saved is not None else self._measured(name, kind)
            budget = {**budget, "seconds": section.seconds}
        plan, rests = planned(section, per_epoch, kind.warms_up, budget["steps"])
        space = self.make_space(kind.mixes)
        method: Method = self._made(name, kind, space, plan)
        if first_arch_step(rests, kind.every(section)) >= plan.steps:
            self._refuse_rest(space, method, kind, budget["steps"])
        loop = self._loop(
            -(-plan.steps // per_epoch), arch_every=kind.every(section), arch_start=rests, **budget
        )
        judge = None
        if self.judges or isinstance(method, ChoosesAtEnd):
            judge = lambda gates: {self.judged: self.judge(space, gates)}
        train, valid = self.streams()
        found = search(space, method, train, valid, loop, tracker, checkpointer, on_epoch, judge)
        if section.seconds is not None and not found.diagnostics["arch_steps"] and rests:
            self._refuse_rest(space, method, kind, found.steps)  # steps were dearer than in a pilot
        return found

    def _measured(self, name: str, kind: MethodKind) -> dict[str, Any]:
        """Steps that fit into the seconds, by a pilot on a space and batches of its own."""
        seconds = self.section.seconds or 0.0
        space = self.make_space(kind.mixes)
        costs = pilot(
            space, self._made(name, kind, space, Plan(1)), *self.streams(), self.make_optimizer,
            self.section, partial(self.judge, space), seconds, self.max_norm,
        )  # fmt: skip
        steps = steps_that_fit(
            costs, self.section, kind.warms_up, kind.every(self.section), seconds
        )
        return {"steps": steps, "spent": costs.spent, "reserve": costs.reserve}

    def _sample(
        self, name: str, kind: MethodKind, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> SearchResult:  # fmt: skip
        section = self.section
        method: AskTell = self._made(name, kind, self.make_space(False), Plan(1))
        need = per_candidate(section, self._per_epoch())
        candidates = None
        if section.steps is not None:
            candidates = section.steps // need
        elif section.seconds is None and not kind.ends:
            candidates = section.epochs // section.each
        settings = SampleSettings(
            self._loop(section.each, arch_every=kind.every(section)),
            section.continuous_lr,
            candidates,
            section.seconds,
        )
        return sample(
            partial(self.make_space, False), method, self.streams, settings,
            lambda space, gates: {self.judged: self.judge(space, gates)},
            tracker, checkpointer, on_epoch,
        )  # fmt: skip


def _by_chance(space: Space) -> bool:
    """Whether what a search begins at is chance: a choice that has no neutral start."""
    open_ones = [block for block in space.blocks if block.default_op is None]
    return Selections(open_ones).count > 1


def check_warmup(settings: CellSearchSection) -> None:
    """Raises ConfigError where no epoch is left in which alpha moves."""
    budget = settings.steps is not None or settings.seconds is not None
    if settings.warmup_epochs >= settings.epochs and not budget:
        raise ConfigError(
            f"search.warmup: expected epochs in which alpha moves, found none: "
            f"{settings.warmup:g} of {settings.epochs}"
        )


def lowering(
    runtime: Runtime, name: str, section: Section, settings: tuple[str, ...]
) -> AbstractContextManager[None]:
    """A block whose failing allocations say which settings of a section to lower."""
    lower = ", ".join(f"{name}.{key} ({getattr(section, key)})" for key in settings)
    return enough_memory(runtime.device, f"lower {lower}")
