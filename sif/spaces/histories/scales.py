"""Histories that are read by decayed sums, one per time scale, and operations on top.

Each scale has embeddings of its own; its state behind place t is the sum of gamma^(t - i) times the
embedding of item i over the places i <= t within its window. Time scales are fields: an inner
operation joins their states, an outer one the result and the item, which is the uniform operation
of all fields where both are the same and a nested one where not.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sif.core.gates import Block
from sif.core.genotype import Genotype, check_names
from sif.spaces.interaction.operations import OPERATIONS, Operation
from sif.spaces.linear.design import FIRST, SCALES, decay_of
from sif.spaces.linear.sequences import Decay
from sif.spaces.rnn.dropout import Masks, TextShape, masked
from sif.spaces.rnn.networks import EMBEDDING_INIT

NAME = "scales"
"""Of the space, as written in genotypes."""
INNER, OUTER = "inner", "outer"
ALWAYS = "middle"
"""The scale that every design has."""
ORDER = (ALWAYS, *(name for name in SCALES if name != ALWAYS))
"""Scales in the order in which the inner operation joins them."""
INNERS = tuple(name for name, operation in OPERATIONS.items() if operation.width(2) == 1)
"""Operations whose result is as wide as an item's embedding."""

BLOCKS = (
    *(Block(name, names, default_op=FIRST[name]) for name, names in SCALES.items()),
    Block(INNER, INNERS, default_op="plus"),
    Block(OUTER, tuple(OPERATIONS), default_op="multiply"),
)


@dataclass(frozen=True)
class ScalesDesign:
    """Decayed sums with operations on top.

    Attributes:
        decays: Name in `SCALES` to the decay of each scale, in `ORDER`.
        inner: Name of the operation that joins the states of scales.
        outer: Name of the operation of the joined state and the item.
    """

    decays: Mapping[str, Decay]
    inner: str = "plus"
    outer: str = "multiply"

    @property
    def expression(self) -> str:
        """The function on one line, such as "multiply(plus(0.3, last 3; 0.8, last 16), item)"."""
        scales = "; ".join(f"({self.decays[name]})" for name in SCALES if name in self.decays)
        joined = f"{self.inner}{scales}" if len(self.decays) == 1 else f"{self.inner}({scales})"
        return f"{self.outer}({scales if len(self.decays) == 1 else joined}, item)"


def scales_design(genotype: Genotype) -> ScalesDesign:
    """The design of a genotype.

    Raises:
        GenotypeError: Another space or unknown names.
    """
    check_names(genotype, NAME, {block.name: block.operations for block in BLOCKS})
    found = {name: decay_of(genotype.operation(name)) for name in ORDER}
    decays = {name: decay for name, decay in found.items() if decay is not None}
    return ScalesDesign(decays, genotype.operation(INNER), genotype.operation(OUTER))


def decay_matrix(steps: int, decay: Decay, like: Tensor) -> Tensor:
    """Weights (steps, steps) of the items (columns) in the state behind each place (rows).

    Every row has length 1 (the square root of the sum of squares), so that states of all scales
    are equally large, however long the history is.
    """
    places = torch.arange(steps, device=like.device)
    ages = places[:, None] - places
    inside = ages >= 0
    if decay.window is not None:
        inside &= ages < decay.window
    powers = torch.full((), decay.gamma, dtype=torch.float64, device=like.device) ** ages.abs()
    return F.normalize(powers * inside, dim=1).to(like)


def decayed(embedded: Tensor, decay: Decay) -> Tensor:
    """States (steps, batch, hidden) of embeddings of the same shape: one matrix product."""
    matrix = decay_matrix(embedded.shape[0], decay, embedded)
    return (matrix @ embedded.flatten(1)).view_as(embedded)


def joined(states: Sequence[Tensor], operation: Operation) -> Tensor:
    """The states of all scales as one."""
    return functools.reduce(lambda one, other: operation.combine([one, other]), states)


class ScaleTables(nn.Module):
    """Embeddings of items by scale.

    Args:
        shape: Its vocabulary is the catalog.
        scales: Names.
    """

    def __init__(self, shape: TextShape, scales: Sequence[str]) -> None:
        super().__init__()
        self.tables = nn.ParameterDict()
        for name in scales:
            table = torch.empty(shape.vocabulary, shape.hidden)
            self.tables[name] = nn.Parameter(table.uniform_(-EMBEDDING_INIT, EMBEDDING_INIT))

    def embedded(self, scale: str, items: Tensor, masks: Masks) -> Tensor:
        """Vectors (steps, batch, hidden) of items (steps, batch) under dropout."""
        table = self.tables[scale]
        rows = table if masks.word is None else table * masks.word
        return masked(masked(F.embedding(items, rows), masks.embedding), masks.input)


class ScalesReader(ScaleTables):
    """States behind histories by the decays of a design."""

    def __init__(self, shape: TextShape, design: ScalesDesign) -> None:
        super().__init__(shape, tuple(design.decays))
        self.design = design

    def forward(self, items: Tensor, table: Tensor, masks: Masks) -> Tensor:
        """States (steps, batch, hidden) behind each of the items (steps, batch).

        Args:
            items: int64.
            table: Embeddings by which items are scored, which this reader does not read.
            masks: Of dropout; none of states between steps, which there are none of.
        """
        states = [
            decayed(self.embedded(name, items, masks), decay)
            for name, decay in self.design.decays.items()
        ]
        return joined(states, OPERATIONS[self.design.inner])
