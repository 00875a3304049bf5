"""The space `staged`: its stages as blocks, its supernet, and gradients of its gates.

Every combination of choices has weights of its own in a pool, which a search trains and judges.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.probe import gated_output, replacement_scores
from sif.errors import ConfigError
from sif.spaces.interaction.block_loss import BlockedFunction, Unit, Units
from sif.spaces.interaction.design import (
    ADDED,
    COSINE,
    EMBEDDING_BLOCK,
    EMBEDDINGS,
    ENCODING_BLOCK,
    FEATURE_USES,
    FEATURES_BLOCK,
    LOSS_BLOCK,
    NO_FEATURES,
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
from sif.spaces.interaction.embeddings import UNIT_INIT, Tables
from sif.spaces.interaction.encoders import (
    ENCODINGS,
    Encoder,
    Histories,
    Vectors,
    encoded,
    encoded_fields,
    needed,
)
from sif.spaces.interaction.function import Interaction, factorizes
from sif.spaces.interaction.gated import GatedFunction
from sif.spaces.interaction.losses import Batch, LossKind, LossSettings, Scored, Weighting
from sif.spaces.interaction.operations import Operation, operation_named
from sif.spaces.interaction.pair_blocks import PairBlocks
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
    FEATURES_BLOCK: {NO_FEATURES: 0.0, ADDED: 2.0},
}
"""Per vector entry: a look-up 1, a sum over pairs or features 2, an `Mlp` 3 x 8 hidden units; a
weighting is free."""


def optional_block(context: SpaceContext, name: str) -> Block:
    """The stage of similarities or losses, where neutral is what the job says, or of features."""
    if name == SIMILARITY_BLOCK:
        return Block(name, SIMILARITIES, default_op=context.similarity, own_weights=True)
    if name == FEATURES_BLOCK:
        costs = (tuple(COSTS[name][use] for use in FEATURE_USES),)
        return Block(name, FEATURE_USES, costs=costs, default_op=NO_FEATURES, own_weights=True)
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
LossValue = Callable[[LossKind, Scored, LossSettings], Tensor]
"""The value of a loss, of a function, on the rows at hand."""


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
        if FEATURES_BLOCK in stages and not any(context.described):
            raise ConfigError(
                "search.stages features: expected features of users or items, found none"
            )
        self._optional = self._stages[: len(STAGES) - 1 : -1]
        self.blocks = tuple(block for block in self._stages if block.name in stages)
        self.transforms = nn.ModuleList(Mlp(generator) for _ in context.fields)
        self.transforms.requires_grad_(EMBEDDING_BLOCK in stages)
        encodings = ("both",) * k if ENCODING_BLOCK in stages else ()
        every = replace(context.shape, encodings=encodings, trained_readout=False)
        switches = sum(b.shape[0] * (b.shape[1] - 1) for b in self.blocks)
        self.members = WeightPool(
            WeightSet(
                every,
                self.operations,
                generator,
                context.described if FEATURES_BLOCK in stages else (),
            ),
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
        tables, histories = member.tables.without_features(), self.histories
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
        if self.chosen(FEATURES_BLOCK, point) != self.chosen(FEATURES_BLOCK, neighbor):
            self._take_over_features(member.tables, point)
        if self.chosen(SIMILARITY_BLOCK, point) != self.chosen(SIMILARITY_BLOCK, neighbor):
            self._rescale(member, point)

    def _take_over_features(self, tables: Tables, point: Combination) -> None:
        """Features begin to have a part, which is nothing, or leave theirs to vectors by id."""
        for f, features in enumerate(tables.features):
            part = tables.of_features(f)
            if part is None:
                continue
            if self.chosen(FEATURES_BLOCK, point) == ADDED:
                features.zero_()
            elif ENCODINGS[point[f]] != "history":
                tables.embeddings[f].add_(part)

    def tables_of(self, tables: Tables, point: Combination) -> Tables:
        """Those tables that a combination uses."""
        has_features = self.chosen(FEATURES_BLOCK, point) == ADDED
        return tables if has_features else tables.without_features()

    def _rescale(self, member: WeightSet, point: Combination) -> None:
        """Scales tables so that a vector has length 1 in the mean, or that of a unit's start."""
        shape, tables = self.context.shape, member.tables
        longer = UNIT_INIT * shape.init * shape.dimension**0.5
        wanted = longer if self.chosen(SIMILARITY_BLOCK, point) == COSINE else 1.0
        used = self.tables_of(tables, point)
        for f in range(len(self.context.fields)):
            vectors = encoded(used, self.histories, f, ENCODINGS[point[f]]).table
            scale = wanted / vectors.norm(dim=1).mean().clamp(min=1e-6)
            tables.embeddings[f].mul_(scale)
            if tables.histories:
                tables.histories[f].mul_(scale)
            if tables.features:
                tables.features[f].mul_(scale)

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
        return {**NEUTRAL, FEATURES_BLOCK: NO_FEATURES, **named}[block]

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

    @property
    def _losses(self) -> dict[str, NamedLoss]:
        """The job's loss, and those that are searched beside it."""
        context = self.context
        own: Any = NamedLoss(cast(Any, context.loss), context.loss_settings)
        return {context.loss_name: own, **context.losses}

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Loss of a batch under the gates, a block of users at a time where there are several."""
        if self.histories is not None and self.histories.blocks is not None:
            return self._blocked_loss(batch, gates, self.histories, self.histories.blocks)

        def value(kind: LossKind, scored: Scored, settings: LossSettings) -> Tensor:
            return kind(scored, batch, settings)

        return self._mixed_loss(self.interaction(gates), value)

    def _mixed_loss(
        self, scored: GatedStages, value: LossValue, rows: Tensor | None = None
    ) -> Tensor:
        """The loss under the gates of losses and weightings."""
        losses = {
            name: partial(self._loss, scored, value, rows, loss)
            for name, loss in self._losses.items()
        }
        return scored.mix(LOSS_BLOCK, 0, losses)

    def _loss(
        self, scored: GatedStages, value: LossValue, rows: Tensor | None, loss: NamedLoss
    ) -> Tensor:
        def weighted(weighting: Weighting | None) -> Tensor:
            weights = None if weighting is None else weighting.within(rows)
            return value(loss.kind, scored, replace(loss.settings, weighting=weights))

        weightings = self.context.weightings.items()
        losses = {name: partial(weighted, weights) for name, weights in weightings}
        return scored.mix(WEIGHTING_BLOCK, 0, losses)

    def _blocked_loss(
        self, batch: Batch, gates: Gates, histories: Histories, blocks: PairBlocks
    ) -> Tensor:
        """The same loss as a sum over blocks of users."""
        stages = Stages(self, gates)
        losses = self._losses
        if stages.is_plain:
            name = self.chosen(LOSS_BLOCK, stages.point)
            losses = {name: losses[name]}
        whole = batch.blocks is not None and stages.factorizes
        exact = [whole and loss.kind.graph for loss in losses.values()]
        units = Units(batch, blocks, any(exact), not all(exact))

        def users(tables: Tables, local: Encoder) -> Tensor:
            return stages.within(tables, local).encoded(0)

        def loss_of(unit: Unit, tables: Tables, local: Encoder) -> Tensor:
            scored = GatedStages(self, gates, tables, local)
            return self._mixed_loss(scored, unit.value, unit.batch.rows)

        leaves = [*stages.member.parameters(), *self.transforms.parameters()]
        return BlockedFunction(
            stages.tables, histories, [*leaves, *gates.weights.values()],
            stages.encodes_items, users if stages.propagates else None,
        ).sum(units, loss_of)  # fmt: skip

    def count_step(self, gates: Gates) -> None:
        """Counts a weight step of the active combination, which makes evidence of its scores."""
        self.members.count_step(self.point(gates.choices()))

    def regularizer(self, gates: Gates) -> Tensor:
        """L2 of the tables that the active combination uses."""
        point = self.point(gates.choices())
        encodings = tuple(ENCODINGS[k] for k in point[: len(self.context.fields)])
        tables = self.tables_of(self.members.of(point).tables, point)
        norm = tables.squared_norm(self.context.strengths, encodings)
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
        loss = self.context.loss_name
        plain = {SIMILARITY_BLOCK: PRODUCT, LOSS_BLOCK: loss, FEATURES_BLOCK: NO_FEATURES}
        point = self.point(gates.choices())
        for name in OPTIONAL:
            choice = self.chosen(name, point)
            blocks.pop(name, None)
            if choice != plain[name]:
                blocks[name] = ((0, choice),)
        elementwise = blocks[EMBEDDING_BLOCK] == ((0, "elementwise"),)
        transforms = self.transforms if elementwise else ()
        return Genotype(self.name, blocks, mlp_numbers(self.context.fields, transforms))


class Stages:
    """The stages at some gates: the choices, and the weights of the combination.

    Args:
        space: The supernet.
        gates: Of it.
        tables: Some rows of the users in place of all; None: the combination's tables.
        histories: Of these users; None: the space's.
    """

    def __init__(
        self, space: StagedSpace, gates: Gates, tables: Tables | None = None,
        histories: Encoder | None = None,
    ) -> None:  # fmt: skip
        self.space, self.gates = space, gates
        self.member = (
            cast(WeightSet, space.members.sets[0])
            if gates.active is None
            else space.members.of(space.point(gates.active))
        )
        self.histories: Encoder | None = space.histories if histories is None else histories
        self.is_plain = gates.active is not None and not any(
            w.requires_grad for w in gates.weights.values()
        )
        self.every = self.member.tables if tables is None else tables

    def within(self, tables: Tables, histories: Encoder) -> Stages:
        """The same stages over other rows."""
        return Stages(self.space, self.gates, tables, histories)

    @property
    def point(self) -> Combination:
        """The choices; ShapeError for relaxed gates."""
        return self.space.point(self.gates.choices())

    @cached_property
    def tables(self) -> Tables:
        """Those that the choices use; of a mixture all."""
        return self.space.tables_of(self.every, self.point) if self.is_plain else self.every

    @property
    def encodings(self) -> list[str]:
        """The chosen encoding of each field."""
        return [ENCODINGS[choice] for choice in self.point[: len(self.space.context.fields)]]

    @property
    def embedding(self) -> str:
        """The chosen embedding."""
        return EMBEDDINGS[self.point[len(self.space.context.fields)]]

    @property
    def operation(self) -> int:
        """Number of the chosen operation."""
        return self.point[len(self.space.context.fields) + 1]

    @property
    def is_unit(self) -> bool:
        """True if the chosen similarity is of vectors of length 1."""
        return self.space.chosen(SIMILARITY_BLOCK, self.point) == COSINE

    @property
    def encodes_items(self) -> bool:
        """True if items may be encoded by their users."""
        if self.is_plain:
            return self.encodings[1] != "id"
        return ENCODING_BLOCK in self.gates.weights

    @property
    def propagates(self) -> bool:
        """True if vectors may be propagated."""
        if self.is_plain:
            return self.embedding == "graph"
        return EMBEDDING_BLOCK in self.gates.weights

    @property
    def factorizes(self) -> bool:
        """True if the chosen function is a product (`Interaction.is_factorized`); no mixture is."""
        if not self.is_plain:
            return False
        history = self.embedding == "graph" or any(e != "id" for e in self.encodings)
        operation = self.space.operations[self.operation]
        return factorizes(operation, self.transforms(self.embedding), self.is_unit, history)

    def transforms(self, embedding: str) -> Sequence[Elementwise]:
        """The element-wise functions of an embedding."""
        if embedding == "elementwise":
            return [cast(Mlp, t) for t in self.space.transforms]
        return [PRIMITIVES[IDENTITY]] * len(self.space.context.fields)

    def encoded(self, field: int) -> Tensor:
        """A field's table under its encoding with what features add, or the mixture of all."""
        if self.is_plain:
            return encoded(self.tables, self.histories, field, self.encodings[field]).table
        bare, part = self.every.without_features(), self.every.of_features(field)

        def table(encoding: str) -> Tensor:
            return encoded(bare, self.histories, field, encoding).table

        mixed = self.mix(ENCODING_BLOCK, field, {e: partial(table, e) for e in ENCODINGS})
        if part is None:
            return mixed
        added = {NO_FEATURES: lambda: mixed, ADDED: lambda: mixed + part}
        return self.mix(FEATURES_BLOCK, 0, added)

    def mix(self, block: str, edge: int, candidates: Mapping[str, Callable[[], Tensor]]) -> Tensor:
        """One edge of a stage; its neutral candidate where the stage is not searched."""
        weights = self.gates.weights.get(block)
        if weights is None:
            return candidates[self.space.neutral(block)]()
        active = None if self.gates.active is None else self.gates.active[block][edge]
        return gated_output(weights[edge], active, list(candidates.values()))


class GatedStages(GatedFunction):
    """The supernet at its gates, which scores pairs.

    At a discrete point it is one `Interaction` over the combination's own weights. With gates that
    require a gradient, or relaxed ones, every stage mixes its candidates over the same weights; a
    pair's own part is then left in, since gates are judged on pairs that no history holds.

    Args:
        space: The supernet.
        gates: Of it.
        tables: See `Stages`.
        histories: See `Stages`.
    """

    def __init__(
        self, space: StagedSpace, gates: Gates, tables: Tables | None = None,
        histories: Encoder | None = None,
    ) -> None:  # fmt: skip
        self._space, self._stages = space, Stages(space, gates, tables, histories)
        self.member, self.mix = self._stages.member, self._stages.mix
        super().__init__(gates)
        self._candidates = {} if self.plain else self._mixed()

    def chosen(self) -> Interaction:
        """The function of the active combination."""
        stages = self._stages
        tables = self._space.tables_of(stages.every, stages.point)
        vectors = encoded_fields(
            tables, stages.histories, stages.encodings, stages.embedding == "graph"
        )
        return Interaction(
            tables, stages.transforms(stages.embedding),
            self._space.operations[stages.operation], self.member.readouts[stages.operation],
            vectors, stages.is_unit,
        )  # fmt: skip

    def _mixed(self) -> dict[str, list[Interaction]]:
        space, stages = self._space, self._stages
        fields = range(len(space.context.fields))
        tables = [Vectors(stages.encoded(f)) for f in fields]
        vectors = [Vectors(self._embedded(tables, f)) for f in fields]
        identity = stages.transforms("identity")
        return {
            similarity: [
                Interaction(
                    stages.tables, identity, operation, readout, vectors, similarity == COSINE
                )
                for operation, readout in zip(space.operations, self.member.readouts, strict=True)
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
                "graph": lambda: needed(self._stages.histories).propagate(encoded)[field].table,
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
