"""One search by the name of a method, whatever the space: what tasks hand over, and the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch

from sif.config import SearchSection
from sif.config.sections import Section
from sif.core.bounds import refuse_impossible
from sif.core.gates import Gates, Selection
from sif.core.method import AskTell, ChoosesAtEnd, LearnsArchitecture, Method, Plan
from sif.core.selections import Selections
from sif.core.space import Space
from sif.core.stream import Checkpointer, Stream
from sif.errors import BudgetError, ConfigError
from sif.methods.configuration import ConfiguredMethod, MethodValues, configured
from sif.methods.fixed import fixed
from sif.methods.kind import MethodKind
from sif.methods.proposals import proposed
from sif.methods.registry import METHODS
from sif.methods.successive_halving import SuccessiveHalving, SuccessiveHalvingSettings
from sif.search.budget import (
    PILOT_SHARE,
    TRIALS,
    Costs,
    alpha_rests,
    first_arch_step,
    per_candidate,
    pilot,
    planned,
    steps_that_fit,
)
from sif.search.candidates import SampleSettings, sample
from sif.search.checks import refuse_illegal
from sif.search.finish import (
    PILOTS,
    USED,
    Begun,
    FinishCheckpointer,
    bracket,
    planned_bracket,
    without_finish,
)
from sif.search.front import check_pick, front_document
from sif.search.history import numbers
from sif.search.loop import SearchResult, SearchSettings, search
from sif.search.objectives import Objectives
from sif.tracking import NullTracker, Tracker
from sif.training.optim import MakeOptimizer, Schedule
from sif.utils.device import Runtime, enough_memory, never
from sif.utils.random import generator
from sif.utils.ranks import sharing

Progress = Callable[[int, Any], None]
_HALVING = "successive-halving"
_PLENTY = 3600.0
"""CPU seconds of which a measurement takes a share."""


@dataclass(frozen=True)
class Forecast:
    """Seconds of a search.

    Attributes:
        epoch: Seconds of an epoch, with the judgment of its selection.
        step: Seconds of a weight step with its share of the architecture steps.
        end: Seconds of the choice at the end.
    """

    epoch: float
    step: float
    end: float

    def seconds(self, section: SearchSection) -> float:
        """Of a search as long as a section says."""
        if section.seconds is not None:
            return section.seconds
        if section.steps is not None:
            return section.steps * self.step + self.end
        return section.epochs * self.epoch + self.end


@dataclass(frozen=True, eq=False)
class MethodRun:
    """Everything a method searches with, as functions, so that each candidate can have it afresh.

    Attributes:
        make_space: A space with fresh weights, always the same; the argument says whether mixtures
            of all operations will run.
        streams: Fresh batches of the weights and of alpha, always the same.
        judge: Error on the whole validation part of a selection of a space with its weights.
        judged: Name of that number.
        section: Length of the search and step size of the weights.
        make_optimizer: Of the weights.
        schedule: Of their step size.
        runtime: Gives the random numbers of the method.
        steps_per_epoch: Weight steps; None: one pass.
        max_norm: Bound on the gradient's norm; None: none.
        judges: Whether every epoch's selection is judged, off the clock.
        methods: Settings of methods by their names.
        continuous_lr: Adam step size of continuous architecture parameters.
        objectives: Beside the error.
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
    methods: MethodValues = field(default_factory=dict)
    continuous_lr: float = 3e-3
    objectives: Objectives = Objectives()  # noqa: RUF009 - frozen

    def run(
        self, name: str, tracker: Tracker, checkpointer: Checkpointer, on_epoch: Progress,
        kind: MethodKind | None = None,
    ) -> SearchResult:  # fmt: skip
        """Searches with a method: that of the name, unless another one is given.

        Raises:
            DivergedError: The search diverged.
            ConfigError: A method that nobody has, settings that it does not take, or a method that
                the space does not allow, or that needs a library or a larger budget.
        """
        method = configured(name, self.methods, kind)
        return self._with_objectives(self._found(method, tracker, checkpointer, on_epoch))

    def _found(
        self, method: ConfiguredMethod, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> SearchResult:  # fmt: skip
        if method.kind.samples:
            return self._sample(method, tracker, checkpointer, on_epoch)
        if self._finish_share(method):
            return self._finished(method, tracker, checkpointer, on_epoch)
        return self._search(method, tracker, checkpointer, on_epoch)[0]

    def _with_objectives(self, found: SearchResult) -> SearchResult:
        """A result with the values of its selection, and the front of its candidates."""
        tables, bounds = self.objectives.tables, [one.most for one in self.objectives.asked]
        if not tables:
            return found
        # Blocks that a space adds to its genotypes have no costs here.
        values = [table.of_kept(found.genotype.blocks) for table in tables]
        told = [
            {"name": table.name, "unit": table.unit, "value": value,
             "most": None if most == math.inf else most}
            for table, value, most in zip(tables, values, bounds, strict=True)
        ]  # fmt: skip
        names, units = self.objectives.names, [table.unit for table in tables]
        front = front_document(found.history, names, units, bounds)
        return replace(found, objectives=told, front=front)

    def check(self, name: str) -> None:
        """Raises ConfigError for what `run` would refuse before its first step."""
        method = configured(name, self.methods)
        check_pick(self.section.pick, self.objectives.names)
        if self._finish_share(method):
            self._before_finish().check(name)
            return
        rests, every_space = self._rests(method), name in METHODS and method.kind.own_weights
        every_space = every_space and not self.objectives.bounds
        scored = method.settings.arch_score != "gradient"  # which not every space offers
        if every_space and not (rests or scored):
            return
        space = self.make_space(method.kind.mixes)
        made = self._made(method, space, self._short())
        if method.kind.samples:
            per_candidate(self.section, self._per_epoch())
        elif rests:
            self._refuse_rest(space, made, method, self.section.steps)

    def epochs_cost(self, name: str, seconds: float) -> float:
        """CPU seconds that a search by the section's epochs takes, by a pilot.

        Args:
            name: Of the method. Samplers use whatever time there is: infinite.
            seconds: Of which the pilot takes a small share.

        Raises:
            BudgetError: Not even one step fits into the seconds.
        """
        method = configured(name, self.methods)
        if method.kind.samples:
            return math.inf
        costs = self._costs(method, seconds)
        steps_that_fit(costs, self.section, method, seconds)
        steps = self.section.epochs * self._per_epoch()
        share, step = self._finish_share(method), costs.of_step(self.section, method)
        if share:
            alone = configured(_HALVING, self.methods)
            own = self._costs(alone, seconds).of_step(self.section, alone)
            step = (1 - share) * step + share * own
        return step * steps + costs.reserve

    def forecast(self, name: str, most: float) -> Forecast:
        """The costs of a search, measured on a few steps.

        Args:
            name: Of the method.
            most: CPU seconds that the measurement takes, unless its fewest steps take more.
        """
        method = configured(name, self.methods)
        own, share = self._forecast(method, most), self._finish_share(method)
        if not share:
            return own
        halving = self._halving()
        step = self._forecast(configured(_HALVING, self.methods), most).step
        return Forecast(
            (1 - share) * own.epoch + share * step * self._per_epoch(),
            (1 - share) * own.step + share * step,
            own.end + sum(halving.sizes()) * self._judging_seconds(),
        )

    def _forecast(self, method: ConfiguredMethod, most: float) -> Forecast:
        """That of a search without a finish."""
        begin, cpu = time.perf_counter(), time.process_time()
        # As long as a pilot, so that it also takes steps of the warm-up, which may be dearer.
        plan = planned(self.section, method.settings, 1, TRIALS[1])
        costs = self._costs(method, _PLENTY, most / _PLENTY, plan)
        # What counts here is the clock: threads and other processes make it another than the CPU's.
        rate = (time.perf_counter() - begin) / max(time.process_time() - cpu, 1e-9)
        step = costs.of_step(self.section, method) * rate
        epoch = step * self._per_epoch()
        if method.kind.samples:
            epoch += self._judging_seconds() / self.section.each  # once a candidate
        elif self.judges:
            epoch += self._judging_seconds()
        return Forecast(epoch, step, costs.reserve * rate)

    def _judging_seconds(self) -> float:
        """Seconds that a new space takes and the validation of one of its selections."""
        begin = time.perf_counter()
        space = self.make_space(False)
        self.judge(space, Selections(space.blocks).numbered(0).to_gates(space.blocks))
        return time.perf_counter() - begin

    def moves(self, name: str) -> bool:
        """False for a search that is known to end before alpha moves, or before a candidate does.

        Args:
            name: Of the method.
        """
        method = configured(name, self.methods)
        if self._finish_share(method):
            try:
                return self._before_finish().moves(name)
            except ConfigError:  # nothing fits into the finish
                return False
        if not method.kind.samples:
            return not self._rests(method)
        return self.section.epochs >= self.section.each

    def _rests(self, method: ConfiguredMethod) -> bool:
        """True if the search is known to end before alpha moves."""
        section = self.section
        if not method.settings.resting_share or section.seconds is not None:
            return False
        per_epoch = self._per_epoch() if section.steps is None else 1
        plan = planned(section, method.settings, per_epoch, section.steps)
        return first_arch_step(plan.resting, method.every(section)) >= plan.steps

    def _refuse_rest(
        self, space: Space, made: Any, method: ConfiguredMethod, steps: int | None
    ) -> None:
        """Raises ConfigError for a method that would learn, had it a step to do so."""
        if isinstance(made, LearnsArchitecture) and _by_chance(space):
            kind = ConfigError if self.section.seconds is None else BudgetError
            raise kind(alpha_rests(self.section, method, self._per_epoch(), steps))

    def _per_epoch(self) -> int:
        return self.steps_per_epoch or self.streams()[0].steps_per_pass

    def _short(self) -> Plan:
        """Of a method that is only looked at."""
        return Plan(1, lr=self.section.lr)

    def _made(self, method: ConfiguredMethod, space: Space, plan: Plan) -> Any:
        draws = generator(self.runtime, "search", "method", device=torch.device("cpu"))
        bounds = self.objectives.bounds
        if bounds and not (method.kind.samples or method.kind.bounded):
            able = [n for n, kind in METHODS.items() if kind.samples or kind.bounded]
            raise ConfigError(
                f"method: expected one of {', '.join(able)} with bounds in search.objectives, "
                f"found {method.name}"
            )
        refuse_impossible(bounds, space.blocks)
        plan = replace(
            plan, continuous_lr=self.continuous_lr, bounds=bounds,
            objectives=len(self.objectives.names),
        )  # fmt: skip
        return method.make(space, plan, draws)

    def _loop(self, epochs: int, **further: Any) -> SearchSettings:
        section = self.section
        return SearchSettings(
            epochs, section.lr, max_norm=self.max_norm, make_optimizer=self.make_optimizer,
            schedule=self.schedule, steps_per_epoch=self.steps_per_epoch,
            out_of_time=self._out_of_time, **further,
        )  # fmt: skip

    @property
    def _out_of_time(self) -> Callable[[], bool]:
        """The end of the job; never for a search whose steps or seconds the user has set."""
        asked = self.section.steps is not None or self.section.seconds is not None
        return never if asked else self.runtime.out_of_time

    def _finish_share(self, method: ConfiguredMethod) -> float:
        """Share of the search in which proposals train alone; none where there is no choice."""
        share = 0.0 if method.kind.samples else self.section.finish.share
        return share if share and self._selections.count > 1 else 0.0

    @cached_property
    def _selections(self) -> Selections:
        return Selections(self.make_space(False).blocks)

    def _halving(self) -> SuccessiveHalvingSettings:
        """Settings of a finish, with the number of selections at most."""
        settings = configured(_HALVING, self.methods).settings
        candidates = min(self.section.finish.candidates, self._selections.count)
        return SuccessiveHalvingSettings(**{**settings.model_dump(), "candidates": candidates})

    def _before_finish(self) -> MethodRun:
        """The search before the finish."""
        section, steps = self.section, 0
        if section.seconds is None:
            steps = planned_bracket(section, self._halving(), self._per_epoch()).steps
        return replace(self, section=without_finish(section, steps, self._per_epoch()))

    def _finished(
        self, method: ConfiguredMethod, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> SearchResult:  # fmt: skip
        """A search, and then trainings of what it proposes, see `sif.search.finish`."""
        begun, per_epoch = Begun.restored(checkpointer.restore()), self._per_epoch()
        if begun is None:
            first = self._before_finish()
            searched, made, space = first._search(method, tracker, checkpointer, on_epoch)
            proposals = proposed(made, space.blocks, self._halving().candidates)
            for one in proposals:
                refuse_illegal(one, space.blocks, type(made).__name__)
            begun = None if self._out_of_time() else self._begun(searched, proposals)
            if begun is None:
                return Begun.left_out(searched)
        keeper = FinishCheckpointer(checkpointer, begun)
        keeper.offer(lambda: begun.inner)
        space = self.make_space(False)
        count = len(begun.searched.history) + len((begun.inner or {}).get("history", ()))

        def show(units: int, entry: dict[str, Any]) -> None:
            nonlocal count
            count, entry = count + 1, begun.after(entry)
            tracker.log(numbers(entry, space.blocks), count)
            on_epoch(begun.epochs(units, per_epoch), entry)

        sampler = SuccessiveHalving(space, 0, begun.bracket.settings, begun.proposals)
        settings = self._finish_settings(begun)
        finished = self._sampled(sampler, settings, NullTracker(), keeper, show)
        return begun.result(finished, per_epoch)

    def _finish_settings(self, begun: Begun) -> SampleSettings:
        seconds, bracket = self.section.seconds, begun.bracket
        if seconds is not None:
            seconds = max(seconds - begun.searched.cpu_seconds - begun.spent, 1e-9)
        loop = self._loop(bracket.whole, arch_every=self.section.arch_every)
        loop = replace(loop, steps_per_epoch=bracket.unit)
        return SampleSettings(loop, self.continuous_lr, bracket.units, seconds)

    def _begun(self, searched: SearchResult, proposals: list[Selection]) -> Begun | None:
        """The beginning of a finish; None: the seconds that are left suffice for none."""
        if self.section.seconds is None:
            planned = planned_bracket(self.section, self._halving(), self._per_epoch())
            return Begun(searched, proposals, planned)
        left = self.section.seconds - searched.cpu_seconds
        steps, judging, spent = sharing().once(partial(self._finish_steps, proposals, left))
        measured = bracket(self._halving(), steps, judging)
        return None if measured is None else Begun(searched, proposals, measured, spent)

    def _finish_steps(self, proposals: list[Selection], left: float) -> tuple[int, float, float]:
        """The length that fits into seconds, by a pilot.

        Args:
            proposals: Some of them are measured.
            left: CPU seconds.

        Returns:
            Weight steps and judgments together, both in weight steps; weight steps that a judgment
            costs; CPU seconds of the pilot.
        """
        begin = time.process_time()
        some = proposals[:: -(-len(proposals) // PILOTS)]
        steps = [self._alone_cost(one, left) for one in some]
        judging = time.process_time()
        self._judging_seconds()
        judging = time.process_time() - judging
        spent, step = time.process_time() - begin, sum(steps) / len(steps)
        return max(int((USED * left - spent) / step), 0), judging / step, spent

    def _search(
        self, method: ConfiguredMethod, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> tuple[SearchResult, Method, Space]:  # fmt: skip
        """The result, and the method and the space at the end."""
        section, per_epoch = self.section, self._per_epoch()
        budget: dict[str, Any] = {"steps": section.steps}
        if section.seconds is not None:
            saved = checkpointer.restore()
            measured = partial(self._measured, method)
            budget = saved["budget"] if saved is not None else sharing().once(measured)
            budget = {**budget, "seconds": section.seconds}
        plan = planned(section, method.settings, per_epoch, budget["steps"])
        every = method.every(section)
        space = self.make_space(method.kind.mixes)
        made: Method = self._made(method, space, plan)
        if first_arch_step(plan.resting, every) >= plan.steps:
            self._refuse_rest(space, made, method, budget["steps"])
        loop = self._loop(
            -(-plan.steps // per_epoch), arch_every=every, arch_start=plan.resting, **budget
        )
        judge = None
        if self.judges or isinstance(made, ChoosesAtEnd):
            judge = partial(self._judged, space)
        train, valid = self.streams()
        found = search(space, made, train, valid, loop, tracker, checkpointer, on_epoch, judge)
        learns = isinstance(made, LearnsArchitecture) and not isinstance(made, ChoosesAtEnd)
        if not learns or found.diagnostics["arch_steps"]:
            return found, made, space
        steps = budget["steps"]
        if section.seconds is not None:  # steps were dearer than in a pilot
            steps = found.steps
            self._refuse_rest(space, made, method, steps)
        rests = alpha_rests(section, method, per_epoch, steps)
        return replace(found, at_rest=rests), made, space

    def _judged(self, space: Space, gates: Gates) -> dict[str, float]:
        """The error of a selection, and its objectives."""
        return {self.judged: self.judge(space, gates), **self.objectives.values(space, gates)}

    def _measured(self, method: ConfiguredMethod) -> dict[str, Any]:
        """Steps that fit into the seconds, by a pilot on a space and batches of its own."""
        seconds = self.section.seconds or 0.0
        costs = self._costs(method, seconds)
        steps = steps_that_fit(costs, self.section, method, seconds)
        return {"steps": steps, "spent": costs.spent, "reserve": costs.reserve}

    def _costs(
        self, method: ConfiguredMethod, seconds: float, share: float = PILOT_SHARE,
        plan: Plan | None = None,
    ) -> Costs:  # fmt: skip
        """By a pilot on a space and batches of its own; of a sampler's candidate, a drawn one."""
        space = self.make_space(method.kind.mixes)
        if method.kind.samples:
            draws = generator(self.runtime, "search", "pilot", device=torch.device("cpu"))
            drawn = Selections(space.blocks).drawn(draws)
            return self._piloted(space, fixed(space, drawn, self.continuous_lr), seconds, share)
        made: Method = self._made(method, space, plan or self._short())
        return self._piloted(space, made, seconds, share)

    def _alone_cost(self, selection: Selection, seconds: float) -> float:
        """CPU seconds of a weight step of a selection, with its share of steps of P and Q."""
        space = self.make_space(False)
        one = fixed(space, selection, self.continuous_lr)
        costs = self._piloted(space, one, seconds, PILOT_SHARE / PILOTS)
        return costs.weight + costs.arch / self.section.arch_every

    def _piloted(self, space: Space, made: Method, seconds: float, share: float) -> Costs:
        return pilot(
            space, made, *self.streams(), self.make_optimizer, self.section,
            partial(self.judge, space), seconds, self.max_norm, share,
        )  # fmt: skip

    def _sample(
        self, method: ConfiguredMethod, tracker: Tracker, checkpointer: Checkpointer,
        on_epoch: Progress,
    ) -> SearchResult:  # fmt: skip
        section = self.section
        made: AskTell = self._made(method, self.make_space(False), self._short())
        need = per_candidate(section, self._per_epoch())
        candidates = None
        if section.steps is not None:
            candidates = section.steps // need
        elif section.seconds is None and not method.kind.ends:
            candidates = section.epochs // section.each
        settings = SampleSettings(
            self._loop(section.each, arch_every=method.every(section)),
            self.continuous_lr,
            None if candidates is None else candidates * section.each,
            section.seconds,
            {one.name: one.most for one in self.objectives.asked},
            section.pick,
        )
        return self._sampled(made, settings, tracker, checkpointer, on_epoch)

    def _sampled(
        self, sampler: AskTell, settings: SampleSettings, tracker: Tracker,
        checkpointer: Checkpointer, on_epoch: Progress,
    ) -> SearchResult:  # fmt: skip
        return sample(
            partial(self.make_space, False), sampler, self.streams, settings, self._judged,
            tracker, checkpointer, on_epoch, self.runtime.calls, self.runtime.device,
        )  # fmt: skip


def _by_chance(space: Space) -> bool:
    """True if a search begins at random: a block has no neutral operation."""
    open_ones = [block for block in space.blocks if block.default_op is None]
    return Selections(open_ones).count > 1


def lowering(
    runtime: Runtime, name: str, section: Section, settings: tuple[str, ...]
) -> AbstractContextManager[None]:
    """A block whose failing allocations say which settings of a section to lower."""
    lower = ", ".join(f"{name}.{key} ({getattr(section, key)})" for key in settings)
    return enough_memory(runtime.device, f"lower {lower}")
