"""The stages of the space `rich` as blocks: names, neutral choices, costs."""

from __future__ import annotations

from collections.abc import Sequence

from sif.core.gates import Block
from sif.core.genotype import Genotype
from sif.spaces.functions import (
    EMBEDDING_BLOCK,
    ENCODING_BLOCK,
    OPERATION_BLOCK,
    SPECS,
    WEIGHTING_BLOCK,
)
from sif.spaces.operations import Operation

SPEC = SPECS["rich"]
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
        return Block(name, names, costs=(work,), start=NEUTRAL[name], alone=True)
    names = SPEC.stages[name]
    nodes = tuple(range(fields)) if name == ENCODING_BLOCK else (0,)
    cost = COSTS.get(name)
    costs = None if cost is None else (tuple(cost[n] for n in names),) * len(nodes)
    return Block(name, names, nodes, costs=costs, start=NEUTRAL[name], alone=True)


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
