"""A fixed selection: trains the candidates of samplers and of exhaustive search.

Weights descend on train batches; continuous architecture parameters, such as P and Q, on validation
batches, as under every other method.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sif.core.gates import Gates, Selection
from sif.core.method import ArchParameters, ArchReport, Method
from sif.core.space import Batch, Space


class Fixed:
    """One selection of a space without continuous parameters.

    Args:
        space: Of the selection.
        gates: The selection.
        continuous_lr: Adam step size of continuous architecture parameters.
    """

    def __init__(self, space: Space, gates: Gates, continuous_lr: float) -> None:
        self._gates = gates
        self._continuous = ArchParameters(space, continuous_lr)

    def weight_gates(self, step: int) -> Gates:
        """The selection."""
        return self._gates

    def best_gates(self) -> Gates:
        """The selection."""
        return self._gates

    def alpha(self) -> dict[str, Tensor]:
        """Its gates."""
        return dict(self._gates.weights)

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer; the selection is an argument."""
        return {"continuous": self._continuous.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self._continuous.load_state_dict(state["continuous"])


class LearningFixed(Fixed):
    """One selection of a space with continuous parameters, which alone are learned."""

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One step of the continuous parameters on a validation batch."""
        return ArchReport(self._continuous.step(space, valid, self._gates))


def fixed(space: Space, selection: Selection, continuous_lr: float) -> Method:
    """The method that keeps a selection of a space; ShapeError for an illegal one."""
    kind = LearningFixed if space.arch_parameters() else Fixed
    return kind(space, selection.to_gates(space.blocks), continuous_lr)
