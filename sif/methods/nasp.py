"""NASP: neural architecture search by proximal iterations (Yao et al., AAAI 2020, Algorithm 2).

One architecture step: project alpha to a discrete point, score every candidate there on a
validation batch, descend on the continuous alpha, project again, and put alpha back into its box.
What the published code adds or breaks, and what is done here: docs/nasp.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sif.core.exploration import epsilon_greedy_gates, probe_factors, round_robin_gates
from sif.core.gates import Alpha, Block, Gates, Probing, Selection
from sif.core.method import ArchParameters, ArchReport
from sif.core.probe import gate_gradient
from sif.core.proximal import box, clip, complexity_gradient, initial_alpha, project
from sif.core.space import Batch, ReplacementScored, Space
from sif.errors import ConfigError

ADAM_BETAS = (0.5, 0.999)
"""Of the architecture optimizer (train_search.py and architect.py of NASP-codes)."""


@dataclass(frozen=True)
class NaspSettings:
    """Numbers of the method.

    Attributes:
        warmup_steps: First weight steps, which train all operations in turn.
        settle_steps: Weight steps that a new selection, the first one too, trains alone, so that
            its neighbors start from weights that mean something.
        explore: Probability that a weight step draws all operations afresh.
        score: What alpha descends on. "gradient": the exact derivative by each gate, NASP's own,
            which scores adding a candidate to the active one. "switch": the exact loss of putting
            it in the active one's place, where a space offers it.
        optimizer: Key of `OPTIMIZERS`.
        lr: Step size of alpha, in units of alpha per unit of score (plain), or per step (adam).
        continuous_lr: Adam step size of the continuous architecture parameters (P and Q).
        eta: Weight of the complexity penalty.
        box: Key of `BOXES`.
        probe_operations: Chance that an architecture step probes a candidate that is not among the
            two best of its edge, for spaces whose probes are dear; 1: all, exactly.
        probe_rows: Share of the validation batch that probes see; 1: all of it.
    """

    warmup_steps: int = 0
    settle_steps: int = 0
    explore: float = 0.2
    score: str = "gradient"
    optimizer: str = "adam"
    lr: float = 3e-4
    continuous_lr: float = 3e-3
    eta: float = 0.0
    box: str = "shift"
    probe_operations: float = 1.0
    probe_rows: float = 1.0


OPTIMIZERS: dict[str, Callable[[Sequence[Tensor], float], torch.optim.Optimizer]] = {
    "plain": lambda alpha, lr: torch.optim.SGD(alpha, lr=lr),
    "adam": lambda alpha, lr: torch.optim.Adam(alpha, lr=lr, betas=ADAM_BETAS),
}
"""plain: the proximal step of the paper. adam: what the published code runs."""

BOXES: dict[str, Callable[[Mapping[str, Tensor], Sequence[Block]], Alpha]] = {
    "shift": box,
    "clip": clip,
}


class Nasp:
    """The method's state: alpha, the selection it implies, optimizers, and random streams.

    Args:
        space: Gives blocks and continuous architecture parameters.
        settings: Numbers of the method.
        generator: On the CPU.
    """

    def __init__(self, space: Space, settings: NaspSettings, generator: torch.Generator) -> None:
        self.settings = settings
        self._blocks = space.blocks
        self._generator = generator
        self._alpha = initial_alpha(space.blocks, generator)
        self._gates = project(self._alpha, space.blocks)
        self._settled = Selection({})
        self._changed_at = 0
        self._optimizer = OPTIMIZERS[settings.optimizer](list(self._alpha.values()), settings.lr)
        self._continuous = ArchParameters(space, settings.continuous_lr)

    def weight_gates(self, step: int) -> Gates:
        """All operations in turn during warm-up, then the selection with exploration."""
        if self._settling(step):
            return self._gates
        if step < self.settings.warmup_steps:
            return round_robin_gates(
                self._gates.weights, self._blocks, step, self._generator, self._alpha
            )
        if self.settings.explore == 0:
            return self._gates
        weights = self._gates.weights
        return epsilon_greedy_gates(weights, self._blocks, self.settings.explore, self._generator)

    def _settling(self, step: int) -> bool:
        selection = self._gates.choices()
        if selection != self._settled:
            self._settled, self._changed_at = selection, step
        return step - self._changed_at < self.settings.settle_steps

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One proximal step; both kinds of score are computed where the space has both."""
        gates = self._gates
        found = gate_gradient(space, valid, replace(gates, probing=self._probing()))
        scores = {"gradient": found.gates}
        if isinstance(space, ReplacementScored):
            scores["switch"] = dict(space.replacement_scores(train, valid, gates, self._alpha))
        if self.settings.score not in scores:
            raise ConfigError(
                f"search.score: space {space.name!r} offers no {self.settings.score!r}, only "
                "'gradient'"
            )
        self._descend(scores[self.settings.score], gates)
        self._continuous.descend(found.arch)
        return ArchReport(float(found.loss), scores)

    def _probing(self) -> Probing | None:
        chance, rows = self.settings.probe_operations, self.settings.probe_rows
        if chance == rows == 1:
            return None
        return Probing(probe_factors(self._alpha, chance, self._generator), rows)

    def _descend(self, score: Mapping[str, Tensor], gates: Gates) -> None:
        penalty = complexity_gradient(gates, self._blocks, self.settings.eta)
        for name, alpha in self._alpha.items():
            alpha.grad = score[name].to(alpha) + penalty[name]
        self._optimizer.step()
        # The selection is read before boxing: boxing may tie what the step told apart.
        self._gates = project(self._alpha, self._blocks)
        boxed = BOXES[self.settings.box](self._alpha, self._blocks)
        for name, alpha in self._alpha.items():
            alpha.copy_(boxed[name])

    def best_gates(self) -> Gates:
        """The projection of alpha, taken before its last boxing."""
        return self._gates

    def alpha(self) -> dict[str, Tensor]:
        """A copy of alpha."""
        return {name: alpha.detach().clone() for name, alpha in self._alpha.items()}

    def state_dict(self) -> dict[str, Any]:
        """Alpha, selection, optimizers and random state."""
        return {
            "alpha": self.alpha(),
            "selection": self._gates.choices().to_lists(),
            "optimizer": self._optimizer.state_dict(),
            "continuous": self._continuous.state_dict(),
            "generator": self._generator.get_state(),
            "settled": self._settled.to_lists(),
            "changed_at": self._changed_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        for name, alpha in self._alpha.items():
            alpha.copy_(state["alpha"][name])
        self._gates = Selection(state["selection"]).to_gates(self._blocks)
        self._optimizer.load_state_dict(state["optimizer"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])
        self._settled = Selection(state["settled"])
        self._changed_at = state["changed_at"]
