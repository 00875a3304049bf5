"""The common part of samplers: results, the best result, and a state that is replayed."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sif.core.gates import Selection
from sif.core.selections import Selections
from sif.core.space import Space
from sif.errors import CheckpointError, ShapeError

WORST = 1e9
"""Stands for an infinite error, which libraries do not accept."""


@dataclass(frozen=True)
class Evaluated:
    """A trained selection.

    Attributes:
        selection: The selection that `ask` gave.
        error: Of it, by validation.
        cost: Of it.
        values: Of the objectives beside the error; empty: the cost is the only one.
        excess: How far the values exceed their bounds, as a share.
    """

    selection: Selection
    error: float
    cost: float
    values: tuple[float, ...] = ()
    excess: float = 0.0

    @property
    def others(self) -> tuple[float, ...]:
        """The values that are to be low beside the error."""
        return self.values or (self.cost,)


def bounded(errors: Sequence[float]) -> list[float]:
    """Errors in which diverged trainings have the worst finite one.

    `WORST` itself would hide all other differences from what learns of them.
    """
    worst = max((error for error in errors if error < WORST), default=WORST)
    return [min(error, worst) for error in errors]


def undominated(points: Sequence[tuple[float, ...]]) -> list[int]:
    """Numbers of the points that no other is as low as in all coordinates and lower in one.

    By rising last coordinate; of equals the first.
    """
    kept: list[int] = []
    for number in sorted(range(len(points)), key=lambda n: points[n][::-1]):
        point = points[number]
        if not any(all(map(operator.le, points[one], point)) for one in kept):
            kept.append(number)
    return kept


class Sampler(ABC):
    """History and best of a sampler.

    A subclass has `_restart`, which puts it at its beginning, `_next`, and if it learns `_learn`;
    from a seed these always do the same, so a state is the history alone.

    Args:
        space: Gives the blocks.
        seed: Of all that is drawn.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.selections, self.seed = Selections(space.blocks), seed
        self._begin()

    def _begin(self) -> None:
        self.results: list[Evaluated] = []
        self._values: tuple[tuple[float, ...], float] | None = None
        self._asked: Selection | None = None
        self._restart()

    @abstractmethod
    def _restart(self) -> None:
        """Resets the sampler to its initial state."""

    @abstractmethod
    def _next(self) -> Selection | None:
        """The selection to train next; None: none is left."""

    def _learn(self, result: Evaluated) -> None:  # noqa: B027 - what does not learn leaves it out
        """Learns from the result of the selection that `ask` gave."""

    def ask(self) -> Selection | None:
        """The selection to train next; the same until it is told."""
        if self._asked is None:
            self._asked = self._next()
        return self._asked

    def tell(self, selection: Selection, error: float, cost: float) -> None:
        """Takes the result of a selection; an infinite error counts as `WORST`."""
        if selection != self._asked:
            raise ShapeError("sampler: expected the result of the selection that `ask` gave")
        values, excess = self._values or ((), 0.0)
        self._values = None
        error = error if math.isfinite(error) else WORST
        result = Evaluated(selection, error, cost, values, excess)
        self._learn(result)
        self.results.append(result)
        self._asked = None

    def measured(self, selection: Selection, values: Sequence[float], excess: float) -> None:
        """Takes the objectives of a selection, see `sif.core.method.TakesObjectives`."""
        self._values = tuple(values), excess

    def best_selection(self) -> Selection:
        """The best result so far, the first of equals; before any, the selection of `ask`."""
        if self.results:
            return min(self.results, key=lambda t: t.error).selection
        selection = self.ask()
        if selection is None:
            raise ShapeError("sampler: expected a space with selections, found none")
        return selection

    def state_dict(self) -> dict[str, Any]:
        """The seed and all results."""
        results = [
            [t.selection.to_lists(), t.error, t.cost, [*t.values], t.excess] for t in self.results
        ]
        return {"seed": self.seed, "told": results}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replays the results.

        Raises:
            CheckpointError: A replay that asks for something else, as after a change of version.
        """
        self.seed = state["seed"]
        self._begin()
        for operations, error, cost, *measured in state["told"]:
            selection = Selection(operations)
            if self.ask() != selection:
                raise CheckpointError(
                    f"{type(self).__name__}: expected the same selections as before, "
                    "found others; was a library updated since?"
                )
            if measured and measured[0]:  # none without objectives, and in earlier versions
                self.measured(selection, *measured)
            self.tell(selection, error, cost)
