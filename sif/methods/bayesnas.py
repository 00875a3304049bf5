"""BayesNAS: one-shot pruning by automatic relevance determination (Zhou et al., ICML 2019).

A mixture multiplies the output of every operation by two switches: its own, and that of its edge
if the node may drop the edge. A switch w has a Gaussian prior of variance gamma. Between updates
the switches descend on the loss plus the re-weighted lasso, lambda * omega * |w|. An update takes
the posterior by a Laplace approximation with the Hessian h of the loss by w (Algorithm 1):

    C = 1 / (1 / gamma + h / lambda),  omega^2 = 1 / gamma - C / gamma^2,  gamma = |w| / omega

The variance of a candidate, 1 / (1 / gamma of the operation + 1 / gamma of the edge), is the
hierarchy: nothing on an edge without relevance has any. A candidate whose entropy is at most 0,
ln(2 pi e variance) / 2 <= 0, is pruned for good. The selection is that of the largest entropies.

Differences from the paper: switches move on validation batches, as in every method of the search
loop; updates are spread over the search, where the published code trains the weights for an epoch,
then the switches for one, and updates once; the Hessian is the diagonal by Hutchinson's
estimate with differences of gradients, not layer by layer, and at least lambda, since the formula
gives a loss that ignores a switch no bound; the products of switches are divided by their mean
sum over a node's edges, which does what batch normalization does in the published networks:
only their ratios count; switches stay at `LEAST` or above, since the weights can carry a sign; the
cells of a kind share their switches; what the best selection needs is never pruned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from sif.config.sections import Count, Rate, Share
from sif.core.gates import Alpha, Block, Gates, Probing, Selection
from sif.core.method import ArchParameters, ArchReport, Plan
from sif.core.probe import gate_gradient
from sif.core.proximal import INITIAL_NOISE, project
from sif.core.space import Batch, Space
from sif.methods.kind import MethodKind
from sif.methods.proposals import likeliest
from sif.methods.settings import MethodSettings
from sif.utils.units import Unit

NOT_PRUNED = 1 / (2 * math.pi * math.e)
"""Variance at which the entropy of a Gaussian is 0."""
REACH = 1e-2
"""Step of the difference of gradients, in units of a switch."""
LEAST = 2 * REACH
"""Smallest switch: of a variance that is pruned, and positive at either end of a difference."""


class BayesNASSettings(MethodSettings):
    """Settings of BayesNAS, as in the published code (BayesNAS/BayesNAS) where it gives them."""

    sparsity: Annotated[Rate, Unit("loss per switch")] = Field(
        0.01, description="weight of the lasso, lambda (the published cells have .005 to .01)"
    )
    arch_lr: Annotated[Rate, Unit("step size")] = Field(
        0.1, description="step size of the switches (main.py)"
    )
    momentum: Share = Field(0.9, description="momentum of the switches (main.py)")
    pretraining: Share = Field(
        0.1,
        description="share of the search that trains the weights alone; the published code "
        "trains them for one epoch",
    )
    updates: Annotated[Count, Unit("updates")] = Field(
        10,
        description="updates of variances, after equal parts of the steps of the switches; the "
        "published code makes one",
    )
    hessian_draws: Annotated[Count, Unit("draws")] = Field(
        4, description="random directions per update, over which the Hessian's diagonal is a mean"
    )
    threshold: Annotated[Rate, Unit("variance")] = Field(
        NOT_PRUNED,
        description="variance up to which a candidate is pruned; by default that of entropy 0, "
        "as in Algorithm 1",
    )

    def resting_steps(self, warmup: int, steps: int, unit: int) -> int:
        """Weight steps before the switches move, whole epochs."""
        return round(self.pretraining * (steps // unit)) * unit

    @property
    def resting_share(self) -> float:
        """Share of the search before the switches move."""
        return self.pretraining


def _may_drop(block: Block) -> Tensor:
    """(n_edges) float64: 1 where the node has more edges than it keeps."""
    entering = [block.nodes.count(node) for node in block.nodes]
    return (torch.tensor(entering) > block.edges_per_node).double()


def mixed(switches: Tensor, kept: Tensor, block: Block) -> Tensor:
    """Gates (n_edges, n_ops) of switches (n_edges, n_ops + 1): their products, in proportion.

    Those of the edges into a node sum to the number of these edges; what is not kept is 0.
    """
    products = switches[:, :-1] * switches[:, -1:] * kept
    same = torch.tensor(block.nodes)[:, None] == torch.tensor(block.nodes)
    mean = (same.to(products) @ products.sum(dim=1)) / same.sum(dim=1)
    return products / mean[:, None]


def updated(switch: Tensor, gamma: Tensor, hessian: Tensor, sparsity: float) -> tuple[Tensor, ...]:
    """The new gamma and omega after an update, elementwise, by Algorithm 1.

    Args:
        switch: Switches, at least 0.
        gamma: Their prior variances, at least 0.
        hessian: Second derivatives of the loss by them; below lambda they count as lambda.
        sparsity: lambda.
    """
    information = (hessian / sparsity).clamp(min=1.0)
    # 1 / gamma - C / gamma^2, also where gamma is 0.
    omega = (information / (1 + gamma * information)).sqrt()
    return switch / omega, omega


class BayesNAS:
    """Relevance of switches in a mixture, pruned by entropy (Zhou et al., ICML 2019).

    Args:
        space: Gives blocks and continuous architecture parameters.
        settings: Of the method.
        plan: Of the search.
        generator: On the CPU; draws the directions of the Hessian.
    """

    Settings = BayesNASSettings

    def __init__(
        self, space: Space, settings: BayesNASSettings, plan: Plan, generator: torch.Generator
    ) -> None:
        self.settings, self._generator = settings, generator
        self._blocks: Sequence[Block] = space.blocks
        self._total = max(plan.steps - plan.resting, 1)
        self._taken = 0
        # Of each block, the switches of its operations, then in the last column of its edges.
        self.switches = self._tables(1.0)
        self._moving = self._tables(1.0)
        for block in space.blocks:
            self._moving[block.name][:, -1] = _may_drop(block)
        self.gamma, self.omega = self._tables(1.0), self._tables(1.0)
        for gamma in self.gamma.values():  # no operation is ahead by its place in the table
            gamma.add_(torch.randn(gamma.shape, generator=generator), alpha=INITIAL_NOISE)
        self.kept = {b.name: torch.ones(b.shape, dtype=torch.bool) for b in space.blocks}
        self._optimizer = torch.optim.SGD(
            list(self.switches.values()), settings.arch_lr, settings.momentum
        )
        self._continuous = ArchParameters(space, plan.continuous_lr)

    def _tables(self, value: float) -> Alpha:
        return {
            b.name: torch.full((b.shape[0], b.shape[1] + 1), value, dtype=torch.float64)
            for b in self._blocks
        }

    def _mixture(self, switches: Mapping[str, Tensor]) -> Gates:
        """The gates at switches."""
        weights = {b.name: mixed(switches[b.name], self.kept[b.name], b) for b in self._blocks}
        return Gates(weights, None, Probing({n: kept.double() for n, kept in self.kept.items()}))

    def _slope(self, by_gate: Mapping[str, Tensor], switches: Mapping[str, Tensor]) -> Alpha:
        """Derivatives by switches, of those by the gates that they make."""
        slopes = {}
        for block in self._blocks:
            leaf = switches[block.name].clone().requires_grad_()
            gates = mixed(leaf, self.kept[block.name], block)
            (slope,) = torch.autograd.grad(gates, leaf, by_gate[block.name].to(gates))
            slopes[block.name] = slope * self._moving[block.name]
        return slopes

    def weight_gates(self, step: int) -> Gates:
        """The mixture of the candidates that are left."""
        return self._mixture(self.switches)

    def arch_step(self, space: Space, train: Batch, valid: Batch) -> ArchReport:
        """One proximal step of the switches on a validation batch, and an update if it is due."""
        gradient = gate_gradient(space, valid, self._mixture(self.switches))
        slope = self._slope(gradient.gates, self.switches)
        for name, switch in self.switches.items():
            lasso = self.settings.sparsity * self.omega[name] * self._moving[name]
            switch.grad = slope[name] + lasso
        self._optimizer.step()
        for switch in self.switches.values():
            switch.clamp_(min=LEAST)
        self._continuous.descend(gradient.arch)
        before = self._taken * self.settings.updates // self._total
        self._taken += 1
        if self._taken * self.settings.updates // self._total > before:
            self.update(self.hessian(space, valid))
        return ArchReport(float(gradient.loss), {"gradient": gradient.gates})

    def hessian(self, space: Space, valid: Batch) -> Alpha:
        """The diagonal of the Hessian of a batch's loss by the switches, at least 0.

        The mean of z * (H z) over random signs z, H z by a central difference of gradients.
        """
        total = self._tables(0.0)
        for _ in range(self.settings.hessian_draws):
            signs = {
                name: moves * (2.0 * torch.randint(2, moves.shape, generator=self._generator) - 1.0)
                for name, moves in self._moving.items()
            }
            ends = []
            for side in (REACH, -REACH):
                at = {n: s + side * signs[n].to(s) for n, s in self.switches.items()}
                gradient = gate_gradient(space, valid, self._mixture(at))
                ends.append(self._slope(gradient.gates, at))
            for name, table in total.items():
                table.add_(signs[name] * (ends[0][name] - ends[1][name]) / (2 * REACH))
        draws = self.settings.hessian_draws
        return {name: (table / draws).clamp(min=0.0) for name, table in total.items()}

    def update(self, hessian: Mapping[str, Tensor]) -> None:
        """Takes the posterior of all switches, then prunes."""
        for name, switch in self.switches.items():
            self.gamma[name], self.omega[name] = updated(
                switch, self.gamma[name], hessian[name], self.settings.sparsity
            )
        needed = self.best_gates().weights
        for name, variance in self.variances().items():
            alive = (variance > self.settings.threshold) | (needed[name] > 0)
            self.kept[name] = self.kept[name] & alive

    def variances(self) -> Alpha:
        """Block name to (n_edges, n_ops): the variance of each candidate, by its switches."""
        found = {}
        for name, gamma in self.gamma.items():
            precision = self._moving[name] / gamma
            found[name] = 1 / (precision[:, :-1] + precision[:, -1:])
        return found

    def best_gates(self) -> Gates:
        """The candidates of the largest variances, and so entropies."""
        variances = self.variances()
        kept = {n: torch.where(self.kept[n], v, -1.0) for n, v in variances.items()}
        return project(kept, self._blocks)

    def alpha(self) -> dict[str, Tensor]:
        """The variance of each candidate, 0 for what is pruned."""
        return {name: v * self.kept[name] for name, v in self.variances().items()}

    def proposals(self, most: int) -> list[Selection]:
        """The selections of the largest entropies: the logs of their variances, added up."""
        logs = {name: variance.log() for name, variance in self.alpha().items()}
        return likeliest(self._blocks, logs, most)

    def state_dict(self) -> dict[str, Any]:
        """Switches, variances, what is left, optimizers and random state."""
        return {
            "switches": dict(self.switches),
            "gamma": dict(self.gamma),
            "omega": dict(self.omega),
            "kept": dict(self.kept),
            "taken": self._taken,
            "optimizer": self._optimizer.state_dict(),
            "continuous": self._continuous.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        for name, switch in self.switches.items():
            switch.copy_(state["switches"][name])
        for name in self.switches:
            self.gamma[name] = state["gamma"][name].clone()
            self.omega[name] = state["omega"][name].clone()
            self.kept[name] = state["kept"][name].clone()
        self._taken = state["taken"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._continuous.load_state_dict(state["continuous"])
        self._generator.set_state(state["generator"])


BAYESNAS = MethodKind(BayesNAS, BayesNAS.Settings, mixes=True, arch_every=1)
