"""The space `metric`: how near two vectors are, by one of several measures, bent or as they are.

A supernet written from scratch, with two blocks and operations of its own. What is found becomes an
ordinary interaction function: it is trained, compared, saved, served and exported as any other.

    sif run --task cf --set space=metric
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype, check_names
from sif.core.probe import replacement_scores
from sif.errors import ConfigError
from sif.spaces.interaction.embeddings import Tables
from sif.spaces.interaction.function import Design, Interaction
from sif.spaces.interaction.gated import GatedInteraction, fitted_loss, gated
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.operations import OPERATIONS, Factors, Operation
from sif.spaces.interaction.space_kind import SpaceContext, SpaceKind
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES, Elementwise

NAME = "metric"


def _nearness(p: Tensor, q: Tensor) -> Tensor:
    return -torch.square(p - q)


def _nearness_factors(p: Tensor, q: Tensor, w: Tensor) -> Factors:
    """-(p - q)^2 = 2 p q - p^2 - q^2, weighted and summed, as one product."""
    ones_p, ones_q = torch.ones_like(p[:, :1]), torch.ones_like(q[:, :1])
    left = torch.cat([2 * p * w, -(p * p) @ w[:, None], ones_p], dim=1)
    return left, torch.cat([q, ones_q, -(q * q) @ w[:, None]], dim=1)


def _bounded(p: Tensor, q: Tensor) -> Tensor:
    return torch.tanh(p * q)


MEASURES: dict[str, Operation] = {
    "product": OPERATIONS["multiply"],
    "nearness": Operation(
        "nearness", lambda fields: _nearness(*fields), factors=_nearness_factors, pair=_nearness
    ),
    "bounded": Operation("bounded", lambda fields: _bounded(*fields), pair=_bounded),
}
BENDS: dict[str, Elementwise] = {"straight": PRIMITIVES[IDENTITY], "tanh": torch.tanh}
LEGAL = {"measure": tuple(MEASURES), "bend": tuple(BENDS)}


class MetricSpace(nn.Module):
    """One of three measures of nearness, of plain or bent vectors, each with tables of its own.

    Args:
        context: Inputs from data and objective.

    Raises:
        ConfigError: Other fields than user and item.
    """

    name = NAME

    def __init__(self, context: SpaceContext) -> None:
        super().__init__()
        if len(context.fields) != 2:
            found = ", ".join(context.fields)
            raise ConfigError(f"space {NAME}: expected the fields user and item, found {found}")
        self.context = context
        first = Tables(context.shape, context.draws)
        # Equal starts: no measure is ahead by the luck of its initial embeddings.
        self.tables = nn.ModuleList([first, *(copy.deepcopy(first) for _ in list(MEASURES)[1:])])
        self.readouts = nn.ParameterList(
            nn.Parameter(context.shape.initial_readout(measure)) for measure in MEASURES.values()
        )
        work = float(2 * context.shape.dimension)
        self.blocks: tuple[Block, ...] = (
            Block("measure", LEGAL["measure"], costs=((work, 2 * work, 3 * work),)),
            Block("bend", LEGAL["bend"], weighted=False, default_op="straight"),
        )

    def reference_tensor(self) -> Tensor:
        """A tensor of the space's device and dtype."""
        readout: Tensor = self.readouts[0]
        return readout

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything: there is nothing continuous in the architecture."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def arch_parameters(self) -> list[nn.Parameter]:
        """None."""
        return []

    def _with(self, measure: int, bend: Elementwise) -> Interaction:
        tables, readout = cast(Tables, self.tables[measure]), self.readouts[measure]
        return Interaction(tables, (bend, bend), list(MEASURES.values())[measure], readout)

    def interaction(self, gates: Gates) -> GatedInteraction:
        """The function at the gates: one measure, of vectors that are bent under gates as well."""

        def bend(x: Tensor) -> Tensor:
            return gated(gates, "bend", [partial(function, x) for function in BENDS.values()])

        measures = [self._with(measure, bend) for measure in range(len(MEASURES))]
        return GatedInteraction(measures, gates, "measure")

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Loss of a batch under the gates."""
        return self.context.loss(self.interaction(gates), batch, self.context.loss_settings)

    def regularizer(self, gates: Gates) -> Tensor:
        """L2 of the tables of each measure, by its gate."""
        weights = gates.weights["measure"][0].tolist()
        norms = [
            weight * cast(Tables, tables).squared_norm(self.context.strengths)
            for weight, tables in zip(weights, self.tables, strict=True)
            if weight
        ]
        return torch.stack(norms).sum()

    @torch.no_grad()
    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, alpha: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """The change of the loss with each candidate in place, on which NASP descends."""
        loss, numbers = self.context.loss, self.context.loss_settings

        def loss_at(selection: Selection) -> float:
            bend = list(BENDS.values())[selection["bend"][0]]
            function = self._with(selection["measure"][0], bend)
            return fitted_loss(function, loss, numbers, train, valid)

        return replacement_scores(self.blocks, gates, loss_at)

    def genotype(self, gates: Gates) -> Genotype:
        """The measure and the bend at the gates."""
        return Genotype(NAME, gates.choices().named(self.blocks))


def expression(genotype: Genotype, fields: Sequence[str]) -> str:
    """Such as "nearness(tanh(user), tanh(item))"."""
    bend = genotype.operation("bend")
    bent = [field if bend == "straight" else f"{bend}({field})" for field in fields]
    return f"{genotype.operation('measure')}({', '.join(bent)})"


def design(genotype: Genotype, fields: Sequence[str]) -> Design:
    """The design of networks of a genotype; GenotypeError for one of another space."""
    check_names(genotype, NAME, LEGAL)
    bend = BENDS[genotype.operation("bend")]
    return Design((bend,) * len(fields), MEASURES[genotype.operation("measure")])


def multiply(fields: Sequence[str]) -> Genotype:
    """The plain product, which every found function is compared with."""
    return Genotype(NAME, {"measure": ((0, "product"),), "bend": ((0, "straight"),)})


METRIC = SpaceKind(MetricSpace, design, expression, multiply, has_multiply=True)
