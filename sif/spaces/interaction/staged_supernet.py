"""The space `staged`: its stages as blocks, its supernet, and gradients of its gates.

Every combination of choices has weights of its own in a pool, which a search trains and judges.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.probe import gated_output, replacement_scores
from sif.errors import ConfigError
from sif.spaces.interaction.design import (
    COSINE,
    EMBEDDING_BLOCK,
    EMBEDDINGS,
    ENCODING_BLOCK,
    LOSS_BLOCK,
    OPERATION_BLOCK,
    OPTIONAL,
    PRODUCT,
    SIMILARITIES,
    SIMILARITY_BLOCK,
    SPECS,
    WEIGHTING_BLOCK,
    spec_design,
    spec_expression,
)
from sif.spaces.interaction.embeddings import UNIT_INIT
from sif.spaces.interaction.encoders import ENCODINGS, Vectors, encoded, encoded_fields, needed
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.gated import GatedFunction
from sif.spaces.interaction.losses import Batch, Scored, Weighting
from sif.spaces.interaction.operations import Operation, operation_named
from sif.spaces.interaction.space_kind import NamedLoss, SpaceContext, SpaceKind
from sif.spaces.interaction.transforms import (
    IDENTITY,
    PRIMITIVES,
    Elementwise,
    Mlp,
    mlp_numbers,
)
from sif.spaces.interaction.weight_pool import Combination, WeightPool, WeightSet

SPEC = SPECS["staged"]
STAGES = (ENCODING_BLOCK, EMBEDDING_BLOCK, OPERATION_BLOCK, WEIGHTING_BLOCK)
"""Stages that every genotype names; `OPTIONAL` ones follow where they are searched."""
NEUTRAL = {
    ENCODING_BLOCK: "id", EMBEDDING_BLOCK: "identity", OPERATION_BLOCK: "multiply",
    WEIGHTING_BLOCK: "even",
}  # fmt: skip
COSTS: dict[str, dict[str, float]] = {
    ENCODING_BLOCK: {"id": 1.0, "history": 2.0, "both": 3.0},
    EMBEDDING_BLOCK: {"identity": 0.0, "elementwise": 24.0, "graph": 2.0},
}
"""Per vector entry: a look-up 1, a sum over pairs 2, an `Mlp` 3 x 8 hidden units; a weighting is
free."""


def optional_block(context: SpaceContext, name: str) -> Block:
    """The stage of similarities or losses; neutral is what the job says."""
    if name == SIMILARITY_BLOCK:
        return Block(name, SIMILARITIES, default_op=context.similarity, own_weights=True)
    names = tuple(dict.fromkeys((context.loss_name, *context.losses)))
    return Block(name, names, default_op=context.loss_name, own_weights=True)


def stage_block(
    name: str, fields: int, operations: Sequence[Operation], weightings: Sequence[str]
) -> Block:
    """A stage with all of its choices; an operation costs the multiply-adds of its readout."""
    if name == OPERATION_BLOCK:
        names = tuple(o.name for o in operations)
        work = tuple(float(2 * o.width(fields)) for o in operations)
        return Block(name, names, costs=(work,), default_op=NEUTRAL[name], own_weights=True)
    names = tuple(weightings) if name == WEIGHTING_BLOCK else SPEC.stages[name]
    nodes = tuple(range(fields)) if name == ENCODING_BLOCK else (0,)
    cost = COSTS.get(name)
    costs = None if cost is None else (tuple(cost[n] for n in names),) * len(nodes)
    return Block(name, names, nodes, costs=costs, default_op=NEUTRAL[name], own_weights=True)


def neutral_genotype(fields: int) -> Genotype:
    """Every stage at its neutral choice: the product of embeddings, evenly weighted."""
    edges = {name: fields if name == ENCODING_BLOCK else 1 for name in STAGES}
    return Genotype(
        SPEC.name, {name: tuple((e, NEUTRAL[name]) for e in range(n)) for name, n in edges.items()}
    )


SPARE = 6
"""Sets of weights beyond those one switch away, kept for a selection that moves."""
MIN_STEPS = 20
"""Weight steps before a combination is judged: scores of untrained weights are no evidence."""


class StagedSpace(nn.Module):
    """An operation, with encodings, embeddings and weightings around it.

    Args:
        context: Inputs from data and objective; the shape's encodings and whether w is trained are
            not read, nor is the weighting of the loss, which is a block.
    """

    name = SPEC.name

    def __init__(self, context: SpaceContext) -> None:
        super().__init__()
        self.context, stages, generator = context, context.stages, context.draws
        encodes = {ENCODING_BLOCK, EMBEDDING_BLOCK} & set(stages)
        self.histories = context.histories() if encodes else None
        k = len(context.fields)
        self.operations = tuple(
            cast(Operation, operation_named(n, k)) for n in SPEC.operations_of(k)
        )
        self._stages = tuple(
            stage_block(name, k, self.operations, tuple(context.weightings)) for name in STAGES
        ) + tuple(optional_block(context, name) for name in OPTIONAL if name in stages)
        if EMBEDDING_BLOCK in stages and (
            SIMILARITY_BLOCK in stages or context.similarity == COSINE
        ):
            raise ConfigError(
                "search.stages: expected no stage embedding with similarity cosine, which learned "
                "functions of vectors do not have, found both"
            )
        self._optional = self._stages[: len(STAGES) - 1 : -1]
        self.blocks = tuple(block for block in self._stages if block.name in stages)
        self.transforms = nn.ModuleList(Mlp(generator) for _ in context.fields)
        self.transforms.requires_grad_(EMBEDDING_BLOCK in stages)
        encodings = ("both",) * k if ENCODING_BLOCK in stages else ()
        every = replace(context.shape, encodings=encodings, trained_readout=False)
        switches = sum(b.shape[0] * (b.shape[1] - 1) for b in self.blocks)
        self.members = WeightPool(
            WeightSet(every, self.operations, generator),
            1 + switches + SPARE,
            sum(len(block.nodes) for block in self._stages),
            self._inherit,
        )
        # Walking hundreds of parameters anew took a twentieth of every weight step.
        self._weights = [p for p in self.members.parameters() if p.requires_grad]

    def _inherit(self, member: WeightSet, point: Combination, neighbor: Combination) -> None:
        """Starts a combination's tables as close as possible to the neighbor's vectors.

        Where lengths begin to count, or no longer do, the vectors get those of a start.

        Otherwise a table that the neighbor did not use would start from noise, and the search
        would compare how fast candidates learn instead of how good they become.
        """
        k = len(self.context.fields)
        tables, histories = member.tables, self.histories
        before = [encoded(tables, histories, f, ENCODINGS[neighbor[f]]).table for f in range(k)]
        for f in range(k):
            old, new = ENCODINGS[neighbor[f]], ENCODINGS[point[f]]
            if old == new:
                continue
            if new == "both":  # the neighbor's own vectors, and nothing added
                (tables.histories if old == "id" else tables.embeddings)[f].zero_()
            elif new == "id":
                tables.embeddings[f].copy_(before[f])
            else:
                sums = needed(histories).encode(f, before[1 - f]).table
                scale = (sums * before[f]).sum() / (sums * sums).sum().clamp(min=1e-12)
                tables.histories[f].copy_(scale * before[1 - f])
        if self.chosen(SIMILARITY_BLOCK, point) != self.chosen(SIMILARITY_BLOCK, neighbor):
            self._rescale(member, point)

    def _rescale(self, member: WeightSet, point: Combination) -> None:
        """Scales tables so that a vector has length 1 in the mean, or that of a unit's start."""
        shape, tables = self.context.shape, member.tables
        longer = UNIT_INIT * shape.init * shape.dimension**0.5
        wanted = longer if self.chosen(SIMILARITY_BLOCK, point) == COSINE else 1.0
        for f in range(len(self.context.fields)):
            vectors = encoded(tables, self.histories, f, ENCODINGS[point[f]]).table
            scale = wanted / vectors.norm(dim=1).mean().clamp(min=1e-6)
            tables.embeddings[f].mul_(scale)
            if tables.histories:
                tables.histories[f].mul_(scale)

    def reference_tensor(self) -> Tensor:
        """A tensor of the space's device and dtype."""
        return cast(Tensor, cast(WeightSet, self.members.sets[0]).readouts[0])

    def weight_parameters(self) -> list[nn.Parameter]:
        """All weights that the combinations train."""
        return self._weights

    def arch_parameters(self) -> list[nn.Parameter]:
        """The learned element-wise functions, where they are a candidate."""
        return [p for p in self.transforms.parameters() if p.requires_grad]

    def _completed(self, selection: Selection) -> Selection:
        """The choices of all stages, neutral where a stage is not searched."""
        edges = {
            b.name: (b.operations.index(cast(str, b.default_op)),) * len(b.nodes)
            for b in self._stages
        }
        return Selection({**edges, **selection})

    def neutral(self, block: str) -> str:
        """The choice of a stage that is not searched."""
        named = {SIMILARITY_BLOCK: self.context.similarity, LOSS_BLOCK: self.context.loss_name}
        return {**NEUTRAL, **named}[block]

    def chosen(self, block: str, point: Combination) -> str:
        """A combination's choice of an optional stage; these are its last ones."""
        for stage, choice in zip(self._optional, reversed(point), strict=False):
            if stage.name == block:
                return stage.operations[choice]
        return self.neutral(block)

    def point(self, selection: Selection) -> Combination:
        """The choice of every edge of every stage, neutral where it is not searched."""
        return tuple(itertools.chain.from_iterable(self._completed(selection).values()))

    def interaction(self, gates: Gates) -> GatedStages:
        """The function at the gates."""
        return GatedStages(self, gates)

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Loss of a batch under the gates."""
        scored, context = self.interaction(gates), self.context
        own: Any = NamedLoss(cast(Any, context.loss), context.loss_settings)
        losses = {context.loss_name: own, **context.losses}
        return scored.mix(
            LOSS_BLOCK, 0,
            {name: partial(self._loss, scored, batch, loss) for name, loss in losses.items()},
        )  # fmt: skip

    def _loss(self, scored: GatedStages, batch: Batch, loss: NamedLoss) -> Tensor:
        losses = {
            name: partial(self._weighted_loss, scored, batch, loss, weights)
            for name, weights in self.context.weightings.items()
        }
        return scored.mix(WEIGHTING_BLOCK, 0, losses)

    def _weighted_loss(
        self, scored: Scored, batch: Batch, loss: NamedLoss, weighting: Weighting | None
    ) -> Tensor:
        return loss.kind(scored, batch, replace(loss.settings, weighting=weighting))

    def count_step(self, gates: Gates) -> None:
        """Counts a weight step of the active combination, which makes evidence of its scores."""
        self.members.count_step(self.point(gates.choices()))

    def regularizer(self, gates: Gates) -> Tensor:
        """L2 of the tables that the active combination uses."""
        point = self.point(gates.choices())
        encodings = tuple(ENCODINGS[k] for k in point[: len(self.context.fields)])
        norm = self.members.of(point).tables.squared_norm(self.context.strengths, encodings)
        if self.chosen(SIMILARITY_BLOCK, point) == COSINE:  # there is no length to penalize
            return self.reference_tensor().new_zeros(())
        loss = self.context.losses.get(self.chosen(LOSS_BLOCK, point))
        return norm if loss is None else norm * (loss.kind.l2 / self.context.l2_unit)

    @torch.no_grad()
    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, alpha: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """log(criterion with the candidate in place / criterion as it is), on validation.

        Every combination is judged with the weights that it trained itself; one that has hardly
        trained, or whose `alpha` is 0, so that warm-up gives it no turns, scores 0: nothing for or
        against.
        """

        def loss_at(selection: Selection) -> float | None:
            if self.members.steps(self.point(selection)) < MIN_STEPS:
                return None
            function = self.interaction(selection.to_gates(self.blocks)).chosen()
            return max(self.context.criterion(function, valid), torch.finfo(torch.float32).tiny)

        return replacement_scores(self.blocks, gates, loss_at, alpha)

    def genotype(self, gates: Gates) -> Genotype:
        """The combination at the gates; element-wise functions as numbers where they are chosen."""
        blocks = dict(self._completed(gates.choices()).named(self._stages))
        plain = {SIMILARITY_BLOCK: PRODUCT, LOSS_BLOCK: self.context.loss_name}
        point = self.point(gates.choices())
        for name in OPTIONAL:
            choice = self.chosen(name, point)
            blocks.pop(name, None)
            if choice != plain[name]:
                blocks[name] = ((0, choice),)
        elementwise = blocks[EMBEDDING_BLOCK] == ((0, "elementwise"),)
        transforms = self.transforms if elementwise else ()
        return Genotype(self.name, blocks, mlp_numbers(self.context.fields, transforms))


class GatedStages(GatedFunction):
    """The supernet at its gates, which scores pairs.

    At a discrete point it is one `Interaction` over the combination's own weights. With gates that
    require a gradient, or relaxed ones, every stage mixes its candidates over the same weights; a
    pair's own part is then left in, since gates are judged on pairs that no history holds.
    """

    def __init__(self, space: StagedSpace, gates: Gates) -> None:
        self._space = space
        self.member = (
            cast(WeightSet, space.members.sets[0])
            if gates.active is None
            else space.members.of(space.point(gates.active))
        )
        super().__init__(gates)
        self._candidates = {} if self.plain else self._mixed()

    def chosen(self) -> Interaction:
        """The function of the active combination."""
        space, member = self._space, self.member
        point = space.point(self._gates.choices())
        k = len(space.context.fields)
        embedding = EMBEDDINGS[point[k]]
        encodings = [ENCODINGS[choice] for choice in point[:k]]
        graph = embedding == "graph"
        vectors = encoded_fields(member.tables, space.histories, encodings, graph)
        transforms = self._transforms(embedding)
        return Interaction(
            member.tables, transforms, space.operations[point[k + 1]],
            member.readouts[point[k + 1]], vectors,
            space.chosen(SIMILARITY_BLOCK, point) == COSINE,
        )  # fmt: skip

    def _transforms(self, embedding: str) -> Sequence[Elementwise]:
        if embedding == "elementwise":
            return [cast(Mlp, t) for t in self._space.transforms]
        return [PRIMITIVES[IDENTITY]] * len(self._space.context.fields)

    def mix(self, block: str, edge: int, candidates: Mapping[str, Callable[[], Tensor]]) -> Tensor:
        """One edge of a stage; its neutral candidate where the stage is not searched."""
        weights = self._gates.weights.get(block)
        if weights is None:
            return candidates[self._space.neutral(block)]()
        active = None if self._gates.active is None else self._gates.active[block][edge]
        return gated_output(weights[edge], active, list(candidates.values()))

    def _mixed(self) -> dict[str, list[Interaction]]:
        space, member = self._space, self.member

        def table(field: int, encoding: str) -> Tensor:
            return encoded(member.tables, space.histories, field, encoding).table

        fields = range(len(space.context.fields))
        tables = [
            Vectors(self.mix(ENCODING_BLOCK, f, {e: partial(table, f, e) for e in ENCODINGS}))
            for f in fields
        ]
        vectors = [Vectors(self._embedded(tables, f)) for f in fields]
        identity = self._transforms("identity")
        return {
            similarity: [
                Interaction(
                    member.tables, identity, operation, readout, vectors, similarity == COSINE
                )
                for operation, readout in zip(space.operations, member.readouts, strict=True)
            ]
            for similarity in SIMILARITIES
        }

    def _embedded(self, encoded: Sequence[Vectors], field: int) -> Tensor:
        table = encoded[field].table
        return self.mix(
            EMBEDDING_BLOCK, 0,
            {
                "identity": lambda: table,
                "elementwise": lambda: self._space.transforms[field](table),
                "graph": lambda: needed(self._space.histories).propagate(encoded)[field].table,
            },
        )  # fmt: skip

    def mixed_pairs(self, ids: Tensor) -> Tensor:
        """Scores (n,) at ids (n, 2)."""

        def scores(candidates: Sequence[Interaction]) -> Tensor:
            by_name = {i.operation.name: partial(i.pairs, ids) for i in candidates}
            return self.mix(OPERATION_BLOCK, 0, by_name)

        return self.mix(
            SIMILARITY_BLOCK, 0,
            {name: partial(scores, every) for name, every in self._candidates.items()},
        )  # fmt: skip


STAGED_SPACE = SpaceKind(
    StagedSpace,
    partial(spec_design, SPEC),
    spec_expression,
    multiply=lambda fields: neutral_genotype(len(fields)),
    has_multiply=True,
    stages=STAGES,
)
