"""The space `staged`: its stages as blocks, its supernet, and gradients of its gates.

Every combination of choices has weights of its own in a pool; a search trains and judges them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from sif.core.gates import Block, Gates, Selection
from sif.core.genotype import Genotype
from sif.core.probe import gated_output
from sif.spaces.interaction.design import (
    EMBEDDING_BLOCK,
    EMBEDDINGS,
    ENCODING_BLOCK,
    OPERATION_BLOCK,
    SPECS,
    WEIGHTING_BLOCK,
    spec_design,
    spec_expression,
)
from sif.spaces.interaction.embeddings import TableShape
from sif.spaces.interaction.encoders import ENCODINGS, Histories, Vectors, encoded, needed
from sif.spaces.interaction.function import Interaction
from sif.spaces.interaction.losses import Batch, Loss, LossSettings, Scored, Weighting
from sif.spaces.interaction.operations import Factors, Operation, operation_named
from sif.spaces.interaction.pair_products import PairGraph
from sif.spaces.interaction.space_kind import Criterion, SpaceContext, SpaceKind
from sif.spaces.interaction.transforms import IDENTITY, PRIMITIVES, Elementwise, Mlp
from sif.spaces.interaction.weight_pool import Combination, WeightPool, WeightSet

SPEC = SPECS["staged"]
STAGES = (ENCODING_BLOCK, EMBEDDING_BLOCK, OPERATION_BLOCK, WEIGHTING_BLOCK)
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


def stage_block(name: str, fields: int, operations: Sequence[Operation]) -> Block:
    """A stage with all of its choices; an operation costs the multiply-adds of its readout."""
    if name == OPERATION_BLOCK:
        names = tuple(o.name for o in operations)
        work = tuple(float(2 * o.width(fields)) for o in operations)
        return Block(name, names, costs=(work,), default_op=NEUTRAL[name], own_weights=True)
    names = SPEC.stages[name]
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


def searched_blocks(
    stages: Sequence[str], fields: int, operations: Sequence[Operation]
) -> tuple[Block, ...]:
    """The blocks of the stages that are searched, in the order of `STAGES`."""
    return tuple(stage_block(name, fields, operations) for name in STAGES if name in stages)


SPARE = 6
"""Sets of weights beyond those one switch away, so that a selection that moves on finds some."""
MIN_STEPS = 20
"""Weight steps before a combination is judged: a score is evidence only of what was trained."""


@dataclass(frozen=True, eq=False)
class StagedSettings:
    """What the data and the objective bring.

    Attributes:
        shape: Of the tables; its encodings and whether w is trained are not read.
        fields: The two field names.
        loss: The objective's loss.
        loss_settings: Its numbers; the weighting is not read.
        weightings: By name, for the candidates of that block.
        strengths: (n_f,) per field, see `Tables.squared_norm`.
        histories: Of the train part; None where neither encodings nor embeddings are searched.
        criterion: What validation judges by, lower is better, positive: the same for every
            weighting of the training loss.
        stages: Which blocks are searched.
    """

    shape: TableShape
    fields: tuple[str, ...]
    loss: Loss
    loss_settings: LossSettings
    weightings: Mapping[str, Weighting | None]
    strengths: tuple[Tensor, ...]
    histories: Histories | None
    criterion: Criterion
    stages: tuple[str, ...] = STAGES


class StagedSpace(nn.Module):
    """The supernet.

    Args:
        settings: What data and objective bring.
        generator: Draws all initial values.
    """

    name = SPEC.name

    def __init__(self, settings: StagedSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        k = len(settings.fields)
        self.operations = tuple(
            cast(Operation, operation_named(n, k)) for n in SPEC.operations_of(k)
        )
        self.blocks = searched_blocks(settings.stages, k, self.operations)
        self.transforms = nn.ModuleList(Mlp(generator) for _ in settings.fields)
        self.transforms.requires_grad_(EMBEDDING_BLOCK in settings.stages)
        searched = ENCODING_BLOCK in settings.stages
        every = replace(
            settings.shape, encodings=("both",) * k if searched else (), trained_readout=False
        )
        switches = sum(b.shape[0] * (b.shape[1] - 1) for b in self.blocks)
        edges = sum(len(stage_block(name, k, self.operations).nodes) for name in STAGES)
        self.members = WeightPool(
            lambda: WeightSet(every, self.operations, generator),
            1 + switches + SPARE,
            edges,
            self._inherit,
        )
        # Walking hundreds of parameters anew took a twentieth of every weight step.
        self._weights = [p for p in self.members.parameters() if p.requires_grad]

    def _inherit(self, member: WeightSet, point: Combination, neighbor: Combination) -> None:
        """Starts a combination's tables where the neighbor's vectors are, as nearly as it can.

        Otherwise a table that the neighbor did not use would start from noise, and the search
        would compare how fast candidates learn instead of what they come to.
        """
        k = len(self.settings.fields)
        tables, histories = member.tables, self.settings.histories
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

    def reference_tensor(self) -> Tensor:
        """A tensor of the space's device and dtype."""
        return cast(Tensor, cast(WeightSet, self.members.sets[0]).readouts[0])

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything that the combinations train."""
        return self._weights

    def arch_parameters(self) -> list[nn.Parameter]:
        """The learned element-wise functions, where they are a candidate."""
        searched = EMBEDDING_BLOCK in self.settings.stages
        return list(self.transforms.parameters()) if searched else []

    def point(self, selection: Selection) -> Combination:
        """The choice of every edge of every stage, neutral where it is not searched."""
        k = len(self.settings.fields)
        choices: list[int] = []
        for name in STAGES:
            block = stage_block(name, k, self.operations)
            neutral = (block.operations.index(NEUTRAL[name]),) * len(block.nodes)
            choices += selection.get(name, neutral)
        return tuple(choices)

    def interaction(self, gates: Gates) -> GatedRich:
        """The function at the gates."""
        return GatedRich(self, gates)

    def loss(self, batch: Batch, gates: Gates) -> Tensor:
        """Loss of a batch under the gates."""
        scored = self.interaction(gates)
        row = gates.weights.get(WEIGHTING_BLOCK)
        if row is None:
            return self._weighted_loss(scored, batch, NEUTRAL[WEIGHTING_BLOCK])
        active = None if gates.active is None else gates.active[WEIGHTING_BLOCK][0]
        names = SPEC.stages[WEIGHTING_BLOCK]
        return gated_output(
            row[0], active, [partial(self._weighted_loss, scored, batch, n) for n in names]
        )

    def _weighted_loss(self, scored: Scored, batch: Batch, weighting: str) -> Tensor:
        weights = self.settings.weightings[weighting]
        settings = replace(self.settings.loss_settings, weighting=weights)
        return self.settings.loss(scored, batch, settings)

    def count_step(self, gates: Gates) -> None:
        """Counts a weight step of the active combination, which makes evidence of its scores."""
        self.members.count_step(self.point(gates.choices()))

    def regularizer(self, gates: Gates) -> Tensor:
        """L2 of the tables that the active combination uses."""
        point = self.point(gates.choices())
        encodings = tuple(ENCODINGS[k] for k in point[: len(self.settings.fields)])
        return self.members.of(point).tables.squared_norm(self.settings.strengths, encodings)

    @torch.no_grad()
    def replacement_scores(
        self, train: Batch, valid: Batch, gates: Gates, worth: Mapping[str, Tensor] | None = None
    ) -> Mapping[str, Tensor]:
        """log(criterion with the candidate in place / criterion as it is), on validation.

        Every combination is judged with the weights that it trained itself; one that has hardly
        trained, or whose `worth` is 0, so that warm-up gives it no turns, scores 0: nothing for or
        against.
        """
        scores = {b.name: torch.zeros(b.shape, dtype=torch.float64) for b in self.blocks}
        selection = gates.choices()
        if self.members.steps(self.point(selection)) < MIN_STEPS:
            return scores
        current = self._criterion(gates, valid)
        for block in self.blocks:
            table = scores[block.name]
            for edge, chosen in enumerate(selection[block.name]):
                for k in range(block.shape[1]):
                    other = selection.switched(block.name, edge, k)
                    lost = worth is not None and worth[block.name][edge, k] <= 0
                    if k == chosen or lost or self.members.steps(self.point(other)) < MIN_STEPS:
                        continue
                    table[edge, k] = self._criterion(other.to_gates(self.blocks), valid) - current
        return scores

    def _criterion(self, gates: Gates, valid: Batch) -> float:
        found = self.settings.criterion(self.interaction(gates).chosen(), valid)
        return math.log(max(found, torch.finfo(torch.float32).tiny))

    def genotype(self, gates: Gates) -> Genotype:
        """The combination at the gates; element-wise functions as numbers where they are chosen."""
        point = self.point(gates.choices())
        k = len(self.settings.fields)
        names = [ENCODINGS[c] for c in point[:k]]
        embedding, operation, weighting = (
            stage_block(name, k, self.operations).operations[c]
            for name, c in zip(STAGES[1:], point[k:], strict=True)
        )
        numbers = {
            f"{field}.{name}": (tuple(value.shape), tuple(value.double().flatten().tolist()))
            for field, transform in zip(self.settings.fields, self.transforms, strict=True)
            for name, value in transform.state_dict().items()
        }
        return Genotype(
            self.name,
            {
                ENCODING_BLOCK: tuple(enumerate(names)),
                EMBEDDING_BLOCK: ((0, embedding),),
                OPERATION_BLOCK: ((0, operation),),
                WEIGHTING_BLOCK: ((0, weighting),),
            },
            numbers if embedding == "elementwise" else {},
        )

    def expression(self, genotype: Genotype) -> str:
        """Such as "multiply(history(user), item), weighted by users"."""
        return spec_expression(genotype, self.settings.fields)


class GatedRich:
    """The supernet at its gates, as something that scores pairs.

    At a discrete point it is one `Interaction` over the combination's own weights. With gates that
    require a gradient, or relaxed ones, every stage mixes its candidates over the same weights; a
    pair's own part is then left in, since gates are judged on pairs that no history holds.
    """

    def __init__(self, space: StagedSpace, gates: Gates) -> None:
        self._space, self._gates = space, gates
        self.probed = any(w.requires_grad for w in gates.weights.values())
        discrete = gates.active is not None
        self.member = (
            space.members.of(space.point(gates.choices()))
            if discrete
            else cast(WeightSet, space.members.sets[0])
        )
        self._chosen = self._at_point() if discrete and not self.probed else None
        self._candidates = [] if self._chosen else self._mixed()

    def chosen(self) -> Interaction:
        """The function of the active combination."""
        return self._chosen or self._at_point()

    def _at_point(self) -> Interaction:
        space, member = self._space, self.member
        point = space.point(self._gates.choices())
        k = len(space.settings.fields)
        vectors = [self._encoded(f, ENCODINGS[point[f]]) for f in range(k)]
        embedding = EMBEDDINGS[point[k]]
        if embedding == "graph":
            vectors = self._propagated(vectors)
        transforms = self._transforms(embedding)
        return Interaction(
            member.tables, transforms, space.operations[point[k + 1]],
            member.readouts[point[k + 1]], vectors,
        )  # fmt: skip

    def _transforms(self, embedding: str) -> Sequence[Elementwise]:
        if embedding == "elementwise":
            return [cast(Mlp, t) for t in self._space.transforms]
        return [PRIMITIVES[IDENTITY]] * len(self._space.settings.fields)

    def _encoded(self, field: int, encoding: str) -> Vectors:
        return encoded(self.member.tables, self._space.settings.histories, field, encoding)

    def _mix(self, block: str, edge: int, candidates: Mapping[str, Callable[[], Tensor]]) -> Tensor:
        """One edge of a stage; its neutral candidate where the stage is not searched."""
        weights = self._gates.weights.get(block)
        if weights is None:
            return candidates[NEUTRAL[block]]()
        active = None if self._gates.active is None else self._gates.active[block][edge]
        return gated_output(weights[edge], active, list(candidates.values()))

    def _mixed(self) -> list[Interaction]:
        space, member = self._space, self.member
        encoded = [
            Vectors(
                self._mix(
                    ENCODING_BLOCK, f,
                    {e: partial(lambda f, e: self._encoded(f, e).table, f, e) for e in ENCODINGS},
                )
            )
            for f in range(len(space.settings.fields))
        ]  # fmt: skip
        vectors = [Vectors(self._embedded(encoded, f)) for f in range(len(encoded))]
        identity = self._transforms("identity")
        return [
            Interaction(member.tables, identity, operation, readout, vectors)
            for operation, readout in zip(space.operations, member.readouts, strict=True)
        ]

    def _embedded(self, encoded: Sequence[Vectors], field: int) -> Tensor:
        table = encoded[field].table
        return self._mix(
            EMBEDDING_BLOCK, 0,
            {
                "identity": lambda: table,
                "elementwise": lambda: self._space.transforms[field](table),
                "graph": lambda: self._propagated(encoded)[field].table,
            },
        )  # fmt: skip

    def _propagated(self, vectors: Sequence[Vectors]) -> list[Vectors]:
        return needed(self._space.settings.histories).propagate(vectors)

    def pairs(self, ids: Tensor, observed: bool = False) -> Tensor:
        """Scores (n,) at ids (n, 2); `observed` as in `Interaction.pairs`."""
        if self._chosen:
            return self._chosen.pairs(ids, observed)
        by_name = {i.operation.name: partial(i.pairs, ids) for i in self._candidates}
        return self._mix(OPERATION_BLOCK, 0, by_name)

    @property
    def is_factorized(self) -> bool:
        """As of the chosen function; never for mixtures."""
        return self._chosen is not None and self._chosen.is_factorized

    @property
    def uses_history(self) -> bool:
        """As of the chosen function; mixtures leave nothing out."""
        return self._chosen is not None and self._chosen.uses_history

    def factors(self) -> Factors | None:
        """Factors of the chosen function; None for mixtures."""
        return self._chosen.factors() if self._chosen else None

    def on_graph(self, graph: PairGraph) -> Tensor:
        """Scores (n,) at a graph's pairs."""
        if self._chosen:
            return self._chosen.on_graph(graph)
        return self.pairs(torch.stack([graph.rows, graph.columns], dim=1))

    def own_on_graph(self, graph: PairGraph) -> Tensor | None:
        """What a graph's pairs contributed to their own scores."""
        return self._chosen.own_on_graph(graph) if self._chosen else None


def _made(context: SpaceContext) -> StagedSpace:
    encodes = {ENCODING_BLOCK, EMBEDDING_BLOCK} & set(context.stages)
    settings = StagedSettings(
        context.shape, context.fields, context.loss, context.loss_settings, context.weightings,
        context.strengths, context.histories() if encodes else None, context.criterion,
        context.stages,
    )  # fmt: skip
    return StagedSpace(settings, context.draws)


STAGED_SPACE = SpaceKind(
    _made,
    partial(spec_design, SPEC),
    spec_expression,
    multiply=lambda fields: neutral_genotype(len(fields)),
    has_multiply=True,
    stages=STAGES,
)
