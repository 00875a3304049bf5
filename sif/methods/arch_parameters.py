"""The continuous architecture parameters of a space, such as P and Q of SIF, under any method.

Yao et al., WWW 2020, section 3.3: they descend on validation data while the weights descend on
train data. Here that is one Adam step per architecture step, at the gates that a method has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sif.core.gates import Gates
from sif.core.space import Batch, Space


class ArchParameters:
    """Adam on a space's continuous architecture parameters; nothing where it has none.

    Args:
        space: Gives the parameters.
        lr: Step size.
    """

    def __init__(self, space: Space, lr: float) -> None:
        self.parameters: list[nn.Parameter] = list(space.arch_parameters())
        self._optimizer = torch.optim.Adam(self.parameters, lr=lr) if self.parameters else None

    def descend(self, gradient: Sequence[Tensor]) -> None:
        """One step on the derivatives by every parameter."""
        if self._optimizer is None:
            return
        for parameter, grad in zip(self.parameters, gradient, strict=True):
            parameter.grad = grad
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, space: Space, valid: Batch, gates: Gates) -> float:
        """One step on a validation batch at discrete gates; the loss before it."""
        loss = space.loss(valid, gates)
        self.descend(
            torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        )
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any] | None:
        """Of the optimizer; the parameters are the space's."""
        return self._optimizer.state_dict() if self._optimizer else None

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Continues where `state_dict` was taken."""
        if self._optimizer is not None and state is not None:
            self._optimizer.load_state_dict(state)
