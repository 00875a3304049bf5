"""The plan of a job: what each entrant takes, and the settings that fit into its budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sif.config import CommonConfig
from sif.errors import SifError
from sif.problems.base import Problem, State
from sif.problems.pilots import TrainingCost, training_cost
from sif.problems.plan import Costs, OwnCost, planned, told
from sif.search.run import Forecast
from sif.tasks.console import table
from sif.utils.device import peak_memory_mb, reset_peak_memory

PLANNED = 0.85
"""Share of a budget that a plan fills: an estimate is no promise."""
MEASURING = 0.1
"""Share of a budget for measurements; then what is known of other entrants stands for the rest."""
SEARCH_PILOT = 0.2
"""CPU seconds of the measurement of a search, unless its fewest steps take more."""
FIGURES = 4.0
"""Seconds of figures, the verdict and the model's files."""
UNKNOWN = TrainingCost(0.0, 0, 0.0, 0.0)

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Row:
    """Time and memory of one stage.

    Attributes:
        stage: Such as "train fixed-multiply".
        settings: How much of what it does.
        seconds: Estimated.
        peak_memory_mb: Of the process, or of the device.
    """

    stage: str
    settings: str
    seconds: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Plan:
    """The stages of a job, with their time and memory.

    Attributes:
        budget: Seconds of wall time; None: no limit.
        sections: Changed settings by section.
        left_out: Names of entrants that are not made.
        less: What is less than was asked for, in words.
        rows: Of the table.
        planning: Seconds that the measurements took.
        unmeasured: Lines on what could not be measured.
        once: Whether nothing is fitted again, although that was asked for.
    """

    budget: float | None
    sections: Mapping[str, Mapping[str, Any]]
    left_out: tuple[str, ...]
    less: tuple[str, ...]
    rows: tuple[Row, ...]
    planning: float
    unmeasured: tuple[str, ...] = ()
    once: bool = False

    @property
    def seconds(self) -> float:
        """Estimated seconds of the whole job."""
        return self.planning + sum(row.seconds for row in self.rows)

    def state(self) -> State:
        """For the stage."""
        return {
            **vars(self), "rows": [vars(row) for row in self.rows],
            "sections": {name: _plain(values) for name, values in self.sections.items()},
            "left_out": list(self.left_out), "less": list(self.less),
            "unmeasured": list(self.unmeasured),
        }  # fmt: skip

    @classmethod
    def restored(cls, state: State) -> Plan:
        """From the stage's state."""
        lists = {key: tuple(state[key]) for key in ("left_out", "less", "unmeasured")}
        rows = tuple(Row(**row) for row in state["rows"])
        return cls(**{**state, **lists, "rows": rows})

    def applied(self, config: CommonConfig) -> CommonConfig:
        """The configuration that is run."""
        changed: dict[str, Any] = {"refit": "none"} if self.once else {}
        for name, values in self.sections.items():
            section = getattr(config, name)
            update = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            changed[name] = section.model_copy(update=update)
        return config.model_copy(update=changed)

    def of(self, stage: str) -> float:
        """Estimated seconds of a stage; 0 where the plan does not have it."""
        return next((row.seconds for row in self.rows if row.stage == stage), 0.0)

    def later(self, done: Sequence[str]) -> float:
        """Estimated seconds of all stages but some."""
        return sum(row.seconds for row in self.rows if row.stage not in done)

    def lines(self) -> list[str]:
        """The plan for people."""
        rows = [
            [row.stage, row.settings, f"{row.seconds:.1f}", f"{row.peak_memory_mb:,.0f}"]
            for row in self.rows
        ]
        rows.append(["so far", "data, this plan", f"{self.planning:.1f}", ""])
        limit = "no budget" if self.budget is None else f"a budget of {self.budget:g} s"
        lines = [
            "plan, measured on a few steps:",
            *table(["entrant", "settings", "seconds", "MB"], rows).splitlines(),
            f"estimate: {self.seconds:.0f} s, {limit}",
        ]
        lines += [f"note: not measured: {line}" for line in self.unmeasured]
        if self.less:
            lines.append(f"to fit into the budget: {'; '.join(self.less)}")
        if self.budget is not None and self.seconds > self.budget:
            lines.append(
                "note: this is the least that the job does; it takes longer than its budget"
            )
        return lines

    def document(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "budget": self.budget,
            "estimated_seconds": self.seconds,
            "planning_seconds": self.planning,
            "less": list(self.less),
            "left_out": list(self.left_out),
            "stages": [vars(row) for row in self.rows],
        }


class Measurements:
    """Costs of a job's entrants, with the peak of memory of each.

    Args:
        problem: Of the job.
        most: Seconds of all measurements, unless the first ones take more; None: no limit.

    Attributes:
        memory: Stage to the peak of memory (MB).
        unmeasured: Lines on what could not be measured.
    """

    def __init__(self, problem: Problem[Any, Any], most: float | None = None) -> None:
        self._problem = problem
        self._end = math.inf if most is None else time.perf_counter() + most
        self.memory: dict[str, float] = {}
        self.unmeasured: list[str] = []

    def searches(self, methods: Mapping[str, str]) -> dict[str, Forecast]:
        """Of entrants with a search method each."""
        found: dict[str, Forecast] = {}
        for name, method in methods.items():
            if found and self._late:
                found[name] = max(found.values(), key=lambda cost: cost.epoch)
                continue
            unknown = Forecast(0.0, 0.0, 0.0)
            found[name] = self.of(f"search {name}", partial(self._search, method), unknown)
        return found

    @property
    def _late(self) -> bool:
        return time.perf_counter() > self._end

    def _search(self, method: str) -> Forecast:
        with self._problem.enough_memory("search"):
            return self._problem.sampled().problem.method_run().forecast(method, SEARCH_PILOT)

    def trainings(
        self, given: Mapping[str, Any], found: Sequence[str], draws: int
    ) -> dict[str, TrainingCost]:
        """Of given designs, and of those that searches will find: as the dearest of a few.

        Args:
            given: Entrant to design.
            found: Entrants whose design is not known yet.
            draws: How many drawn designs are measured for them.
        """
        drawn: list[TrainingCost] = []
        for number in range(draws if found else 0):
            if not (drawn and self._late):
                drawn.append(self.of(f"train {found[0]}", partial(self._drawn, number), UNKNOWN))
        dearest = max(drawn, key=TrainingCost.epoch, default=UNKNOWN)
        for name in found:
            self.memory[f"train {name}"] = max(cost.peak_memory_mb for cost in drawn)
        costs = dict.fromkeys(found, dearest)
        for name, design in given.items():
            measure = partial(training_cost, self._problem, design)
            late = costs and self._late
            costs[name] = dearest if late else self.of(f"train {name}", measure, UNKNOWN)
        return costs

    def peak(self, stage: str) -> float:
        """The peak of memory of a stage, for second fits that of the first."""
        kind, _, name = stage.partition(" ")
        alike = (f"train {name}", f"baseline {name}") if kind == "refit" else ()
        return next((self.memory[one] for one in (stage, *alike) if one in self.memory), 0.0)

    def _drawn(self, number: int) -> TrainingCost:
        return training_cost(self._problem, self._problem.drawn(number))

    def of(self, stage: str, measure: Callable[[], Measured], unknown: Measured) -> Measured:
        """The result of `measure`; `unknown` where it fails, as the stage itself may do later."""
        reset_peak_memory(self._problem.runtime)
        try:
            return measure()
        except SifError as error:
            self.unmeasured.append(f"{stage}: {error}")
            return unknown
        finally:
            self.memory[stage] = peak_memory_mb(self._problem.runtime)


def make_plan(
    config: CommonConfig, problem: Problem[Any, Any], measured: Measurements, costs: Costs,
    optional: tuple[str, ...], methods: Sequence[str], began: float, elapsed: float,
) -> Plan:  # fmt: skip
    """The plan of a job.

    Args:
        config: As it was asked for.
        problem: Of the job.
        measured: Where costs come from.
        costs: Of all entrants.
        optional: Names of entrants that may be left out.
        methods: Search methods that take part.
        began: `time.perf_counter` when planning began.
        elapsed: Seconds that the job had taken by then.
    """

    def moves(shorter: CommonConfig) -> bool:
        run = problem.changed(config=shorter).method_run()
        return all(run.moves(method) for method in methods)

    planning = time.perf_counter() - began
    left = None if config.budget is None else PLANNED * config.budget - planning - elapsed
    fitting, cut = planned(config, costs, left, optional, moves)
    sections = {
        name: {key: value for key, value in dict(section).items() if value != dict(before)[key]}
        for name in ("search", "train")
        if (section := getattr(fitting, name)) != (before := getattr(config, name))
    }
    rows = tuple(
        Row(stage, _settings(fitting, stage, costs.own), seconds, measured.peak(stage))
        for stage, seconds in costs.seconds(fitting, cut.left_out).items()
    )
    return Plan(
        config.budget, sections, cut.left_out, tuple(told(config, fitting, cut)), rows,
        planning + elapsed, tuple(measured.unmeasured), cut.once,
    )  # fmt: skip


def _settings(config: Any, stage: str, own: Mapping[str, OwnCost]) -> str:
    kind, _, name = stage.partition(" ")
    if name in own:
        return own[name].told(kind)
    if kind == "train":
        strengths = getattr(config.train, "l2", ())
        grid = f", {len(strengths)} L2" if strengths else ""
        return f"{_number(config.train.epochs, 'epoch')}{grid}"
    if kind == "search":
        section = config.search
        if section.seconds is not None:
            return f"{section.seconds:g} CPU s"
        if section.steps is None:
            return _number(section.epochs, "epoch")
        return _number(section.steps, "step")
    further = {"baseline": "its grid", "refit": "what was chosen", "fit": "what was chosen"}
    return further.get(kind, "data, tests, figures")


def _number(count: int, unit: str) -> str:
    """Such as "1 epoch" or "20 epochs"."""
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
