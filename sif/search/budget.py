"""The number of weight steps of a search: by epochs, by a number, or by CPU seconds and a pilot."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sif.config import SearchSection
from sif.core.gates import Gates
from sif.core.method import ChoosesAtEnd, LearnsArchitecture, Method, Plan
from sif.core.proximal import weight_step
from sif.core.space import Space
from sif.core.stream import Stream
from sif.errors import BudgetError, ConfigError
from sif.methods.configuration import ConfiguredMethod
from sif.methods.settings import MethodSettings
from sif.training.optim import MakeOptimizer
from sif.utils.device import finish

TRIALS = (3, 50)
"""Fewest and most steps that a pilot times, after a first one that allocates."""
PILOT_SHARE = 0.05
"""Share of the budget that a pilot takes, unless its fewest steps take more."""

RESERVE_SHARE = 0.5
"""Share of the budget that a choice at the end may take."""


@dataclass(frozen=True)
class Costs:
    """CPU seconds.

    Attributes:
        weight: Of a weight step.
        arch: Of an architecture step.
        reserve: Of the choice at the end.
        spent: Of the pilot itself.
    """

    weight: float
    arch: float
    reserve: float
    spent: float

    def of_step(self, section: SearchSection, method: ConfiguredMethod) -> float:
        """Of a weight step with its share of the architecture steps.

        Args:
            section: Gives how often the architecture moves.
            method: With its settings, which give the share in which it rests.
        """
        resting = planned(section, method.settings, 1, _MANY).resting
        learning = (1 - resting / _MANY) / method.every(section)
        return max(self.weight + learning * self.arch, 1e-9)


def planned(
    section: SearchSection, settings: MethodSettings, per_epoch: int, steps: int | None
) -> Plan:
    """The length of a search, its warm-up, and the weight steps before the architecture moves.

    Args:
        section: Gives epochs and the step size.
        settings: Of the method; give the shares of warm-up and rest.
        per_epoch: Weight steps.
        steps: In all; None: the epochs decide, and shares are whole epochs.
    """
    unit = per_epoch if steps is None else 1
    total = section.epochs * per_epoch if steps is None else steps
    warmup = settings.warmup_steps(total, unit)
    if steps is not None:
        warmup = min(warmup, steps - 1)
    return Plan(total, warmup, settings.resting_steps(warmup, total, unit), section.lr)


def first_arch_step(resting: int, every: int) -> int:
    """Number of the weight step before which alpha first moves."""
    return -(-resting // every) * every


def alpha_rests(
    section: SearchSection, method: ConfiguredMethod, per_epoch: int, steps: int | None
) -> str:
    """A message that a search ends before alpha moves, with the budget that would suffice.

    Args:
        section: With the budget.
        method: With its settings.
        per_epoch: Weight steps.
        steps: In all; None: the epochs decide.
    """
    every, settings = method.every(section), method.settings
    plan = planned(section, settings, per_epoch, steps)
    first = first_arch_step(plan.resting, every)
    why = (
        f"alpha first moves before step {first} (search.arch_every {every}, at rest for "
        f"{plan.resting} by methods.{method.name})"
    )
    if section.seconds is not None:
        fit = f"{section.seconds:g}, in which {plan.steps} fit"
        return (
            f"search.seconds: expected time for more than {first} weight steps, found {fit}; {why}"
        )
    key, current = ("epochs", section.epochs) if steps is None else ("steps", steps)
    for more in range(current + 1, current + 10_000):
        longer = section.model_copy(update={key: more})
        plan = planned(longer, settings, per_epoch, more if key == "steps" else None)
        if first_arch_step(plan.resting, every) < plan.steps:
            return f"search.{key}: expected at least {more}, found {current}; {why}"
    return f"search.{key}: expected more, found {current}; {why}"


def pilot(
    space: Space,
    method: Method,
    train: Stream,
    valid: Stream,
    make_optimizer: MakeOptimizer,
    section: SearchSection,
    error: Callable[[Gates], float],
    seconds: float,
    max_norm: float | None = None,
    share: float = PILOT_SHARE,
) -> Costs:
    """Measures a method by steps of both kinds in turn.

    Args:
        space: Used up, as `method` and both streams.
        method: Made for it.
        train: Batches of the weights.
        valid: Batches of the architecture.
        make_optimizer: Of the weights.
        section: Gives the step size.
        error: Of a selection on validation; asked once if the method chooses at the end.
        seconds: The budget, CPU.
        max_norm: Bound on the weights' gradient norm, as in the search; without it some diverge.
        share: Of the budget, which the pilot takes unless its fewest steps take more.
    """
    device = space.reference_tensor().device
    begin = time.process_time()
    optimizer = make_optimizer(space.weight_parameters(), section.lr)
    weight, arch = [], []
    for step in range(TRIALS[1] + 1):
        start = time.process_time()
        batch = train.next()
        if isinstance(method, LearnsArchitecture):
            method.arch_step(space, batch, valid.next())
        finish(device)
        between = time.process_time()
        weight_step(space, batch, method.weight_gates(step), optimizer, max_norm)
        finish(device)
        weight.append(time.process_time() - between)
        arch.append(between - start)
        if step >= TRIALS[0] and time.process_time() - begin > share * seconds:
            break
    reserve = 0.0
    if isinstance(method, ChoosesAtEnd):
        start = time.process_time()
        error(method.best_gates())
        # Once more than it chooses from: what is chosen is judged for the record, too.
        reserve = (time.process_time() - start) * (method.candidates + 1)
        reserve = min(reserve, RESERVE_SHARE * seconds)  # then it judges as many as there is time
    return Costs(_usual(weight[1:]), _usual(arch[1:]), reserve, time.process_time() - begin)


def _usual(times: Sequence[float]) -> float:
    """Mean without the slowest tenth, which holds one-time costs such as compiling."""
    kept = sorted(times)[: -max(1, len(times) // 10)]
    return sum(kept) / len(kept)


def steps_that_fit(
    costs: Costs, section: SearchSection, method: ConfiguredMethod, seconds: float
) -> int:
    """Weight steps that a budget allows, with the architecture steps that go with them.

    Args:
        costs: By a pilot.
        section: See `Costs.of_step`.
        method: The same.
        seconds: The budget, CPU.

    Raises:
        BudgetError: Not even one.
    """
    remaining = seconds - costs.spent - costs.reserve
    steps = int(remaining / costs.of_step(section, method))
    if steps < 1:
        raise BudgetError(
            f"search.seconds: expected more than {costs.spent + costs.reserve:.3g} CPU seconds, "
            f"which a pilot and the choice at the end take, found {seconds:g}"
        )
    return steps


_MANY = 1_000_000


def per_candidate(section: SearchSection, per_epoch: int) -> int:
    """Weight steps of each selection that a sampler trains.

    Raises:
        ConfigError: The search is shorter than that.
    """
    need = section.each * per_epoch
    if section.steps is not None and section.steps < need:
        raise ConfigError(
            f"search.steps: expected at least {need}, one candidate of {section.each} epochs, "
            f"found {section.steps}; lower search.candidate_epochs"
        )
    if section.steps is None and section.seconds is None and section.epochs < section.each:
        raise ConfigError(
            f"search.candidate_epochs: expected at most search.epochs, {section.epochs}, "
            f"found {section.each}"
        )
    return need
