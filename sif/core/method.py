"""What a search method is to the search loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from sif.core.gates import Gates
from sif.core.space import Batch, Space


@dataclass(frozen=True)
class ArchReport:
    """What one architecture step saw.

    Attributes:
        loss: Validation loss at the discrete point.
        scores: Kind of score ("gradient", "switch") to block name to (n_edges, n_ops).
    """

    loss: float
    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How long a search is, for methods with schedules.

    Attributes:
        steps: Weight steps in all.
        warmup: The first of them, which train all operations while alpha rests.
    """

    steps: int
    warmup: int = 0


class Method(Protocol):
    """Chooses gates for weight steps and says which selection it would keep."""

    def weight_gates(self, step: int) -> Gates:
        """Gates of weight step number `step`."""
        ...

    def best_gates(self) -> Gates:
        """The discrete architecture as it stands."""
        ...

    def alpha(self) -> dict[str, Tensor]:
        """Block name to (n_edges, n_ops), for logs and figures."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the steps to come."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        ...


@runtime_checkable
class LearnsArchitecture(Method, Protocol):
    """A method that learns from validation batches while it searches."""

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One step of the architecture on a validation batch; `train` serves readout fits."""
        ...


@runtime_checkable
class ChoosesAtEnd(Method, Protocol):
    """A method that chooses among candidates when the weights are final."""

    @property
    def candidates(self) -> int:
        """How many errors it asks for."""
        ...

    def choose(self, error: Callable[[Gates], float]) -> None:
        """Keeps the candidate with the lowest error on the whole validation part."""
        ...


class AskTell(Protocol):
    """A method that has selections trained one by one, each with weights of its own."""

    def ask(self) -> Gates | None:
        """The selection to train next, the same until it is told; None: there is none left."""
        ...

    def tell(self, gates: Gates, error: float, cost: float) -> None:
        """What came of the selection that was asked.

        Args:
            gates: The selection.
            error: By validation, the lower the better; infinite where the training diverged.
            cost: Of the selection, in units of the space's `Block.costs`.
        """
        ...

    def best_gates(self) -> Gates:
        """The best told so far, the first of equals."""
        ...

    def alpha(self) -> dict[str, Tensor]:
        """Block name to (n_edges, n_ops), for logs and figures."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what is asked from here."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        ...
