"""ASNG: adaptive stochastic natural gradient (Akimoto et al., ICML 2019).

Every choice of a selection (which edges a node keeps, the operation of each) is drawn from a
categorical distribution of its own. A step draws a few selections, ranks them by their losses on
one validation batch, and moves the chances along the natural gradient in their expectation
parameters. Its length in the Fisher metric, the trust region, grows while successive
gradients agree and shrinks where they are noise. The weights train under draws.

Differences from the paper: alpha moves on validation batches, as in every method of the search
loop; a weight step trains one drawn selection, not the mean over several; the margin assumes a
least number of choices (`AsngSettings.margin_choices`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from sif.config.sections import Count, Rate
from sif.core.gates import Gates, Selection
from sif.core.method import ArchParameters, ArchReport, Plan
from sif.core.selections import Row, Selections
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.proposals import different
from sif.methods.settings import MethodSettings
from sif.utils.units import Unit


class AsngSettings(MethodSettings):
    """Settings of ASNG; the defaults of the published AdaptiveSNG but for `margin_choices`."""

    samples: Annotated[int, Field(ge=2, le=1024), Unit("selections")] = Field(
        2, description="selections drawn and ranked per architecture step, lambda"
    )
    agreement: Annotated[Rate, Unit("-")] = Field(
        1.5,
        description="threshold on the agreement of successive gradients, above which the trust "
        "region grows, alpha",
    )
    first_radius: Annotated[Rate, Unit("Fisher norm")] = Field(
        1.0, description="first radius of the trust region, delta_init"
    )
    margin_choices: Annotated[Count, Unit("choices")] = Field(
        10,
        description="least number of choices that the margin assumes: a chance stays above "
        "1 / (choices * (operations - 1)); the published rule takes the space's number, which "
        "leaves a space of one choice nothing to learn",
    )


def utilities(losses: Sequence[float]) -> Tensor:
    """Weights of drawn selections by rank, (n) float64: 1/m the best m, -1/m the worst.

    m is a quarter of n, rounded up. Equal losses share their weights, so that they sum
    to 0 where all are equal.
    """
    n = len(losses)
    m = math.ceil(n / 4)
    by_rank = torch.zeros(n, dtype=torch.float64)
    by_rank[:m] = 1 / m
    by_rank[n - m :] = -1 / m
    told = torch.tensor(losses, dtype=torch.float64).nan_to_num(math.inf, math.inf, -math.inf)
    order = told.argsort(stable=True)
    weights = torch.zeros(n, dtype=torch.float64)
    weights[order] = by_rank
    for value in told.unique():
        weights[told == value] = weights[told == value].mean()
    return weights


def whitened(gradient: Tensor, chances: Tensor) -> Tensor:
    """The square root of the Fisher matrix times a natural gradient: (k - 1) numbers.

    Args:
        gradient: (k) by the chances of a choice; sums to 0.
        chances: (k) of the categories, above 0; the last is not free.
    """
    root, last = chances[:-1].sqrt(), chances[-1]
    along = gradient[:-1]
    return along / root + root * along.sum() / (last + last.sqrt())


def inside(chances: Tensor, least: float) -> Tensor:
    """Chances (k) that sum to 1 and are at least `least`, which is below 1 / k."""
    raised = chances.clamp(min=least)
    over = raised.sum() - 1.0
    spare = raised - least
    bounded = raised - over * spare / spare.sum()
    return bounded / bounded.sum()


class TrustRegion:
    """The radius of natural gradient steps, by the agreement of successive gradients.

    Args:
        free: Number of free parameters of the distribution, at least 1.
        first: First radius.
        agreement: Threshold above which the radius grows.

    Attributes:
        radius: Of the next step, delta.
        path: (free) decaying sum of whitened unit gradients, s.
        correction: Squared norm that the path has in the mean where gradients are noise, gamma.
    """

    def __init__(self, free: int, first: float, agreement: float) -> None:
        self._first, self._agreement = first, agreement
        self.radius, self.correction = first, 0.0
        self.path = torch.zeros(free, dtype=torch.float64)

    def update(self, direction: Tensor) -> None:
        """Takes the whitened gradient of a step, (free) of norm 1."""
        rate = min(self.radius / math.sqrt(len(self.path)), 1.0)
        fresh = rate * (2 - rate)
        self.path = (1 - rate) * self.path + math.sqrt(fresh) * direction
        self.correction = (1 - rate) ** 2 * self.correction + fresh
        surplus = float(self.path.square().sum()) / self._agreement - self.correction
        self.radius *= math.exp(rate * surplus)

    def state_dict(self) -> dict[str, Any]:
        """Radius, path and correction."""
        return {"radius": self.radius, "path": self.path, "correction": self.correction}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self.radius, self.correction = float(state["radius"]), float(state["correction"])
        self.path = state["path"].clone()


class Asng:
    """Drawn selections, natural gradient in a trust region (Akimoto et al., ICML 2019).

    Args:
        space: Gives blocks and continuous architecture parameters.
        settings: Of the method.
        plan: Of the search.
        generator: On the CPU; draws selections.
    """

    Settings = AsngSettings

    def __init__(
        self, space: Space, settings: AsngSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        self.settings, self._generator = settings, generator
        self._selections = Selections(space.blocks)
        sizes = self._selections.sizes
        self.chances = [torch.full((n,), 1 / n, dtype=torch.float64) for n in sizes]
        choices = max(sum(n > 1 for n in sizes), settings.margin_choices)
        self._least = [1 / (choices * (n - 1)) if n > 1 else 0.0 for n in sizes]
        free = max(sum(n - 1 for n in sizes), 1)
        self.region = TrustRegion(free, settings.first_radius, settings.agreement)
        self._continuous = ArchParameters(space, plan.continuous_lr)

    def _draw(self) -> Row:
        draws = self._generator
        return tuple(int(torch.multinomial(c, 1, generator=draws)) for c in self.chances)

    def _gates(self, row: Row) -> Gates:
        return self._selections.from_row(row).to_gates(self._selections.blocks)

    def weight_gates(self, step: int) -> Gates:
        """A drawn selection."""
        return self._gates(self._draw())

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One natural gradient step by drawn selections on a validation batch."""
        rows = [self._draw() for _ in range(self.settings.samples)]
        with torch.no_grad():
            losses = [float(space.loss(valid, self._gates(row))) for row in rows]
        self.step(rows, losses)
        if self._continuous.parameters:
            self._continuous.step(space, valid, self._gates(rows[0]))
        return ArchReport(sum(losses) / len(losses))

    def step(self, rows: Sequence[Row], losses: Sequence[float]) -> None:
        """One natural gradient step, by the losses of drawn rows; none where they are equal."""
        weights = utilities(losses)
        gradients = [torch.zeros_like(c) for c in self.chances]
        for row, weight in zip(rows, (weights / len(rows)).tolist(), strict=True):
            for gradient, chances, drawn in zip(gradients, self.chances, row, strict=True):
                gradient.sub_(weight * chances)
                gradient[drawn] += weight
        white = [whitened(g, c) for g, c in zip(gradients, self.chances, strict=True)]
        along = torch.cat(white)
        norm = float(along.norm())
        if norm == 0:  # equal losses, or the same selection each time
            return
        length = self.region.radius / norm
        self.region.update(along / norm)
        moved = [c + length * g for c, g in zip(self.chances, gradients, strict=True)]
        self.chances = [
            inside(c, least) if len(c) > 1 else c
            for c, least in zip(moved, self._least, strict=True)
        ]

    def best_gates(self) -> Gates:
        """The mode of the distribution."""
        return self._gates(tuple(int(c.argmax()) for c in self.chances))

    def proposals(self, most: int) -> list[Selection]:
        """Selections that the distribution draws."""
        return different(lambda: self._selections.from_row(self._draw()), most)

    def alpha(self) -> dict[str, Tensor]:
        """The chance of each candidate."""
        return self._selections.marginals(self.chances)

    def state_dict(self) -> dict[str, Any]:
        """Chances, trust region, optimizer and random state."""
        return {
            "chances": list(self.chances),
            "region": self.region.state_dict(),
            "continuous": self._continuous.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        self.chances = [chances.clone() for chances in state["chances"]]
        self.region.load_state_dict(state["region"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])


ASNG = MethodKind(Asng, Asng.Settings, arch_every=1)
