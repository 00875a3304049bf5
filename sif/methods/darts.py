"""DARTS (Liu et al., ICLR 2019), the method to compare with: relaxed gates, first or second order.

Every edge computes the softmax-weighted sum of all operations, in weight steps and architecture
steps alike. What is exported is the projection of the softmax weights, which is not what was
trained: the gap that discrete gates do not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sif.methods.base import ArchReport
from sif.prox import Batch, Block, Gates, project
from sif.spaces.base import Space

INITIAL_NOISE = 1e-3
"""Deviation of the initial alphas (model_search.py of quark0/darts)."""
BETAS = (0.5, 0.999)
"""Of Adam on alpha (DARTS, appendix A.1.1)."""
PERTURBATION = 0.01
"""Over the norm of the gradient: the step of the finite difference (DARTS, section 2.3)."""


@dataclass(frozen=True)
class DartsSettings:
    """Numbers of the method; the defaults are those of DARTS, appendix A.1.1.

    Attributes:
        order: 1: alpha's gradient at the weights as they are; 2: at the weights one step on.
        lr: Adam step size of alpha.
        weight_decay: Of alpha.
        unrolled_lr: Step size of the weights' imagined step (order 2).
        wasteful: Whether an architecture step also computes the gradients by the weights that the
            published code computes and throws away.
    """

    order: int = 1
    lr: float = 3e-4
    weight_decay: float = 1e-3
    unrolled_lr: float = 0.025
    wasteful: bool = False


class Darts:
    """The method's state.

    Args:
        space: Gives the blocks.
        settings: Numbers of the method.
        generator: On the CPU; draws the initial alphas.
    """

    def __init__(self, space: Space, settings: DartsSettings, generator: torch.Generator) -> None:
        self.settings = settings
        self._blocks: Sequence[Block] = space.blocks
        self._alpha = {
            b.name: INITIAL_NOISE * torch.randn(b.shape, generator=generator, dtype=torch.float64)
            for b in space.blocks
        }
        self._optimizer = torch.optim.Adam(
            list(self._alpha.values()), settings.lr, BETAS, weight_decay=settings.weight_decay
        )

    def weight_gates(self, step: int) -> Gates:
        """All operations, by their softmax weights."""
        return Gates({name: a.softmax(dim=1) for name, a in self._alpha.items()}, None)

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One Adam step of alpha on a validation batch."""
        gates = self.weight_gates(0).weights
        loss, by_gate = (
            self._first(space, valid, gates)
            if self.settings.order == 1
            else self._second(space, train, valid, gates)
        )
        for name, alpha in self._alpha.items():
            grad, weight = by_gate[name].to(alpha), gates[name]
            alpha.grad = weight * (grad - (weight * grad).sum(dim=1, keepdim=True))
        self._optimizer.step()
        return ArchReport(float(loss), {"gradient": by_gate})

    def _first(
        self, space: Space, valid: Batch, gates: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        weights = list(space.weight_parameters()) if self.settings.wasteful else []
        loss, by_gate, _ = _gradients(space, valid, gates, weights)
        return loss, by_gate

    def _second(
        self, space: Space, train: Batch, valid: Batch, gates: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Equations 7 and 8 of DARTS, with a plain gradient step as the imagined one."""
        weights = list(space.weight_parameters())
        kept = [w.detach().clone() for w in weights]
        rate = self.settings.unrolled_lr
        _, _, slope = _gradients(space, train, gates, weights)
        _put(weights, kept, slope, -rate)
        loss, by_gate, slope = _gradients(space, valid, gates, weights)
        norm = torch.stack([g.norm() for g in slope]).norm()
        reach = PERTURBATION / max(float(norm), torch.finfo(norm.dtype).tiny)
        ends = []
        for sign in (1, -1):
            _put(weights, kept, slope, sign * reach)
            ends.append(_gradients(space, train, gates, [])[1])
        _put(weights, kept, slope, 0.0)
        scale = rate / (2 * reach)
        return loss, {n: g - scale * (ends[0][n] - ends[1][n]) for n, g in by_gate.items()}

    def selection(self) -> Gates:
        """The projection of the softmax weights."""
        return project(self.weight_gates(0).weights, self._blocks)

    def alpha(self) -> dict[str, Tensor]:
        """The softmax weights."""
        return dict(self.weight_gates(0).weights)

    def state_dict(self) -> dict[str, Any]:
        """Alphas and their optimiser."""
        alpha = {name: a.detach().clone() for name, a in self._alpha.items()}
        return {"alpha": alpha, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        for name, alpha in self._alpha.items():
            alpha.copy_(state["alpha"][name])
        self._optimizer.load_state_dict(state["optimizer"])


@torch.no_grad()
def _put(
    weights: Sequence[Tensor], origin: Sequence[Tensor], direction: Sequence[Tensor], step: float
) -> None:
    """Sets the weights to origin + step * direction; exactly to origin for a step of 0."""
    for weight, start, along in zip(weights, origin, direction, strict=True):
        weight.copy_(start)
        if step:
            weight.add_(along, alpha=step)


def _gradients(
    space: Space, batch: Batch, gates: Mapping[str, Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    """Loss, its gradient by every gate (on the CPU), and by the weights that are asked for."""
    like = space.like()
    leaves = {n: g.to(like, copy=True).requires_grad_() for n, g in gates.items()}
    loss = space.loss(batch, Gates(leaves, None))
    wanted = [*leaves.values(), *weights]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    filled = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True)]
    by_gate = {name: g.cpu() for name, g in zip(leaves, filled, strict=False)}
    return loss.detach(), by_gate, filled[len(leaves) :]
