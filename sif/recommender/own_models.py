"""Item-item models beside the searched function: closed forms of sets, and models in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sif.core.genotype import Genotype
from sif.data.interactions import Interactions
from sif.errors import BudgetError, ConfigError, DivergedError
from sif.problems.base import Reporter, Trained
from sif.problems.budget import TimeBudget
from sif.problems.closed_forms import CLOSED, ClosedProblem, ClosedRefit, closed_problem
from sif.problems.interactions import InteractionProblem
from sif.problems.order import METHOD, ORDER, OrderProblem, OrderRefit, order_cost, order_problem
from sif.problems.plan import OwnCost
from sif.spaces.closed.design import OPEN
from sif.tracking import NullTracker
from sif.utils.checkpoint import NoCheckpoint

SHARES = {CLOSED: 0.2, ORDER: 0.5}
"""Shares of the remaining time. Where data have an order, it is worth more than all else."""

OwnProblem = ClosedProblem | OrderProblem


@dataclass(frozen=True, eq=False)
class OwnModels:
    """The problems of item-item models on the parts of another, and their fits within a budget.

    Attributes:
        functions: Of interaction functions; gives the data and the settings.
        budget: Of the whole fit.
        reporter: Hears what is left out.
    """

    functions: InteractionProblem
    budget: TimeBudget
    reporter: Reporter

    @cached_property
    def problems(self) -> dict[str, OwnProblem]:
        """By name, the quickest first."""
        made = {CLOSED: closed_problem(self.functions), ORDER: order_problem(self.functions)}
        return {name: problem for name, problem in made.items() if problem is not None}

    def fitted(self) -> tuple[dict[str, tuple[Genotype, Trained[Any]]], list[str]]:
        """Name to design and fit, and a line on each that is left out."""
        found, left_out = {}, list[str]()
        for name, problem in self.problems.items():
            with self.budget.stage(name, SHARES[name]) as seconds:
                try:
                    self._refuse_slow(problem, seconds)
                    found[name] = _fit(problem)
                except (BudgetError, DivergedError) as error:
                    left_out.append(f"left out: {name}: {error}")
                    self.reporter.line(left_out[-1])
        return found, left_out

    def continued(
        self, design: Genotype, constants: Mapping[str, float]
    ) -> tuple[Genotype, Trained[Any]]:
        """An earlier model's design, and its fit at the constants nearby that validation prefers.

        Args:
            design: Of the earlier model.
            constants: That it was fitted with; may be empty.

        Raises:
            ConfigError: These data have no such models.
            DivergedError: It cannot be fitted.
        """
        problem = self.problems.get(design.space)
        if problem is None:
            raise ConfigError(
                f"warm_start: expected data and settings with the stage {design.space}, which the "
                "earlier model is of, found none"
            )
        tracker, checkpointer = NullTracker(), NoCheckpoint()
        with self.budget.stage(design.space):
            if isinstance(problem, ClosedProblem):
                design = problem.near(design)
                closed = problem.train(design, tracker, checkpointer)
                return problem.trained_design(design, closed), closed
            walked = problem.changed(known=constants).train(design, tracker, checkpointer)
            return problem.trained_design(design, walked), walked

    def again(self, name: str, rows: Interactions) -> ClosedRefit | OrderRefit:
        """Second fits on some rows."""
        problem = self.problems[name]
        if isinstance(problem, OrderProblem):
            return OrderRefit.of(problem, rows)
        return ClosedRefit.of(problem, rows)

    @staticmethod
    def _refuse_slow(problem: OwnProblem, seconds: float) -> None:
        """Raises BudgetError for a model in order that would not be finished in time.

        Closed forms of sets end with the best so far.
        """
        if seconds <= 0:
            raise BudgetError("expected time for it, found none left")
        if not math.isfinite(seconds) or not isinstance(problem, OrderProblem):
            return
        cost: OwnCost = order_cost(problem).seconds
        if (needed := cost.search + cost.grid) > seconds:
            raise BudgetError(f"expected {needed:.1f} s for it, found {seconds:.1f} s")


def _fit(problem: OwnProblem) -> tuple[Genotype, Trained[Any]]:
    """The design that is found, and its fit.

    Raises:
        DivergedError: No design can be fitted, or the one that is found says nothing.
    """
    tracker, checkpointer = NullTracker(), NoCheckpoint()
    if isinstance(problem, ClosedProblem):
        closed = problem.train(OPEN, tracker, checkpointer)
        return problem.trained_design(OPEN, closed), closed
    found = problem.search(tracker, checkpointer, method=METHOD).genotype
    if reason := problem.refuses(found):
        raise DivergedError(reason)
    trained = problem.train(found, tracker, checkpointer)
    return problem.trained_design(found, trained), trained
