"""GDAS: differentiable architecture sampling (Dong and Yang, CVPR 2019, section 3.2).

Every step draws one operation per edge by Gumbel-max, and only that one runs, in the forward and
the backward pass. In an architecture step the one-hot draw h stands for softmax((log p + G) / t)
when the gradient goes back to alpha (straight through, equation 7), and of the gradient by h only
the entry of the drawn operation is used, since nothing else has run.

Differences from the paper: it sums all incoming edges of a node while searching and keeps two at
the end. Here a draw is a selection of the space, as everywhere in the search loop: a node keeps
the edges with the highest softmax values of this draw. So the trained architecture is the one that
is exported. The reduction cell is searched, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sif.core.gates import Alpha, Gates, Probing
from sif.core.method import ArchReport
from sif.core.probe import gate_gradient
from sif.core.proximal import project
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.relaxation import Cooling, gumbel, through_softmax

TEMPERATURES = (10.0, 0.1)
"""First and last temperature; it falls in equal steps (section 4.2)."""


class Gdas(Cooling):
    """One drawn operation per edge, straight-through gradients (Dong & Yang, CVPR 2019)."""

    def _cooled(self, done: float) -> float:
        first, last = TEMPERATURES
        return first + (last - first) * done

    def _logits(self) -> Alpha:
        heat = self.temperature()
        return {
            name: (alpha.log_softmax(dim=1) + gumbel(alpha, self._generator)) / heat
            for name, alpha in self._alpha.items()
        }

    def _hard(self, logits: Mapping[str, Tensor]) -> Gates:
        return project({name: log_odds(table) for name, table in logits.items()}, self._blocks)

    def weight_gates(self, step: int) -> Gates:
        """A drawn selection, exactly 0 or 1."""
        self._step = step
        return self._hard(self._logits())

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One Adam step of alpha, straight through a drawn selection, on a validation batch."""
        logits, heat = self._logits(), self.temperature()
        gates = self._hard(logits)
        # Nothing but what was drawn is probed; a space that probes everything is masked below.
        gradient = gate_gradient(space, valid, replace(gates, probing=Probing(gates.weights)))
        gradients = {
            n: g.to(gates.weights[n]) * gates.weights[n] for n, g in gradient.gates.items()
        }
        by_alpha = {
            name: through_softmax(table.softmax(dim=1), gradients[name], heat)
            for name, table in logits.items()
        }
        self._descend(by_alpha, gradient.arch)
        return ArchReport(float(gradient.loss), {"gradient": gradients})


def log_odds(logits: Tensor) -> Tensor:
    """log(s / (1 - s)) of the softmax s of each row: its order, also where s would round to 1."""
    rest = torch.stack(
        [
            logits[:, [j for j in range(logits.shape[1]) if j != k]].logsumexp(dim=1)
            for k in range(logits.shape[1])
        ],
        dim=1,
    )
    return logits - rest


GDAS = MethodKind(Gdas, Gdas.Settings, arch_every=1)
