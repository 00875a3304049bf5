"""NASP: neural architecture search by proximal iterations (Yao et al., AAAI 2020, Algorithm 2).

An architecture step scores every candidate on a validation batch, at the discrete selection that
alpha projects to; it descends with the scores on the continuous alpha, projects alpha to the next
selection, and puts alpha back into [0, 1]. docs/concepts/nasp.md lists the differences from the
published code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PlainValidator
from torch import Tensor

from sif.config.sections import Chance, Fraction, NonNegative, Rate, Share, Whole
from sif.core.bounds import project_within
from sif.core.exploration import epsilon_greedy_gates, probe_factors, round_robin_gates
from sif.core.gates import Alpha, Block, Gates, Probing, Selection
from sif.core.method import ArchParameters, ArchReport, Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import box, complexity_gradient, initial_alpha
from sif.core.space import Batch, ReplacementScored, Space
from sif.errors import ConfigError
from sif.methods.kind import MethodKind
from sif.methods.settings import MethodSettings
from sif.utils.units import Unit

ADAM_BETAS = (0.5, 0.999)
"""Betas of the architecture optimizer (train_search.py and architect.py of NASP-codes)."""


def _arch_start(value: Any) -> Any:
    share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    if not share and value not in ("warmup", "half_warmup"):
        raise ValueError(f"expected a share in [0, 1), 'warmup' or 'half_warmup', found {value!r}")
    return float(value) if share else value


class NaspSettings(MethodSettings):
    """Settings of NASP; the presets of a task may give other values than these defaults."""

    warmup: Share = Field(
        0.1,
        description="share of the epochs, from the first on, that trains all operations in turn",
    )
    arch_start: Annotated[float | str, PlainValidator(_arch_start), Unit("share")] = Field(
        "warmup",
        description="share of the epochs before the first step of alpha; warmup: alpha starts "
        "after the warm-up; half_warmup: after half of it",
    )
    settle_steps: Annotated[Whole, Unit("weight steps")] = Field(
        0, description="weight steps for which a new selection trains alone before it is compared"
    )
    explore: Chance = Field(
        0.2, description="chance that a weight step trains other operations than the selected ones"
    )
    score: Literal["gradient", "replacement_loss"] = Field(
        "gradient",
        description="score on which alpha descends: the gradient of the gates, or the loss with "
        "each candidate in place of the selected one (cf only)",
    )
    arch_optimizer: Literal["plain", "adam"] = Field(
        "adam",
        description="optimizer of alpha: the plain proximal step of the paper, or Adam as in the "
        "published code",
    )
    arch_lr: Annotated[Rate, Unit("step size")] = Field(
        3e-4, description="step size of alpha: per unit of score (plain) or per step (adam)"
    )
    alpha_constraint: Literal["shift", "clip"] = Field(
        "shift", description="rule that keeps alpha in [0, 1]; clip is the published one"
    )
    complexity_penalty: Annotated[NonNegative, Unit("penalty weight")] = Field(
        0.0,
        description="weight of the cost of the selected operations, eta in the paper; recurrent "
        "cells have no cost",
    )
    probe_operations: Annotated[Fraction, Unit("chance")] = Field(
        1.0,
        description="chance that a candidate beyond the two best of an edge is probed; 1: the "
        "gradient is exact (always in staged)",
    )
    probe_rows: Fraction = Field(
        1.0,
        description="share of a validation batch that probes see; 1: the gradient is exact (always "
        "in cf)",
    )

    def warmup_steps(self, steps: int, unit: int) -> int:
        """Weight steps of the warm-up, whole epochs."""
        return round(self.warmup * (steps // unit)) * unit

    def resting_steps(self, warmup: int, steps: int, unit: int) -> int:
        """Weight steps before the first step of alpha, by `arch_start`; a share: whole epochs."""
        if self.arch_start in _WARMUP_PARTS:
            return warmup // _WARMUP_PARTS[self.arch_start]
        return round(float(self.arch_start) * (steps // unit)) * unit

    @property
    def resting_share(self) -> float:
        """Share of the epochs before the first step of alpha."""
        parts = _WARMUP_PARTS.get(self.arch_start)
        return float(self.arch_start) if parts is None else self.warmup / parts

    @property
    def arch_score(self) -> str:
        """Kind of score on which alpha descends."""
        return self.score


_WARMUP_PARTS: Mapping[float | str, int] = {"warmup": 1, "half_warmup": 2}
"""Named values of `arch_start`: alpha rests for the warm-up divided by this number."""

OPTIMIZERS: dict[str, Callable[[Sequence[Tensor], float], torch.optim.Optimizer]] = {
    "plain": lambda alpha, lr: torch.optim.SGD(alpha, lr=lr),
    "adam": lambda alpha, lr: torch.optim.Adam(alpha, lr=lr, betas=ADAM_BETAS),
}
"""plain: the proximal step of the paper. adam: what the published code runs."""

ALPHA_CONSTRAINTS: dict[str, Callable[[Mapping[str, Tensor], Sequence[Block]], Alpha]] = {
    "shift": box,
    "clip": lambda alpha, blocks: {name: table.clamp(0.0, 1.0) for name, table in alpha.items()},
}
"""Constraint C2 by `alpha_constraint`; clip, as published, ties leaders at 1."""


PATH = 64
"""Selections that a search remembers for a finish, at least."""


class Nasp:
    """Proximal iterations: one operation per edge at a time (Yao et al., AAAI 2020).

    Args:
        space: Gives blocks and continuous architecture parameters.
        settings: Of the method.
        plan: Of the search.
        generator: On the CPU.
    """

    Settings = NaspSettings

    def __init__(
        self, space: Space, settings: NaspSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        if settings.score != "gradient" and not isinstance(space, ReplacementScored):
            raise ConfigError(
                f"methods.nasp.score: space {space.name!r} offers no {settings.score!r}, "
                "only 'gradient'"
            )
        self.settings, self._warmup = settings, plan.warmup
        self._blocks = space.blocks
        self._generator = generator
        self._alpha = initial_alpha(space.blocks, generator)
        self._bounds = plan.bounds
        self._gates = project_within(self._alpha, space.blocks, self._bounds)
        self._trained, self._trained_since = Selection({}), 0  # selection, weight step
        self._path: dict[Selection, int] = {}  # to the sum of the architecture steps that it held
        self._arch_steps = 0
        alphas = list(self._alpha.values())
        self._optimizer = OPTIMIZERS[settings.arch_optimizer](alphas, settings.arch_lr)
        self._continuous = ArchParameters(space, plan.continuous_lr)

    def weight_gates(self, step: int) -> Gates:
        """A new selection alone; all operations in turn during warm-up; then exploration."""
        gates, blocks, draws = self._gates, self._blocks, self._generator
        if gates.choices() != self._trained:
            self._trained, self._trained_since = gates.choices(), step
        if step - self._trained_since < self.settings.settle_steps:
            return gates
        if step < self._warmup:
            return round_robin_gates(gates.weights, blocks, step, draws, self._alpha)
        if self.settings.explore == 0:
            return gates
        return epsilon_greedy_gates(gates.weights, blocks, self.settings.explore, draws)

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One proximal step of alpha by `settings.score`, and one Adam step of P and Q."""
        gates = self._gates
        # Always taken: P and Q descend on it, and the log compares it with the other score.
        gradient = gate_gradient(space, valid, replace(gates, probing=self._probing()))
        scores = {"gradient": gradient.gates}
        if isinstance(space, ReplacementScored):
            losses = space.replacement_scores(train, valid, gates, self._alpha)
            scores["replacement_loss"] = dict(losses)
        self._proximal_step(scores[self.settings.score], gates)
        self._continuous.descend(gradient.arch)
        return ArchReport(float(gradient.loss), scores)

    def _probing(self) -> Probing | None:
        """Draws the candidates to probe; None: all, exactly."""
        chance, rows = self.settings.probe_operations, self.settings.probe_rows
        if chance == rows == 1:
            return None
        return Probing(probe_factors(self._alpha, chance, self._generator), rows)

    def _proximal_step(self, score: Mapping[str, Tensor], gates: Gates) -> None:
        penalty = complexity_gradient(gates, self._blocks, self.settings.complexity_penalty)
        for name, alpha in self._alpha.items():
            alpha.grad = score[name].to(alpha) + penalty[name]
        self._optimizer.step()
        # Projected before C2 is restored, which may tie alphas that the step told apart.
        self._gates = project_within(self._alpha, self._blocks, self._bounds)
        boxed = ALPHA_CONSTRAINTS[self.settings.alpha_constraint](self._alpha, self._blocks)
        for name, alpha in self._alpha.items():
            alpha.copy_(boxed[name])
        self._remember(self._gates.choices())

    def _remember(self, selection: Selection) -> None:
        """Counts an architecture step of a selection by its number: late ones count more."""
        self._arch_steps += 1
        self._path[selection] = self._path.get(selection, 0) + self._arch_steps
        if len(self._path) > 2 * PATH:
            self._path = {one: self._path[one] for one in self.proposals(PATH)}

    def proposals(self, most: int) -> list[Selection]:
        """Selections that the search had, by how long and how late it had them."""
        return sorted(self._path, key=lambda one: -self._path[one])[:most]

    def best_gates(self) -> Gates:
        """The projection of alpha, taken before alpha was put back into [0, 1]."""
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
            "settled": self._trained.to_lists(),
            "changed_at": self._trained_since,
            "path": [[one.to_lists(), held] for one, held in self._path.items()],
            "arch_steps": self._arch_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        for name, alpha in self._alpha.items():
            alpha.copy_(state["alpha"][name])
        self._gates = Selection(state["selection"]).to_gates(self._blocks)
        self._optimizer.load_state_dict(state["optimizer"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])
        self._trained = Selection(state["settled"])
        self._trained_since = state["changed_at"]
        path = state.get("path", [])  # none in earlier versions
        self._path = {Selection(lists): held for lists, held in path}
        self._arch_steps = state.get("arch_steps", 0)


NASP = MethodKind(Nasp, Nasp.Settings, own_weights=True, bounded=True)
