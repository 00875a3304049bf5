"""ASAP: architecture search, anneal and prune (Noy et al., AISTATS 2020).

Every edge computes the mixture softmax(alpha / T) of its operations, as in DARTS, with a
temperature T that falls exponentially. Once T is below a grace temperature, an operation whose
share falls below a threshold is pruned for good: it runs no more, so steps become cheaper, while
the others go on with the weights that they have. So the mixture turns into single operations bit by
bit, without the cut at the end of DARTS.

Differences from the paper: the temperature falls with the steps of the search, whatever its length.
A node keeps its edges by the softmax at temperature 1 over all operations, pruned ones with the
alpha that they had. Where alpha has not decided when the search ends, the best operation is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from sif.config.sections import Fraction, Rate
from sif.core.gates import Alpha, Gates, Probing
from sif.core.method import ArchReport, Plan
from sif.core.probe import gate_gradient
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.relaxation import Cooling, through_softmax
from sif.methods.settings import RelaxationSettings
from sif.utils.units import Unit


class AsapSettings(RelaxationSettings):
    """Settings of ASAP; temperatures and threshold as in the reimplementation in UniNAS."""

    first_temperature: Annotated[Rate, Unit("units of alpha")] = Field(
        1.6, description="temperature of the softmax at the start"
    )
    last_temperature: Annotated[Rate, Unit("units of alpha")] = Field(
        0.13,
        description="temperature of the softmax at the end: 1.6 times .95 in each of the 50 "
        "published epochs",
    )
    grace_temperature: Annotated[Rate, Unit("units of alpha")] = Field(
        1.0, description="temperature from which on operations are pruned"
    )
    threshold: Fraction = Field(
        0.4,
        description="share of the uniform weight among an edge's operations, below which an "
        "operation is pruned",
    )


class Asap(Cooling):
    """Mixtures that cool down and lose weak operations (Noy et al., AISTATS 2020).

    Args:
        space, settings, plan, generator: As for `sif.methods.relaxation.Relaxed`.
    """

    Settings = AsapSettings
    settings: AsapSettings

    def __init__(
        self, space: Space, settings: AsapSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        super().__init__(space, settings, plan, generator)
        self.kept = {b.name: torch.ones(b.shape, dtype=torch.bool) for b in space.blocks}

    def _cooled(self, done: float) -> float:
        first, last = self.settings.first_temperature, self.settings.last_temperature
        return float(first * (last / first) ** done)

    def _mixture(self) -> Gates:
        weights = annealed(self._alpha, self.kept, self.temperature())
        return Gates(weights, None, Probing({n: kept.double() for n, kept in self.kept.items()}))

    def weight_gates(self, step: int) -> Gates:
        """The mixture of the operations that are left."""
        self._step = step
        return self._mixture()

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One Adam step of alpha on a validation batch, then pruning."""
        gates, heat = self._mixture(), self.temperature()
        gradient = gate_gradient(space, valid, gates)
        by_alpha = {
            name: through_softmax(w, gradient.gates[name], heat)
            for name, w in gates.weights.items()
        }
        before = {name: alpha.clone() for name, alpha in self._alpha.items()}
        self._descend(by_alpha, gradient.arch)
        for name, alpha in self._alpha.items():
            alpha.copy_(torch.where(self.kept[name], alpha, before[name]))
        if heat <= self.settings.grace_temperature:
            self.kept = pruned(self._alpha, self.kept, heat, self.settings.threshold)
        return ArchReport(float(gradient.loss), {"gradient": gradient.gates})

    def alpha(self) -> dict[str, Tensor]:
        """The softmax at temperature 1 over all operations, 0 for those that are pruned."""
        return {name: table * self.kept[name] for name, table in super().alpha().items()}

    def state_dict(self) -> dict[str, Any]:
        """Also what is left."""
        return {**super().state_dict(), "kept": dict(self.kept)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        super().load_state_dict(state)
        self.kept = {name: kept.clone() for name, kept in state["kept"].items()}


def annealed(alpha: Mapping[str, Tensor], kept: Mapping[str, Tensor], temperature: float) -> Alpha:
    """softmax(alpha / temperature) among the operations that are kept, exactly 0 for the others."""
    return {
        name: (table / temperature).masked_fill(~kept[name], -torch.inf).softmax(dim=1)
        for name, table in alpha.items()
    }


def pruned(
    alpha: Mapping[str, Tensor], kept: Mapping[str, Tensor], temperature: float, threshold: float
) -> dict[str, Tensor]:
    """The operations of each edge that reach `threshold` times the uniform weight of those kept."""
    weights = annealed(alpha, kept, temperature)
    return {
        name: kept[name] & (w * kept[name].sum(dim=1, keepdim=True) >= threshold)
        for name, w in weights.items()
    }


ASAP = MethodKind(Asap, Asap.Settings, mixes=True, arch_every=1)
