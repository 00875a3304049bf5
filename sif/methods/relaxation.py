"""The common part of relaxations: alphas as logits, Adam on them, noise, temperatures, state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sif.core.gates import Alpha, Block, Gates, Selection
from sif.core.method import ArchParameters, Plan
from sif.core.proximal import project
from sif.core.space import Space
from sif.methods.proposals import likeliest
from sif.methods.settings import RelaxationSettings

INITIAL_NOISE = 1e-3
"""Deviation of the initial alphas (model_search.py of quark0/darts)."""
BETAS = (0.5, 0.999)
"""Betas of Adam on alpha (DARTS, appendix A.1.1; SNAS and GDAS take them over)."""


class Relaxed:
    """Alphas on the CPU in float64, from which a softmax makes probabilities of operations.

    Args:
        space: Gives blocks and continuous architecture parameters.
        settings: Of the step of alpha.
        plan: Of the search.
        generator: On the CPU; draws the initial alphas, and samples of a subclass.
    """

    Settings = RelaxationSettings

    def __init__(
        self, space: Space, settings: RelaxationSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        self.settings = settings
        self._blocks: Sequence[Block] = space.blocks
        self._generator = generator
        self._alpha: Alpha = {
            b.name: INITIAL_NOISE * torch.randn(b.shape, generator=generator, dtype=torch.float64)
            for b in space.blocks
        }
        alphas, decay = list(self._alpha.values()), settings.arch_weight_decay
        self._optimizer = torch.optim.Adam(alphas, settings.arch_lr, BETAS, weight_decay=decay)
        self._continuous = ArchParameters(space, plan.continuous_lr)

    def _descend(self, by_alpha: Mapping[str, Tensor], by_arch: Sequence[Tensor]) -> None:
        for name, alpha in self._alpha.items():
            alpha.grad = by_alpha[name]
        self._optimizer.step()
        self._continuous.descend(by_arch)

    def best_gates(self) -> Gates:
        """The projection of the softmax weights."""
        return project(self.alpha(), self._blocks)

    def alpha(self) -> dict[str, Tensor]:
        """The softmax weights."""
        return {name: alpha.softmax(dim=1) for name, alpha in self._alpha.items()}

    def proposals(self, most: int) -> list[Selection]:
        """The likeliest selections, those of the largest products of softmax weights."""
        logs = {name: weights.log() for name, weights in self.alpha().items()}
        return likeliest(self._blocks, logs, most)

    def state_dict(self) -> dict[str, Any]:
        """Alphas, optimizers and random state."""
        return {
            "alpha": {name: a.detach().clone() for name, a in self._alpha.items()},
            "optimizer": self._optimizer.state_dict(),
            "continuous": self._continuous.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        for name, alpha in self._alpha.items():
            alpha.copy_(state["alpha"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])


def through_softmax(weights: Tensor, grad: Tensor, temperature: float = 1.0) -> Tensor:
    """Derivative by logits of what has the derivative `grad` by their softmax.

    Args:
        weights: (n_edges, n_ops) softmax((logits + anything) / temperature).
        grad: By those.
        temperature: Of the softmax.
    """
    grad = grad.to(weights)
    return weights * (grad - (weights * grad).sum(dim=1, keepdim=True)) / temperature


def gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of that shape and dtype; argmax(logits + noise) draws by softmax."""
    uniform = torch.rand(like.shape, generator=generator, dtype=like.dtype)
    tiny = torch.finfo(like.dtype).tiny
    return -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()


class Cooling(Relaxed, ABC):
    """A relaxation whose temperature falls over the weight steps; arguments as for `Relaxed`."""

    def __init__(
        self, space: Space, settings: RelaxationSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        super().__init__(space, settings, plan, generator)
        self._steps, self._step = plan.steps, 0

    @abstractmethod
    def _cooled(self, done: float) -> float:
        """The temperature when that share of the steps is done."""

    def temperature(self) -> float:
        """The temperature of the last weight step that was asked for."""
        return self._cooled(min(self._step / max(self._steps - 1, 1), 1.0))

    def state_dict(self) -> dict[str, Any]:
        """Also how far the temperature is."""
        return {**super().state_dict(), "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        super().load_state_dict(state)
        self._step = state["step"]
