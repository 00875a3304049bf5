"""DARTS (Liu et al., ICLR 2019), the reference method: relaxed gates, first or second order.

Every edge computes the softmax-weighted sum of all operations, in weight steps and architecture
steps alike. The export is the projection of the softmax weights, which differs from the mixture
that was trained; discrete gates have no such gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sif.core.gates import Gates
from sif.core.method import ArchReport, Plan
from sif.core.probe import GateGradient, gate_gradient
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.relaxation import Relaxed, through_softmax
from sif.methods.settings import RelaxationSettings

PERTURBATION = 0.01
"""Step of the finite difference, times the norm of the gradient (DARTS, section 2.3)."""


class Darts(Relaxed):
    """Softmax mixtures of all operations; darts-2 looks a step ahead (Liu et al., ICLR 2019).

    Continuous architecture parameters of the space are on alpha's side: they descend on the same
    validation loss, in second order at the same imagined weights.

    Args:
        space, settings, plan, generator: As for `Relaxed`; the plan also gives the step size of the
            weights' imagined step (order 2).
        order: 1: alpha's gradient at the weights as they are; 2: at the weights one step on.
        wasteful: Whether an architecture step also computes the gradients by the weights that the
            published code computes and throws away.
    """

    def __init__(
        self,
        space: Space,
        settings: RelaxationSettings,
        plan: Plan,
        generator: torch.Generator,
        *,
        order: int = 1,
        wasteful: bool = False,
    ) -> None:
        super().__init__(space, settings, plan, generator)
        self._order, self._wasteful, self._unrolled_lr = order, wasteful, plan.lr

    def weight_gates(self, step: int) -> Gates:
        """All operations, with their softmax weights."""
        return Gates(self.alpha(), None)

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One Adam step of alpha on a validation batch."""
        gates = Gates(self.alpha(), None)
        if self._order == 1:
            weights = list(space.weight_parameters()) if self._wasteful else []
            gradient = gate_gradient(space, valid, gates, weights)
        else:
            gradient = self._second(space, train, valid, gates)
        by_alpha = {
            name: through_softmax(w, gradient.gates[name]) for name, w in gates.weights.items()
        }
        self._descend(by_alpha, gradient.arch)
        return ArchReport(float(gradient.loss), {"gradient": gradient.gates})

    def _second(self, space: Space, train: Batch, valid: Batch, gates: Gates) -> GateGradient:
        """Equations 7 and 8 of DARTS, with a plain gradient step as the imagined one."""
        weights = list(space.weight_parameters())
        saved = [w.detach().clone() for w in weights]
        rate = self._unrolled_lr
        _put(weights, saved, gate_gradient(space, train, gates, weights).weights, -rate)
        ahead = gate_gradient(space, valid, gates, weights)
        norm = torch.stack([g.norm() for g in ahead.weights]).norm()
        reach = PERTURBATION / max(float(norm), torch.finfo(norm.dtype).tiny)
        ends = []
        for sign in (1, -1):
            _put(weights, saved, ahead.weights, sign * reach)
            ends.append(gate_gradient(space, train, gates))
        _put(weights, saved, ahead.weights, 0.0)
        scale, (up, down) = rate / (2 * reach), ends
        by_gate = {n: g - scale * (up.gates[n] - down.gates[n]) for n, g in ahead.gates.items()}
        by_arch = tuple(
            g - scale * (a - b) for g, a, b in zip(ahead.arch, up.arch, down.arch, strict=True)
        )
        return GateGradient(ahead.loss, by_gate, by_arch)


@torch.no_grad()
def _put(
    weights: Sequence[Tensor], origin: Sequence[Tensor], direction: Sequence[Tensor], step: float
) -> None:
    """Sets the weights to origin + step * direction; exactly to origin for a step of 0."""
    for weight, start, along in zip(weights, origin, direction, strict=True):
        weight.copy_(start)
        if step:
            weight.add_(along, alpha=step)


DARTS_1 = MethodKind(partial(Darts, order=1), Darts.Settings, mixes=True, arch_every=1)
DARTS_2 = MethodKind(partial(Darts, order=2), Darts.Settings, mixes=True, arch_every=1)
