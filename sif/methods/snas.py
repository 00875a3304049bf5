"""SNAS: stochastic neural architecture search (Xie et al., ICLR 2019).

Every step draws a point of the concrete distribution (section 2.2), Z = softmax((log p + G) / t)
with Gumbel noise G: dense weights that are nearly one-hot once the temperature t is low. The
gradient goes through the draw to alpha (section 2.3).

Differences from the paper: there one loss on the train part moves weights and alpha; here alpha
moves on validation batches, as in every method of the search loop. The resource constraint (section
2.4) is left out. The paper does not give the range over which it anneals t: see `TEMPERATURES`.
"""

from __future__ import annotations

from torch import Tensor

from sif.core.gates import Alpha, Gates
from sif.core.method import ArchReport
from sif.core.probe import gate_gradient
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.relaxation import Cooling, gumbel, through_softmax

TEMPERATURES = (2.5, 0.03)
"""First and last temperature. Reimplementations start at 1 or 2.5 and multiply by .97 per epoch,
which ends here after 150 epochs."""


class Snas(Cooling):
    """Mixtures drawn from the concrete distribution, ever colder (Xie et al., ICLR 2019)."""

    def _cooled(self, done: float) -> float:
        first, last = TEMPERATURES
        return float(first * (last / first) ** done)

    def _draw(self) -> Alpha:
        heat = self.temperature()
        return {
            name: concrete(alpha, gumbel(alpha, self._generator), heat)
            for name, alpha in self._alpha.items()
        }

    def weight_gates(self, step: int) -> Gates:
        """A draw: all operations, by weights that sum to 1 on every edge."""
        self._step = step
        return Gates(self._draw(), None)

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One Adam step of alpha through a draw, on a validation batch."""
        draw, heat = self._draw(), self.temperature()
        gradient = gate_gradient(space, valid, Gates(draw, None))
        by_alpha = {n: through_softmax(z, gradient.gates[n], heat) for n, z in draw.items()}
        self._descend(by_alpha, gradient.arch)
        return ArchReport(float(gradient.loss), {"gradient": gradient.gates})


def concrete(alpha: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """A point of the concrete distribution, (n_edges, n_ops), rows sum to 1 (section 2.2)."""
    return ((alpha.log_softmax(dim=1) + noise) / temperature).softmax(dim=1)


SNAS = MethodKind(Snas, Snas.Settings, mixes=True, arch_every=1)
