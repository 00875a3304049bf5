"""The second fit: what validation chose of the first, once more on more rows.

Nothing is validated and nothing stops early, so that valid rows may be among those that are fitted.
A training at a constant step size has bad epochs now and then. Validation passes over them in a
first fit; a second one ends with a falling step size, or it may end in one of them. What is solved
for at once is solved for once more (`SolvedRefit`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from torch import nn

from sif.core.stream import Checkpointer
from sif.data.interactions import Interactions
from sif.problems.base import Session, State, Trained
from sif.tracking import Tracker
from sif.training.loop import TrainResult, spread
from sif.training.optim import SETTLING


def _settling(number: int) -> int:
    """Steps or epochs in which a second fit settles, after so many."""
    return math.ceil(SETTLING * number)


class TrainsAgain(Protocol):
    """A problem that repeats a training by its steps, on more rows."""

    train_part: Interactions
    shares: ClassVar[bool]

    def again(self, rows: Interactions) -> Self:
        """The problem of a second fit, on more rows under the same vocabularies."""
        ...

    def network(self, design: Any) -> nn.Module:
        """An untrained network."""
        ...

    def train_again(
        self, design: Any, numbers: Mapping[str, float], steps: Sequence[int], after: int,
        tracker: Tracker, checkpointer: Checkpointer, on_epoch: Callable[[int, float], None],
    ) -> tuple[nn.Module, float]:  # fmt: skip
        """Trains a design from scratch for known steps of each epoch: the network, and seconds."""
        ...

    def enough_memory(self, section: Literal["search", "train"]) -> AbstractContextManager[None]:
        """A block whose failing allocations say which settings of a section to lower."""
        ...


Again = TypeVar("Again", bound=TrainsAgain)


@dataclass(frozen=True, eq=False)
class Refit(Generic[Again]):
    """Second fits by gradient steps on some rows.

    Attributes:
        problem: Whose train part these rows are; nothing is left to validate on.
        before: Number of rows that the first fits had.
    """

    problem: Again
    before: int

    @classmethod
    def of(cls, first: Again, rows: Interactions) -> Refit[Again]:
        """Second fits on rows, after first ones on the train part of a problem."""
        return cls(first.again(rows), len(first.train_part))

    @property
    def rows(self) -> int:
        """Number of rows that are fitted."""
        return len(self.problem.train_part)

    @property
    def share(self) -> float:
        """Steps of a second fit over those of the first up to its best epoch."""
        return (1 + SETTLING) * self.rows / self.before

    def steps(self, first: TrainResult) -> list[int]:
        """Weight steps of each epoch: up to the best of a first training, and those that settle.

        Batches are as large as before, so that passes over the rows are as many as before.
        """
        steps = round(first.steps * self.rows / self.before)
        repeated = spread(steps, first.best_epoch)
        return repeated + spread(_settling(steps), _settling(first.best_epoch))

    def seconds(self, first: TrainResult) -> float:
        """Seconds that it takes at most, by those of the first training up to its best epoch."""
        best = next(e["seconds"] for e in first.history if e["epoch"] == first.best_epoch)
        return self.share * best

    def network(
        self, name: str, design: Any, first: Trained[Any], session: Session
    ) -> Trained[Any]:
        """A design fitted again with the numbers of its first training, resumable.

        Args:
            name: Of the stage, "refit-" before it.
            design: Of the network.
            first: Its first training.
            session: Stores, reports and records the training.

        Returns:
            The first training with the second network.

        Raises:
            DivergedError: The training diverged.
            BudgetError: It ran out of time.
        """
        steps, fresh = self.steps(first.result), list[nn.Module]()

        def show(epoch: int, loss: float) -> None:
            session.console.progress(f"refit {name}", epoch, len(steps), f"loss {loss:.4f}")

        def work(checkpointer: Checkpointer) -> State:
            child = session.tracker.child(f"refit-{name}", name, "second fit")
            child.log_params({key: v for key, v in first.numbers.items() if key == "l2"})
            with self.problem.enough_memory("train"):
                network, seconds = self.problem.train_again(
                    design, first.numbers, steps, first.result.best_epoch, child, checkpointer,
                    show,
                )  # fmt: skip
            child.describe(f"fitted again on {self.rows:,} rows, {sum(steps):,} steps")
            child.close()
            fresh.append(network)
            session.console.line(
                f"{name}: fitted again on {self.rows:,} rows, {sum(steps):,} steps "
                f"({seconds:.1f} s)"
            )
            return {"network": network.state_dict(), "seconds": seconds, "steps": sum(steps)}

        state = session.stages.run(f"refit-{name}", work, self.problem.shares)
        network = fresh[0] if fresh else self.problem.network(design)
        network.load_state_dict(state["network"])
        refit = {key: state[key] for key in ("steps", "seconds")}
        return replace(first, network=network, refit=refit)


class SolvesAgain(Protocol):
    """A problem whose networks are solved for at once."""

    train_part: Interactions
    shares: ClassVar[bool]

    def again(self, rows: Interactions) -> Self:
        """The problem of a second fit, on more rows under the same vocabularies."""
        ...

    def network(self, design: Any) -> nn.Module:
        """A network without weights."""
        ...

    def fitted(self, design: Any, numbers: Mapping[str, float]) -> nn.Module:
        """A network of chosen numbers; DivergedError where there is no solution."""
        ...


Solved = TypeVar("Solved", bound=SolvesAgain)


@dataclass(frozen=True, eq=False)
class SolvedRefit(Generic[Solved]):
    """Second fits in closed form on some rows.

    Attributes:
        problem: Whose train part these rows are.
    """

    problem: Solved

    @classmethod
    def of(cls, first: Solved, rows: Interactions) -> Self:
        """Second fits on rows, after first ones on the train part of a problem."""
        return cls(first.again(rows))

    def seconds(self, first: TrainResult) -> float:
        """Seconds of one fit, with a validation's that is not made."""
        return first.seconds / max(first.epochs, 1)

    def network(
        self, name: str, design: Any, first: Trained[Any], session: Session
    ) -> Trained[Any]:
        """A model fitted again with its numbers.

        Args:
            name: Of the stage, "refit-" before it.
            design: Of the model.
            first: Its first fit.
            session: Stores and reports the fit.

        Raises:
            DivergedError: The penalty is too small for these rows.
        """
        fresh: list[nn.Module] = []
        rows = len(self.problem.train_part)

        def work(_: Checkpointer) -> State:
            begin = time.perf_counter()
            fresh.append(self.problem.fitted(design, first.numbers))
            seconds = time.perf_counter() - begin
            session.console.line(f"{name}: fitted again on {rows:,} rows ({seconds:.1f} s)")
            return {"network": fresh[0].state_dict(), "seconds": seconds}

        state = session.stages.run(f"refit-{name}", work, self.problem.shares)
        network = fresh[0] if fresh else self.problem.network(design)
        network.load_state_dict(state["network"])
        return replace(first, network=network, refit={"seconds": state["seconds"]})
