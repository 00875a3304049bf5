"""The costs of what only a job on interactions fits, measured for its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from sif.baselines import BASELINES
from sif.baselines.forecast import TuningSeconds
from sif.errors import SifError
from sif.problems.closed_forms import CLOSED, ClosedProblem
from sif.problems.histories import HistoryProblem, ReaderCost, reader_cost
from sif.problems.interactions import InteractionProblem
from sif.problems.order import ORDER, OrderCost, OrderProblem, order_cost
from sif.problems.plan import OwnCost
from sif.tasks.plan import Measurements
from sif.utils.ranks import sharing


def reader_seconds(problem: HistoryProblem, name: str, measured: Measurements) -> OwnCost:
    """Of a reader of histories, by a few steps."""
    unknown = ReaderCost(OwnCost(0.0, 0.0, 0.0, closed=False), 0.0)
    cost = measured.of(f"train {name}", partial(reader_cost, problem, name), unknown)
    measured.memory[f"search {name}"] = measured.memory[f"train {name}"]
    return cost.seconds


def order_seconds(problem: OrderProblem, measured: Measurements) -> OwnCost:
    """Of the item-item model, by a small factorization."""
    unknown = OrderCost(OwnCost(0.0, 0.0, 0.0), 0.0)
    cost = measured.of(f"train {ORDER}", partial(order_cost, problem), unknown)
    measured.memory[f"search {ORDER}"] = measured.memory[f"train {ORDER}"]
    measured.memory[f"train {ORDER}"] += cost.bytes / 2**20
    return cost.seconds


def closed_cost(problem: ClosedProblem) -> tuple[OwnCost, float]:
    """Of closed forms, by what they multiply: seconds, and bytes."""
    try:
        return sharing().once(problem.cost)  # one clock decides for all processes
    except SifError:  # as the stage itself may, which is told then
        return OwnCost(0.0, 0.0, 0.0, searching=None), 0.0


def closed_seconds(found: tuple[OwnCost, float], early: bool, measured: Measurements) -> OwnCost:
    """Of closed forms in a plan.

    Args:
        found: See `closed_cost`.
        early: Whether they are trained already.
        measured: Gets them.
    """
    cost, size = found
    measured.of(f"train {CLOSED}", lambda: cost, cost)
    measured.memory[f"train {CLOSED}"] += size / 2**20
    return replace(cost, grid=0.0, training="done") if early else cost


def baseline_seconds(
    problem: InteractionProblem, names: Sequence[str], measured: Measurements
) -> dict[str, TuningSeconds]:
    """Of baselines by name, by small fits."""
    sizes = problem.train_part.sizes[:2]
    sample, found = problem.sampled(), dict[str, TuningSeconds]()
    forecast = problem.baseline_fits.seconds(names, sample.problem.train_part, sample.training)
    for name, measure in forecast:
        stage = f"baseline {name}"
        found[name] = measured.of(stage, measure, TuningSeconds(0.0, 0.0))
        measured.memory[stage] += 4 * BASELINES[name].matrices(*sizes) / 2**20
    return found
