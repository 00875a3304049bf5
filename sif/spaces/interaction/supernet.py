"""The space of element-wise interaction functions (SIF, WWW 2020) as a supernet.

Blocks are "operation" (multiply, plus, min, max, concat; with three fields also the nested ones)
and, if transforms are chosen from a table, one per field ("user", "item"). Learned transforms are
continuous architecture parameters instead, trained on the validation part alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.probe import replacement_scores
from sif.spaces.interaction.design import (
    OPERATION_BLOCK,
    SPECS,
    FunctionSpec,
    spec_design,
    spec_expression,
)
from sif.spaces.interaction.embeddings import Tables
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.gated import GatedInteraction, fitted_loss, gated
from sif.spaces.interaction.losses import Batch
from sif.spaces.interaction.operations import operations_for
from sif.spaces.interaction.space_kind import SpaceContext, SpaceKind
from sif.spaces.interaction.transforms import (
    IDENTITY,
    PRIMITIVES,
    Elementwise,
    Mlp,
    mlp_numbers,
)
from sif.utils.registry import unknown


class FunctionSpace(nn.Module):
    """An operation of user and item under transforms: learned in sif, chosen in primitives.

    Raises:
        ConfigError: An operation or transform that is not known.
    """

    def __init__(self, spec: FunctionSpec, context: SpaceContext) -> None:
        super().__init__()
        k = len(context.fields)
        _check_spec(spec, k)
        self.spec, self.context, self.name = spec, context, spec.name
        self.operations = tuple(operations_for(k)[name] for name in spec.operations_of(k))
        sets = len(self.operations) if context.own_tables else 1
        first = Tables(context.shape, context.draws)
        # Equal starts: no operation is ahead by the luck of its initial embeddings.
        self.tables = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(sets - 1))])
        self.readouts = nn.ParameterList(
            nn.Parameter(context.shape.initial_readout(operation)) for operation in self.operations
        )
        self.transforms = nn.ModuleList(
            Mlp(context.draws, context.transform_offset) for _ in range(0 if spec.transforms else k)
        )
        self.blocks = _blocks(spec, context)

    def reference_tensor(self) -> Tensor:
        """A tensor of the space's device and dtype."""
        readout: Tensor = self.readouts[0]
        return readout

    def weight_parameters(self) -> list[nn.Parameter]:
        """Tables and readouts."""
        parts = (self.tables, self.readouts)
        return [p for part in parts for p in part.parameters() if p.requires_grad]

    def arch_parameters(self) -> list[nn.Parameter]:
        """The learned transforms P and Q."""
        return list(self.transforms.parameters())

    def tables_of(self, operation: int) -> Tables:
        """The tables that an operation trains."""
        return cast(Tables, self.tables[operation if self.context.own_tables else 0])

    def gated_transform(self, field: int, gates: Gates) -> Elementwise:
        """The element-wise function of a field under the gates."""
        if not self.spec.transforms:
            return cast(Mlp, self.transforms[field])
        functions = [PRIMITIVES[name] for name in self.spec.transforms]
        name = self.context.fields[field]
        return lambda x: gated(gates, name, [partial(f, x) for f in functions])

    def interaction(self, gates: Gates) -> GatedInteraction:
        """The function at the gates, over the chosen operation's tables."""
        transforms = self._gated_transforms(gates)
        # Containers of torch are slow to index, so they are gone through once.
        interactions = [
            Interaction(self.tables_of(k), transforms, operation, readout)
            for k, (operation, readout) in enumerate(
                zip(self.operations, self.readouts, strict=True)
            )
        ]
        return GatedInteraction(interactions, gates, OPERATION_BLOCK)

    def _chosen(self, selection: Selection) -> Interaction:
        """The function of a selection, without those of the other operations."""
        transforms = self._gated_transforms(selection.to_gates(self.blocks))
        k = selection[OPERATION_BLOCK][0]
        return Interaction(self.tables_of(k), transforms, self.operations[k], self.readouts[k])

    def _gated_transforms(self, gates: Gates) -> list[Elementwise]:
        return [self.gated_transform(field, gates) for field in range(len(self.context.fields))]

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Loss of a batch under the gates."""
        scored = self.interaction(gates)
        return self.context.loss(scored, batch, self.context.loss_settings)

    def regularizer(self, gates: Gates) -> Tensor:
        """L2 of the chosen operation's tables; of relaxed gates, of all by their weights."""
        strengths = self.context.strengths
        if gates.active is None and self.context.own_tables:
            weights = enumerate(gates.weights[OPERATION_BLOCK][0].tolist())
            norms = [w * self.tables_of(k).squared_norm(strengths) for k, w in weights if w]
            return torch.stack(norms).sum() if norms else self.reference_tensor().new_zeros(())
        operation = 0 if gates.active is None else gates.active[OPERATION_BLOCK][0]
        return self.tables_of(operation).squared_norm(strengths)

    @torch.no_grad()
    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, alpha: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """log(loss with the candidate in place / loss of the active one), on the validation batch.

        Every candidate, the active one too, is judged with a readout fitted in closed form to the
        full target on detached train features, so none is judged through an untrained readout.
        """

        def loss_at(selection: Selection) -> float:
            function = self._chosen(selection)
            loss, numbers = self.context.loss, self.context.loss_settings
            return fitted_loss(function, loss, numbers, train, valid)

        return replacement_scores(self.blocks, gates, loss_at)

    def genotype(self, gates: Gates) -> Genotype:
        """The function at the gates; P and Q as numbers where they are learned."""
        numbers = mlp_numbers(self.context.fields, self.transforms)
        return Genotype(self.name, gates.choices().named(self.blocks), numbers)


def _check_spec(spec: FunctionSpec, fields: int) -> None:
    tables: tuple[tuple[str, tuple[str, ...], Mapping[str, object]], ...] = (
        ("operation", spec.operations_of(fields), operations_for(fields)),
        ("transform", spec.transforms, PRIMITIVES),
    )
    for kind, names, known in tables:
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)


def _blocks(spec: FunctionSpec, context: SpaceContext) -> tuple[Block, ...]:
    """One row each: a cost is the readout's parameters plus the multiply-adds of one pair."""
    d, k = context.shape.dimension, len(context.fields)
    operations, names = operations_for(k), spec.operations_of(k)
    costs = tuple(float(2 * operations[name].width(k) * d) for name in names)
    blocks = [Block(OPERATION_BLOCK, names, costs=(costs,))]
    if spec.transforms:
        start = IDENTITY if IDENTITY in spec.transforms else None
        blocks += [
            Block(field, spec.transforms, weighted=False, default_op=start)
            for field in context.fields
        ]
    return tuple(blocks)


def space_of(spec: FunctionSpec) -> SpaceKind:
    """The space of a preset, to be registered under the preset's name."""
    multiplies = spec.operations is None or "multiply" in spec.operations
    has_multiply = multiplies and IDENTITY in spec.transforms
    return SpaceKind(
        partial(FunctionSpace, spec), partial(spec_design, spec), spec_expression,
        has_multiply=has_multiply,
    )  # fmt: skip


SIF_SPACE = space_of(SPECS["sif"])
PRIMITIVES_SPACE = space_of(SPECS["primitives"])
