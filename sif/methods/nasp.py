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
from sif.core.gates import Alpha, Block, Gates, Probing
from sif.core.method import ArchReport
from sif.core.probe import GateGradient, gate_gradient
from sif.core.proximal import box, clip, complexity_gradient, initial_alpha, project
from sif.core.space import Batch, ReplacementScored, Space
from sif.errors import ConfigError
from sif.methods.arch_parameters import ArchParameters

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
        score: Key of `SCORES`: what alpha descends on.
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


@dataclass(frozen=True, eq=False)
class _Look:
    """What one architecture step has before it: two batches, the point, alpha, its gradient."""

    train: Batch
    valid: Batch
    gates: Gates
    alpha: Alpha
    found: GateGradient


def _gradient_score(space: Space, look: _Look) -> Mapping[str, Tensor]:
    return look.found.gates


def _replacement_score(space: Space, look: _Look) -> Mapping[str, Tensor]:
    if not isinstance(space, ReplacementScored):
        raise ConfigError(f"search.score: space {space.name!r} offers no 'switch', only 'gradient'")
    return space.replacement_scores(look.train, look.valid, look.gates, look.alpha)


Score = Callable[[Space, _Look], Mapping[str, Tensor]]
SCORES: dict[str, Score] = {"gradient": _gradient_score, "switch": _replacement_score}
"""gradient: the exact derivative by each gate, NASP's own, which scores adding a candidate to
the active one. switch: the exact loss of putting it in the active one's place, where a space
offers it."""

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
        self._settled: dict[str, tuple[int, ...]] = {}
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
        names = (
            SCORES if isinstance(space, ReplacementScored) else ("gradient", self.settings.score)
        )
        look = _Look(train, valid, gates, self._alpha, found)
        scores = {n: dict(SCORES[n](space, look)) for n in names}
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
            "gates": dict(self._gates.weights),
            "optimizer": self._optimizer.state_dict(),
            "continuous": self._continuous.state_dict(),
            "generator": self._generator.get_state(),
            "settled": {name: list(chosen) for name, chosen in self._settled.items()},
            "changed_at": self._changed_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        for name, alpha in self._alpha.items():
            alpha.copy_(state["alpha"][name])
        self._gates = project(state["gates"], self._blocks)
        self._optimizer.load_state_dict(state["optimizer"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])
        self._settled = {name: tuple(chosen) for name, chosen in state["settled"].items()}
        self._changed_at = state["changed_at"]
